"""What of a point is seen, and what is hidden: x = P x + (I − P) x, where P is an orthogonal projection, P² = P = Pᵀ.

    Masked    P x = m ⊙ x                       some pixels                      the rest of an image is completed
    Grey      P x = the mean of the channels    how bright each pixel is         the colours
    Coarse    P x = Cᵀ C x Cᵀ C                 the lowest frequencies           the details

A view of your own is any differentiable callable [batch, *event] → [batch, *event] that is such a projection of every
point by itself (`observed.complete` refuses others): what is seen and what is hidden then have nothing in common, and
one is put back beside the other.
"""

import math

import torch
from torch import nn

from evolvent.shapes import Points


class Masked(nn.Module):
    """Values are seen where the mask is 1 or true, and hidden where it is 0: there they may be anything, NaN too.

    mask: of the event's shape or one that broadcasts to it, of any dtype. ValueError where it is neither 0 nor 1.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        if num_odd := int(((mask != 0) & (mask != 1)).sum()):
            raise ValueError(
                f"a mask is 1 where values are seen and 0 where they are hidden, and {num_odd} of {mask.numel()} values"
                " are neither: what is seen in part has a wider sigma instead"
            )
        self.register_buffer("mask", mask.bool())

    def forward(self, x: Points) -> Points:
        return torch.where(self.mask, x, 0)


class Grey(nn.Module):
    """The mean of the channels is seen, and no colour."""

    def forward(self, x: Points) -> Points:
        return x.mean(1, keepdim=True).expand_as(x)


class Coarse(nn.Module):
    """The `num` lowest frequencies a side are seen, of images of size × size px: as much as num × num px hold.

    They are those of the cosine transform, to which an image goes on in a mirror beyond its border: no border rings.
    """

    def __init__(self, size: int, num: int) -> None:
        super().__init__()
        if not 1 <= num <= size:
            raise ValueError(f"of {size} frequencies a side at least 1 is seen, and at most all, not {num}")
        frequency, pixel = torch.arange(num, dtype=torch.float64), torch.arange(size, dtype=torch.float64)
        waves = torch.cos(math.pi / size * frequency[:, None] * (pixel + 0.5)) * (2 / size) ** 0.5
        waves[0] /= 2**0.5
        self.register_buffer("low", (waves.T @ waves).float())

    def forward(self, x: Points) -> Points:
        return self.low @ x @ self.low
