"""Toys: the plane, where the exact density is known."""

from typing import Literal

from torch import nn

from evolvent.data.toys import Checkerboard, Grid, Moons, Ring
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.learners.gcn import GCN
from evolvent.metrics.scores import judge_points
from evolvent.particles import Persistent
from evolvent.recipes.card import recipe
from evolvent.reference import Gaussian
from evolvent.shapes import PerPoint, Points
from evolvent.trainer import Adam, Experiment, Schedule

TOYS = {"ring": Ring, "grid": Grid, "moons": Moons, "checkerboard": Checkerboard}


class PlaneScore(nn.Module):
    """A score over the plane: three linear layers with SiLU."""

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, x: Points) -> PerPoint:
        return self.layers(x).squeeze(1)


@recipe(shows="GCN (tau 0) or w-GCN on a ring of Gaussians, or another toy", minutes=1)
def toy_ring(
    num_steps: int = 1500,
    batch_size: int = 256,
    toy: Literal["ring", "grid", "moons", "checkerboard"] = "ring",
    tau: float = 0.05,
    lr: float = 1e-3,
    chain_steps: int = 20,
    chain_step_size: float = 0.02,
    num_slots: int = 4096,
    rebirth: float = 0.05,
) -> Experiment:
    """Persistent Langevin chains at temperature 1: here the model is the density itself, and can be judged so."""
    source = TOYS[toy]()
    energy = Energy(PlaneScore(), Gaussian((2,), std=2.0))
    learner = GCN(
        energy,
        Persistent(energy.reference, num_slots, rebirth=rebirth),
        Langevin(chain_step_size, chain_steps),
        flow=JKO(tau=tau) if tau else KL(),
        sampling=Langevin(chain_step_size, 1000),
    )
    schedule = Schedule(num_steps, batch_size, {"energy": Adam(lr, betas=(0.5, 0.95))}, log_every=50)
    return Experiment(learner, lambda: source, schedule, held_out=lambda: source, judge=judge_points)
