"""What is compared: a cell trains one model, most of them one change away from another, over the same nets.

    gcn ─ flow ─► wgcn ─ birthplace, logistic contrast ─► ggcn ─ no chain in training ─► amortised
    wgcn, wgcn-half, wgcn-double, wgcn-path, …        tau and the ends of the action; tau = 0 is gcn
    gcn-spectrum, wgcn-spectrum                       chains begin with the data's spectrum, and move in its metric
    trainable, fixed                                  one chain; the mapping learns, or stays as it was drawn
    gcn-labels, wgcn-labels, amortised-labels         every class its own energy, and its chains or births
    gcn-lr-double, wgcn-lr-double, …                  the learning rate at which each does best, and is lost
    wgcn-chain, wgcn-chain-lr-double, …               τ of the chain's length, at the rates that it stands

As in the recipes, the mapping of ggcn is adversarial and the particles that it bears evolve in image space. To compare
another model, add a cell.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Literal

from torch import nn

from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.dynamics import Dynamics, Independent, Langevin, Preconditioned
from evolvent.energy import Energy
from evolvent.flows import JKO
from evolvent.learners.ggcn import GGCN
from evolvent.learners.update import Update
from evolvent.nets.mapping import ResidualMapping
from evolvent.nets.score import ResidualScore
from evolvent.recipes.chains import chains_from_noise, noisy_descent
from evolvent.recipes.mapped import adversarial_ggcn, paired_flow
from evolvent.reference import Reference, Uniform
from evolvent.shapes import Points
from evolvent.spectral import Spectral
from evolvent.training.schedule import Adam, Experiment, Schedule

CHANNELS, NUM_CLASSES = 3, 10


@dataclass(frozen=True)
class Scale:
    """What all cells of one size share.

    lr, tau, chain: of chains from noise. mapped_lr, mapping_lr, mapped_tau, short: where a mapping bears the particles.
    clocks: what `Schedule` takes besides.
    """

    size: int
    score: Callable[[], nn.Module]
    mapping: Callable[..., nn.Module]
    num_hidden: int
    batch_size: int
    lr: float
    tau: float
    chain: Langevin
    num_slots: int
    rebirth: float
    sampling_steps: int
    mapped_lr: float
    mapping_lr: float
    mapped_tau: float
    short: Langevin
    hidden: Langevin
    beta: float
    clocks: dict = field(default_factory=dict)


SCALES = {
    16: Scale(
        size=16,
        score=partial(ResidualScore, 16, CHANNELS, width=16, growth=2),
        mapping=partial(ResidualMapping, 16, CHANNELS, width=16, growth=2),
        num_hidden=64,
        batch_size=64,
        lr=2e-3,
        tau=0.2,
        chain=noisy_descent(0.2, 10, 0.003),
        num_slots=1000,
        rebirth=0.05,
        sampling_steps=300,
        mapped_lr=1.5e-3,
        mapping_lr=1e-3,
        mapped_tau=0.1,
        short=noisy_descent(0.05, 2, 0.001),
        hidden=Langevin(0.02, 50),
        beta=8.0,
        clocks={"averaging": 0.998},
    ),
    32: Scale(
        size=32,
        score=partial(ResidualScore, 32, CHANNELS, width=64, growth=2, widest=512, depth=2),
        mapping=partial(ResidualMapping, 32, CHANNELS, width=128, growth=2, widest=512),
        num_hidden=128,
        batch_size=256,
        lr=2e-4,
        tau=0.1,
        chain=noisy_descent(0.1, 20, 0.003),
        num_slots=10000,
        rebirth=0.02,
        sampling_steps=1000,
        mapped_lr=4e-4,
        mapping_lr=1.5e-4,
        mapped_tau=0.04,
        short=noisy_descent(0.02, 2, 0.001),
        hidden=Langevin(0.01, 25),
        beta=8.0,
        clocks={
            "averaging": 0.9995,
            "precision": "bfloat16",
            "captured": True,
            "sampling_batch_size": 500,
        },
    ),
}
"""16 px learns within minutes of one CPU core; 32 px, for a GPU, has the nets and settings of the cifar10
recipes, but for w-GCN's learning rate, which is that of GCN here, and the spectrum, which gcn-spectrum knows."""


class FixedUpsampling(GGCN):
    """A mapping that stays as it was drawn: evolution in image space does all."""

    def forward(self, data: Points) -> Update:
        update = super().forward(data)
        return update._replace(losses={"energy": update.losses["energy"]})


def chains(
    scale: Scale,
    flow: JKO | None,
    *,
    num_classes: int | None = None,
    lr_times: float = 1.0,
    spectrum: bool = False,
) -> tuple[nn.Module, dict[str, Adam]]:
    """GCN, and w-GCN under JKO: a bank of chains that start from uniform noise, or as `Spectral` has it."""
    reference, kind = (Spectral, Preconditioned) if spectrum else (Uniform, Langevin)
    learner = chains_from_noise(
        energy_of(scale, reference),
        kind(**asdict(scale.chain)),
        flow=flow,
        num_slots=scale.num_slots,
        rebirth=scale.rebirth,
        batch_size=scale.batch_size,
        sampling_steps=scale.sampling_steps,
        num_classes=num_classes,
    )
    return learner, {"energy": Adam(lr_times * scale.lr)}


def jko(scale: Scale, times: float = 1.0, ends: Literal["path", "data"] = "data") -> JKO:
    return JKO(tau=times * scale.tau, ends=ends, share=0.25)


def along(scale: Scale) -> JKO:
    """τ as long as the chain that it penalises, the JKO step's natural start."""
    return replace(jko(scale), tau=scale.chain.num_steps * scale.chain.step_size)


