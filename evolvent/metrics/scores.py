"""Scores that can be compared: each with its counts, its protocol and what real data scores in its place.

A number alone says little: a Fréchet distance of 40 is near the end of the road at 1,000 images and far from
it at 50,000. So each score comes with its floor, the same measure with as many real images in the place of
the samples:

    score = measure(samples, held out),      floor = measure(training images, held out),      equal counts

Three judges, one a kind of data: `judge_images`, `judge_texture`, `judge_points`. To add a measure, add a
line to one.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from evolvent.metrics.distances import (
    Estimate,
    energy_distance,
    kernel_distance,
    response_distance,
    sliced_wasserstein,
)
from evolvent.metrics.features import EffLite0, check_pixels, extract
from evolvent.metrics.fidelity import density_coverage
from evolvent.metrics.frechet import Moments, frechet_distance
from evolvent.shapes import PerPoint, Pixels, Points

NEIGHBOURS = 5
"""Of density and coverage, as their paper has it."""


@dataclass(frozen=True)
class Score:
    """One measured number and all that it takes to compare it with another.

    error: its standard error, None where there is no honest one.
    floor: what real data scores in the samples' place.
    protocol: how the points were seen, the detector and its size, "pixels" or "exact".
    """

    measure: str
    value: float
    error: float | None
    num_samples: int
    num_reference: int
    protocol: str
    floor: float | None
    lower_is_better: bool

    def __post_init__(self) -> None:
        for number in (self.value, self.error, self.floor):
            if number is not None and number != number:
                raise ValueError(f"{self.measure} is not a number: look at the samples before their score")

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        against = f" against {self.num_reference}" if self.num_reference else ""
        floor = "" if self.floor is None else f"; real {self.floor:.4g}"
        better = "lower" if self.lower_is_better else "higher"
        counts = f"{self.num_samples} samples{against}, {self.protocol}"
        return f"{self.measure} {self.value:.4g}{error} ({counts}{floor}; {better} is better)"

    def as_dict(self) -> dict[str, str | float | int | bool | None]:
        """The fields by name, ready for JSON."""
        return asdict(self)


@runtime_checkable
class Toy(Protocol):
    """A law of the plane that can be drawn from and whose density is known."""

    def draw(self, n: int) -> Points: ...

    def log_density(self, x: Points) -> PerPoint: ...


class Sides(NamedTuple):
    """The samples, real data in their place and number, and the data that both are held to."""

    samples: Tensor
    real: Tensor
    reference: Tensor


def judge_images(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    *,
    detector: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> list[Score]:
    """Fréchet and kernel distance, density and coverage on detector features; sliced W₂ on pixels in [−1, 1].

    samples, held_out, train: uint8 [n, 1 or 3, height, width], of one picture size. The floor takes a random
    subset of `train`, the same in every call; if it has fewer images than `samples`, only that many samples
    are judged.
    detector: `EffLite0()` unless given.

    Raises ValueError for other shapes or types and for fewer than 6 images on a side.
    """
    detector = EffLite0() if detector is None else detector
    pictures = _sides(samples, held_out, train)
    features = Sides(*(extract(detector, pixels, device=device) for pixels in pictures))
    pixels = Sides(*(_points(pixels, device) for pixels in pictures))
    return [
        _score("frechet", _frechet, features, detector.name),
        _score("kernel", kernel_distance, features, detector.name),
        *_fidelity(features, detector.name),
        _score("sliced-wasserstein", sliced_wasserstein, pixels, "pixels"),
    ]


def judge_texture(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    *,
    detector: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> list[Score]:
    """The papers' response distance and the kernel distance, of synthesised crops against given ones.

    As `judge_images`, for which the crops of one texture are too alike. With a bank of filters as the
    detector the response distance is the papers' R; with `EffLite0()`, the default, it is the same over
    learned responses.
    """
    detector = EffLite0() if detector is None else detector
    pictures = _sides(samples, held_out, train)
    responses = Sides(*(extract(detector, pixels, device=device) for pixels in pictures))
    return [
        _score("response", response_distance, responses, detector.name),
        _score("kernel", kernel_distance, responses, detector.name),
    ]


def judge_points(samples: Points, toy: Toy) -> list[Score]:
    """Energy distance, sliced W₂ and mean log density in nats, of points against as many exact draws.

    The floor is another exact draw. Of the log density it is the negative entropy: samples above it are too
    sure, crowded on the modes. Draws are the same in every call, and leave torch's generators as they were.

    Raises ValueError for fewer than 3 points or one that is not finite.
    """
    n = len(samples)
    if n < 3:
        raise ValueError(f"{n} points are too few to judge: at least 3 are needed")
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(0)
        real, reference = toy.draw(n), toy.draw(n)
    if samples.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"points {list(samples.shape[1:])} are not of the toy's shape {list(reference.shape[1:])}"
        )
    sides = Sides(samples.to(reference.device), real, reference)
    value, floor = (_mean(toy.log_density(points)) for points in (sides.samples, sides.real))
    return [
        _score("energy-distance", energy_distance, sides, "exact"),
        _score("sliced-wasserstein", sliced_wasserstein, sides, "exact"),
        Score("log-density", value.value, value.error, n, 0, "exact", floor.value, lower_is_better=False),
    ]


def _sides(samples: Tensor, held_out: Tensor, train: Tensor) -> Sides:
    """The three sides of a comparison: samples and training images cut to the smaller of their counts."""
    for pixels, who in ((samples, "samples"), (held_out, "held-out images"), (train, "training images")):
        check_pixels(pixels, who)
        if len(pixels) <= NEIGHBOURS:
            raise ValueError(
                f"{len(pixels)} {who} are too few to judge: at least {NEIGHBOURS + 1} are needed"
            )
        if pixels.shape[1:] != samples.shape[1:]:
            raise ValueError(f"samples are {list(samples.shape[1:])} but {who} are {list(pixels.shape[1:])}")
    n = min(len(samples), len(train))
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:n]
    return Sides(samples[:n], train[some.to(train.device)], held_out)


def _points(pixels_uint8: Pixels, device: str | torch.device) -> Tensor:
    return pixels_uint8.to(device).flatten(1).float() / 127.5 - 1


def _score(measure: str, compare: Callable[[Tensor, Tensor], Estimate], sides: Sides, protocol: str) -> Score:
    """A distance with its floor."""
    value, error = compare(sides.samples, sides.reference)
    floor = compare(sides.real, sides.reference).value
    counts = len(sides.samples), len(sides.reference)
    return Score(measure, value, error, *counts, protocol, floor, lower_is_better=True)


def _frechet(x: Tensor, y: Tensor) -> Estimate:
    return Estimate(frechet_distance(Moments.of(x), Moments.of(y)), None)


def _fidelity(sides: Sides, protocol: str) -> list[Score]:
    """Density and coverage with their floors: the two that are better when higher."""
    ours = density_coverage(sides.samples, sides.reference, k=NEIGHBOURS)
    reals = density_coverage(sides.real, sides.reference, k=NEIGHBOURS)
    counts = len(sides.samples), len(sides.reference)
    return [
        Score(measure, value, None, *counts, protocol, floor, lower_is_better=False)
        for measure, value, floor in zip(("density", "coverage"), ours, reals, strict=True)
    ]


def _mean(log_density: PerPoint) -> Estimate:
    """With its standard error, which does not exist where a point lies outside the law's support."""
    mean = float(log_density.double().mean())
    finite = bool(log_density.isfinite().all())
    return Estimate(mean, float(log_density.double().std()) / len(log_density) ** 0.5 if finite else None)
