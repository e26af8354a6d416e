"""A GGCN of the same nets with labels or without: what the recipes that take --labels share."""

from collections.abc import Callable

from torch import nn

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
    num_classes: int,
    flow: KL,
    mapping_loss: MappingLoss,
    training: dict[str, Dynamics],
    sampling: dict[str, Dynamics],
    beta: float = 1.0,
) -> GGCN:
    """GGCN, or ConditionalGGCN for `num_classes` above 0; `mapping_of(num_hidden=…)` makes the mapping of its codes."""
    model, mapping = GGCN, mapping_of(num_hidden=2 * num_hidden if num_classes else num_hidden)
    if num_classes:
        energy = Conditional(Projection(energy.net, num_classes), energy.reference)
        model, mapping = ConditionalGGCN, ByClass(mapping, num_classes)
    return model(
        energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=sampling, beta=beta
    )  # fmt: skip
