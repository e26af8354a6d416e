"""Are samples where data is, and is data where samples are? Two questions that one distance mixes.

The support of a law is estimated by balls: one round each of its points, out to its k-th neighbour.

    precision   share of samples inside a ball of the data           (Kynkäänniemi et al., NeurIPS 2019)
    recall      share of data inside a ball of the samples
    density     mean number of the data's balls round a sample, / k  (Naeem et al., ICML 2020)
    coverage    share of the data's balls that hold a sample

Density and coverage put balls round data alone, so an outlier among the samples cannot inflate them; density
may exceed 1. All grow or shrink with the counts: compare at equal counts, and with the floor of real against
real.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from evolvent.metrics.features import Features

ENTRIES = 2**24
"""Of a matrix of distances held at once: 128 MiB."""


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density in [0, number of data / k], 1 in the mean for equal laws; coverage a share in [0, 1]."""

    density: float
    coverage: float


def precision_recall(samples: Features, real: Features, *, k: int = 3) -> PrecisionRecall:
    """Raises ValueError for k neighbours among k points or fewer, different widths or a number not finite."""
    samples, real = _checked(samples, real, k=k)
    in_real, _ = _balls(samples, real, k)
    in_samples, _ = _balls(real, samples, k)
    return PrecisionRecall(_share(in_real > 0), _share(in_samples > 0))


def density_coverage(samples: Features, real: Features, *, k: int = 5) -> DensityCoverage:
    """Raises ValueError for k neighbours among k points or fewer, different widths or a number not finite."""
    samples, real = _checked(samples, real, k=k)
    balls_round, held = _balls(samples, real, k)
    return DensityCoverage(float(balls_round.double().mean()) / k, _share(held > 0))


def _balls(points: Tensor, centres: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """How many of the centres' balls are round each point, and how many points each ball holds."""
    radii = torch.cat(
        [_nearest(centres, first, last, k) for first, last in _pieces(len(centres), len(centres))]
    )
    round_point, held = [], torch.zeros(len(centres), dtype=torch.long, device=centres.device)
    for first, last in _pieces(len(points), len(centres)):
        inside = _squared_distances(points[first:last], centres) <= radii
        round_point.append(inside.sum(1))
        held += inside.sum(0)
    return torch.cat(round_point), held


def _nearest(points: Tensor, first: int, last: int, k: int) -> Tensor:
    """Squared distance from each of points[first:last] to its k-th neighbour, itself not counted."""
    squared = _squared_distances(points[first:last], points)
    squared.diagonal(first).fill_(torch.inf)
    return squared.kthvalue(k, dim=1).values


def _pieces(num_rows: int, num_columns: int) -> list[tuple[int, int]]:
    step = max(1, ENTRIES // num_columns)
    return [(first, min(first + step, num_rows)) for first in range(0, num_rows, step)]


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    # A product of matrices, 15 times as fast as pair by pair; float64 keeps 1e-13 of what the norms are.
    return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _checked(samples: Tensor, real: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    if samples.shape[1] != real.shape[1]:
        raise ValueError(f"points of {samples.shape[1]} and of {real.shape[1]} numbers cannot be compared")
    if not 1 <= k < min(len(samples), len(real)):
        raise ValueError(
            f"{len(samples)} samples and {len(real)} data have no {k} neighbours each: more points or a k ≥ 1"
        )
    if not (samples.isfinite().all() and real.isfinite().all()):
        raise ValueError(
            "a point is not finite: it has no neighbours. Look at the samples before their score"
        )
    # Distances do not change, and the norms from which they are computed become small.
    centre = real.double().mean(0)
    return samples.double() - centre, real.double() - centre
