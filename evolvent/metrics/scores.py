"""Scores that can be compared: each with its counts, its protocol and what real data scores in its place.

A number alone says little: a Fréchet distance of 40 is near the end of the road at 1,000 images and far from
it at 50,000. So each score comes with its floor, the same measure with as many real images in the place of
the samples:

    score = measure(samples, held out),      floor = measure(training images, held out),      equal counts

where the training images are a random subset, the same in every call, as many as the samples, or all where
there are fewer; the floor then says of how many it is. Three judges, one a kind of data: `judge_images`,
`judge_texture`, `judge_points`. To add a measure, add a gauge (`gauges`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from evolvent.metrics import gauges
from evolvent.metrics.classes import LEAST_CLASSED, NUM_PARTS, class_score
from evolvent.metrics.distances import Estimate
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import Features, check_pixels, extract
from evolvent.metrics.fidelity import K_DENSITY
from evolvent.metrics.gauges import (
    IMAGE_MEASURES,
    OF_CLASSES,
    OF_DENSITY,
    OF_ENERGY,
    OF_MEMORY,
    POINT_MEASURES,
    Gauge,
)
from evolvent.metrics.inception import Inception
from evolvent.metrics.lattice import plane_kl
from evolvent.metrics.memory import memorisation
from evolvent.shapes import PerPoint, Pixels, Points

MIN_IMAGES = K_DENSITY + 1
PUBLISHED = {"frechet": "FID", "kernel": "KID", OF_CLASSES: "IS"}
"""What the measures are called over Inception's features, and over no other."""

See = Callable[..., Features]
"""(detector, pixels_uint8, *, device) -> features: `extract`, or what remembers its answers."""
Found = dict[str, list["Score"]]
"""The scores by the measure that was asked for."""


@dataclass(frozen=True)
class Score:
    """One measured number and all that it takes to compare it with another.

    error: its standard error, None where there is no honest one.
    floor: what real data scores in the samples' place; None where there are too few for this measure.
    num_real: how many those are; None for as many as the samples.
    protocol: how the points were seen, the detector and its size, "pixels" or "exact", and what else settles it.
    resize: how the detector brought the pictures to its size.
    """

    measure: str
    value: float
    error: float | None
    num_samples: int
    num_reference: int
    protocol: str
    floor: float | None
    lower_is_better: bool
    resize: str = ""
    num_real: int | None = None

    def __post_init__(self) -> None:
        for number in (self.value, self.error, self.floor):
            if number is not None and number != number:
                raise ValueError(f"{self.measure} is not a number: look at the samples before their score")

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        against = f" against {self.num_reference}" if self.num_reference else ""
        floor = "" if self.floor is None else f"; real {told_floor(self.floor, self.num_real)}"
        better = "lower" if self.lower_is_better else "higher"
        resize = f", {self.resize}" if self.resize else ""
        counts = f"{self.num_samples} samples{against}, {self.protocol}{resize}"
        return f"{self.measure} {self.value:.4g}{error} ({counts}{floor}; {better} is better)"

    def as_dict(self) -> dict[str, str | float | int | bool | None]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def told_floor(floor: float | None, num_real: int | None = None) -> str:
    """Of a score, and of how many real images it is where those are fewer than the samples."""
    if floor is None:
        return "-"
    return f"{floor:.4g}" if num_real is None else f"{floor:.4g} of {num_real}"


@runtime_checkable
class Toy(Protocol):
    """A law of the plane that can be drawn from and whose density is known."""

    def draw(self, n: int) -> Points: ...

    def log_density(self, x: Points) -> PerPoint: ...


class Sides(NamedTuple):
    """The samples, real data in their place and number, or fewer, and what both are held to."""

    samples: Tensor
    real: Tensor
    reference: Tensor

    def num_real(self) -> int | None:
        """As `Score` has it."""
        return len(self.real) if len(self.real) < len(self.samples) else None


