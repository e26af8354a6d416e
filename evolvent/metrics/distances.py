"""Distances between two laws of which only samples are at hand.

Three are one: for a kernel k, E k(x,x′) + E k(y,y′) − 2 E k(x,y) is zero for equal laws, and its estimate
over all pairs of different points (a U-statistic) is unbiased at any count, so it may fall below zero.

    kernel distance     k = (⟨x,y⟩/d + 1)³          on detector features ("KID"; Bińkowski et al., ICLR 2018)
    mmd                 k = exp(−‖x − y‖²/2b²)      (Gretton et al., JMLR 2012)
    energy distance     k = −‖x − y‖                2 E‖x−y‖ − E‖x−x′‖ − E‖y−y′‖ (Székely and Rizzo, 2013)

To measure with another kernel, hand it to `discrepancy`. The others are the Wasserstein distance, sliced or
exact, and the papers' response distance. Everything is computed in float64, and each row of x and y is one point.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from evolvent.metrics.features import Features
from evolvent.shapes import PerPoint

Kernel = Callable[[Tensor, Tensor], Tensor]
"""k(x_i, y_j) of all pairs: [n, d], [m, d] to [n, m]."""

ENTRIES = 2**24
"""Of a matrix of distances or of a kernel held at once: 128 MiB."""
MOST_ASSIGNED = 5000
"""Points a side of the exact distance: the assignment takes time as their cube, minutes from here on."""


class Estimate(NamedTuple):
    """A measured number and its standard error (None where there is no honest one)."""

    value: float
    error: float | None


def kernel_distance(x: Features, y: Features) -> Estimate:
    """The squared discrepancy under the cubic polynomial kernel, over the whole of both sets."""
    return discrepancy(lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, x, y)


def mmd(x: Features, y: Features, *, bandwidth: float) -> Estimate:
    """The squared maximum mean discrepancy under a Gaussian kernel; bandwidth in the units of a point."""
    if not bandwidth > 0:
        raise ValueError(f"the bandwidth must be above 0, not {bandwidth}")
    # A product of matrices: its rounding is far below the bandwidth, to which alone this kernel compares.
    return discrepancy(lambda a, b: (-_squares(a, b) / (2 * bandwidth**2)).exp(), x, y)


def spread(y: Features) -> float:
    """(E‖y − y′‖²)^½ of two different points of y, the bandwidth of `mmd` where nothing else suggests one."""
    y, _ = _checked(y, y, at_least=2)
    return float((2 * y.var(0).sum()).sqrt())


def energy_distance(x: Features, y: Features) -> Estimate:
    """In the units of a point; the square root is not taken."""
    return discrepancy(lambda a, b: -_distances(a, b), x, y)


def discrepancy(kernel: Kernel, x: Features, y: Features) -> Estimate:
    """E k(x,x′) + E k(y,y′) − 2 E k(x,y) without bias, and its error by the jackknife over single points.

    The jackknife leaves out each point in turn, which the sums over rows give at no cost: no blocks to
    choose, and no dependence on order. It errs to the safe side where both laws are equal.

    Raises ValueError for fewer than three points on a side, different widths or a number that is not finite.
    """
    x, y = _checked(x, y, at_least=3)
    n, m = len(x), len(y)
    # Σ_j k over the partners of each point: in its own set without itself, and in the other set.
    x_own, y_own = _sums(kernel, x, x)[0], _sums(kernel, y, y)[0]
    x_other, y_other = _sums(kernel, x, y)
    own = x_own.sum() / (n * (n - 1)) + y_own.sum() / (m * (m - 1))
    value = own - 2 * x_other.sum() / (n * m)
    variance = _jackknife(x_own, x_other, m) + _jackknife(y_own, y_other, n)
    return Estimate(float(value), float(variance.sqrt()))


def _sums(kernel: Kernel, x: Tensor, y: Tensor) -> tuple[PerPoint, Tensor]:
    """The sums of the kernel matrix over its rows and its columns; of one set with itself, without i = j."""
    rows, columns = torch.zeros_like(x[:, 0]), torch.zeros_like(y[:, 0])
    for first, last in pieces(len(x), len(y)):
        block = kernel(x[first:last], y)
        if x is y:
            block.diagonal(first).zero_()
        rows[first:last] = block.sum(1)
        columns += block.sum(0)
    return rows, columns


def _jackknife(own: PerPoint, other: PerPoint, num_other: int) -> Tensor:
    """The variance that one set's points bring: (n − 1)/n Σ_i (estimate without i − their mean)²."""
    n = len(own)
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2)) - 2 * (other.sum() - other) / ((n - 1) * num_other)
    return (n - 1) * without.var(correction=0)


