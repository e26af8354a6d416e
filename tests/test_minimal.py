"""examples/minimal.py against the library: the same seeds give the same numbers, step by step."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from evolvent.data.toys import Ring
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.learners.gcn import GCN
from evolvent.learners.wgcn import WGCN
from evolvent.metrics.distances import energy_distance
from evolvent.noise import Noise
from evolvent.particles import Persistent
from evolvent.reference import Gaussian
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer, reseed

PATH = Path(__file__).parent.parent / "examples" / "minimal.py"
NUM_STEPS, SEED = 10, 3


@pytest.fixture(scope="module")
def minimal():
    specification = importlib.util.spec_from_file_location("minimal", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def librarys_trainer(minimal, net, tau):
    """The example's settings in the library's words, over the same net and the same bank."""
    energy = Energy(copy.deepcopy(net), Gaussian((2,), std=minimal.REFERENCE_STD))
    particles = Persistent(energy.reference, minimal.NUM_SLOTS, rebirth=minimal.REBIRTH)
    chain = Langevin(minimal.STEP_SIZE, minimal.NUM_MOVES)
    kind, flow = (WGCN, JKO(tau=tau)) if tau else (GCN, KL())
    learner = kind(energy, particles, chain, flow=flow)
    adam = {"energy": Adam(minimal.LR, betas=minimal.BETAS)}
    schedule = Schedule(NUM_STEPS, minimal.BATCH_SIZE, adam, decay_from=1.0)
    return Trainer(learner, Ring(), schedule, seed=SEED)


@pytest.mark.parametrize("tau", [0.0, 0.005], ids=["GCN", "w-GCN"])
def test_the_example_gives_the_librarys_numbers(minimal, tau):
    """Float32: the library takes data and particles through the net in one pass, the example in two."""
    torch.manual_seed(0)
    net = minimal.Score()
    before = torch.get_rng_state()
    trainer = librarys_trainer(minimal, net, tau)
    torch.set_rng_state(before)
    bank = minimal.draw_reference(minimal.NUM_SLOTS)
    assert torch.equal(bank, trainer.learner.particles.bank)

    optimiser = torch.optim.Adam(net.parameters(), lr=minimal.LR, betas=minimal.BETAS)
    for step in range(NUM_STEPS):
        update = trainer.advance()
        reseed(SEED, step)
        loss, gap, kinetic = minimal.learn(net, optimiser, bank, tau)
        assert loss == pytest.approx(update.losses["energy"].item(), abs=1e-5)
        assert gap == pytest.approx(update.stats["energy_gap"].item(), abs=1e-5)
        if tau:  # without tau the library does not look at it
            assert kinetic == pytest.approx(update.stats["kinetic"].item(), rel=1e-4)
    assert torch.allclose(bank, trainer.learner.particles.bank, atol=1e-4)
    for ours, theirs in zip(net.parameters(), trainer.learner.energy.net.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_its_chains_and_its_measure_are_the_librarys(minimal):
    torch.manual_seed(0)
    energy = Energy(minimal.Score(), Gaussian((2,), std=minimal.REFERENCE_STD))
    x, y = torch.randn(2, 50, 2)
    reseed(SEED, 0)
    end = minimal.evolve(energy.net, x, 30)
    reseed(SEED, 0)
    assert torch.allclose(end, Langevin(minimal.STEP_SIZE, 30).evolve(energy, x, Noise()).end, atol=1e-5)
    assert minimal.energy_distance(x, y) == pytest.approx(energy_distance(x, y).value, abs=1e-5)


def test_the_example_needs_nothing_but_torch_and_runs_to_its_end(minimal, monkeypatch, capsys):
    assert not any(line.split()[1].startswith("evolvent") for line in imports())
    for name, value in {"NUM_STEPS": 8, "NUM_MOVES": 2, "SAMPLING_MOVES": 2}.items():
        monkeypatch.setattr(minimal, name, value)
    minimal.main()
    assert "new chains" in capsys.readouterr().out


def imports():
    return [line for line in PATH.read_text().splitlines() if line.startswith(("import ", "from "))]
