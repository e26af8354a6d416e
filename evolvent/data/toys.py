"""Laws in the plane whose density is known exactly: what a learned energy is held against.

A toy is a source (`event_shape`, `draw`) that knows more than its draws: `log_density(x)` is exact, in nats,
and differentiable. All of them live in about [-3, 3]². To write another, subclass `Mixture` and pass its
centres, or write an `nn.Module` with the same three members.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evolvent.shapes import PerPoint, Points


class Mixture(nn.Module):
    """Gaussians of equal weight and spread: p(x) = (1/K) Σ_k N(x; centre_k, std² I).

    `centres` [K, 2] and `std` are buffers.
    """

    event_shape = (2,)

    def __init__(self, centres: Float[Tensor, "modes 2"], *, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"a mixture needs a standard deviation above 0, not {std}")
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("std", torch.tensor(float(std)), persistent=False)

    def draw(self, num: int) -> Points:
        """`num` exact draws [num, 2], from torch's global generator."""
        mode = torch.randint(len(self.centres), (num,), device=self.centres.device)
        centre = self.centres[mode]
        return centre + self.std * torch.randn_like(centre)

    def log_density(self, x: Points) -> PerPoint:
        """log p(x), in nats."""
        squared = (x[:, None] - self.centres).square().sum(-1)
        per_mode = -squared / (2 * self.std.square()) - (2 * math.pi * self.std.square()).log()
        return per_mode.logsumexp(1) - math.log(len(self.centres))


class Ring(Mixture):
    """`num_modes` Gaussians evenly on a circle of radius 2."""

    def __init__(self, num_modes: int = 8, *, std: float = 0.1) -> None:
        if num_modes < 1:
            raise ValueError(f"a ring needs at least one mode, not {num_modes}")
        angle = 2 * math.pi * torch.arange(num_modes) / num_modes
        super().__init__(2 * torch.stack([angle.cos(), angle.sin()], 1), std=std)


class Grid(Mixture):
    """`side`² Gaussians on a square grid over [-2, 2]²."""

    def __init__(self, side: int = 5, *, std: float = 0.1) -> None:
        if side < 2:
            raise ValueError(f"a grid needs at least 2 modes a side, not {side}")
        ticks = torch.linspace(-2, 2, side)
        super().__init__(torch.cartesian_prod(ticks, ticks), std=std)


class Moons(Mixture):
    """Two interleaved half circles, thickened by Gaussian noise.

    Each is *defined* as `MODES_PER_MOON` Gaussians evenly along its arc, so the density is exact. Their
    distance, 0.075, is half the default spread: the ridge shows no ripple (e^{−2π²(std/distance)²} = 1e-34).
    """

    MODES_PER_MOON = 64
    RADIUS = 1.5

    def __init__(self, *, std: float = 0.15) -> None:
        angle = torch.linspace(0, math.pi, self.MODES_PER_MOON)
        arch = self.RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
        shift = torch.tensor([0.5, 0.25]) * self.RADIUS
        super().__init__(torch.cat([arch - shift, shift - arch]), std=std)


class Checkerboard(nn.Module):
    """Uniform on the eight dark squares of a 4 × 4 board over [-3, 3]²; those are where column + row is even.

    Outside them log p = −∞.
    """

    event_shape = (2,)
    SQUARES, WIDTH = 4, 1.5

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("corner", torch.tensor([-3.0, -3.0]), persistent=False)

    def draw(self, num: int) -> Points:
        """`num` exact draws [num, 2], from torch's global generator."""
        device = self.corner.device
        column = torch.randint(self.SQUARES, (num,), device=device)
        row = 2 * torch.randint(self.SQUARES // 2, (num,), device=device) + column % 2
        # 20 bits within a square: then float32 rounds nothing, and no draw is rounded into a light square.
        within = (torch.rand(num, 2, device=device) * 2**20).floor() / 2**20
        return self.corner + self.WIDTH * (torch.stack([column, row], 1) + within)

    def log_density(self, x: Points) -> PerPoint:
        """log p(x), in nats: −log 18 on the dark squares."""
        square = ((x - self.corner) / self.WIDTH).floor()
        on_board = ((square >= 0) & (square < self.SQUARES)).all(1)
        dark = on_board & (square.sum(1) % 2 == 0)
        area = self.SQUARES**2 / 2 * self.WIDTH**2
        return torch.where(dark, -math.log(area), -math.inf).to(x.dtype)
