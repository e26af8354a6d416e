"""N processes are one: same losses, same bank, same decisions; and one that dies takes the others with it."""

import math
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
import torch
import torch.distributed as dist
from tiny import Heard, create, timeless
from tiny import trainer as tiny_trainer
from torch import nn

from evolvent.cli import main
from evolvent.data.toys import Ring
from evolvent.dynamics import MALA, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, logistic
from evolvent.guard import Guard
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.wgcn import WGCN
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.particles import Fresh, Persistent
from evolvent.ranks import ALONE, RankLost, Ranks, buckets, here, normalise
from evolvent.recipes.toys import PlaneScore
from evolvent.reference import Gaussian, Uniform
from evolvent.runs import Run, Shadow, read_lines
from evolvent.session import train
from evolvent.trainer import Adam, Diverged, Schedule, Trainer

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
NUM_STEPS = 20
TOLERANCE = 1e-3
"""Sums in another order differ by 1e-7 of a gradient; Adam makes a step of lr of the sign alone of what is rounding."""

pytestmark = pytest.mark.skipif(FORK is None, reason="needs fork: a process takes seconds to start")


def child(rank, num, store, function, pipe):
    """One process of a group: what the function returns, or the error, goes into the pipe."""
    try:
        place = dist.FileStore(str(store), num)
        dist.init_process_group("gloo", store=place, rank=rank, world_size=num, timeout=timedelta(seconds=20))
        found = function(Ranks(rank, num))
    except BaseException as error:
        found = error
    pipe.send(found)
    pipe.close()
    os._exit(0)


def begin(tmp_path, function, num=2):
    """Start `num` processes; their pipes."""
    store = tmp_path / f"store-{time.monotonic_ns()}"
    started = []
    for rank in range(num):
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=child, args=(rank, num, store, function, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(tmp_path, function, num=2):
    """What the function returns, or raises, in each of `num` processes."""
    found = []
    for process, pipe in begin(tmp_path, function, num):
        assert pipe.poll(60), "a process hangs"
        found.append(pipe.recv())
        process.join()
    return found


class Grey(nn.Module):
    """Images of 8 px with one bright half."""

    event_shape = (1, 8, 8)

    def draw(self, num):
        side = torch.rand(num, 1, 1, 1) < 0.5
        image = torch.linspace(-1, 1, 8).sign().expand(num, 1, 8, 8)
        return 0.5 * torch.where(side, image, image.mT) + 0.05 * torch.randn(num, 1, 8, 8)


def on_plane(kind, particles=Persistent, chain=Langevin(0.05, 3), **flow):
    energy = Energy(PlaneScore(width=16), Gaussian((2,)))
    born = (
        Persistent(energy.reference, 45, rebirth=0.1) if particles is Persistent else Fresh(energy.reference)
    )
    return kind(energy, born, chain, **flow), Ring()


def ggcn(mapping_loss, **training):
    energy = Energy(PlainScore(8, width=8), Uniform((1, 8, 8)))
    mapping = PlainMapping(8, num_hidden=4, width=8)
    flow = JKO(tau=0.1, ends="data", contrast=logistic)
    learner = GGCN(
        energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=training
    )
    return learner, Grey()


LEARNERS = {
    "gcn with a bank": partial(on_plane, GCN),
    "gcn afresh, mala": partial(on_plane, GCN, Fresh, MALA(0.05, 3)),
    "wgcn with a bank": partial(on_plane, WGCN, flow=JKO(tau=0.1, ends="data", share=0.5)),
    "ggcn, batch norm": partial(ggcn, Adversarial()),
    "cooperative, batch norm, chains": partial(
        ggcn, Cooperative(), hidden=Langevin(0.01, 2), image=Langevin(0.01, 2)
    ),
}


def trained(make, ranks, num_steps=NUM_STEPS, state=None):
    """Losses, signs and state after so many steps; a batch of 16."""
    torch.manual_seed(0)
    learner, data = make()
    adam = {name: Adam(1e-3, betas=(0.5, 0.9)) for name in ("energy", "mapping") if hasattr(learner, name)}
    trainer = Trainer(learner, data, Schedule(100, 16, adam), seed=5, ranks=ranks)
    if state is not None:
        trainer.load_state_dict(state)
    lines = []
    for _ in range(num_steps):
        update = trainer.advance()
        lines.append({name: float(x) for name, x in (update.losses | update.stats).items()})
    return lines, trainer.state_dict()


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_two_processes_have_the_losses_and_the_bank_of_one(tmp_path, make):
    alone, alone_state = trained(make, ALONE)
    both = together(tmp_path, partial(trained, make))
    for lines, state in both:
        for line, other in zip(alone, lines, strict=True):
            for name in line:
                # Of the spread each rank tells its own; the force on data is that of the first 2 of 16.
                if name not in ("gap_spread", "data_force_norm"):
                    assert other[name] == pytest.approx(line[name], rel=TOLERANCE, abs=TOLERANCE), name
        for name, tensor in alone_state["learner"].items():
            assert torch.allclose(state["learner"][name].float(), tensor.float(), atol=20 * TOLERANCE), name
    for name, tensor in both[0][1]["averaged"].items():
        assert torch.equal(tensor, both[1][1]["averaged"][name]), name
