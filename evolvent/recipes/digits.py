"""Digits: 5,000 real MNIST digits that lie in an installed package, 28 px padded to 32, 4,000 to learn from.

The same nets under every model of the method: what changes from recipe to recipe is the method alone. A recipe says
what is its own, and hands all other options on to what it shares with others, `mapped` or `from_noise`.
"""

from functools import partial
from itertools import pairwise
from typing import Any, Literal

from evolvent.augmentation import Augment, augmentation
from evolvent.data.images import Images
from evolvent.data.packaged import digits as packaged_digits
from evolvent.dynamics import Dynamics, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO
from evolvent.learners.amortized import Cooperative
from evolvent.learners.ggcn import GGCN
from evolvent.machine import Precision
from evolvent.nets.mapping import PlainMapping, Upsampling
from evolvent.nets.score import PlainScore
from evolvent.recipes.card import recipe
from evolvent.recipes.chains import chains_from_noise, noisy_descent
from evolvent.recipes.mapped import adversarial_ggcn, adversarial_multigrid, paired_flow
from evolvent.recipes.residual import on_images
from evolvent.reference import Uniform
from evolvent.training.schedule import Adam, Experiment, Schedule

SIZE = 32
NUM_HELD_OUT = 1000
NUM_CLASSES = 10


def of_digits(split: str) -> Images:
    """4,000 to learn from, the others to judge by."""
    return packaged_digits(SIZE).split(NUM_HELD_OUT)[split == "test"]


def energy_of(width: int, size: int = SIZE) -> Energy:
    """Φ of the plain net; every recipe's particles are born elsewhere than in a pull towards grey."""
    return Energy(PlainScore(size, width=width), Uniform((1, size, size)))


def mapped(
    num_steps: int = 1500,
    batch_size: int = 64,
    width: int = 32,
    num_hidden: int = 64,
    tau: float = 0.4,
    lr: float = 6e-3,
    mapping_lr: float = 3e-3,
    beta: float = 1.0,
    augment: Augment = 0.0,
    labels: bool = False,
    precision: Precision = "float32",
    *,
    training: dict[str, Dynamics],
) -> Experiment:
    """What the recipes share whose mapping descends the energy; `training` is theirs to say.

    Args:
        width: channels of both nets at full size.
        num_hidden: numbers in a code.
        tau: weight of the kinetic energy: a smaller one lets the energy grow sharper, and less stable.
        lr: learning rate of the energy.
        beta: weight of the energy in the hidden chain, at sampling.
        augment: shift and cut what the energy compares, for few images: a probability, or "adaptive".
        labels: learn every digit's own energy and births; `evolvent sample RUN --label 3` draws threes.
        precision: bfloat16 is faster on a GPU, a CPU with AMX and AMD's with AVX512-BF16; other CPUs run float32.
    """
    known = NUM_CLASSES if labels else None
    learner = adversarial_ggcn(
        energy_of(width),
        partial(PlainMapping, SIZE, width=width),
        num_hidden=num_hidden,
        num_classes=known,
        flow=paired_flow(tau),
        training=training,
        sampling={"hidden": Langevin(0.05, 50)} | training,
        beta=beta,
        augmentation=augmentation(augment, num_steps * batch_size),
    )
    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    schedule = Schedule(num_steps, batch_size, adam, precision=precision)
    return on_images(learner, of_digits, schedule, num_classes=known)


@recipe(
    shows="GGCN: digits born in hidden space, evolving in image space",
    minutes=3,
    score="kernel .011, real .000",
)
def digits(
    chain_steps: int = 2, chain_step_size: float = 0.2, noise: float = 0.001, **options: Any
) -> Experiment:
    """GGCN: both nets learn from particles that are born by the mapping and then evolve in image space.

    Args:
        chain_steps: of the evolution in image space, in training and at sampling.
        chain_step_size: of it.
        noise: of it, its standard deviation a step.
    """
    return mapped(training={"image": noisy_descent(chain_step_size, chain_steps, noise)}, **options)


@recipe(
    shows="adversarial amortised learning: no chain at all in training",
    minutes=3,
    score="kernel .012 after 1,313 steps, real .000",
)
def digits_adversarial(num_steps: int = 2000, **options: Any) -> Experiment:
    """The mapping descends the energy that learns from its births; evolution is an option of sampling."""
    return mapped(num_steps=num_steps, training={}, **options)


