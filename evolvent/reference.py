"""The world before learning: the reference distribution q of p(x) ∝ exp(f(x)) q(x).

A reference knows two things: its energy −log q(x) and how to draw from itself. To write another, subclass
`Reference` and define both; `spectral.Spectral` is one that sees the data first, and has a metric of its own.
"""

import math

import torch
from torch import nn

from evolvent.noise import Noise
from evolvent.shapes import PerPoint, Points


class Reference(nn.Module):
    """A distribution over points of `event_shape`, e.g. (1, 32, 32) for grey images of 32 px."""

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.num_dims = math.prod(self.event_shape)

    def energy(self, x: Points) -> PerPoint:
        """−log q(x), in nats."""
        raise NotImplementedError

    def sample(self, num: int, noise: Noise) -> Points:
        """`num` exact draws, of shape [num, *event_shape]."""
        raise NotImplementedError

    def longest(self) -> float:
        """The largest eigenvalue of the metric A that particles may move in."""
        return 1.0

    def stretch(self, x: Points) -> Points:
        """A^½ x: symmetric, positive, and here the identity."""
        return x


class Gaussian(Reference):
    """N(0, std² I), the classical reference of FRAME and of the generative ConvNet."""

    def __init__(self, event_shape: tuple[int, ...], *, std: float = 1.0) -> None:
        super().__init__(event_shape)
        if not std > 0:
            raise ValueError(f"the reference needs a standard deviation above 0, not {std}")
        self.register_buffer("std", torch.tensor(float(std)))

    def energy(self, x: Points) -> PerPoint:
        log_volume = self.num_dims * (0.5 * math.log(2 * math.pi) + self.std.log())
        return 0.5 * (x / self.std).flatten(1).square().sum(1) + log_volume

    def sample(self, num: int, noise: Noise) -> Points:
        return self.std * noise.normal(num, *self.event_shape)


class Uniform(Reference):
    """Constant density on the box [low, high]^d. The constant is continued outside: there q does not pull.

    It is the reference of particles that are born elsewhere (in hidden space): the energy is then the learned
    one, up to a constant.
    """

    def __init__(self, event_shape: tuple[int, ...], *, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(event_shape)
        if not low < high:
            raise ValueError(f"the box [{low}, {high}] is empty")
        self.low, self.high = low, high

    def energy(self, x: Points) -> PerPoint:
        return x.new_full((len(x),), self.num_dims * math.log(self.high - self.low))

    def sample(self, num: int, noise: Noise) -> Points:
        return self.low + (self.high - self.low) * noise.uniform(num, *self.event_shape)
