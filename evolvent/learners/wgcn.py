"""w-GCN: GCN with the JKO flow in place of the KL flow, against KL-vanishing.                 [source]"""

from evolvent.dynamics import Dynamics
from evolvent.energy import Energy
from evolvent.flows import JKO, Annealed
from evolvent.learners.gcn import GCN
from evolvent.particles import Particles


class WGCN(GCN):
    """GCN under `flow`, JKO's cost; its `tau` is the dial, and tau = 0 is GCN to the last bit."""

    def __init__(
        self,
        energy: Energy,
        particles: Particles,
        dynamics: Dynamics,
        *,
        flow: JKO | Annealed,
        sampling: Dynamics | None = None,
    ) -> None:
        super().__init__(energy, particles, dynamics, flow=flow, sampling=sampling)