def judge_images(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    *,
    detector: nn.Module | None = None,
    device: str | torch.device = "cpu",
    measures: Sequence[str] = IMAGE_MEASURES,
    see: See = extract,
    remember: See | None = None,
) -> list[Score]:
    """The scores of `measures`, in their order, on the detector's features or on pixels in [−1, 1].

    samples, held_out, train: uint8 [n, 1 or 3, height, width], of one picture size.
    detector: `EffLite0()` unless given. see: gives the features; remember: those of held_out and train.

    Raises ValueError for other shapes or types, fewer than 6 images on a side and a measure that is not known.
    """
    gauges.check_measures(measures, gauges.KNOWN_OF_IMAGES)
    _check_pictures(samples, held_out, train)
    found: Found = {}
    if not set(measures) <= set(gauges.names(gauges.ON_POINTS)):
        detector = EffLite0() if detector is None else detector
        most = max(len(samples), len(held_out) if OF_MEMORY in measures else 0)
        known = partial(remember or see, detector, device=device)
        seen = see(detector, samples, device=device), known(held_out), known(shuffled(train)[:most])
        found |= _on_features(*seen, detector=detector, measures=measures)
    if not set(measures).isdisjoint(gauges.names(gauges.ON_POINTS)):
        real = shuffled(train)[: len(samples)]
        sides = Sides(*(_points(pixels, device) for pixels in (samples, real, held_out)))
        found |= _gauged(gauges.ON_POINTS, sides, measures, Seen("pixels"))
    return [score for name in measures for score in found[name]]


