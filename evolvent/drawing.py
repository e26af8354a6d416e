"""What the commands that draw from a trained model share: their options, the device, and the drawing itself."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import torch
from torch import Tensor

from evolvent.data.pixels import to_pixels
from evolvent.dynamics import Dynamics
from evolvent.joining import take_gpu
from evolvent.pretrained import Saved
from evolvent.ranks import ALONE, Ranks
from evolvent.sampling import choose_stages, draw, draw_chunks
from evolvent.shapes import Pixels, Points
from evolvent.terminal import counted, open_console

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Args:
        seed: of the samples; each has its own stream.
        dynamics: the stages to run, such as hidden,image; none for births alone (default: the recipe's).
        num_steps: of every stage, in place of the recipe's.
        step_size: of every stage, in place of the recipe's.
        temperature: of every stage, in place of the recipe's.
        batch_size: drawn at once, in place of the recipe's; bitwise the same samples need the same.
    """

    seed: int = 0
    dynamics: str | None = None
    num_steps: int | None = None
    step_size: float | None = None
    temperature: float | None = None
    batch_size: int | None = None

    def stages(self, offered: Mapping[str, Dynamics]) -> dict[str, Dynamics]:
        """Those to run, of those that a learner offers."""
        changes = {name: getattr(self, name) for name in ("num_steps", "step_size", "temperature")}
        return choose_stages(offered, self.dynamics, **changes)


def drawn(
    saved: Saved, num: int, sampling: Sampling, ranks: Ranks = ALONE, classes: Sequence[int] | None = None
) -> Points | Pixels:
    """Images as uint8, which is a quarter of the memory; other points as they are.

    Several processes draw every N-th chunk each, and the first gets all; the others get their own.
    classes: those that take turns, None for all.
    """
    batch_size = sampling.batch_size
    if batch_size is None:
        batch_size = saved.experiment.schedule.sampling_batch_size
    stages = sampling.stages(saved.learner.stages)
    _check_memory(num, batch_size, event_shape(saved))
    chunks = draw_chunks(
        saved.learner, num, seed=sampling.seed, stages=stages, batch_size=batch_size, device=saved.device,
        ranks=ranks, classes=classes,
    )  # fmt: skip
    mine = [as_seen(chunk) for chunk in counted(chunks, -(-num // ranks.num), open_console())]
    every = [chunk for turn in zip_longest(*ranks.collected(mine)) for chunk in turn if chunk is not None]
    return torch.cat(every or mine or [torch.empty(0)])


def classes_named(label: str | None) -> list[int] | None:
    """The classes of --label: "3", or "0,1,2"."""
    if label is None:
        return None
    words = label.split(",")
    if not all(word.strip().isdecimal() and len(word) < 10 for word in words):
        raise ValueError(
            f'classes are named by their numbers, such as --label 3 or --label 0,1,2, not "{label}"'
        )
    return [int(word) for word in words]


def event_shape(saved: Saved) -> tuple[int, ...]:
    """The shape of one point that the learner draws: of one at its birth, which costs no chain."""
    (born,) = draw(saved.learner, 1, stages={}, batch_size=1, device=saved.device)
    return tuple(born.shape)


def _check_memory(num: int, batch_size: int, shape: tuple[int, ...]) -> None:
    """Refuse numbers that this machine could never hold, before it tries for days."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    num_values = math.prod(shape)
    for asked, num_bytes, way in (
        (
            num,
            num_values if len(shape) == 3 else 4 * num_values,
            "draw fewer at a time, with another --seed each",
        ),
        (batch_size, 4 * num_values, "give a smaller --batch-size"),
    ):
        if asked * num_bytes > there:
            raise ValueError(
                f"{asked} samples of {num_bytes} bytes do not fit the {there / 2**30:.0f} GiB of this machine: {way}"
            )


def as_seen(points: Points) -> Tensor:
    """Images as pixels, other points as they are. ValueError when some are not finite."""
    if points.dim() == 4:
        return to_pixels(points)
    if num_lost := int((~points.isfinite()).flatten(1).any(1).sum()):
        raise ValueError(f"{num_lost} of {len(points)} samples are not finite: try a smaller step size")
    return points


def settle_device(asked: str) -> str:
    """The device that "auto" stands for. ValueError for a GPU that is not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that torch can use: leave --device out, or give --device cpu")
    settled = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    if settled == "cuda":
        take_gpu()
    return settled
