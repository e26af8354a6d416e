"""A run of milliseconds on the ring, for tests of what happens around it."""

import os

import torch
from torch import nn

from evolvent.data.toys import Ring
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.learners.gcn import GCN
from evolvent.particles import Persistent
from evolvent.processes.ranks import ALONE
from evolvent.reference import Gaussian
from evolvent.storage.reading import read_lines
from evolvent.storage.runs import Run, step_of
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.session import Watcher
from evolvent.training.trainer import Trainer

ARGUMENTS = {"num_steps": 12}

RECIPE = """
import os, signal
import torch
from torch import nn

from evolvent import Adam, Energy, Experiment, Gaussian, GCN, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring


def toy(num_steps: int = 6, {keyword}: float = 1e-2) -> Experiment:
    {first}
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian((2,)))
    learner = GCN(energy, Persistent(energy.reference, 16), Langevin(0.01, 2))
    adam = {{"energy": Adam({keyword})}}
    return Experiment(learner, Ring, Schedule(num_steps, 8, adam, log_every=2, checkpoint_every=2))
"""
"""The same as a file of one's own, to be formatted: its recipe is `toy`."""


class Heard(Watcher):
    """Keeps what was said."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


class Interrupted(Ring):
    """Sends this process a signal while data are drawn for the given step."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def draw(self, num):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().draw(num)


def trainer(data=None, *, lr=1e-2, ranks=ALONE, **clocks):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian((2,)))
    learner = GCN(energy, Persistent(energy.reference, 32), Langevin(0.1, 2))
    clocks = {"num_steps": 12, "log_every": 1, "picture_every": 1000, "checkpoint_every": 3} | clocks
    schedule = Schedule(batch_size=8, adam={"energy": Adam(lr)}, **clocks)
    return Trainer(learner, data or Ring(), schedule, seed=3, ranks=ranks)


def create(path):
    return Run.create(path, recipe="toy", arguments=ARGUMENTS, seed=3)


def same(a, b):
    """Bitwise equality of nested containers."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def timeless(run):
    return [line | {"seconds": 0} for line in read_lines(run.path / "log.jsonl")]


def steps(run):
    """The steps of the checkpoints, newest first."""
    return [step_of(file) for file in run.checkpoints()]
