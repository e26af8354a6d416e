"""What labels change: shared by the recipes that take --labels.

How many classes there are the data say: where no number is given it is counted, in their labels alone. The command
line writes it into run.json with the other arguments, so that nothing is read again to sample or to go on.
"""

from evolvent.conditional import Conditional
from evolvent.data.readers import count_classes
from evolvent.energy import Energy
from evolvent.nets.classes import Projection

USUAL_CLASSES = 10
"""What runs without labels kept before classes were counted: it says nothing."""


def known_classes(labels: bool, num_classes: int | None, data: str, size: int) -> int | None:
    """How many classes the nets know, None for none: as many as `data` have, unless a number is given.

    ValueError for a number without labels, and where there is none to be counted.
    """
    if not labels and num_classes not in (None, USUAL_CLASSES):
        raise ValueError(f"--num-classes {num_classes} are of labels: give --labels as well, or leave it out")
    if labels and num_classes is None:
        return count_classes(data, size)
    return num_classes if labels else None


def conditional(energy: Energy, num_classes: int) -> Conditional:
    """The energy of so many classes whose net was the score of all data."""
    return Conditional(Projection(energy.net, num_classes), energy.reference)