def judge_texture(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    *,
    detector: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> list[Score]:
    """The papers' response distance and the kernel distance, of synthesised crops against given ones.

    As `judge_images`, most of whose measures the crops of one texture are too alike for. With a bank of filters
    as the detector the response distance is the papers' R; with `EffLite0()`, the default, it is the same over
    learned responses.
    """
    measures = ("response", "kernel")
    return judge_images(samples, held_out, train, detector=detector, device=device, measures=measures)


def judge_points(
    samples: Points,
    toy: Toy,
    *,
    measures: Sequence[str] = POINT_MEASURES,
    energy: Callable[[Points], PerPoint] | None = None,
) -> list[Score]:
    """Of points against as many exact draws, in the order of `measures`; mean log density in nats.

    The floor is another exact draw. Of the log density it is the negative entropy: samples above it are too
    sure, crowded on the modes. Draws are the same in every call, and leave torch's generators as they were.
    energy: the model's, which "kl" judges.

    Raises ValueError for fewer than 3 points, one that is not finite and a measure that is not known.
    """
    gauges.check_measures(measures, gauges.KNOWN_OF_POINTS)
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
    found = _gauged(gauges.ON_POINTS, sides, measures, Seen("exact"))
    if OF_DENSITY in measures:
        value, floor = (_mean(toy.log_density(points)) for points in (sides.samples, sides.real))
        score = Score(OF_DENSITY, *value, n, 0, "exact", floor.value, lower_is_better=False)
        found[OF_DENSITY] = [score]
    if OF_ENERGY in measures:
        found[OF_ENERGY] = [_kl(energy, toy, reach=2 * float(reference.abs().max()))]
    return [score for name in measures for score in found[name]]


def shuffled(rows: Tensor) -> Tensor:
    """In an order that their number alone settles: data often come sorted by class."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order.to(rows.device)]


class Seen(NamedTuple):
    """How the points were seen, as `Score` has it."""

    protocol: str
    resize: str = ""

    def settled(self, *settings: str) -> str:
        """The protocol and what else settles a number."""
        return ", ".join(word for word in (self.protocol, *settings) if word)


def _check_pictures(samples: Tensor, held_out: Tensor, train: Tensor) -> None:
    for pixels, who in ((samples, "samples"), (held_out, "held-out images"), (train, "training images")):
        check_pixels(pixels, who)
        if len(pixels) < MIN_IMAGES:
            raise ValueError(f"{len(pixels)} {who} are too few to judge: at least {MIN_IMAGES} are needed")
        if pixels.shape[1:] != samples.shape[1:]:
            raise ValueError(f"samples are {list(samples.shape[1:])} but {who} are {list(pixels.shape[1:])}")


def _points(pixels_uint8: Pixels, device: str | torch.device) -> Tensor:
    return pixels_uint8.to(device).flatten(1).float() / 127.5 - 1


def _on_features(
    samples: Features, held_out: Features, train: Features, *, detector: nn.Module, measures: Sequence[str]
) -> Found:
    """The measures on features of all three sets; train in a random order."""
    sides = Sides(samples, train[: len(samples)], held_out)
    seen = Seen(detector.name, getattr(detector, "resize", ""))
    found = _gauged(gauges.ON_FEATURES, sides, measures, seen)
    if OF_CLASSES in measures:
        found[OF_CLASSES] = [_class_score(sides, seen, detector)]
    if OF_MEMORY in measures:
        num = min(len(held_out), len(train))
        found[OF_MEMORY] = _memory(samples, train[:num], shuffled(held_out)[:num], seen=seen)
    if isinstance(detector, Inception):
        for name, published in PUBLISHED.items():
            found |= {name: [replace(score, measure=published) for score in found.get(name, [])]}
    return found


def _gauged(gauge_list: Sequence[Gauge], sides: Sides, measures: Sequence[str], seen: Seen) -> Found:
    """Of every gauge that yields a measure which is asked for."""
    found: Found = {}
    counts = len(sides.samples), len(sides.reference)
    for gauge in gauge_list:
        if gauge.settings.keys().isdisjoint(measures):
            continue
        values, floors = gauge.compare(sides.samples, sides.reference), _floors(gauge, sides)
        how = gauge.lower_is_better, seen.resize, sides.num_real()
        for (name, setting), value, floor in zip(gauge.settings.items(), values, floors, strict=True):
            found[name] = [Score(name, *value, *counts, seen.settled(setting), floor, *how)]
    return found


def _floors(gauge: Gauge, sides: Sides) -> list[float | None]:
    """Of each of the gauge's measures."""
    if gauge.pairs and len(sides.real) != len(sides.reference):
        return [None] * len(gauge.settings)
    return [estimate.value for estimate in gauge.compare(sides.real, sides.reference)]


def _class_score(sides: Sides, seen: Seen, detector: nn.Module) -> Score:
    if not hasattr(detector, "logits"):
        raise ValueError(
            f"the detector {detector.name} knows no classes: leave {OF_CLASSES} out of the measures"
        )
    value = class_score(detector.logits(sides.samples))
    floor = class_score(detector.logits(sides.real)).value if len(sides.real) >= LEAST_CLASSED else None
    counts, protocol = (len(sides.samples), 0), seen.settled(f"{NUM_PARTS} parts")
    return Score(OF_CLASSES, *value, *counts, protocol, floor, False, seen.resize, sides.num_real())


def _memory(samples: Features, train: Features, held_out: Features, *, seen: Seen) -> list[Score]:
    ours, usual = memorisation(samples, train, held_out)
    counts = len(samples), len(train)
    protocol = seen.settled("nearest of as many training as held-out")
    return [
        Score("memorisation-ratio", ours.ratio, None, *counts, protocol, usual.ratio, False, seen.resize),
        Score("memorised-share", ours.share, None, *counts, protocol, usual.share, True, seen.resize),
    ]


def _kl(energy: Callable[[Points], PerPoint] | None, toy: Toy, *, reach: float) -> Score:
    if energy is None:
        raise ValueError(f"{OF_ENERGY} judges an energy, and there is none: leave it out of the measures")
    value = plane_kl(toy.log_density, energy, reach=reach)
    return Score(OF_ENERGY, value, None, 0, 0, f"lattice, reach {reach:.3g}", 0.0, lower_is_better=True)


def _mean(log_density: PerPoint) -> Estimate:
    """With its standard error, which does not exist where a point lies outside the law's support."""
    mean = float(log_density.double().mean())
    finite = bool(log_density.isfinite().all())
    return Estimate(mean, float(log_density.double().std()) / len(log_density) ** 0.5 if finite else None)