def mapped(
    scale: Scale,
    training: dict[str, Dynamics],
    *,
    fixed: bool = False,
    num_classes: int | None = None,
) -> tuple[nn.Module, dict[str, Adam]]:
    """Particles that a mapping bears, and the stages of evolution that training runs after it."""
    learner = adversarial_ggcn(
        energy_of(scale),
        scale.mapping,
        num_hidden=scale.num_hidden,
        num_classes=num_classes,
        flow=paired_flow(scale.mapped_tau),
        training=training,
        sampling={"selection": Independent(), "hidden": scale.hidden} | training,
        beta=scale.beta,
        model=FixedUpsampling if fixed else GGCN,
    )
    adam = {"energy": Adam(scale.mapped_lr), "mapping": Adam(scale.mapping_lr)}
    return learner, {name: adam[name] for name in adam if not (fixed and name == "mapping")}


def energy_of(scale: Scale, reference: type[Reference] = Uniform) -> Energy:
    return Energy(scale.score(), reference((CHANNELS, scale.size, scale.size)))


@dataclass(frozen=True)
class Model:
    """A model in words, how it is built, and the ways in which samples are drawn from its weights.

    samplings: stages joined by "+"; "births" for none.
    """

    words: str
    build: Callable[[Scale], tuple[nn.Module, dict[str, Adam]]]
    samplings: tuple[str, ...] = ("image",)


CELLS = {
    "gcn": Model("GCN: chains from noise, KL flow", lambda s: chains(s, None)),
    "wgcn": Model("w-GCN: JKO flow, action at data, τ", lambda s: chains(s, jko(s))),
    "ggcn": Model(
        "GGCN: hidden birth, evolution in image space",
        lambda s: mapped(s, {"image": s.short}),
        ("births", "hidden", "image", "hidden+image"),
    ),
    "amortised": Model(
        "amortised: no chain in training", lambda s: mapped(s, {}), ("births", "hidden", "selection+hidden")
    ),
    "gcn-spectrum": Model(
        "GCN: chains in the metric of the data's spectrum", lambda s: chains(s, None, spectrum=True)
    ),
    "wgcn-spectrum": Model("w-GCN: the same chains, τ", lambda s: chains(s, jko(s), spectrum=True)),
    "fixed": Model(
        "mapping as it was drawn, long chain",
        lambda s: mapped(s, {"image": s.chain}, fixed=True),
        ("births", "image"),
    ),
    "trainable": Model(
        "mapping that learns, the same long chain",
        lambda s: mapped(s, {"image": s.chain}),
        ("births", "image"),
    ),
    "gcn-labels": Model("GCN by class", lambda s: chains(s, None, num_classes=NUM_CLASSES)),
    "wgcn-labels": Model("w-GCN by class, τ", lambda s: chains(s, jko(s), num_classes=NUM_CLASSES)),
    "amortised-labels": Model(
        "amortised, by class",
        lambda s: mapped(s, {}, num_classes=NUM_CLASSES),
        ("births", "hidden", "selection+hidden"),
    ),
    "wgcn-path": Model("w-GCN, action along the path, τ", lambda s: chains(s, jko(s, 1, "path"))),
    "wgcn-half": Model("w-GCN, action at data, τ/2", lambda s: chains(s, jko(s, 0.5))),
    "wgcn-double": Model("w-GCN, action at data, 2τ", lambda s: chains(s, jko(s, 2))),
    "wgcn-path-half": Model("w-GCN, action along the path, τ/2", lambda s: chains(s, jko(s, 0.5, "path"))),
    "wgcn-path-double": Model("w-GCN, action along the path, 2τ", lambda s: chains(s, jko(s, 2, "path"))),
    "gcn-lr-half": Model("GCN, half the learning rate", lambda s: chains(s, None, lr_times=0.5)),
    "wgcn-lr-half": Model("w-GCN, half the learning rate", lambda s: chains(s, jko(s), lr_times=0.5)),
    "gcn-lr-double": Model("GCN, twice the learning rate", lambda s: chains(s, None, lr_times=2)),
    "wgcn-lr-double": Model("w-GCN, twice the learning rate", lambda s: chains(s, jko(s), lr_times=2)),
    "gcn-lr-fourfold": Model("GCN, four times the learning rate", lambda s: chains(s, None, lr_times=4)),
    "wgcn-lr-fourfold": Model("w-GCN, four times the learning rate", lambda s: chains(s, jko(s), lr_times=4)),
    "wgcn-chain": Model("w-GCN, τ of the chain's length", lambda s: chains(s, along(s))),
    "wgcn-chain-lr-double": Model("the same, twice the rate", lambda s: chains(s, along(s), lr_times=2)),
    "wgcn-chain-lr-fourfold": Model("the same, four times", lambda s: chains(s, along(s), lr_times=4)),
}
"""In the order in which they are run: the first four are the ladder."""


def experiment_of(name: str, size: int, data: str) -> Experiment:
    """The model as an experiment without an end: the clock ends it, and its learning rates fall with the clock."""
    scale = SCALES[size]
    learner, adam = CELLS[name].build(scale)
    schedule = Schedule(10**9, scale.batch_size, adam, decay_from=1, guard=None, **scale.clocks)

    def train() -> Images | Stream:
        images = load(data, size, split="train", channels=CHANNELS, flip=True)
        return images.with_labels(NUM_CLASSES) if hasattr(learner, "num_classes") else images

    return Experiment(
        learner,
        train,
        schedule,
        held_out=lambda: load(data, size, split="test", channels=CHANNELS),
    )
