"""What of a point is seen, and what is hidden: x = P x + (I − P) x, where P is an orthogonal projection, P² = P = Pᵀ.

    Masked    P x = m ⊙ x                       some pixels                      the rest of an image is completed
    Grey      P x = the mean of the channels    how bright each pixel is         the colours
    Coarse    P x = Cᵀ C x Cᵀ C                 the lowest frequencies           the details

A view of your own is any differentiable callable [batch, *event] → [batch, *event] that is such a projection of every
point by itself (`observed.complete` refuses others): what is seen and what is hidden then have nothing in common, and
one is put back beside the other.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from evolvent.shapes import Points

View = Callable[[Points], Points]


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


def check_view(view: View, seen: Points) -> None:
    """ValueError for what is no orthogonal projection of each point by itself, or shows a number that is none."""
    x, y = torch.randn(2, 2, *seen.shape[1:], generator=torch.Generator().manual_seed(0)).to(seen.device)
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        shown = _through(view, x)
        if not shown.requires_grad:
            raise ValueError(
                "a view is differentiable, and no gradient goes through this one: compute it in torch"
            )
        (transposed,) = torch.autograd.grad(shown, x, y)
    once = _through(view, y)
    laws = {
        "P² = P": (_through(view, once), once),
        "Pᵀ = P": (transposed, once),
        "each point by itself": (_through(view, y[:1]), once[:1]),
    }
    for law, sides in laws.items():
        if not torch.allclose(*sides, atol=1e-4):
            raise ValueError(
                f"a view is an orthogonal projection of points, and this one breaks the law: {law}"
            )
    if num_lost := int((~_through(view, seen).isfinite()).sum()):
        raise ValueError(
            f"{num_lost} of the values that are seen are NaN or infinite: hide them, or leave the rows out"
        )


def _through(view: View, points: Points) -> Points:
    """What is seen of points. ValueError where it is not of their shape and dtype."""
    try:
        seen = view(points)
    except RuntimeError as error:
        raise ValueError(f"this view takes no points of shape {list(points.shape)}: {error}") from error
    if not isinstance(seen, torch.Tensor) or (seen.shape, seen.dtype) != (points.shape, points.dtype):
        found = f"{seen.dtype} of shape {list(seen.shape)}" if isinstance(seen, torch.Tensor) else repr(seen)
        raise ValueError(
            f"a view returns {points.dtype} of shape {list(points.shape)} as it is given, not {found}"
        )
    return seen
