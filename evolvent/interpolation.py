"""Between two samples: a path in hidden space, of which every code is born.

    z(t) = (sin((1 − t) ω) a + sin(t ω) b) / sin ω,   cos ω = ⟨a, b⟩ / ‖a‖‖b‖,   0 ≤ t ≤ 1

from a to b, two codes that have been through the stages of hidden space: a great circle, as most of N(0, I) lies near a
sphere, and a straight line leaves it (White, *Sampling generative networks*, arXiv 1609.04468, 2016). Where births
change all along the way, and none of them is a training image, the mapping has learned more than its data by heart.
"""

from typing import NamedTuple

import torch
from torch import nn

from evolvent.dynamics import Dynamics
from evolvent.learners.ggcn import IN_HIDDEN_SPACE
from evolvent.learners.update import require_stages
from evolvent.machine import Precision
from evolvent.noise import ImageNoise
from evolvent.sampling import classes_of, drawing
from evolvent.shapes import Hidden, Labelled, Labels, Points, apart, carry

STRAIGHT = 1e-4
"""Radians: codes so near to each other in direction have no great circle that float32 knows."""


def interpolate(
    learner: nn.Module,
    num: int,
    num_points: int,
    *,
    seed: int = 0,
    stages: dict[str, Dynamics] | None = None,
    classes: list[int] | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
) -> Points:
    """`num` paths of `num_points` births, ends among them: [num, num_points, *event] on the CPU.

    Path i goes from what `draw` makes of (seed, i) by the same stages to what it makes of (seed, num + i), within one
    class.

    stages: of hidden space, by name; None for the learner's own of them, {} for codes as they are drawn.
    classes: those that paths take in turns, None for all.

    Raises ValueError for a learner without a hidden space, stages that are not of it, and fewer than two points.
    """
    if num < 1 or num_points < 2:
        raise ValueError(f"paths have two ends: 1 path of 2 births is the least, not {num} of {num_points}")
    stages = own_stages(learner) if stages is None else stages
    require_stages(stages, IN_HIDDEN_SPACE)
    turns = classes_of(learner, classes)
    with drawing(learner, precision, device):
        labels = [turns[i % len(turns)] for i in range(num)] if turns else None
        classes = _Classes(None if labels is None else torch.tensor(labels, device=device))

        def evolved(first: int) -> Hidden:
            noise = ImageNoise(seed, first, num, device)
            codes = learner.hidden.sample(num, noise)
            return classes.off(learner.evolve_hidden(classes.on(codes), stages, noise))

        start, end = evolved(0), evolved(num)
        codes = [between(start, end, share) for share in torch.linspace(0, 1, num_points).tolist()]
        return torch.stack([classes.off(learner.mapping(classes.on(one))) for one in codes], 1).cpu()


def own_stages(learner: nn.Module) -> dict[str, Dynamics]:
    """The learner's own stages of hidden space. ValueError where it has none."""
    if not hasattr(learner, "evolve_hidden"):
        raise ValueError(
            f"{type(learner).__name__} has no hidden space: samples of it have nothing between them"
        )
    return {name: stage for name, stage in learner.stages.items() if name in IN_HIDDEN_SPACE}


class _Classes(NamedTuple):
    """Of every path, or None: laid on what the learner takes, and taken off what it hands back."""

    labels: Labels | None

    def on(self, points: Points) -> Labelled:
        return points if self.labels is None else carry(points, self.labels)

    def off(self, points: Labelled) -> Points:
        return points if self.labels is None else apart(points)[0]


def between(start: Hidden, end: Hidden, share: float) -> Hidden:
    """The code at that share of the way along the great circle; along the straight line where there is none."""
    cosine = torch.nn.functional.cosine_similarity(start, end)[:, None].clamp(-1, 1)
    angle = cosine.acos()
    straight = (angle < STRAIGHT) | (angle > torch.pi - STRAIGHT)
    angle = angle.masked_fill(straight, 1.0)
    weights = [((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()]
    of_start, of_end = (
        torch.where(straight, line, w) for w, line in zip(weights, (1 - share, share), strict=True)
    )
    return of_start * start + of_end * end
