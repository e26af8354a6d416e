"""Toys: the plane, where the exact density is known."""

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from evolvent.data.toys import Checkerboard, Grid, Moons, Ring
from evolvent.dynamics import MALA, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.learners.gcn import GCN
from evolvent.learners.wgcn import WGCN
from evolvent.metrics.scores import judge_points
from evolvent.particles import Persistent
from evolvent.recipes.card import recipe
from evolvent.reference import Gaussian
from evolvent.shapes import PerPoint, Points
from evolvent.training.schedule import Adam, Experiment, Schedule

Toy = Literal["ring", "grid", "moons", "checkerboard"]
TOYS = {"ring": Ring, "grid": Grid, "moons": Moons, "checkerboard": Checkerboard}


class PlaneScore(nn.Module):
    """A score over the plane: waves of random direction and frequency, then two linear layers with SiLU.

    The waves (random Fourier features; Tancik et al. 2020), of deviation 1 in radians a unit, let a small net resolve
    narrow modes; they are given, not learned.
    """

    NUM_WAVES = 64

    def __init__(self, *, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(2, self.NUM_WAVES))
        self.layers = nn.Sequential(nn.Linear(2 * self.NUM_WAVES, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x: Points) -> PerPoint:
        phase = x @ self.waves
        return self.layers(torch.cat([phase.cos(), phase.sin()], dim=1)).squeeze(1)


@recipe(
    shows="w-GCN on a ring of Gaussians, or on another toy",
    minutes=1,
    score="energy distance .003, real -.001",
)
def toy_ring(
    num_steps: int = 1500,
    batch_size: int = 256,
    toy: Toy = "ring",
    tau: float = 0.005,
    ends: Literal["path", "data"] = "path",
    lr: float = 3e-3,
    dynamics: Literal["langevin", "mala"] = "langevin",
    chain_steps: int = 20,
    chain_step_size: float = 0.005,
    num_slots: int = 4096,
    rebirth: float = 0.05,
) -> Experiment:
    """Persistent chains at temperature 1: here the model is the density itself, and is judged as one."""
    chain = {"langevin": Langevin, "mala": MALA}[dynamics](chain_step_size, chain_steps)
    flow, schedule = JKO(tau=tau, ends=ends), plane_schedule(num_steps, batch_size, lr)
    return gcn_on_plane(WGCN, toy, chain, flow=flow, num_slots=num_slots, rebirth=rebirth, schedule=schedule)


@recipe(
    shows="GCN on the same toys, at a fifteenth of the learning rate",
    minutes=1,
    score="energy distance .007, real -.001",
)
def toy_ring_gcn(
    num_steps: int = 1500,
    batch_size: int = 256,
    toy: Toy = "ring",
    lr: float = 2e-4,
    chain_steps: int = 20,
    chain_step_size: float = 0.005,
    num_slots: int = 4096,
    rebirth: float = 0.05,
) -> Experiment:
    """The KL flow: `--lr 3e-3`, at which w-GCN is calm, makes it diverge."""
    chain = Langevin(chain_step_size, chain_steps)
    flow, schedule = KL(), plane_schedule(num_steps, batch_size, lr)
    return gcn_on_plane(GCN, toy, chain, flow=flow, num_slots=num_slots, rebirth=rebirth, schedule=schedule)


def plane_schedule(num_steps: int, batch_size: int, lr: float) -> Schedule:
    adam = {"energy": Adam(lr, betas=(0.5, 0.95))}
    return Schedule(num_steps, batch_size, adam, log_every=50, sampling_batch_size=1024)


def gcn_on_plane(
    model: type[GCN],
    toy: Toy,
    chain: Langevin,
    *,
    flow: KL,
    num_slots: int,
    rebirth: float,
    schedule: Schedule,
) -> Experiment:
    energy = Energy(PlaneScore(), Gaussian((2,), std=2.0))
    particles = Persistent(energy.reference, num_slots, rebirth=rebirth)
    learner = model(energy, particles, chain, flow=flow, sampling=replace(chain, num_steps=1000))
    source = TOYS[toy]
    return Experiment(learner, source, schedule, held_out=source, judge=judge_points)
