"""A learner of each kind for colour images of 8 px, and a trainer for it: for laws that hold of all of them."""

import warnings
from contextlib import contextmanager

import numpy as np
import torch

from evolvent.augmentation import AdaptiveAugmentation, Augmentation
from evolvent.conditional import Conditional
from evolvent.data import from_array
from evolvent.dynamics import MALA, Independent, Langevin, Preconditioned
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, Annealed, logistic
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.conditional import ConditionalGCN, ConditionalGGCN
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.learners.wgcn import WGCN
from evolvent.nets.classes import ByClass, Projection
from evolvent.nets.mapping import PlainMapping, ResidualMapping, Upsampling
from evolvent.nets.score import PlainScore, ResidualScore
from evolvent.particles import Fresh, Persistent, PersistentByClass
from evolvent.reference import Uniform
from evolvent.spectral import Spectral
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

CHAIN = Langevin(0.01, 3, temperature=0.1)
SHAPE = 3, 8, 8


def energy(size=8):
    return Energy(PlainScore(size, 3, width=4), Uniform((3, size, size)))


def ggcn(loss, augmentation=None, **training):
    mapping = PlainMapping(8, 3, num_hidden=4, width=4)
    flow = JKO(tau=0.1, ends="data", share=0.5, contrast=logistic)
    learner = GGCN(energy(), mapping, flow=flow, mapping_loss=loss, training=training, sampling=training)
    learner.augmentation = augmentation
    return learner


def multigrid():
    mappings = [PlainMapping(4, 3, num_hidden=4, width=4), Upsampling(8, 4, 3, width=4)]
    return MultiGrid([energy(4), energy(8)], mappings, flow=KL(), mapping_loss=Adversarial(), dynamics=CHAIN)


def conditional(num_hidden=4):
    energy = Conditional(Projection(PlainScore(8, 3, width=4), 3), Uniform(SHAPE))
    mapping = ByClass(PlainMapping(8, 3, num_hidden=num_hidden, width=4), 3)
    flow = JKO(tau=0.1, ends="data", share=0.5, contrast=logistic)
    stages = {"hidden": CHAIN, "image": CHAIN}
    return ConditionalGGCN(
        energy, mapping, flow=flow, mapping_loss=Adversarial(logistic), training=stages, sampling=stages
    )


def chains_by_class():
    energy = Conditional(Projection(PlainScore(8, 3, width=4), 3), Uniform(SHAPE))
    return ConditionalGCN(energy, PersistentByClass(energy.reference, 16, 3), CHAIN, flow=JKO(tau=0.1))


def as_on_a_gpu():
    """The parts of the recipes of CIFAR-10."""
    energy = Energy(ResidualScore(8, 3, width=4, growth=2, depth=2, patch=2), Uniform(SHAPE))
    mapping = ResidualMapping(8, 3, num_hidden=4, width=4, growth=2)
    flow = Annealed(JKO(tau=0.1, ends="data", share=0.25, contrast=logistic), end=0.05, num_updates=9)
    return GGCN(
        energy, mapping, flow=flow, mapping_loss=Adversarial(logistic), training={"image": CHAIN},
        sampling={"selection": Independent(num_steps=3), "hidden": CHAIN, "image": CHAIN}, beta=2.0,
        augmentation=Augmentation(0.5),
    )  # fmt: skip


def bank(reference=None):
    return Persistent(reference or Uniform(SHAPE), 32, rebirth=0.5)


def spectral():
    energy, chain = (
        Energy(PlainScore(8, 3, width=4), Spectral(SHAPE)),
        Preconditioned(0.01, 3, temperature=0.1),
    )
    energy.reference.see(images())
    return GCN(energy, bank(energy.reference), chain)


LEARNERS = {
    "gcn": lambda: GCN(energy(), bank(), CHAIN),
    "wgcn": lambda: WGCN(energy(), bank(), CHAIN, flow=JKO(tau=0.1)),
    "annealed": lambda: GCN(energy(), bank(), CHAIN, flow=Annealed(JKO(tau=0.4), end=0.1, num_updates=3)),
    "spectral": spectral,
    "fresh": lambda: GCN(energy(), Fresh(Uniform(SHAPE)), MALA(0.01, 3)),
    "ggcn": lambda: ggcn(Cooperative(), hidden=CHAIN, image=CHAIN),
    "selection": lambda: ggcn(Adversarial(), selection=Independent(num_steps=3)),
    "by class": conditional,
    "chains by class": chains_by_class,
    "amortised": lambda: ggcn(Adversarial(logistic)),
    "augmented": lambda: ggcn(Adversarial(logistic), AdaptiveAugmentation(num_images=100), image=CHAIN),
    "multigrid": multigrid,
    "as on a GPU": as_on_a_gpu,
}


def images():
    """The same at every call, of three classes."""
    pixels = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 3)).astype(np.uint8)
    return from_array(pixels, np.arange(64) % 3)


def built(name):
    """The same at every call, too."""
    torch.manual_seed(0)
    return LEARNERS[name]()


def trainer(learner, device="cpu", data=None, **clocks):
    """Everything that the learner has is trained, on images that are drawn anew or on `data`."""
    data = images() if data is None else data
    if hasattr(learner, "num_classes"):
        data = data.with_labels(learner.num_classes)
    adam = {
        name: Adam(1e-3) for name, part in learner.named_children() if any(True for _ in part.parameters())
    }
    return Trainer(
        learner, data, Schedule(**{"num_steps": 4, "batch_size": 16, "adam": adam} | clocks), device=device
    )


@contextmanager
def no_waiting(device):
    """On a GPU an error for whatever makes the host wait for it."""

    def watch(mode):
        with warnings.catch_warnings():  # that not all of it is found
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode(mode)

    if device == "cpu":
        yield
        return
    watch("error")
    try:
        yield
    finally:
        watch("default")
