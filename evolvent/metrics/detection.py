"""Does one number tell two sets apart: the area under the ROC curve.

    AUROC = P(y > x) + P(y = x)/2      1/2 where the number says nothing, 1 where every y lies above every x

for an x and a y drawn at random. Of energies of data and of other images it is how well an energy finds what the
model was not trained on. It needs no threshold, and depends on the order of the numbers alone: an energy under another
temperature, or with another constant, has the same.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from evolvent.metrics.distances import Estimate

Numbers = Float[Tensor, " _num"]
"""One of each point of a set. Two arguments of this type may differ in length."""


def auroc(x: Numbers, y: Numbers) -> Estimate:
    """The share of pairs in which y is above x, ties half, over all pairs.

    Its variance is that of each x's and of each y's own share, over their numbers. There is no error where no
    share differs from another of its side, as where every y lies above every x: from such sets it cannot be known.

    Raises ValueError for fewer than two on a side and for a number that is NaN.

        DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
        characteristic curves, Biometrics 1988.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{len(x)} and {len(y)} numbers are too few: at least 2 are needed on each side")
    if x.isnan().any() or y.isnan().any():
        raise ValueError("a number is NaN: it lies neither above nor below another")
    x, y = x.double(), y.double()
    of_x, of_y = 1 - _share_below(x, y), _share_below(y, x)
    variance = float(of_x.var() / len(x) + of_y.var() / len(y))
    return Estimate(float(of_y.mean()), variance**0.5 or None)


def _share_below(points: Numbers, others: Numbers) -> Numbers:
    """The share of the others that lie below each point, ties half."""
    ordered = others.sort().values
    ends = (torch.searchsorted(ordered, points, right=right) for right in (False, True))
    return sum(end.double() for end in ends) / (2 * len(others))
