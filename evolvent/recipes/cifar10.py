"""CIFAR-10 at 32 px, for one GPU: the models of the method with the same nets. `data` is what `load` takes.

`size` 8 or 16 shrinks the images, which with narrow nets rehearses a recipe on a CPU.

Training runs in bfloat16, on a CPU only where that is faster. `captured` records the forward and backward passes as
one CUDA graph (a set that streams from its file cannot be drawn inside one: give --captured false there).
"""

from functools import partial
from itertools import pairwise
from typing import Literal

from torch import nn

from evolvent.augmentation import Augment, Augmentation, augmentation
from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.dynamics import Dynamics, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, Annealed, Flow, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.metrics.scores import judge_images
from evolvent.nets.mapping import ResidualMapping, Upsampling
from evolvent.nets.score import ResidualScore
from evolvent.recipes.card import recipe
from evolvent.recipes.chains import chains_from_noise, noisy_descent
from evolvent.recipes.labelled import USUAL_CLASSES, by_class, known_classes
from evolvent.reference import Uniform
from evolvent.training.trainer import Adam, Experiment, Schedule

SIZE, CHANNELS = 32, 3
NOT_RUN = "not yet run to its end"


@recipe(shows="amortised GGCN: no chain in training", minutes=15, hardware="1 H100", score=NOT_RUN)
def cifar10_amortized(
    data: str = "cifar10",
    size: int = SIZE,
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
    captured: bool = True,
    labels: bool = False,
    num_classes: int = USUAL_CLASSES,
) -> Experiment:
    """Adversarial amortisation; hidden-space evolution at sampling.

    Args:
        depth: residual blocks of the energy at every resolution.
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter, for a CPU.
        tau_end: where tau goes over the run, by factors; without it tau stays.
        beta: weight of the energy in the hidden chain, at sampling.
        selection_steps: births that a code may go over to before that chain, as the energy says; 0 for none.
        hidden_steps: of the chain.
        hidden_step_size: of the chain.
        augment: shift, cut and recolour what the energy compares, for few images: a probability, or "adaptive".
        labels: learn an energy and births of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`.
    """
    known = known_classes(labels, num_classes)
    nets = nets_of(size, width, mapping_width, num_hidden, depth=depth, patch=patch, num_classes=known)
    learner = ggcn(
        *nets,
        flow=mapped_flow(tau, tau_end, num_steps),
        beta=beta,
        hidden=in_hidden_space(selection_steps, hidden_steps, hidden_step_size),
        training={},
        augmentation=augmentation(augment, num_steps * batch_size),
    )
    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    clocks = schedule(num_steps, batch_size, adam, captured=captured)
    return on_cifar10(learner, data, size, clocks, num_classes=known)