@recipe(
    shows="cooperative learning: the mapping follows where the particles end up",
    minutes=3,
    score="kernel .042 after 845 steps, real .000",
)
def digits_cooperative(
    num_steps: int = 1400,
    batch_size: int = 64,
    width: int = 32,
    num_hidden: int = 64,
    tau: float = 0.4,
    lr: float = 3e-3,
    mapping_lr: float = 3e-3,
    chain_steps: int = 5,
    chain_step_size: float = 0.1,
    noise: float = 0.001,
    precision: Precision = "float32",
) -> Experiment:
    """L_φ = mean ‖g(z) − x^L‖² with a few steps of evolution in image space."""
    image = noisy_descent(chain_step_size, chain_steps, noise)
    learner = GGCN(
        energy_of(width),
        PlainMapping(SIZE, num_hidden=num_hidden, width=width),
        flow=JKO(tau=tau, ends="data", share=0.25),
        mapping_loss=Cooperative(),
        training={"image": image},
        sampling={"image": image},
    )
    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr, betas=(0.5, 0.95))}
    return on_images(learner, of_digits, Schedule(num_steps, batch_size, adam, precision=precision))


def from_noise(
    num_steps: int = 1200,
    batch_size: int = 64,
    width: int = 32,
    lr: float = 1e-3,
    chain_steps: int = 10,
    chain_step_size: float = 0.2,
    noise: float = 0.003,
    num_slots: int = 500,
    rebirth: float = 0.05,
    sampling_steps: int = 600,
    labels: bool = False,
    precision: Precision = "float32",
    *,
    flow: JKO | None,
) -> Experiment:
    """What the recipes share whose chains start from uniform noise; `flow` is theirs to say.

    (A Gaussian reference would pull the black background towards grey.)

    Args:
        width: channels of the energy at full size.
        chain_steps: that a chain goes on by in every step of training.
        noise: of the chain, its standard deviation a step.
        num_slots: chains in the bank; with labels at least a batch of every digit.
        rebirth: share of the chains that begin anew in every step.
        sampling_steps: of a chain that draws a sample.
        labels: learn every digit's own energy; `evolvent sample RUN --label 3` draws threes.
        precision: bfloat16 is faster on a GPU, a CPU with AMX and AMD's with AVX512-BF16; other CPUs run float32.
    """
    known = NUM_CLASSES if labels else None
    learner = chains_from_noise(
        energy_of(width),
        noisy_descent(chain_step_size, chain_steps, noise),
        flow=flow,
        num_slots=num_slots,
        rebirth=rebirth,
        batch_size=batch_size,
        sampling_steps=sampling_steps,
        num_classes=known,
    )
    schedule = Schedule(num_steps, batch_size, {"energy": Adam(lr)}, precision=precision)
    return on_images(learner, of_digits, schedule, num_classes=known)


@recipe(shows="GCN: persistent chains from noise, KL flow", minutes=4, score="kernel .12, real .000")
def digits_gcn(**options: Any) -> Experiment:
    """Maximum likelihood with a bank of chains that start from uniform noise."""
    return from_noise(flow=None, **options)


@recipe(
    shows="w-GCN: JKO flow, its action between particles and data (or --ends path)",
    minutes=4,
    score="kernel .12, real .000",
)
def digits_wgcn(tau: float = 0.2, ends: Literal["path", "data"] = "data", **options: Any) -> Experiment:
    """GCN plus the kinetic energy of the transport; tau = 0 is GCN.

    Args:
        tau: the JKO step, which weighs the kinetic energy.
        ends: of its action: previous and current particles, or particles and data.
    """
    return from_noise(flow=JKO(tau=tau, ends=ends, share=0.25), **options)


@recipe(
    shows="multi-grid: 1×1, 4×4, 16×16, 32×32, an energy and an upsampling each",
    minutes=2,
    score="kernel .049 after 719 steps, real .000",
)
def digits_multigrid(
    num_steps: int = 1000,
    batch_size: int = 64,
    width: int = 32,
    num_hidden: int = 32,
    tau: float = 0.4,
    lr: float = 6e-3,
    mapping_lr: float = 3e-3,
    chain_steps: int = 2,
    chain_step_size: float = 0.1,
    noise: float = 0.001,
    precision: Precision = "float32",
) -> Experiment:
    """Particles climb from a hidden point to the image, evolving on every grid."""
    sizes = (4, 16, SIZE)
    energies = [energy_of(width, size) for size in sizes]
    upsamplings = [Upsampling(size, below, width=width) for below, size in pairwise(sizes)]
    mappings = [PlainMapping(sizes[0], num_hidden=num_hidden, width=width), *upsamplings]
    image = noisy_descent(chain_step_size, chain_steps, noise)
    learner = adversarial_multigrid(energies, mappings, tau=tau, dynamics=image)
    adam = {"energies": Adam(lr), "mappings": Adam(mapping_lr)}
    return on_images(learner, of_digits, Schedule(num_steps, batch_size, adam, precision=precision))
