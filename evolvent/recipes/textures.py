"""Textures: one picture, whose windows of 64 px are the data. Its left part teaches and its right 64 px judge.

FRAME is given its filters and learns what to make of their responses; a GCN learns the filters as well.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evolvent.data.packaged import texture as packaged_texture
from evolvent.data.pixels import to_particles
from evolvent.data.textures import Crops, prepare, split_texture
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.learners.gcn import GCN
from evolvent.metrics.features import Features
from evolvent.metrics.scores import Score, judge_texture
from evolvent.nets.filters import FilterScore
from evolvent.nets.score import TextureScore
from evolvent.particles import Persistent
from evolvent.recipes.card import recipe
from evolvent.reference import Gaussian
from evolvent.shapes import Pixels
from evolvent.training.schedule import Adam, Experiment, Schedule

SIZE = 64
GRAIN = 0.05


class Look(NamedTuple):
    """How a picture is prepared, so that its bricks or stones fit the filters."""

    shrink: int
    contrast: float


LOOKS = {"brick": Look(4, 1.6), "gravel": Look(2, 1.4), "grass": Look(2, 1.4)}


class Responses(nn.Module):
    """FRAME's filters as a detector: the mean rectified responses of each picture, in their deviations.

    Under them the response distance is the papers' R, whatever the model. The filters' units are those of
    `given`, crops that no model has seen.
    """

    name = "frame-filters"

    def __init__(self, given: Pixels) -> None:
        super().__init__()
        self.bank = FilterScore(given.shape[1])
        self.bank.calibrate(to_particles(given))

    def forward(self, pixels_uint8: Pixels) -> Features:
        return self.bank.mean_responses(to_particles(pixels_uint8)).flatten(1)


def judge(
    samples: Tensor, held_out: Tensor, train: Tensor, *, device: str | torch.device = "cpu"
) -> list[Score]:
    """As given filters see the textures, and as a net does that has learned from photographs."""
    both = partial(judge_texture, samples, held_out, train, device=device)
    return [*both(detector=Responses(held_out)), *both()]


class Parts(NamedTuple):
    """Windows of the picture's left part, and of its right."""

    train: Crops
    held_out: Crops


def parts_of(texture: str, shrink: int | None, contrast: float | None) -> Parts:
    """Windows of the prepared picture, left and right. None stands for what suits the texture."""
    look = LOOKS.get(texture, Look(1, 1.0))
    picture = prepare(
        packaged_texture(texture),
        shrink=look.shrink if shrink is None else shrink,
        contrast=look.contrast if contrast is None else contrast,
        grain=GRAIN,
    )
    height, width = picture.shape[1:]
    if height < SIZE or width < 2 * SIZE:
        raise ValueError(
            f"{texture} is {height} × {width} px once prepared, and two windows side by side take {SIZE} × {2 * SIZE}:"
            " give a smaller shrink or a larger picture"
        )
    train, held_out = split_texture(picture, held_out=SIZE / width)
    return Parts(Crops(train, SIZE), Crops(held_out, SIZE))


@recipe(
    shows="FRAME: given filters, learned potentials of their responses", minutes=3, score="R .097, real .073"
)
def texture_frame(
    num_steps: int = 500,
    batch_size: int = 8,
    texture: str = "brick",
    shrink: int | None = None,
    contrast: float | None = None,
    std: float = 0.4,
    lr: float = 0.01,
    chain_steps: int = 6,
    chain_step_size: float = 4e-4,
    num_slots: int = 8,
    rebirth: float = 0.003,
    sampling_steps: int = 800,
) -> Experiment:
    """The law nearest to Gaussian noise that has the texture's histograms of filter responses.

    Args:
        texture: brick, gravel, grass, another packaged picture or a file.
        shrink: average over blocks of so many px on a side (default: what suits the texture).
        contrast: stretch the picture about its mean (default: what suits the texture).
        std: of the reference, in units of [-1, 1].
    """
    parts = parts_of(texture, shrink, contrast)
    net = FilterScore(parts.train.event_shape[0])
    # The responses' units belong to the model: a saved one brings its own.
    net.calibrate(parts.train.draw(128))
    chain = Langevin(chain_step_size, chain_steps)
    schedule = texture_schedule(num_steps, batch_size, lr)
    return gcn_on_texture(
        parts, net, chain, std=std, flow=KL(), schedule=schedule,
        num_slots=num_slots, rebirth=rebirth, sampling_steps=sampling_steps,
    )  # fmt: skip


@recipe(shows="w-GCN (or GCN, tau 0): the filters are learned as well", minutes=3, score="R .060, real .073")
def texture_gcn(
    num_steps: int = 450,
    batch_size: int = 8,
    texture: str = "brick",
    shrink: int | None = None,
    contrast: float | None = None,
    std: float = 0.4,
    width: int = 24,
    tau: float = 5e-4,
    lr: float = 1e-3,
    chain_steps: int = 8,
    chain_step_size: float = 4e-4,
    num_slots: int = 8,
    rebirth: float = 0.003,
    sampling_steps: int = 600,
) -> Experiment:
    """Persistent chains at temperature 1 under a small fully convolutional score.

    Args:
        texture: brick, gravel, grass, another packaged picture or a file.
        shrink: average over blocks of so many px on a side (default: what suits the texture).
        contrast: stretch the picture about its mean (default: what suits the texture).
        std: of the reference, in units of [-1, 1].
        tau: of the JKO flow; 0 is the KL flow.
    """
    parts = parts_of(texture, shrink, contrast)
    net = TextureScore(parts.train.event_shape[0], width=width)
    flow = JKO(tau=tau, ends="data", share=0.25)
    chain = Langevin(chain_step_size, chain_steps)
    schedule = texture_schedule(num_steps, batch_size, lr)
    return gcn_on_texture(
        parts, net, chain, std=std, flow=flow, schedule=schedule,
        num_slots=num_slots, rebirth=rebirth, sampling_steps=sampling_steps,
    )  # fmt: skip


def texture_schedule(num_steps: int, batch_size: int, lr: float) -> Schedule:
    """Small batches, since every window of a texture holds many draws; few samples at once, since chains are long."""
    adam = Adam(lr, betas=(0.0, 0.99))
    return Schedule(
        num_steps, batch_size, {"energy": adam}, averaging=0.99, picture_every=100, sampling_batch_size=8
    )


def gcn_on_texture(
    parts: Parts,
    net: nn.Module,
    chain: Langevin,
    *,
    std: float,
    flow: KL,
    num_slots: int,
    rebirth: float,
    sampling_steps: int,
    schedule: Schedule,
) -> Experiment:
    """Chains from Gaussian noise that go on from step to step; sampling runs longer ones."""
    energy = Energy(net, Gaussian(parts.train.event_shape, std=std))
    particles = Persistent(energy.reference, num_slots, rebirth=rebirth)
    longer = replace(chain, num_steps=sampling_steps)
    learner = GCN(energy, particles, chain, flow=flow, sampling=longer)
    return Experiment(learner, lambda: parts.train, schedule, held_out=lambda: parts.held_out, judge=judge)
