"""Particles that a mapping bears: what recipes under an adversarial mapping loss share, and those of images whole."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from evolvent.augmentation import Augment, Augmentation, augmentation
from evolvent.dynamics import Dynamics, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, Annealed, Flow, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.conditional import ConditionalGGCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.nets.classes import ByClass
from evolvent.nets.mapping import ResidualMapping
from evolvent.recipes.labelled import conditional, known_classes
from evolvent.recipes.residual import Part, on_images, residual_energy, schedule
from evolvent.training.schedule import Adam, Experiment


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


def adversarial_multigrid(
    energies: list[Energy], mappings: list[nn.Module], *, tau: float, dynamics: Dynamics
) -> MultiGrid:
    """An energy and a mapping a grid, the coarsest first; every mapping descends its energy."""
    loss = Adversarial(logistic)
    return MultiGrid(energies, mappings, flow=paired_flow(tau), mapping_loss=loss, dynamics=dynamics)


def mapped(
    data: str = "cifar10",
    size: int = 32,
    num_steps: int = 20000,
    batch_size: int = 256,
    width: int = 64,
    mapping_width: int = 128,
    num_hidden: int = 128,
    depth: int = 2,
    patch: int = 1,
    tau: float = 0.04,
    tau_end: float | None = None,
    beta: float = 8.0,
    selection_steps: int = 30,
    hidden_steps: int = 25,
    hidden_step_size: float = 0.01,
    lr: float = 4e-4,
    mapping_lr: float = 1.5e-4,
    augment: Augment = 0.0,
    averaging: float = 0.9995,
    picture_every: int = 2000,
    checkpoint_every: int = 5000,
    captured: bool = True,
    labels: bool = False,
    num_classes: int | None = None,
    *,
    training: dict[str, Dynamics],
    part: Part,
    channels: int,
) -> Experiment:
    """What the recipes share in which a mapping bears the particles; what has no default is theirs to say.

    Args:
        width: channels of the energy at full size, doubled as sizes halve from 32 px down; mapping_width likewise.
        num_hidden: numbers in a code.
        depth: residual blocks of the energy at every resolution.
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter, for a CPU.
        tau: weight of the kinetic energy: a smaller one lets the energy grow sharper, and less stable.
        tau_end: where tau goes over the run, by factors; without it tau stays.
        beta: weight of the energy in the hidden chain, at sampling.
        selection_steps: births that a code may go over to before that chain, as the energy says; 0 for none.
        hidden_steps: of the chain.
        hidden_step_size: of the chain.
        lr: learning rate of the energy, which should be faster than the mapping's.
        augment: shift, cut and recolour what the energy compares, for few images: a probability, or "adaptive".
        averaging: decay of the average of the weights, a step: 0.9998 goes back some 5,000 steps.
        picture_every: steps from one picture of particles to the next.
        checkpoint_every: steps from one checkpoint to the next, which are lost when the process is killed.
        captured: on a GPU, record a step once as a CUDA graph and replay it; false for data that stream.
        labels: learn an energy and births of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`; without it they are counted.
    """
    known = known_classes(labels, num_classes, data, size)
    selection = {"selection": Independent(num_steps=selection_steps)} if selection_steps else {}
    learner = adversarial_ggcn(
        residual_energy(width, size, channels, depth=depth, patch=patch),
        partial(ResidualMapping, size, channels, width=mapping_width, growth=2, widest=512),
        num_hidden=num_hidden,
        num_classes=known,
        flow=paired_flow(tau, tau_end, num_steps),
        training=training,
        sampling=selection | {"hidden": Langevin(hidden_step_size, hidden_steps)} | training,
        beta=beta,
        augmentation=augmentation(augment, num_steps * batch_size),
    )
    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    clocks = schedule(
        num_steps,
        batch_size,
        adam,
        averaging=averaging,
        picture_every=picture_every,
        checkpoint_every=checkpoint_every,
        captured=captured,
    )
    return on_images(learner, partial(part, data, size), clocks, num_classes=known)


def mapped_on_cpu(
    batch_size: int = 64,
    width: int = 32,
    mapping_width: int = 16,
    depth: int = 1,
    tau: float = 0.2,
    lr: float = 1e-3,
    mapping_lr: float = 7e-4,
    **options: Any,
) -> Experiment:
    """`mapped` with nets that one core of a CPU can train, and no chain in training.

    Args:
        width: channels of the energy at full size, doubled as sizes halve from 32 px down; mapping_width likewise.
        depth: residual blocks of the energy at every resolution.
        tau: weight of the kinetic energy: a smaller one lets the energy grow sharper, and less stable.
        lr: learning rate of the energy, which should be faster than the mapping's.
    """
    return mapped(
        batch_size=batch_size,
        width=width,
        mapping_width=mapping_width,
        depth=depth,
        tau=tau,
        lr=lr,
        mapping_lr=mapping_lr,
        training={},
        **options,
    )
