"""Particles that a mapping bears: what recipes under an adversarial mapping loss share."""

from collections.abc import Callable

from torch import nn

from evolvent.augmentation import Augmentation
from evolvent.dynamics import Dynamics
from evolvent.energy import Energy
from evolvent.flows import JKO, Annealed, Flow, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.conditional import ConditionalGGCN
from evolvent.learners.ggcn import GGCN
from evolvent.nets.classes import ByClass
from evolvent.recipes.labelled import conditional


def paired_flow(tau: float, tau_end: float | None = None, num_steps: int = 0) -> Flow:
    """Of particles that are paired with data, and so are the ends of the action."""
    flow = JKO(contrast=logistic, tau=tau, ends="data", share=0.25)
    return flow if tau_end is None else Annealed(flow, end=tau_end, num_updates=num_steps)


def adversarial_ggcn(
    energy: Energy,
    mapping_of: Callable[..., nn.Module],
    *,
    num_hidden: int,
    num_classes: int | None,
    flow: Flow,
    training: dict[str, Dynamics],
    sampling: dict[str, Dynamics],
    beta: float = 1.0,
    augmentation: Augmentation | None = None,
    model: type[GGCN] = GGCN,
) -> GGCN:
    """A GGCN whose mapping descends the energy, of so many classes, or for None of points without labels.

    mapping_of: `mapping_of(num_hidden=…)` makes the mapping of codes of that length.
    model: what is made without classes.
    """
    parts = {"flow": flow, "mapping_loss": Adversarial(logistic), "training": training, "sampling": sampling}
    parts |= {"beta": beta, "augmentation": augmentation}
    if num_classes is None:
        return model(energy, mapping_of(num_hidden=num_hidden), **parts)
    mapping = ByClass(mapping_of(num_hidden=2 * num_hidden), num_classes)
    return ConditionalGGCN(conditional(energy, num_classes), mapping, **parts)
