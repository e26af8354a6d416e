"""What labels change: shared by the recipes that take --labels."""

from evolvent.conditional import Conditional
from evolvent.energy import Energy
from evolvent.nets.classes import Projection

USUAL_CLASSES = 10
"""The classes of most small sets, and what recipes take unless they are told."""


def known_classes(labels: bool, num_classes: int) -> int | None:
    """How many classes the nets know, None for none. ValueError for a number of classes without labels."""
    if num_classes != USUAL_CLASSES and not labels:
        raise ValueError(f"--num-classes {num_classes} are of labels: give --labels as well, or leave it out")
    return num_classes if labels else None


def conditional(energy: Energy, num_classes: int) -> Conditional:
    """The energy of so many classes whose net was the score of all data."""
    return Conditional(Projection(energy.net, num_classes), energy.reference)
