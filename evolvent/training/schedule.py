"""What a run is, before anything moves: how long, how much, how fast, and on which data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral

from torch import nn

from evolvent.machine import Precision, check_precision
from evolvent.training.guard import Guard

Source = nn.Module
"""Data: `draw(num) -> Points` on the module's device, and `event_shape`."""


@dataclass(frozen=True)
class Adam:
    """Adam for one submodule. β₁ = 0 is the usual choice where two nets chase each other."""

    lr: float
    betas: tuple[float, float] = (0.0, 0.95)

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ValueError(f"a learning rate must be above 0 and finite, not {self.lr}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Adam's betas must lie in [0, 1), not {self.betas}")


@dataclass(frozen=True)
class Schedule:
    """How long, how much, how fast. `adam` names the submodules that learn.

    decay_from: the share of the run after which learning rates fall linearly to zero; 1 never.
    averaging: decay of the exponential moving average of the weights, per step (shorter in the first steps).
    precision: of the forward pass, float32 or bfloat16 (autocast), and of the nets when the commands draw samples; a
        CPU that bfloat16 would make slower (`machine.gains_from_bfloat16`) runs float32.
    captured: on a GPU, record the forward and backward passes once as a CUDA graph and replay it every step: no
        Python, no launches one by one. An update's tensors are then overwritten by the next update.
    sampling_batch_size: how many points are drawn at once, of images on a CPU 64 at most; a sample is bitwise the same
        at the same number.
    *_every: in steps.
    guard: what takes the run back when its vital signs explode; None to go on until a number is not finite.
    """

    num_steps: int
    batch_size: int
    adam: dict[str, Adam]
    decay_from: float = 0.5
    averaging: float = 0.999
    precision: Precision = "float32"
    captured: bool = False
    sampling_batch_size: int = 64
    log_every: int = 20
    picture_every: int = 200
    checkpoint_every: int = 500
    guard: Guard | None = field(default_factory=Guard)

    def __post_init__(self) -> None:
        every = ("log_every", "picture_every", "checkpoint_every")
        for name in ("num_steps", "batch_size", "sampling_batch_size", *every):
            number = getattr(self, name)
            if not isinstance(number, Integral):
                raise ValueError(f"{name} is a whole number, not {number!r}")
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
            if number >= 2**63:
                raise ValueError(f"{name} is too large: {number}")
        check_precision(self.precision)
        if not (0 <= self.decay_from <= 1 and 0 <= self.averaging < 1):
            raise ValueError("decay_from must lie in [0, 1] and averaging in [0, 1)")

    def milestones(self) -> list[int]:
        """The quarters of the run, in steps: the first checkpoint at or past each is kept."""
        return [math.ceil(self.num_steps * quarter / 4) for quarter in (1, 2, 3)]

    def lr_factor(self, step: int) -> float:
        """1, then falling linearly to 0 at the end of the run."""
        left = (self.num_steps - step) / self.num_steps
        return min(1.0, left / (1 - self.decay_from)) if self.decay_from < 1 else 1.0


@dataclass
class Experiment:
    """What a recipe returns. Data are thunks: to list or to sample a recipe loads none.

    judge: None where nothing is measured; judge(samples, law) → scores where `held_out` knows its `log_density`;
        judge(samples, held_out, train, device=…) → scores for images, uint8 [N, C, H, W] each.
    """

    learner: nn.Module
    data: Callable[[], Source]
    schedule: Schedule
    held_out: Callable[[], Source] | None = None
    judge: Callable[..., list] | None = None
