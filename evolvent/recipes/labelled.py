"""What labels change: shared by the recipes that take --labels."""

from collections.abc import Callable

from torch import nn

from evolvent.conditional import Conditional
from evolvent.energy import Energy
from evolvent.learners.conditional import ConditionalGGCN
from evolvent.learners.ggcn import GGCN
from evolvent.nets.classes import ByClass, Projection

USUAL_CLASSES = 10
"""The classes of most small sets, and what recipes take unless they are told."""


def by_class(
    energy: Energy, mapping_of: Callable[..., nn.Module], *, num_hidden: int, num_classes: int | None
) -> tuple[type[GGCN], Energy, nn.Module]:
    """A learner, its energy and its mapping, of so many classes, or for None of points without labels.

    mapping_of: `mapping_of(num_hidden=…)` makes the mapping of codes of that length.
    """
    if num_classes is None:
        return GGCN, energy, mapping_of(num_hidden=num_hidden)
    mapping = ByClass(mapping_of(num_hidden=2 * num_hidden), num_classes)
    return ConditionalGGCN, conditional(energy, num_classes), mapping


def known_classes(labels: bool, num_classes: int) -> int | None:
    """How many classes the nets know, None for none. ValueError for a number of classes without labels."""
    if num_classes != USUAL_CLASSES and not labels:
        raise ValueError(f"--num-classes {num_classes} are of labels: give --labels as well, or leave it out")
    return num_classes if labels else None


def conditional(energy: Energy, num_classes: int) -> Conditional:
    """The energy of so many classes whose net was the score of all data."""
    return Conditional(Projection(energy.net, num_classes), energy.reference)
