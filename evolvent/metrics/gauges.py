"""Every measure of samples against data by the name that a person asks for it, and what settles its number.

A gauge compares rows of features (or of points: pixels in [−1, 1], or the plane) and may yield several measures
at once. To add a measure, add a gauge; `evolvent evaluate --measures` then knows its name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from evolvent.metrics.distances import (
    Estimate,
    energy_distance,
    kernel_distance,
    mmd,
    response_distance,
    sliced_wasserstein,
    spread,
    wasserstein,
)
from evolvent.metrics.fidelity import K_DENSITY, K_SUPPORT, fidelity
from evolvent.metrics.frechet import Moments, frechet_distance

PIECE = 4096
"""Rows of features that are in float64 at once."""


@dataclass(frozen=True)
class Gauge:
    """compare(samples, reference): an estimate for each of `settings`, which says what settles each number.

    pairs: it takes equally many on both sides alone.
    """

    settings: Mapping[str, str]
    compare: Callable[[Tensor, Tensor], tuple[Estimate, ...]]
    lower_is_better: bool = True
    pairs: bool = False


def _frechet(x: Tensor, y: Tensor) -> tuple[Estimate]:
    value = frechet_distance(*(Moments.of_pieces(some.split(PIECE)) for some in (x, y)))
    return (Estimate(value, None),)


def _fidelity(x: Tensor, y: Tensor) -> tuple[Estimate, ...]:
    return tuple(Estimate(value, None) for value in fidelity(x, y))


def _mmd(x: Tensor, y: Tensor) -> tuple[Estimate]:
    return (mmd(x, y, bandwidth=spread(y)),)


SUPPORT, DENSITY = f"k={K_SUPPORT}", f"k={K_DENSITY}"
ON_FEATURES = (
    Gauge({"frechet": ""}, _frechet),
    Gauge({"kernel": "all pairs"}, lambda x, y: (kernel_distance(x, y),)),
    Gauge(
        {"precision": SUPPORT, "recall": SUPPORT, "density": DENSITY, "coverage": DENSITY},
        _fidelity,
        lower_is_better=False,
    ),
    Gauge({"response": ""}, lambda x, y: (response_distance(x, y),)),
)
ON_POINTS = (
    Gauge({"sliced-wasserstein": "256 directions"}, lambda x, y: (sliced_wasserstein(x, y),)),
    Gauge({"energy-distance": ""}, lambda x, y: (energy_distance(x, y),)),
    Gauge({"mmd": "bandwidth the data's spread"}, _mmd),
    Gauge({"wasserstein": "exact pairing"}, lambda x, y: (wasserstein(x, y),), pairs=True),
)
OF_CLASSES, OF_MEMORY, OF_DENSITY, OF_ENERGY = "class-score", "memorisation", "log-density", "kl"
"""Those that compare otherwise: samples alone, with two sets of data, with a known law; an energy with that law."""

IMAGE_MEASURES = (
    "frechet", "kernel", "precision", "recall", "density", "coverage", OF_MEMORY, "sliced-wasserstein",
)  # fmt: skip
"""What images are judged by unless something else is asked for."""
POINT_MEASURES = ("energy-distance", "sliced-wasserstein", OF_DENSITY)
"""The same for points of a law that is known."""


def names(gauges: Iterable[Gauge]) -> list[str]:
    """All measures that the gauges yield."""
    return [name for gauge in gauges for name in gauge.settings]


KNOWN_OF_IMAGES = (*names(ON_FEATURES), OF_MEMORY, OF_CLASSES, *names(ON_POINTS))
KNOWN_OF_POINTS = (*names(ON_POINTS), OF_DENSITY, OF_ENERGY)


def check_measures(measures: Iterable[str], known: Iterable[str]) -> None:
    """ValueError that lists what there is when one of the measures is not known."""
    if strange := [name for name in measures if name not in known]:
        raise ValueError(f'there is no measure "{strange[0]}" here: there are {", ".join(known)}')
    if not measures:
        raise ValueError(f"no measure is asked for: there are {', '.join(known)}")
