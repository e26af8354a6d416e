"""CIFAR-10 at 32 px: the models of the method with the same nets, for one GPU; `cifar10` is for a CPU.

`data` is what `load` takes; `size` 8 or 16 shrinks its images, which with narrow nets rehearses a recipe on a CPU.

A recipe says what is its own, and hands all other options on to what it shares with others, `mapped` or `from_noise`.
"""

from functools import partial
from itertools import pairwise
from typing import Any, Literal

from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.dynamics import Langevin, Preconditioned
from evolvent.flows import JKO
from evolvent.nets.mapping import ResidualMapping, Upsampling
from evolvent.recipes.card import NOT_RUN, recipe
from evolvent.recipes.chains import chains_from_noise, noisy_descent
from evolvent.recipes.labelled import known_classes
from evolvent.recipes.mapped import adversarial_multigrid, mapped, mapped_on_cpu
from evolvent.recipes.residual import on_images, residual_energy, schedule
from evolvent.reference import Uniform
from evolvent.spectral import Spectral
from evolvent.training.schedule import Adam, Experiment

SIZE, CHANNELS = 32, 3


def of_cifar10(data: str, size: int, split: str) -> Images | Stream:
    """CIFAR-10's own parts; what is learned from is mirrored at random."""
    return load(data, size=size, split=split, channels=CHANNELS, flip=split == "train")


@recipe(
    shows="amortised GGCN for one core of a CPU: how the weights began that ship",
    minutes=85,
    hardware="1 CPU core",
    score="kernel .018, real .000",
)
def cifar10(
    num_steps: int = 19000,
    patch: int = 2,
    picture_every: int = 500,
    checkpoint_every: int = 1000,
    **options: Any,
) -> Experiment:
    """`cifar10-amortized` with nets that a CPU can train.

    Args:
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter.
        picture_every: steps from one picture of particles to the next.
        checkpoint_every: steps from one checkpoint to the next, which are lost when the process is killed.
    """
    return mapped_on_cpu(
        num_steps=num_steps,
        patch=patch,
        picture_every=picture_every,
        checkpoint_every=checkpoint_every,
        part=of_cifar10,
        channels=CHANNELS,
        **options,
    )


@recipe(shows="amortised GGCN: no chain in training", minutes=15, hardware="1 H100", score=NOT_RUN)
def cifar10_amortized(**options: Any) -> Experiment:
    """Adversarial amortisation; hidden-space evolution at sampling."""
    return mapped(training={}, part=of_cifar10, channels=CHANNELS, **options)


@recipe(shows="GGCN: hidden birth, evolution in image space", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_ggcn(
    chain_steps: int = 2, chain_step_size: float = 0.02, noise: float = 0.001, **options: Any
) -> Experiment:
    """As `cifar10-amortized`, and the energy meets particles that have evolved: evolution pays at sampling, too.

    Args:
        chain_steps: of the evolution in image space, in training and at sampling.
        chain_step_size: of it.
        noise: of it, its standard deviation a step.
    """
    image = noisy_descent(chain_step_size, chain_steps, noise)
    return mapped(training={"image": image}, part=of_cifar10, channels=CHANNELS, **options)


def from_noise(
    data: str = "cifar10",
    size: int = SIZE,
    num_steps: int = 10000,
    batch_size: int = 256,
    width: int = 64,
    depth: int = 2,
    patch: int = 1,
    lr: float = 2e-4,
    spectrum: bool = True,
    chain_steps: int = 20,
    chain_step_size: float = 0.1,
    noise: float = 0.003,
    num_slots: int = 10000,
    rebirth: float = 0.02,
    sampling_steps: int = 1000,
    captured: bool = True,
    labels: bool = False,
    num_classes: int | None = None,
    *,
    flow: JKO | None,
) -> Experiment:
    """What the recipes share whose chains start from noise; `flow` is theirs to say.

    Args:
        width: channels of the energy at full size, doubled as sizes halve from 32 px down.
        depth: residual blocks of the energy at every resolution.
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter, for a CPU.
        spectrum: chains begin with the data's spectrum and move far where the data vary much; false for uniform noise.
        chain_steps: that a chain goes on by in every step of training.
        noise: of the chain, its standard deviation a step.
        num_slots: chains in the bank; with labels at least a batch of every class.
        rebirth: share of the chains that begin anew in every step.
        sampling_steps: of a chain that draws a sample.
        captured: on a GPU, record a step once as a CUDA graph and replay it; false for data that stream.
        labels: learn an energy of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`; without it they are counted.
    """
    known = known_classes(labels, num_classes, data, size)
    reference, kind = (Spectral, Preconditioned) if spectrum else (Uniform, Langevin)
    learner = chains_from_noise(
        residual_energy(width, size, depth=depth, patch=patch, reference=reference),
        noisy_descent(chain_step_size, chain_steps, noise, kind=kind),
        flow=flow,
        num_slots=num_slots,
        rebirth=rebirth,
        batch_size=batch_size,
        sampling_steps=sampling_steps,
        num_classes=known,
    )
    clocks = schedule(num_steps, batch_size, {"energy": Adam(lr)}, captured=captured)
    return on_images(learner, partial(of_cifar10, data, size), clocks, num_classes=known)


@recipe(shows="GCN: persistent chains from noise, KL flow", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_gcn(**options: Any) -> Experiment:
    """Maximum likelihood with a bank of chains that start from noise."""
    return from_noise(flow=None, **options)


@recipe(shows="w-GCN: persistent chains from noise, JKO flow", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_wgcn(
    lr: float = 4e-4, tau: float = 0.1, ends: Literal["path", "data"] = "data", **options: Any
) -> Experiment:
    """GCN plus the kinetic energy of the transport, whatever metric its chains move in; tau = 0 is GCN.

    Args:
        tau: the JKO step, which weighs the kinetic energy.
        ends: of its action: previous and current particles, or particles and data.
    """
    return from_noise(lr=lr, flow=JKO(tau=tau, ends=ends, share=0.25), **options)


@recipe(
    shows="multi-grid: 1×1, 4×4, 16×16, 32×32, an energy and an upsampling each",
    minutes=30,
    hardware="1 H100",
    score=NOT_RUN,
)
def cifar10_multigrid(
    data: str = "cifar10",
    size: int = SIZE,
    num_steps: int = 20000,
    batch_size: int = 256,
    width: int = 64,
    mapping_width: int = 128,
    num_hidden: int = 128,
    tau: float = 0.04,
    lr: float = 4e-4,
    mapping_lr: float = 1.5e-4,
    chain_steps: int = 2,
    chain_step_size: float = 0.02,
    noise: float = 0.001,
    captured: bool = True,
) -> Experiment:
    """Particles climb from a hidden point to the image, evolving on every grid."""
    sizes = (*(below for below in (4, 16) if below < size), size)
    first = ResidualMapping(sizes[0], CHANNELS, num_hidden=num_hidden, width=mapping_width)
    upsamplings = [
        Upsampling(above, below, CHANNELS, width=mapping_width) for below, above in pairwise(sizes)
    ]
    energies = [residual_energy(width, side) for side in sizes]
    image = noisy_descent(chain_step_size, chain_steps, noise)
    learner = adversarial_multigrid(energies, [first, *upsamplings], tau=tau, dynamics=image)
    adam = {"energies": Adam(lr), "mappings": Adam(mapping_lr)}
    clocks = schedule(num_steps, batch_size, adam, captured=captured)
    return on_images(learner, partial(of_cifar10, data, size), clocks)
