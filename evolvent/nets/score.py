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


def patched(size: int, patch: int) -> int:
    """The side of an image of `size` px in patches. ValueError unless patch is a power of two that leaves 4 or more.

    A size that cannot be halved down to 4 px is refused as it was given, not as its patches.
    """
    num_halvings(size)
    if patch < 1 or patch & (patch - 1) or size // patch < 4:
        raise ValueError(f"a patch must be 1, 2, 4, … and leave 4 to a side of {size} px, not {patch}")
    return size // patch


def check_counts(**counts: int) -> None:
    """ValueError for a number of channels, blocks or codes below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")


WIDE = 32
"""px on a side above which resolutions have equally many channels."""


def stage_widths(size: int, width: int, growth: int, widest: int) -> list[int]:
    """Channels at every resolution, from `size` px down to 4 px: `width` down to 32 px, from there on `growth` times.

    So nets of 32 px and of more have the same stages below, and weights of one size begin another (`enlarging`).
    """
    wide = max(0, num_halvings(size) - num_halvings(WIDE))
    return [
        min(width * growth ** max(0, k - wide), max(width, widest)) for k in range(num_halvings(size) + 1)
    ]


def change_width(before: int, after: int) -> nn.Module:
    """A 1×1 convolution where the number of channels changes, nothing where it does not."""
    return nn.Identity() if before == after else nn.Conv2d(before, after, kernel_size=1)


def wake(net: nn.Module) -> None:
    """He-normal weights and zero biases for every convolution and linear layer, laid out as convolutions like it."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    net.to(memory_format=torch.channels_last)


class PlainScore(nn.Module):
    """Convolutions and average pooling down to 4 px, and one linear read-out: the bottom-up ConvNet of the GCN papers.

    `width` is the number of channels at every resolution; the first layer, which sees the pixels, has half of it.
    Pooling and not strides: the force is the net's transpose, and a strided layer's transpose paints a grid that chains
    from noise keep as speckle.
    """

    def __init__(self, size: int, channels: int = 1, *, width: int = 32) -> None:
        super().__init__()
        check_counts(channels=channels, width=width)
        widths = [max(1, width // 2), *[width] * num_halvings(size)]
        self.first = nn.Conv2d(channels, widths[0], kernel_size=5, padding=2)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, kernel_size=3, padding=1) for a, b in pairwise(widths))
        self.read_out = nn.Linear(widths[-1] * 16, 1, bias=False)
        wake(self)
        with torch.no_grad():
            for layer in self.layers:
                # Pooling takes a factor 2 from white noise, and none from a plain area.
                layer.weight *= 2**0.5

    def forward(self, x: Points) -> PerPoint:
        return inner_product(self.features(x), self.read_out.weight)

    def features(self, x: Points) -> torch.Tensor:
        """h(x) [batch, channel, 4, 4], which the score reads out linearly."""
        x = functional.silu(self.first(x))
        for layer in self.layers:
            x = functional.silu(layer(functional.avg_pool2d(x, 2)))
        return x


class ResidualScore(nn.Module):
    """Residual blocks (SiLU, average pooling, no normalisation) down to 4 px and one linear read-out.

    `depth` blocks stand at every resolution; from 32 px down, `width` is doubled by `growth` = 2 at each halving, up to
    `widest`. The last convolution of a branch starts scaled by 1/√(number of blocks), so that the variance of the sum
    stays of order one however deep the net (Fixup; Zhang et al. 2019).

    patch: pixels of a patch × patch square become channels first, and the net starts at size / patch: at 2, a quarter
        of the work at equal widths.
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
        patch: int = 1,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, width=width, growth=growth, depth=depth)
        self.channels, self.patch = channels, patch
        widths = stage_widths(patched(size, patch), width, growth, widest)
        self.fold = nn.PixelUnshuffle(patch) if patch > 1 else nn.Identity()
        self.stem = nn.Conv2d(channels * patch**2, width, kernel_size=3, padding=1)
        self.widenings = nn.ModuleList(change_width(a, b) for a, b in pairwise([width, *widths]))
        self.stages = nn.ModuleList(nn.Sequential(*(ResidualBlock(w) for _ in range(depth))) for w in widths)
        self.read_out = nn.Linear(widths[-1] * 16, 1, bias=False)
        wake(self)
        blocks = [module for module in self.modules() if isinstance(module, ResidualBlock)]
        with torch.no_grad():
            for block in blocks:
                block.second.weight /= len(blocks) ** 0.5

    def forward(self, x: Points) -> PerPoint:
        return inner_product(self.features(x), self.read_out.weight)

    def features(self, x: Points) -> torch.Tensor:
        """h(x) [batch, channel, 4, 4], which the score reads out linearly."""
        x = self.stem(self.fold(x))
        for k, (widening, stage) in enumerate(zip(self.widenings, self.stages, strict=True)):
            x = stage(widening(x if k == 0 else functional.avg_pool2d(x, 2)))
        return functional.silu(x)


SCALE = 10.0
"""Of a texture's score: brings the initial one to the thousands of nats that a texture is worth at temperature 1."""


class TextureScore(nn.Module):
    """Three 5×5 convolutions with SiLU, each read out linearly and summed over positions: stationary.

    f(x) = SCALE · Σ_layer stride · Σ_position ⟨w, features(x)⟩ asks how often patterns of 5, 9 and 17 px occur and
    not where, so the windows of one picture teach it, and it takes images of any size of 16 px and more. This is
    FRAME with learned filters. The layers' strides are 1, 2 and 4; the factor lets their sums vary alike.

    Beyond its border the image goes on in a mirror, so that the outermost pixels are seen as often as the others.
    """

    def __init__(self, channels: int = 1, *, width: int = 24) -> None:
        super().__init__()
        self.strides = (1, 2, 4)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, width, kernel_size=5, stride=stride, padding=2, padding_mode="reflect")
            for a, stride in ((channels, 1), (width, 2), (width, 2))
        )
        self.read_outs = nn.ModuleList(nn.Linear(width, 1, bias=False) for _ in self.layers)
        wake(self)

    def forward(self, x: Points) -> PerPoint:
        score = x.new_zeros(len(x))
        for layer, read_out, stride in zip(self.layers, self.read_outs, self.strides, strict=True):
            x = functional.silu(layer(x))
            score = score + stride * inner_product(x.sum((2, 3)), read_out.weight)
        return SCALE * score


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