@recipe(shows="GGCN: hidden birth, evolution in image space", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_ggcn(
    data: str = "cifar10",
    size: int = SIZE,
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
    chain_steps: int = 2,
    chain_step_size: float = 0.02,
    noise: float = 0.001,
    augment: Augment = 0.0,
    captured: bool = True,
    labels: bool = False,
    num_classes: int = USUAL_CLASSES,
) -> Experiment:
    """As `cifar10-amortized`, and the energy meets particles that have evolved: evolution pays at sampling, too.

    Args:
        depth: residual blocks of the energy at every resolution.
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter, for a CPU.
        tau_end: where tau goes over the run, by factors; without it tau stays.
        beta: weight of the energy in the hidden chain, at sampling.
        selection_steps: births that a code may go over to before that chain, as the energy says; 0 for none.
        hidden_steps: of the chain.
        hidden_step_size: of the chain.
        augment: shift, cut and recolour what the energy compares, for few images: a probability, or "adaptive".
        labels: learn an energy and births of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`.
    """
    known = known_classes(labels, num_classes)
    image = noisy_descent(chain_step_size, chain_steps, noise)
    nets = nets_of(size, width, mapping_width, num_hidden, depth=depth, patch=patch, num_classes=known)
    learner = ggcn(
        *nets,
        flow=mapped_flow(tau, tau_end, num_steps),
        beta=beta,
        hidden=in_hidden_space(selection_steps, hidden_steps, hidden_step_size),
        training={"image": image},
        augmentation=augmentation(augment, num_steps * batch_size),
    )
    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    clocks = schedule(num_steps, batch_size, adam, captured=captured)
    return on_cifar10(learner, data, size, clocks, num_classes=known)


@recipe(shows="GCN: persistent chains from noise, KL flow", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_gcn(
    data: str = "cifar10",
    size: int = SIZE,
    num_steps: int = 10000,
    batch_size: int = 256,
    width: int = 64,
    lr: float = 2e-4,
    chain_steps: int = 20,
    chain_step_size: float = 0.1,
    noise: float = 0.003,
    num_slots: int = 10000,
    rebirth: float = 0.02,
    sampling_steps: int = 1000,
    captured: bool = True,
    labels: bool = False,
    num_classes: int = USUAL_CLASSES,
) -> Experiment:
    """Maximum likelihood with a bank of chains that start from uniform noise.

    Args:
        num_slots: chains in the bank; with labels at least a batch of every class.
        labels: learn an energy of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`.
    """
    known = known_classes(labels, num_classes)
    learner = chains_from_noise(
        energy_of(width, size),
        noisy_descent(chain_step_size, chain_steps, noise),
        flow=None,
        num_slots=num_slots,
        rebirth=rebirth,
        batch_size=batch_size,
        sampling_steps=sampling_steps,
        num_classes=known,
    )
    clocks = schedule(num_steps, batch_size, {"energy": Adam(lr)}, captured=captured)
    return on_cifar10(learner, data, size, clocks, num_classes=known)


@recipe(shows="w-GCN: persistent chains from noise, JKO flow", minutes=30, hardware="1 H100", score=NOT_RUN)
def cifar10_wgcn(
    data: str = "cifar10",
    size: int = SIZE,
    num_steps: int = 10000,
    batch_size: int = 256,
    width: int = 64,
    lr: float = 4e-4,
    chain_steps: int = 20,
    chain_step_size: float = 0.1,
    noise: float = 0.003,
    num_slots: int = 10000,
    rebirth: float = 0.02,
    sampling_steps: int = 1000,
    tau: float = 0.1,
    ends: Literal["path", "data"] = "data",
    captured: bool = True,
    labels: bool = False,
    num_classes: int = USUAL_CLASSES,
) -> Experiment:
    """GCN plus the kinetic energy of the transport; tau = 0 is GCN.

    Args:
        num_slots: chains in the bank; with labels at least a batch of every class.
        labels: learn an energy of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`.
    """
    known = known_classes(labels, num_classes)
    learner = chains_from_noise(
        energy_of(width, size),
        noisy_descent(chain_step_size, chain_steps, noise),
        flow=JKO(tau=tau, ends=ends, share=0.25),
        num_slots=num_slots,
        rebirth=rebirth,
        batch_size=batch_size,
        sampling_steps=sampling_steps,
        num_classes=known,
    )
    clocks = schedule(num_steps, batch_size, {"energy": Adam(lr)}, captured=captured)
    return on_cifar10(learner, data, size, clocks, num_classes=known)


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
    learner = MultiGrid(
        [energy_of(width, side) for side in sizes],
        [first, *upsamplings],
        flow=mapped_flow(tau),
        mapping_loss=Adversarial(logistic),
        dynamics=noisy_descent(chain_step_size, chain_steps, noise),
    )
    adam = {"energies": Adam(lr), "mappings": Adam(mapping_lr)}
    return on_cifar10(learner, data, size, schedule(num_steps, batch_size, adam, captured=captured))


def energy_of(width: int, size: int = SIZE, *, depth: int = 2, patch: int = 1) -> Energy:
    score = ResidualScore(size, CHANNELS, width=width, growth=2, widest=512, depth=depth, patch=patch)
    return Energy(score, Uniform((CHANNELS, size, size)))


def nets_of(
    size: int,
    width: int,
    mapping_width: int,
    num_hidden: int,
    *,
    depth: int,
    patch: int,
    num_classes: int | None,
) -> tuple[type[GGCN], Energy, nn.Module]:
    """A learner, its energy and its mapping."""
    mapping = partial(ResidualMapping, size, CHANNELS, width=mapping_width, growth=2, widest=512)
    energy = energy_of(width, size, depth=depth, patch=patch)
    return by_class(energy, mapping, num_hidden=num_hidden, num_classes=num_classes)


def ggcn(
    model: type[GGCN],
    energy: Energy,
    mapping: nn.Module,
    *,
    flow: Flow,
    beta: float,
    hidden: dict[str, Dynamics],
    training: dict[str, Dynamics],
    augmentation: Augmentation | None,
) -> GGCN:
    return model(
        energy,
        mapping,
        flow=flow,
        mapping_loss=Adversarial(logistic),
        training=training,
        sampling=hidden | training,
        beta=beta,
        augmentation=augmentation,
    )


def in_hidden_space(selection_steps: int, num_steps: int, step_size: float) -> dict[str, Dynamics]:
    """What codes go through at sampling: selection among births, if there are steps of it, and evolution."""
    selection = {"selection": Independent(num_steps=selection_steps)} if selection_steps else {}
    return selection | {"hidden": Langevin(step_size, num_steps)}


def mapped_flow(tau: float, tau_end: float | None = None, num_steps: int = 0) -> Flow:
    """Of particles that a mapping bears: paired with data, and so are the ends of its action."""
    flow = JKO(contrast=logistic, tau=tau, ends="data", share=0.25)
    return flow if tau_end is None else Annealed(flow, end=tau_end, num_updates=num_steps)


def schedule(num_steps: int, batch_size: int, adam: dict[str, Adam], *, captured: bool) -> Schedule:
    """Clocks for a run of many short steps on a GPU."""
    return Schedule(
        num_steps,
        batch_size,
        adam,
        averaging=0.9995,
        precision="bfloat16",
        captured=captured,
        sampling_batch_size=500,
        log_every=100,
        picture_every=2000,
        checkpoint_every=5000,
    )


def on_cifar10(
    learner: nn.Module, data: str, size: int, clocks: Schedule, *, num_classes: int | None = None
) -> Experiment:
    """Trained on `data`'s training images, mirrored at random; held out are its test images.

    num_classes: of the labels that are learned, None for no labels.
    """

    def train() -> Images | Stream:
        images = load(data, size=size, split="train", channels=CHANNELS, flip=True)
        return images if num_classes is None else images.with_labels(num_classes)

    return Experiment(
        learner,
        train,
        clocks,
        held_out=lambda: load(data, size=size, split="test", channels=CHANNELS),
        judge=judge_images,
    )
