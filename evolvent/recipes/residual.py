"""What the recipes of images share: the parts of a set, and of those whose nets are residual the energy and the clocks.

Training runs in bfloat16, on a CPU only where that is faster. `captured` records the forward and backward passes as
one CUDA graph (a set that streams from its file cannot be drawn inside one: give --captured false there).
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from evolvent.data.images import Images
from evolvent.data.streams import Stream
from evolvent.energy import Energy
from evolvent.metrics.scores import judge_images
from evolvent.nets.score import ResidualScore
from evolvent.reference import Reference, Uniform
from evolvent.training.schedule import Adam, Experiment, Schedule

Part = Callable[[str, int, str], Images | Stream]
"""part(data, size, split) gives what is learned from, "train", and what is held out, "test"."""


def residual_energy(
    width: int,
    size: int,
    channels: int = 3,
    *,
    depth: int = 2,
    patch: int = 1,
    reference: type[Reference] = Uniform,
) -> Energy:
    score = ResidualScore(size, channels, width=width, growth=2, widest=512, depth=depth, patch=patch)
    return Energy(score, reference((channels, size, size)))


def schedule(num_steps: int, batch_size: int, adam: dict[str, Adam], **clocks: Any) -> Schedule:
    """For a run of many short steps on a GPU, but for the clocks that are given."""
    usual = {
        "averaging": 0.9995,
        "precision": "bfloat16",
        "sampling_batch_size": 500,
        "log_every": 100,
        "picture_every": 2000,
        "checkpoint_every": 5000,
    }
    return Schedule(num_steps, batch_size, adam, **(usual | clocks))


def on_images(
    learner: nn.Module,
    part: Callable[[str], Images | Stream],
    clocks: Schedule,
    *,
    num_classes: int | None = None,
) -> Experiment:
    """Trained on the part "train", judged by the part "test".

    num_classes: of the labels that are learned, None for no labels.
    """

    def train() -> Images | Stream:
        return part("train") if num_classes is None else part("train").with_labels(num_classes)

    return Experiment(learner, train, clocks, held_out=lambda: part("test"), judge=judge_images)
