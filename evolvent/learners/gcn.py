"""GCN, the generative ConvNet: particles evolve in image space, the energy takes one step of the KL flow.

With a bank of given filters as its score (`nets.filters.FilterScore`) this is FRAME.          [source]
"""

from torch import nn

from evolvent.dynamics import Dynamics, Evolution
from evolvent.energy import Energy
from evolvent.flows import KL, Flow
from evolvent.learners.update import Update, require_stages, vital_signs
from evolvent.noise import Noise
from evolvent.particles import Particles, Slots
from evolvent.shapes import Points


class GCN(nn.Module):
    """Where particles are born, how they move, and what the update of the energy costs: three parts.

    `sampling` is the chain that `sample` runs from the reference; it may be longer than the one in training.
    """

    def __init__(
        self,
        energy: Energy,
        particles: Particles,
        dynamics: Dynamics,
        *,
        flow: Flow | None = None,
        sampling: Dynamics | None = None,
    ) -> None:
        super().__init__()
        self.energy, self.particles, self.dynamics = energy, particles, dynamics
        self.flow = flow or KL()
        self.stages = {"image": sampling or dynamics}

    def forward(self, data: Points) -> Update:
        noise = Noise(data.device)
        return self.update(data, *self.particles.start(len(data), noise), noise)

    def update(self, data: Points, start: Points, slots: Slots, noise: Noise) -> Update:
        """One update of the energy, from chains that go on from `start`."""
        evolution = self.run(self.dynamics, start, noise)
        self.particles.commit(slots, evolution.end)
        cost = self.flow(self.energy, data, evolution)
        signs = vital_signs(self.energy, data, evolution, cost) | self.particles.signs()
        return Update({"energy": cost.loss}, evolution.end, signs)

    def run(self, dynamics: Dynamics, x: Points, noise: Noise) -> Evolution:
        """The chain of training, or of sampling."""
        return dynamics.evolve(self.energy, x, noise)

    def sample(self, num: int, noise: Noise, stages: dict[str, Dynamics] | None = None) -> Points:
        """`num` chains from the reference; without the stage "image", the reference itself."""
        return self.grow(self.energy.reference.sample(num, noise), noise, stages)

    def grow(self, x: Points, noise: Noise, stages: dict[str, Dynamics] | None) -> Points:
        """What comes of these points of the reference."""
        stages = self.stages if stages is None else stages
        require_stages(stages, self.stages)
        return self.run(stages["image"], x, noise).end if "image" in stages else x
