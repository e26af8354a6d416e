"""A compiled chain is the eager one up to rounding, and says so where it cannot be had.

The chains run in a process of their own: the shape checks of the other tests are no code for a compiler.
"""

import gc
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from evolvent.compiled import draws_of_a_move
from evolvent.dynamics import MALA, Langevin
from evolvent.energy import Energy
from evolvent.noise import ImageNoise, Noise
from evolvent.reference import Gaussian

SCRIPT = """
from dataclasses import replace
import torch
from torch import nn
from evolvent import MALA, Energy, Gaussian, ImageNoise, Langevin, Noise, Underdamped

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1), nn.Flatten(0))
energy = Energy(net, Gaussian((3,)))
start = torch.randn(32, 3)

def noises():
    torch.manual_seed(1)
    return Noise(), ImageNoise(0, 0, 32)

falling = {"final_step_size": 0.01}
for chain in (Langevin(0.1, 20, 0.5, **falling), Underdamped(0.1, 50, **falling), MALA(0.3, 20)):
    for eager_noise, same_noise in zip(noises(), noises()):
        torch.manual_seed(1)
        eager = chain.evolve(energy, start, eager_noise)
        torch.manual_seed(1)
        compiled = replace(chain, compiled=True).evolve(energy, start, same_noise)
        # Of order one, through 20 moves: some hundred roundings of 1e-7, which a smooth energy does not amplify.
        torch.testing.assert_close(compiled.end, eager.end, atol=1e-5, rtol=0)
        torch.testing.assert_close(compiled.start_energy, eager.start_energy, atol=1e-4, rtol=0)
        torch.testing.assert_close(compiled.force_norm, eager.force_norm, atol=1e-4, rtol=0)
        assert compiled.acceptance == eager.acceptance
    with torch.no_grad():
        net[0].weight.mul_(2)  # a graph reads the weights, it does not keep them
"""

ENERGY = Energy(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), Gaussian((3,)))


def run(script, **environment):
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")
def test_a_compiled_chain_is_the_eager_chain_up_to_rounding():
    done = run(SCRIPT, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_without_a_compiler_a_compiled_chain_is_refused_in_a_sentence(tmp_path):
    """CXX names no program, and the cache of what was compiled before is empty."""
    script = SCRIPT.replace("compiled = ", "print('asked'); compiled = ").replace("0.1, 20,", "0.1, 1,")
    done = run(script, CXX=str(tmp_path / "none"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert done.stdout.startswith("asked")
    assert "ValueError: this chain cannot be compiled here" in done.stderr
    assert "leave `compiled` out" in done.stderr


@pytest.mark.parametrize(
    ("chain", "kinds"),
    [
        (Langevin(0.1, 2), ["normal"]),
        (Langevin(0.1, 2, temperature=0.0), []),
        (MALA(0.1, 2), ["normal", "uniform"]),
    ],
)
def test_a_rehearsal_tells_what_a_move_draws_and_draws_nothing(chain, kinds):
    x = torch.randn(4, 3)
    before = torch.get_rng_state()
    draws = draws_of_a_move(chain, x.shape, x.device)
    assert [kind for kind, _ in draws] == kinds
    assert all(shape[0] == 4 for _, shape in draws)
    assert torch.equal(torch.get_rng_state(), before)


def test_particles_do_not_depend_on_how_many_forces_are_taken_at_once():
    """Up to the rounding of a matrix product at another number of rows."""
    x = torch.randn(10, 3)
    whole, parts = ENERGY.value_and_force(x), ENERGY.value_and_force(x, rows=4)
    assert torch.allclose(whole[0], parts[0], atol=1e-6)
    assert torch.allclose(whole[1], parts[1], atol=1e-6)


def test_what_a_force_keeps_is_bounded_however_many_particles_there_are(monkeypatch):
    """64 particles that keep a little over 4 MiB each are taken four at once: 32 MiB hold seven."""

    class Heavy(nn.Module):
        def forward(self, x):
            return (x.repeat(1, 2**20).exp()).sum(1)

    monkeypatch.setattr(
        "evolvent.energy.keeps_freed_memory", lambda: False
    )  # as another test may have set it
    energy = Energy(Heavy(), Gaussian((1,)))
    assert energy.load(torch.zeros(64, 1)).rows == 4
    assert energy.load(torch.zeros(2, 1)).rows is None


def test_points_that_a_net_compares_are_seen_together():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian((3,)))
    before = net[0].running_mean.clone()
    assert energy.load(torch.randn(64, 3)).rows is None
    assert torch.equal(net[0].running_mean, before)


@pytest.mark.parametrize("noise", [Noise(), ImageNoise(0, 0, 8)])
def test_a_chains_memory_does_not_grow_with_its_length(noise):
    """The tensors that are alive at the last move are as many as at the third."""
    alive = []

    class Counting(Langevin):
        def propose(self, x, force, noise, step_size):
            gc.collect()
            alive.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
            return super().propose(x, force, noise, step_size)

    Counting(0.1, 12).evolve(ENERGY, torch.randn(8, 3), noise)
    assert alive[-1] == alive[2]
