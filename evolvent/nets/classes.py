"""Nets that know classes, each around one that does not: labelled points in (`shapes.carry`), the inner net as it was.

    f(x, y) = ⟨h(x), w + e_y⟩      Projection: the class's own direction beside the common one
    g(z, y) = g(z, c_y)            ByClass: a code of the class next to the hidden code

The first is the projection discriminator's form (Miyato and Koyama 2018): what the features say of a class adds up with
what they say of all data.

Both can begin as the net that they stand around, and leave one behind (`nets.retelling`).
"""

import torch
from torch import nn

from evolvent.nets.score import check_counts, inner_product
from evolvent.shapes import Hidden, PerPoint, PerPointAndClass, Points, apart, carry

MOST_CLASSES = 2**16
"""Each has weights of its own, and images to learn them from."""


def check_classes(num_classes: int) -> None:
    check_counts(num_classes=num_classes)
    if num_classes > MOST_CLASSES:
        raise ValueError(
            f"num_classes is how many different labels the data have, at most {MOST_CLASSES}, not {num_classes}: number"
            " them from 0 without a gap and give the last one plus 1"
        )


class Projection(nn.Module):
    """f(x, y) = ⟨h(x), w + e_y⟩ over a score with `features` h and a linear `read_out` w.

    All e_y start at zero: at birth the score is that of the net alone, to the last bit.
    """

    def __init__(self, score: nn.Module, num_classes: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.score, self.num_classes = score, num_classes
        self.directions = nn.Parameter(torch.zeros(num_classes, score.read_out.in_features))

    def forward(self, x: Points) -> PerPoint:
        x, labels = apart(x)
        return inner_product(self.score.features(x), self.score.read_out.weight + self.directions[labels])

    def at_every_class(self, x: Points) -> PerPointAndClass:
        """f(x, y) of points without labels at every y, for one pass of the inner net."""
        features = self.score.features(x).flatten(1)
        weights = self.score.read_out.weight + self.directions
        with torch.autocast(x.device.type, enabled=False):  # as `inner_product` has it
            return features.to(weights.dtype) @ weights.T


class ByClass(nn.Module):
    """g(z, c_y) over a mapping of hidden codes twice as long as z; labelled codes in, labelled points out.

    The codes c_y are learned. They start from the law of z, so that at birth the class weighs as much as all of z.
    """

    def __init__(self, mapping: nn.Module, num_classes: int) -> None:
        super().__init__()
        check_classes(num_classes)
        if mapping.num_hidden % 2:
            raise ValueError(f"half of {mapping.num_hidden} codes cannot be the class's: give an even number")
        self.mapping, self.num_classes, self.num_hidden = mapping, num_classes, mapping.num_hidden // 2
        self.codes = nn.Parameter(torch.randn(num_classes, self.num_hidden))

    def forward(self, hidden: Hidden) -> Points:
        hidden, labels = apart(hidden)
        return carry(self.mapping(torch.cat([hidden, self.codes[labels]], 1)), labels)
