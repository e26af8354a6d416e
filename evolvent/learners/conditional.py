"""GGCN by class: hidden codes, births, particles and data carry their class; all else is GGCN.            [derived]

    y of the data                  z ~ N(0, I)
    x⁰ = g(z, y)                   born in the class of the data in its row: flow and contrast pair like with like
    x ← evolve(x⁰; Φ(·, y))        the class stays what it is

The model is p(x | y) for every y. It knows nothing of how frequent classes are; `sample` takes turns.
"""

from typing import Any

import torch
from torch import nn

from evolvent.conditional import Conditional
from evolvent.dynamics import Dynamics, Evolution
from evolvent.learners.ggcn import GGCN
from evolvent.learners.update import Update
from evolvent.noise import Noise
from evolvent.shapes import Labels, Points, apart, carry


class ConditionalGGCN(GGCN):
    """A GGCN whose data carry their labels, over a conditional energy and a mapping by class (`nets.classes`).

    parts: the keywords of GGCN.
    """

    def __init__(self, energy: Conditional, mapping: nn.Module, **parts: Any) -> None:
        super().__init__(energy, mapping, **parts)
        if energy.net.num_classes != mapping.num_classes:
            raise ValueError(
                f"the score knows {energy.net.num_classes} classes and the mapping {mapping.num_classes}"
            )
        self.num_classes = mapping.num_classes

    def forward(self, data: Points) -> Update:
        noise = Noise(data.device)
        hidden = carry(self.hidden.sample(len(data), noise), apart(data)[1])
        update = self.update(data, hidden, noise)
        particles, _ = apart(update.particles)
        lowest, highest = particles.aminmax()
        extremes = {"particle_min": lowest, "particle_max": highest}  # of the points, and not of their labels
        return update._replace(particles=particles, stats=update.stats | extremes)

    def run(self, dynamics: Dynamics, energy: Conditional, x: Points, noise: Noise) -> Evolution:
        x, labels = apart(x)
        evolution = dynamics.evolve(energy.given(labels), x, noise)
        start, end = (carry(points, labels) for points in (evolution.start, evolution.end))
        return evolution._replace(start=start, end=end)

    def sample(
        self,
        num: int,
        noise: Noise,
        stages: dict[str, Dynamics] | None = None,
        labels: Labels | None = None,
    ) -> Points:
        """As GGCN's, row i of class labels[i]; without them, classes take turns from 0 on."""
        if labels is None:
            labels = torch.arange(num, device=noise.device) % self.num_classes
        return apart(self.grow(carry(self.hidden.sample(num, noise), labels), noise, stages))[0]
