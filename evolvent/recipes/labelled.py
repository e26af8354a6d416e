"""What labels change: shared by the recipes that take --labels.

How many classes there are the data say: where no number is given it is counted, in their labels alone. The command
line writes it into run.json with the other arguments, so that nothing is read again to sample or to go on.
"""

from evolvent.conditional import Conditional
from evolvent.data.readers import count_classes
from evolvent.energy import Energy
from evolvent.nets.classes import Projection


def known_classes(labels: bool, num_classes: int | None, data: str, size: int) -> int | None:
    """How many classes the nets know, None for none: as many as `data` have, unless a number is given.

    ValueError for a number without labels, and where there is none to be counted.
    """
    if labels:
        return count_classes(data, size) if num_classes is None else num_classes
    if num_classes is not None:
        raise ValueError(f"--num-classes {num_classes} are of labels: give --labels as well, or leave it out")
    return None


def conditional(energy: Energy, num_classes: int) -> Conditional:
    """The energy of so many classes whose net was the score of all data."""
    return Conditional(Projection(energy.net, num_classes), energy.reference)
