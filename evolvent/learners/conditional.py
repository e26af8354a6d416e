"""GCN and GGCN by class: codes, births, chains, particles and data carry their class; all else is as it was. [derived]

    y of the data                  z ~ N(0, I), or a chain of class y out of the bank
    x⁰ = g(z, y)                   born in the class of the data in its row: flow and contrast pair like with like
    x ← evolve(x⁰; Φ(·, y))        the class stays what it is

The model is p(x | y) for every y. It knows nothing of how frequent classes are; `sample` takes turns.
"""

import torch
from torch import Tensor, nn

from evolvent.augmentation import Augmentation
from evolvent.conditional import Conditional
from evolvent.dynamics import Dynamics, Evolution
from evolvent.flows import Flow
from evolvent.learners.amortized import MappingLoss
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.update import Update
from evolvent.noise import Noise
from evolvent.particles import PersistentByClass
from evolvent.shapes import Labelled, Labels, Points, apart, carry


class ConditionalGCN(GCN):
    """A GCN, or under a JKO flow a w-GCN, whose data carry their labels, over a conditional energy."""

    def __init__(
        self,
        energy: Conditional,
        particles: PersistentByClass,
        dynamics: Dynamics,
        *,
        flow: Flow | None = None,
        sampling: Dynamics | None = None,
    ) -> None:
        super().__init__(energy, particles, dynamics, flow=flow, sampling=sampling)
        _check_same(energy, "bank", particles.num_classes)
        self.num_classes = particles.num_classes

    def forward(self, data: Labelled) -> Update:
        noise = Noise(data.device)
        start, slots = self.particles.start_of(apart(data)[1], noise)
        return _without_labels(self.update(data, start, slots, noise))

    def run(self, dynamics: Dynamics, x: Labelled, noise: Noise) -> Evolution:
        return _evolve_in_class(dynamics, self.energy, x, noise)

    def sample(
        self,
        num: int,
        noise: Noise,
        stages: dict[str, Dynamics] | None = None,
        labels: Labels | None = None,
    ) -> Points:
        """As GCN's, row i of class labels[i]; without them, classes take turns from 0 on."""
        return _grow_in_class(self, self.energy.reference.sample(num, noise), noise, stages, labels)


class ConditionalGGCN(GGCN):
    """A GGCN whose data carry their labels, over a conditional energy and a mapping by class (`nets.classes`)."""

    def __init__(
        self,
        energy: Conditional,
        mapping: nn.Module,
        *,
        flow: Flow,
        mapping_loss: MappingLoss,
        training: dict[str, Dynamics],
        sampling: dict[str, Dynamics],
        beta: float = 1.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(
            energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=sampling, beta=beta,
            augmentation=augmentation,
        )  # fmt: skip
        _check_same(energy, "mapping", mapping.num_classes)
        self.num_classes = mapping.num_classes

    def forward(self, data: Labelled) -> Update:
        noise = Noise(data.device)
        hidden = carry(self.hidden.sample(len(data), noise), apart(data)[1])
        return _without_labels(self.update(data, hidden, noise))

    def run(self, dynamics: Dynamics, energy: Conditional, x: Labelled, noise: Noise) -> Evolution:
        return _evolve_in_class(dynamics, energy, x, noise)

    def sample(
        self,
        num: int,
        noise: Noise,
        stages: dict[str, Dynamics] | None = None,
        labels: Labels | None = None,
    ) -> Points:
        """As GGCN's, row i of class labels[i]; without them, classes take turns from 0 on."""
        return _grow_in_class(self, self.hidden.sample(num, noise), noise, stages, labels)


def _check_same(energy: Conditional, name: str, num_classes: int) -> None:
    if energy.net.num_classes != num_classes:
        raise ValueError(f"the score knows {energy.net.num_classes} classes and the {name} {num_classes}")


def _grow_in_class(
    learner: ConditionalGCN | ConditionalGGCN,
    start: Tensor,
    noise: Noise,
    stages: dict[str, Dynamics] | None,
    labels: Labels | None,
) -> Points:
    """What comes of these codes, or points of the reference, each in its class: labels[i], or in turns from 0 on."""
    if labels is None:
        labels = torch.arange(len(start), device=noise.device) % learner.num_classes
    return apart(learner.grow(carry(start, labels), noise, stages))[0]


def _evolve_in_class(dynamics: Dynamics, energy: Conditional, x: Labelled, noise: Noise) -> Evolution:
    """Every point under the energy at its class, and the record with the labels where they were."""
    x, labels = apart(x)
    evolution = dynamics.evolve(energy.given(labels), x, noise)
    start, end = (carry(points, labels) for points in (evolution.start, evolution.end))
    return evolution._replace(start=start, end=end)


def _without_labels(update: Update) -> Update:
    """Particles as they are shown, and their extremes, which are not those of the labels."""
    particles, _ = apart(update.particles)
    lowest, highest = particles.aminmax()
    extremes = {"particle_min": lowest, "particle_max": highest}
    return update._replace(particles=particles, stats=update.stats | extremes)
