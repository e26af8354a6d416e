"""GCN, the generative ConvNet: particles evolve in image space, the energy takes one step of the KL flow.

With a bank of given filters as its score (`nets.filters.FilterScore`) this is FRAME.          [source]
"""

from torch import nn

from evolvent.dynamics import Dynamics
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.update import Update, require_stages, vital_signs
from evolvent.noise import Noise
from evolvent.particles import Particles
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
        flow: KL | None = None,
        sampling: Dynamics | None = None,
    ) -> None:
        super().__init__()
        self.energy, self.particles, self.dynamics = energy, particles, dynamics
        self.flow = flow or KL()
        self.stages = {"image": sampling or dynamics}

    def forward(self, data: Points) -> Update:
        noise = Noise(data.device)
        start, slots = self.particles.start(len(data), noise)
        evolution = self.dynamics.evolve(self.energy, start, noise)
        self.particles.commit(slots, evolution.end)
        cost = self.flow(self.energy, data, evolution)
        signs = vital_signs(self.energy, data, evolution, cost) | self.particles.signs()
        return Update({"energy": cost.loss}, evolution.end, signs)

    def sample(self, num: int, noise: Noise, stages: dict[str, Dynamics] | None = None) -> Points:
        """`num` chains from the reference; without the stage "image", the reference itself."""
        stages = self.stages if stages is None else stages
        require_stages(stages, self.stages)
        x = self.energy.reference.sample(num, noise)
        return stages["image"].evolve(self.energy, x, noise).end if "image" in stages else x
