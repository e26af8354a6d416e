"""Shapes, named once. Public signatures use these names; the tests check them at run time.

A score that returns [batch, 1] where [batch] is meant broadcasts silently to [batch, batch]: these names are
what catches it.

A labelled point carries its class in one channel more, the last: [batch, C + 1, H, W], [batch, num_dims + 1]. Whatever
is cut, joined, chosen or handed on, the label goes along, and nothing that passes points on needs to know of it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Points = Float[Tensor, "batch *event"]
"""Particles or data: one point of the sample space a row (an image, a point of the plane, a hidden code)."""

Hidden = Float[Tensor, "batch num_hidden"]
"""Hidden codes z, which a mapping takes to points."""

PerPoint = Float[Tensor, " batch"]
"""One number for each point: an energy, a log density."""

PerClass = Float[Tensor, " num_classes"]
"""One number for each class."""

PerPointAndClass = Float[Tensor, "batch num_classes"]
"""One number for each point at each class."""

Scalar = Float[Tensor, ""]
"""One number: a loss, a vital sign."""

Pixels = UInt8[Tensor, "batch channel height width"]
"""Images as they are stored and shown, 0..255."""

Labels = Int64[Tensor, " num_labels"]
"""The class of each point, counted from 0."""


Labelled = Float[Tensor, "batch *event_and_label"]
"""Points that carry their labels. (In a signature two shapes of one name must agree, so here they have two names.)"""


def shows(event_shape: Sequence[int]) -> bool:
    """Whether points of this shape are images [1 or 3, height, width], grey or RGB."""
    return len(event_shape) == 3 and event_shape[0] in (1, 3)


def wide(a_point: Tensor, points: Tensor) -> Tensor:
    """One value a point, [batch], with as many axes as the points have: [batch, 1, …]."""
    return a_point.view(-1, *[1] * (points.dim() - 1))


def carry(x: Points, labels: Labels) -> Labelled:
    """Points that carry their labels. ValueError when there are more or fewer labels than points."""
    if len(labels) != len(x):
        raise ValueError(f"{len(x)} points cannot carry {len(labels)} labels: give one to each")
    channel = wide(labels.to(x.dtype), x)
    return torch.cat([x, channel.expand(-1, 1, *x.shape[2:])], 1)


def apart(x: Labelled) -> tuple[Points, Labels]:
    """The points without their labels, and the labels: what `carry` joined."""
    return x[:, :-1], x[:, -1].reshape(len(x), -1)[:, 0].long()
