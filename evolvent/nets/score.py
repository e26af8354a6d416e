"""Bottom-up nets: the score f(x), one number an image.

A score must be awake when it is born: at a flat f the particles feel no force, the energy gap stays at zero and
nothing is ever learned. So convolutions start from He's normal law, and no layer normalises: a normalised f would
mix the points of a batch and make ∇f depend on the scale it divides by.

A net of your own needs no base class: any module [batch, channel, size, size] → [batch] is a score.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from evolvent.shapes import PerPoint, Points


def num_halvings(size: int) -> int:
    """How often an image of `size` px is halved down to 4 px. ValueError unless size is 4, 8, 16, … 128."""
    if size not in (4, 8, 16, 32, 64, 128):
        raise ValueError(f"images must be 4, 8, 16, 32, 64 or 128 px on a side, not {size}")
    return size.bit_length() - 3


def stage_widths(size: int, width: int, growth: int, widest: int) -> list[int]:
    """Channels at every resolution, from `size` px down to 4 px."""
    return [min(width * growth**k, max(width, widest)) for k in range(num_halvings(size) + 1)]


def change_width(before: int, after: int) -> nn.Module:
    """A 1×1 convolution where the number of channels changes, nothing where it does not."""
    return nn.Identity() if before == after else nn.Conv2d(before, after, kernel_size=1)


def wake(net: nn.Module) -> None:
    """He-normal weights and zero biases for every convolution and linear layer."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PlainScore(nn.Module):
    """Strided convolutions down to 4 px and one linear read-out: the bottom-up ConvNet of the GCN papers.

    `width` is the number of channels, the same at every resolution unless `growth` doubles it at each halving.
    """

    def __init__(self, size: int, channels: int = 1, *, width: int = 32, growth: int = 1) -> None:
        super().__init__()
        widths = [channels] + [width * growth**k for k in range(num_halvings(size))]
        self.halvings = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1) for a, b in pairwise(widths)
        )
        widest = max(width, widths[-1])
        self.mix = nn.Conv2d(widths[-1], widest, kernel_size=3, padding=1)
        self.read_out = nn.Linear(widest * 16, 1, bias=False)
        wake(self)

    def forward(self, x: Points) -> PerPoint:
        for halving in self.halvings:
            x = functional.silu(halving(x))
        return inner_product(functional.silu(self.mix(x)), self.read_out.weight)


class ResidualScore(nn.Module):
    """Residual blocks (SiLU, average pooling, no normalisation) down to 4 px and one linear read-out.

    `depth` blocks stand at every resolution; `width` is doubled by `growth` = 2 at each halving, up to `widest`.
    The last convolution of a branch starts scaled by 1/√(number of blocks), so that the variance of the sum stays
    of order one however deep the net (Fixup; Zhang et al. 2019).
    """

    def __init__(
        self,
        size: int,
        channels: int = 1,
        *,
        width: int = 64,
        growth: int = 1,
        widest: int = 512,
        depth: int = 1,
    ) -> None:
        super().__init__()
        widths = stage_widths(size, width, growth, widest)
        self.stem = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.widenings = nn.ModuleList(change_width(a, b) for a, b in pairwise([width, *widths]))
        self.stages = nn.ModuleList(nn.Sequential(*(ResidualBlock(w) for _ in range(depth))) for w in widths)
        self.read_out = nn.Linear(widths[-1] * 16, 1, bias=False)
        wake(self)
        blocks = [module for module in self.modules() if isinstance(module, ResidualBlock)]
        with torch.no_grad():
            for block in blocks:
                block.second.weight /= len(blocks) ** 0.5

    def forward(self, x: Points) -> PerPoint:
        x = self.stem(x)
        for k, (widening, stage) in enumerate(zip(self.widenings, self.stages, strict=True)):
            x = stage(widening(x if k == 0 else functional.avg_pool2d(x, 2)))
        return inner_product(functional.silu(x), self.read_out.weight)


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Points) -> Points:
        return x + self.second(functional.silu(self.first(functional.silu(x))))


def inner_product(features: Points, weight: torch.Tensor) -> PerPoint:
    """⟨features, weight⟩ of every point, in the weight's precision also under autocast: energies are compared."""
    return (features.flatten(1).to(weight.dtype) * weight).sum(1)
