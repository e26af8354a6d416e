"""Has the model learned its training images by heart?

    ratio(x) = distance to the nearest training image / distance to the nearest held-out image

on detector features, among equally many of each. A sample of what the images have in common is as near to the
one as to the other: ratio 1. A copy is at distance 0 from its original: ratio 0. Held-out images themselves,
each against the others that are no copies of it, tell what is usual.

Only copies of the images that are given can be seen: of n training images of which m are compared, a copy is
found with probability m/n.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from evolvent.metrics.distances import pieces, squared_distances
from evolvent.metrics.features import Features
from evolvent.metrics.fidelity import check_points
from evolvent.shapes import PerPoint

QUANTILE = 0.05


class Memorisation(NamedTuple):
    """ratio: its median over the samples. share: of samples that are copies or nearer to one than is usual.

    Usual is a ratio above the 5 % quantile of the held-out images', those that are training images left out.
    """

    ratio: float
    share: float


def memorisation(samples: Features, train: Features, held_out: Features) -> tuple[Memorisation, Memorisation]:
    """Of the samples, and of the held-out images in their place: their share is 5 %, and more where some are copies.

    Raises ValueError unless train and held_out are equally many, at least two.
    """
    if len(train) != len(held_out) or len(train) < 2:
        raise ValueError(
            f"{len(train)} training and {len(held_out)} held-out images: the nearest of each are compared among"
            " equally many, at least 2"
        )
    for points in (samples, train):
        check_points(points, held_out)
    ours = ratios(samples, train, held_out)
    different, own = held_out.unique(dim=0, return_inverse=True)
    usual = _ratio(_nearest(held_out, train), _nearest(held_out, different, but=own))
    # NaN where every held-out image is a training image: then nothing lies below it, and copies alone count.
    bound = usual.where(usual > 0, torch.nan).nanquantile(QUANTILE)
    shares = (((some == 0) | (some < bound)).double().mean() for some in (ours, usual))
    return tuple(
        Memorisation(float(some.median()), float(share))
        for some, share in zip((ours, usual), shares, strict=True)
    )


def ratios(samples: Features, train: Features, held_out: Features) -> PerPoint:
    """Of each sample; 1 for one that is a copy of both a training and a held-out image."""
    return _ratio(_nearest(samples, train), _nearest(samples, held_out))


def nearest(samples: Features, train: Features, *, k: int) -> Tensor:
    """The rows of each sample's k nearest training images, nearest first: [n, k]."""
    if k > len(train):
        raise ValueError(f"there are no {k} nearest of {len(train)} training images")
    squares = squared_distances(*check_points(samples, train))
    return squares.topk(k, dim=1, largest=False).indices


def _nearest(points: Features, others: Features, *, but: Tensor | None = None) -> PerPoint:
    """The distance of each point to the nearest of the others, but for the one that it is a copy of."""
    points, others = check_points(points, others)
    found = torch.zeros_like(points[:, 0])
    for first, last in pieces(len(points), len(others)):
        squares = squared_distances(points[first:last], others)
        if but is not None:
            squares.scatter_(1, but[first:last, None], torch.inf)
        # The distance itself pair by pair: a copy's is 0, not the rounding of a matrix product.
        found[first:last] = (points[first:last] - others[squares.argmin(1)]).norm(dim=1)
    return found


def _ratio(to_train: PerPoint, to_held_out: PerPoint) -> PerPoint:
    return torch.where(to_train == to_held_out, 1.0, to_train / to_held_out)
