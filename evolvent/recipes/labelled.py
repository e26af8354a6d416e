"""A GGCN of the same nets with labels or without: what the recipes that take --labels share."""

from collections.abc import Callable

from torch import nn

from evolvent.augmentation import Augmentation
from evolvent.conditional import Conditional
from evolvent.dynamics import Dynamics
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.amortized import MappingLoss
from evolvent.learners.conditional import ConditionalGGCN
from evolvent.learners.ggcn import GGCN
from evolvent.nets.classes import ByClass, Projection


def ggcn_of(
    energy: Energy,
    mapping_of: Callable[..., nn.Module],
    *,
    num_hidden: int,
    num_classes: int | None,
    flow: KL,
    mapping_loss: MappingLoss,
    training: dict[str, Dynamics],
    sampling: dict[str, Dynamics],
    beta: float = 1.0,
    augmentation: Augmentation | None = None,
) -> GGCN:
    """ConditionalGGCN of so many classes, GGCN for None; `mapping_of(num_hidden=…)` makes the mapping of its codes."""
    if num_classes is None:
        model, mapping = GGCN, mapping_of(num_hidden=num_hidden)
    else:
        energy = Conditional(Projection(energy.net, num_classes), energy.reference)
        model, mapping = ConditionalGGCN, ByClass(mapping_of(num_hidden=2 * num_hidden), num_classes)
    return model(
        energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=sampling, beta=beta,
        augmentation=augmentation,
    )  # fmt: skip