def sliced_wasserstein(x: Features, y: Features, *, num_projections: int = 256, seed: int = 0) -> Estimate:
    """(mean over directions u of W₂²(⟨x,u⟩, ⟨y,u⟩))^½, each exact by sorting, in the units of a point.

    The error is that of the directions, not of the points. One seed gives one set of directions on every
    device.

        Bonneel et al., Sliced and Radon Wasserstein barycenters, 2015.
    """
    if num_projections < 2:
        raise ValueError(
            f"at least 2 projections are needed, not {num_projections}: there is no error of one"
        )
    x, y = _checked(x, y, at_least=1)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], num_projections, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(x.device)
    squares = torch.cat(
        [_line_squared((x @ some).sort(0)[0], (y @ some).sort(0)[0]) for some in directions.split(64, 1)]
    )
    value = float(squares.mean().sqrt())
    error = float(squares.std()) / num_projections**0.5
    # The delta method, d√s = ds/2√s; where no direction tells them apart there is no error either.
    return Estimate(value, error / (2 * value) if value > 0 else 0.0)


def _line_squared(x: Tensor, y: Tensor) -> Tensor:
    """W₂² on the line, ∫ (F⁻¹ − G⁻¹)², for each column of the sorted x [n, p] and y [m, p]."""
    n, m = len(x), len(y)
    # Where either function steps, in units of 1/nm so that the merge is exact.
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique().to(x.device)
    widths = ends.diff(prepend=ends.new_zeros(1)).double() / (n * m)
    return widths @ (x[(ends - 1) // m] - y[(ends - 1) // n]).square()


def wasserstein(x: Features, y: Features) -> Estimate:
    """W₂ of two sets of equally many points: the root of the mean square under the best pairing, exact.

    Raises ValueError for other counts on the two sides and for more than 5000.
    """
    x, y = _checked(x, y, at_least=1)
    if len(x) != len(y) or len(x) > MOST_ASSIGNED:
        raise ValueError(
            f"the exact distance pairs equally many points, at most {MOST_ASSIGNED}, not {len(x)} and {len(y)}:"
            " take as many of each, or the sliced distance"
        )
    from scipy.optimize import linear_sum_assignment  # a third of a second that is needed here alone

    squares = _distances(x, y).square().cpu()
    rows, columns = linear_sum_assignment(squares.numpy())
    return Estimate(float(squares[rows, columns].mean().sqrt()), None)


def response_distance(x: Features, y: Features) -> Estimate:
    """R = (1/K) Σ_k |mean F_k(x) − mean F_k(y)| over K filter responses; no error, as the papers give none.

    x, y: [n, K], each filter's response to each image; a filter bank with a `name` is a detector, and
    `extract` gives them. Cai et al., FRAME Revisited, AAAI 2019.
    """
    x, y = _checked(x, y, at_least=1)
    return Estimate(float((x.mean(0) - y.mean(0)).abs().mean()), None)


def pieces(num_rows: int, num_columns: int) -> list[tuple[int, int]]:
    """First and last row of each block of a matrix that is held at once.

    Take room for what is kept of a block before the first: it would lie where the next could, and a process that keeps
    freed memory (`evolvent.machine`) would grow by a block each time.
    """
    step = max(1, ENTRIES // num_columns)
    return [(first, min(first + step, num_rows)) for first in range(0, num_rows, step)]


def squared_distances(x: Features, y: Features) -> Tensor:
    """[n, m] of points in float64, near 0: a product of matrices, 15 times as fast as pair by pair."""
    # float64 keeps 1e-13 of what the norms are.
    return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T


def _squares(x: Tensor, y: Tensor) -> Tensor:
    centre = y.mean(0)
    return squared_distances(x - centre, y - centre)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # Not by a matrix product: its rounding is largest for the near pairs.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _checked(x: Tensor, y: Tensor, *, at_least: int) -> tuple[Tensor, Tensor]:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"points of {x.shape[1]} and of {y.shape[1]} numbers cannot be compared")
    if min(len(x), len(y)) < at_least:
        raise ValueError(
            f"{len(x)} and {len(y)} points are too few: at least {at_least} are needed on each side"
        )
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError(
            "a point is not finite: it is at no distance. Look at the samples before their score"
        )
    return x.double(), y.double()
