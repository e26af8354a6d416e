"""What the commands that draw from a trained model share: their options, the device, and the drawing itself."""

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from evolvent.cli.options import hyphenated
from evolvent.cli.terminal import counted
from evolvent.data.pixels import to_pixels
from evolvent.dynamics import Dynamics
from evolvent.learners.ggcn import checked_weight
from evolvent.machine import Precision, computed_in
from evolvent.pretrained import Saved, from_pretrained
from evolvent.processes.joining import take_gpu
from evolvent.processes.leading import Ask, led, turns
from evolvent.processes.ranks import ALONE, Ranks
from evolvent.recipes.find import short_name
from evolvent.sampling import check_counts, choose_stages, draw_chunk
from evolvent.shapes import Pixels, Points, shows

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Args:
        seed: of the samples; each has its own stream.
        dynamics: the stages to run, such as hidden,image; none for births alone (default: the recipe's).
        num_steps: of every stage, in place of the recipe's; of one alone by --num_steps.hidden 25.
        step_size: likewise.
        temperature: likewise.
        beta: weight of the learned energy in the stage hidden, in place of the recipe's.
        batch_size: drawn at once, in place of the recipe's (64 images on a CPU); bitwise equal samples need equal ones.
        precision: of the nets, in place of what they were trained in.
    """

    seed: int = 0
    dynamics: str | None = None
    num_steps: int | dict[str, int] | None = None
    step_size: float | dict[str, float] | None = None
    temperature: float | dict[str, float] | None = None
    beta: float | None = None
    batch_size: int | None = None
    precision: Precision | None = None

    def stages(self, offered: Mapping[str, Dynamics]) -> dict[str, Dynamics]:
        """Those to run, of those that a learner offers."""
        changes = {name: getattr(self, name) for name in ("num_steps", "step_size", "temperature")}
        stages = choose_stages(offered, self.dynamics, **changes)
        if self.beta is not None and "hidden" not in stages:
            raise ValueError(
                "beta weighs the energy in the stage hidden, which is not among those to run: leave it out"
            )
        return stages

    def weighed(self, learner: nn.Module) -> nn.Module:
        """The learner under the beta that was asked for; the one given stays as it is."""
        if self.beta is None:
            return learner
        if not isinstance(getattr(learner, "beta", None), int | float):
            raise ValueError(f"{type(learner).__name__} has no number beta to replace: leave beta out")
        learner = copy.copy(learner)
        learner.beta = checked_weight(self.beta)
        return learner

    def asked(self) -> str:
        """What was asked for in place of the defaults, as it is typed: --beta 4.0 --seed 1."""
        words = []
        for field in fields(self):
            value, option = getattr(self, field.name), hyphenated(f"--{field.name}")
            if isinstance(value, dict):
                words += [f"{option}.{stage} {number}" for stage, number in value.items()]
            elif value != field.default:
                words.append(f"{option} {value}")
        return " ".join(words)

    def at_once(self, saved: Saved) -> int:
        """How many are drawn at once. ValueError for more than this machine could ever hold."""
        num = saved.at_once if self.batch_size is None else self.batch_size
        check_at_once(saved, num)
        return num

    def computed_in(self, saved: Saved) -> Precision:
        """What the nets compute in on this device. ValueError where what was asked for would make it slower."""
        found = computed_in(self.precision or saved.experiment.schedule.precision, saved.device)
        if self.precision not in (None, found):
            raise ValueError(
                f"this {saved.device} is no faster in {self.precision} than in float32: leave --precision out"
            )
        return found


def opened(source: str, device: Device, *, of_images: str | None = None) -> Saved:
    """The model that `source` names; `of_images` tells what is done to images alone, and refuses other points."""
    saved = from_pretrained(source, device=settle_device(device))
    if of_images is not None and not shows(saved.event_shape):
        raise ValueError(f"{of_images}, and this model draws points of {list(saved.event_shape)}")
    return saved


def title_of(source: str, saved: Saved) -> str:
    """A model as sentences and tables name it: "fashion-mnist (images, step 8000)", "digits (step 4000)"."""
    recipe = short_name(saved.recipe)
    return f"{source} ({'' if recipe == source else f'{recipe}, '}step {saved.step})"


def draw_into(
    take: Callable[[Iterator[Tensor]], None],
    saved: Saved,
    num: int,
    sampling: Sampling,
    *,
    classes: Sequence[int] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Hand `take` the samples chunk by chunk, in order: images as uint8, other points as they are.

    classes: those that take turns, None for all.

    Several processes draw a chunk each in turn, and `take` is called on the first alone: it is never sent more
    than one chunk a process.
    """
    stages, learner = sampling.stages(saved.learner.stages), sampling.weighed(saved.learner)
    batch_size, precision = sampling.at_once(saved), sampling.computed_in(saved)
    check_counts(num, batch_size)

    def chunk(first: int) -> Tensor:
        points = draw_chunk(
            learner, first, seed=sampling.seed, stages=stages, batch_size=batch_size, device=saved.device,
            classes=classes, precision=precision,
        )  # fmt: skip
        return as_seen(points[: num - first])

    def chunks(ask: Ask) -> Iterator[Tensor]:
        for turn in turns(num, batch_size, ranks):
            yield from ask(turn)

    led(ranks, lambda ask: take(counted(chunks(ask), num)), chunk)


def drawn(saved: Saved, num: int, sampling: Sampling, ranks: Ranks = ALONE) -> Points | Pixels:
    """All of them, in memory; nothing on the other processes than the first."""
    way_out = "this machine: draw fewer at a time, with another --seed each"
    check_fits(num, bytes_of(saved.event_shape), memory(), way_out)
    found = []
    draw_into(found.extend, saved, num, sampling, ranks=ranks)
    return torch.cat(found or [torch.empty(0)])


def classes_named(label: str | None) -> list[int] | None:
    """The classes of --label: "3", or "0,1,2"."""
    if label is None:
        return None
    words = label.split(",")
    if not all(map(is_class, words)):
        raise ValueError(
            f'classes are named by their numbers, such as --label 3 or --label 0,1,2, not "{label}"'
        )
    return [int(word) for word in words]


def is_class(word: str) -> bool:
    """Whether it may be the number of a class: no longer than what torch can count to."""
    return word.strip().isdecimal() and len(word) < 10


def check_at_once(saved: Saved, num: int, *, way_out: str = "give a smaller --batch-size") -> None:
    """Refuse so many at once as this machine could never hold."""
    check_fits(num, 4 * math.prod(saved.event_shape), memory(), f"this machine: {way_out}")


def check_fits(num: int, num_bytes: int, room: int, whose: str) -> None:
    """Refuse numbers that could never be held, before it is tried for days. whose: the room is, and the way out."""
    if num * num_bytes > room:
        raise ValueError(
            f"{num} samples of {num_bytes} bytes do not fit the {room / 2**30:.0f} GiB of {whose}"
        )


def bytes_of(shape: tuple[int, ...]) -> int:
    """Of one sample as it is handed out: images as uint8, which is a quarter of the memory."""
    return math.prod(shape) * (1 if shows(shape) else 4)


def memory() -> int:
    """Bytes that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def as_seen(points: Points) -> Tensor:
    """Images as pixels; other points, those of other channels among them, as they are. ValueError when not finite."""
    if shows(points.shape[1:]):
        return to_pixels(points)
    if num_lost := int((~points.isfinite()).flatten(1).any(1).sum()):
        raise ValueError(f"{num_lost} of {len(points)} samples are not finite: try a smaller step size")
    return points


def settle_device(asked: str) -> str:
    """The device that "auto" stands for. ValueError for one that there is not, which a run's record may name."""
    if asked not in get_args(Device):
        raise ValueError(f'there is no device "{asked}": give --device cpu, or --device cuda')
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that torch can use: leave --device out, or give --device cpu")
    settled = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    if settled == "cuda":
        take_gpu()
    return settled
