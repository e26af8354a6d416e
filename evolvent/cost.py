"""What a model costs, which belongs beside its score: how large it is, and what a sample of it takes.

    parameters      numbers that training moves, by net
    gradients       ∇ of a score at one point, the unit of a chain's work on any machine
    peak memory     the most that this process has held

Seconds are for whoever draws or trains, as they are the machine's.
"""

import resource
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evolvent.dynamics import Dynamics
from evolvent.energy import scores_of
from evolvent.sampling import draw_chunk

PROBED = 2
"""Points that are drawn to count what one takes."""


class Drawing(NamedTuple):
    """What a sample takes, in the mean."""

    gradients: float
    """At a point each, between birth and sample."""
    seconds: float
    """By the clock, of all processes together."""

    def told(self) -> dict[str, str]:
        """The columns of a table."""
        return {
            "gradients a sample": f"{self.gradients:.4g}",
            "s per 1,000 samples": f"{1000 * self.seconds:.3g}",
        }


class Tally:
    """Counts gradients through scores while it is open: one a point and pass, one more where it is differentiated."""

    def __init__(self, scores: Iterable[nn.Module]) -> None:
        self.num = 0
        self.handles = [score.register_forward_hook(self._watch) for score in {*scores}]

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _watch(self, score: nn.Module, points: tuple[Tensor], value: Tensor) -> None:
        if value.requires_grad:
            value.register_hook(self._add)

    def _add(self, slope: Tensor) -> None:
        self.num += len(slope) * (2 if torch.is_grad_enabled() else 1)


def gradients_a_sample(
    learner: nn.Module, stages: Mapping[str, Dynamics], *, device: torch.device | str = "cpu"
) -> float:
    """How often the stages take the slope of a score on a point's way from birth to sample; points are drawn for it."""
    # A chain that is one graph calls no net that could be watched.
    watched = {name: replace(stage, compiled=False) for name, stage in stages.items()}
    with Tally(scores_of(learner)) as tally:
        draw_chunk(learner, 0, stages=watched, batch_size=PROBED, device=device)
    return tally.num / PROBED


def parameters(learner: nn.Module) -> dict[str, int]:
    """How many each of a learner's parts has, by its name; parts without any are left out."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in learner.named_children()}
    return {name: count for name, count in counts.items() if count}


def peak_memory(device: torch.device | str) -> int:
    """Bytes: of a GPU what torch has held at most, of a CPU what the whole process has."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def in_mib(num_bytes: int) -> str:
    """Memory as a table or a card tells of it, in whole MiB."""
    return f"{num_bytes / 2**20:,.0f}"
