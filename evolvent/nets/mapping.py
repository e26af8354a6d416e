"""Top-down nets: the hidden space mapping g, which makes the reference of a GGCN learnable.

    z ~ N(0, I),   x = g(z)                                                                   [source: the idea]

Each mirrors a score net of the same name: where the score halves, the mapping doubles. A mapping of your own is
any module [batch, num_hidden] → [batch, channel, size, size] with an attribute `num_hidden`.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from evolvent.nets.score import change_width, check_counts, num_halvings, stage_widths, wake
from evolvent.shapes import Hidden, Points


class PlainMapping(nn.Module):
    """A linear layer to 4 px, transposed convolutions up to `size`, tanh: the mirror of `PlainScore`."""

    def __init__(self, size: int, channels: int = 1, *, num_hidden: int = 64, width: int = 32) -> None:
        super().__init__()
        check_counts(channels=channels, num_hidden=num_hidden, width=width)
        self.num_hidden, self.width = num_hidden, width
        self.read_in = nn.Linear(num_hidden, width * 16)
        self.mix = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.rise = Rise(width, channels, num_doublings=num_halvings(size))
        wake(self)

    def forward(self, hidden: Hidden) -> Points:
        x = self.rise(self.mix(self.read_in(hidden).view(-1, self.width, 4, 4)))
        return torch.tanh(x.to(self.read_in.weight.dtype))  # pixels, not bfloat16


class Upsampling(nn.Module):
    """From one grid to the next: [batch, channel + 1, below, below] → [batch, channel, size, size].

    The last input channel is noise, so that one coarse image has many fine ones. The output is tanh(3 image +
    residual): the coarse image, interpolated, and what is learned to stand on it, which starts small. At birth the
    mapping already carries what the grid below has found, and it cannot leave the range of pixels.
    """

    def __init__(self, size: int, below: int, channels: int = 1, *, width: int = 32) -> None:
        super().__init__()
        num_doublings = num_halvings(size) - num_halvings(below)
        if num_doublings < 1:
            raise ValueError(f"a grid of {size} px cannot stand on one of {below} px")
        self.mix = nn.Conv2d(channels + 1, width, kernel_size=3, padding=1, bias=False)
        self.rise = Rise(width, channels, num_doublings=num_doublings)
        wake(self)
        with torch.no_grad():
            self.rise.convs[-1].weight *= 0.1

    def forward(self, below: Float[Tensor, "batch _channel _size _size"]) -> Points:
        residual = self.rise(self.mix(below))
        image = functional.interpolate(below[:, :-1], residual.shape[-2:], mode="bilinear")
        return torch.tanh(3 * image + residual)


class Rise(nn.Module):
    """Normalise, SiLU, transposed convolution: `num_doublings` times, from `width` channels to `channels`.

    Of no doubling, one layer that keeps the size.
    """

    def __init__(self, width: int, channels: int, *, num_doublings: int) -> None:
        super().__init__()
        widths = [width] * max(1, num_doublings)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, kernel_size=4, stride=2, padding=1)
            if num_doublings
            else nn.Conv2d(a, b, kernel_size=3, padding=1)
            for a, b in pairwise([*widths, channels])
        )

    def forward(self, x: Points) -> Tensor:
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(functional.silu(norm(x)))
        return x


class ResidualMapping(nn.Module):
    """A linear layer to 4 px, a residual block at every resolution up to `size`, tanh: mirrors `ResidualScore`."""

    def __init__(
        self,
        size: int,
        channels: int = 1,
        *,
        num_hidden: int = 128,
        width: int = 64,
        growth: int = 1,
        widest: int = 512,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, num_hidden=num_hidden, width=width, growth=growth)
        widths = stage_widths(size, width, growth, widest)[::-1]
        self.num_hidden, self.widest = num_hidden, widths[0]
        self.read_in = nn.Linear(num_hidden, self.widest * 16)
        self.narrowings = nn.ModuleList(change_width(a, b) for a, b in pairwise([self.widest, *widths]))
        # One block in a row of its own, by which saved weights are named.
        self.stages = nn.ModuleList(nn.Sequential(NormalisedBlock(w)) for w in widths)
        self.norm = nn.BatchNorm2d(width)
        self.read_out = nn.Conv2d(width, channels, kernel_size=3, padding=1)
        wake(self)

    def forward(self, hidden: Hidden) -> Points:
        x = self.read_in(hidden).view(-1, self.widest, 4, 4)
        for k, (narrowing, stage) in enumerate(zip(self.narrowings, self.stages, strict=True)):
            # Narrow before the image grows: a 1×1 convolution and a nearest upsampling commute.
            x = narrowing(x)
            x = stage(x if k == 0 else functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.read_out(functional.silu(self.norm(x)))
        return torch.tanh(x.to(self.read_in.weight.dtype))  # pixels, not bfloat16


class NormalisedBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))). Batch norm: births are compared with each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.first = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Points) -> Points:
        x_new = self.first(functional.silu(self.first_norm(x)))
        return x + self.second(functional.silu(self.second_norm(x_new)))
