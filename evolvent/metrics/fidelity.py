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

from evolvent.metrics.distances import pieces, squared_distances
from evolvent.metrics.features import Features
from evolvent.shapes import PerPoint

K_SUPPORT, K_DENSITY = 3, 5
"""Neighbours of precision and recall, and of density and coverage, as their papers have them."""


class Fidelity(NamedTuple):
    """Shares in [0, 1], but for the density, in [0, number of data / k]; its mean is 1 for equal laws."""

    precision: float
    recall: float
    density: float
    coverage: float


def fidelity(
    samples: Features, real: Features, *, k_support: int = K_SUPPORT, k_density: int = K_DENSITY
) -> Fidelity:
    """All four at once, of three matrices of distances.

    Raises ValueError for k neighbours among k points or fewer, different widths or a number not finite.
    """
    samples, real = check_points(samples, real)
    for k in (k_support, k_density):
        if not 1 <= k < min(len(samples), len(real)):
            raise ValueError(
                f"{len(samples)} samples and {len(real)} data have no {k} neighbours each: more points or a k ≥ 1"
            )
    ours, theirs = radii(samples, k_support), radii(real, k_support, k_density)
    precise, recalled, held = (
        torch.zeros(len(s), dtype=torch.bool, device=s.device) for s in (samples, real, real)
    )
    balls_round = torch.zeros_like(samples[:, 0])
    for first, last in pieces(len(samples), len(real)):
        squares = squared_distances(samples[first:last], real)
        precise[first:last] = (squares <= theirs[k_support]).any(1)
        inside = squares <= theirs[k_density]
        balls_round[first:last] = inside.sum(1)
        held |= inside.any(0)
        recalled |= (squares <= ours[k_support][first:last, None]).any(0)
    return Fidelity(_share(precise), _share(recalled), float(balls_round.mean()) / k_density, _share(held))


def radii(points: Features, *ks: int) -> dict[int, PerPoint]:
    """The squared radii of the balls round each of the points, itself not counted, for each k."""
    found = {k: torch.zeros_like(points[:, 0]) for k in set(ks)}
    for first, last in pieces(len(points), len(points)):
        squares = squared_distances(points[first:last], points)
        squares.diagonal(first).fill_(torch.inf)
        nearest = squares.topk(max(ks), dim=1, largest=False).values
        for k, some in found.items():
            some[first:last] = nearest[:, k - 1]
    return found


def check_points(samples: Features, real: Features) -> tuple[Features, Features]:
    """Both in float64, round the mean of `real`: distances do not change, and the norms become small.

    Raises ValueError for an empty side, different widths or a number that is not finite.
    """
    if min(len(samples), len(real)) == 0:
        raise ValueError(f"{len(samples)} samples and {len(real)} data: nothing has no neighbours")
    if samples.shape[1] != real.shape[1]:
        raise ValueError(f"points of {samples.shape[1]} and of {real.shape[1]} numbers cannot be compared")
    if not (samples.isfinite().all() and real.isfinite().all()):
        raise ValueError(
            "a point is not finite: it has no neighbours. Look at the samples before their score"
        )
    centre = real.double().mean(0)
    return samples.double() - centre, real.double() - centre


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
