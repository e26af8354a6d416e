"""What a GPU must do, at toy size, and in `test_gpu_drawing.py` what it draws: both are for whoever has one.

Most laws stand for a CPU as well, and are held there so that they are known to be written down right. A CPU's float32
is the oracle. Two devices then differ by the order of sums, some 1e-6 of the largest number in one, which a step does
not amplify past 1e-3. Several steps do: Adam moves a weight whose gradient is nothing but rounding by a whole learning
rate, 1e-3. What they are held against, randomness that stands still or a buffer that is not moved on, is of order one.
"""

import copy
import os
import subprocess
import sys

import pytest
import torch
from each import LEARNERS, SHAPE, built, images, no_waiting, trainer
from tiny import Heard, create
from torch import nn

import evolvent.machine
from evolvent.noise import ImageNoise, Noise
from evolvent.storage.sealed import pack_state, unpack_state
from evolvent.training.adam import FusedAdam
from evolvent.training.guard import Guard
from evolvent.training.session import train

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
SEVERAL_STEPS = {"rtol": 0.05, "atol": 0.05}


class OfTheCPU(nn.Module):
    """Images of the CPU's generator, sent to the device."""

    event_shape = SHAPE

    def __init__(self):
        super().__init__()
        self.images, self.there = images(), "cpu"

    def to(self, device):
        self.there = device
        return self

    def with_labels(self, num_classes):
        self.images = self.images.with_labels(num_classes)
        return self

    def draw(self, num):
        return self.images.cpu().draw(num).to(self.there)


@pytest.fixture
def same_everywhere(monkeypatch):
    """Noise that is drawn on the CPU, and sent. (No CUDA graph records that.)"""
    for name in ("normal", "uniform", "uniform_for_all"):
        drawn = getattr(Noise, name)
        monkeypatch.setattr(
            Noise, name, lambda self, *shape, drawn=drawn: drawn(Noise(), *shape).to(self.device)
        )


def run_of(name, device, done=0, *, data=None, **clocks):
    """A trainer after so many steps; it begins in the same way at every call."""
    data = OfTheCPU() if data is None else data
    return forward(trainer(built(name), device, data, **{"num_steps": 20} | clocks), done)


def forward(run, num_steps):
    for _ in range(num_steps):
        run.advance()
    return run


def close(found, oracle, *, rtol=1e-3, atol=1e-4):
    """Numbers by name. rtol is of the largest one in a tensor."""
    assert list(found) == list(oracle)
    for name in oracle:
        a, b = (torch.as_tensor(side[name]).detach().cpu().double() for side in (found, oracle))
        assert a.shape == b.shape
        assert (a - b).abs().max() <= rtol * b.abs().max() + atol, f"{name}: {a} and {b}"


def near(run, other, **bounds):
    """The signs since they were last compared, and the buffers that a step moves on."""
    close(run.signs.read(), other.signs.read(), **bounds)
    close(dict(run.learner.named_buffers()), dict(other.learner.named_buffers()), **bounds)
    for each in (run, other):
        each.signs.clear()


@pytest.mark.parametrize("name", LEARNERS)
def test_a_gpu_computes_what_a_cpu_does(name, device, same_everywhere):
    """Losses, vital signs, gradients and buffers of a step, for the same weights, images and noise."""
    here, on_cpu = run_of(name, device, 1), run_of(name, "cpu", 1)
    gradients, same = ({n: p.grad for n, p in run.learner.named_parameters()} for run in (here, on_cpu))
    close(gradients, same)
    near(here, on_cpu)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_captured_run_is_the_uncaptured_run(name, device):
    """Three steps to warm up, one that is recorded, three replays."""
    captured, plain = (run_of(name, device, captured=how, data=images()) for how in (True, False))
    for _ in range(7):
        near(forward(captured, 1), forward(plain, 1), **SEVERAL_STEPS)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs")
def test_a_captured_run_may_be_on_another_gpu_than_the_current_one():
    captured, plain = (run_of("wgcn", f"cuda:{k}", captured=bool(k), data=images()) for k in (1, 0))
    near(forward(captured, 6), forward(plain, 6), **SEVERAL_STEPS)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_weight_learns_in_bfloat16_what_it_learns_in_float32(
    name, device, monkeypatch, same_everywhere
):
    """8 bits of mantissa, through a handful of layers: some percent of a loss, and no gradient that is lost."""
    monkeypatch.setattr(evolvent.machine, "gains_from_bfloat16", lambda _: True)
    rounded, exact = (run_of(name, device, precision=precision) for precision in ("bfloat16", "float32"))
    close(rounded.advance().losses, exact.advance().losses, rtol=0.05, atol=0.05)
    for part, other in zip(rounded.learner.parameters(), exact.learner.parameters(), strict=True):
        assert (part.dtype, part.grad.dtype) == (torch.float32, torch.float32)
        if other.grad.norm() > 1e-3:
            assert torch.cosine_similarity(part.grad.flatten(), other.grad.flatten(), dim=0) > 0.9


@pytest.mark.parametrize(
    ("before", "after"),
    [("cpu", "cpu"), *(pytest.param(*pair, marks=ON_A_GPU) for pair in (("cuda", "cpu"), ("cpu", "cuda")))],
)
@pytest.mark.parametrize("name", ["annealed", "augmented", "chains by class"])
def test_a_run_goes_on_from_a_checkpoint_of_a_gpu_or_a_cpu(name, before, after, same_everywhere):
    """What was saved is there to the bit, and the run goes on as it would have where it was."""
    run = run_of(name, before, 2)
    saved = unpack_state(pack_state(run.state_dict()))
    resumed = run_of(name, after, 1)
    resumed.load_state_dict(copy.deepcopy(saved))
    there = unpack_state(pack_state(resumed.state_dict()))
    for part in ("learner", "averaged"):
        assert all(torch.equal(there[part][weight], tensor) for weight, tensor in saved[part].items())
    for optimiser, state in saved["optimisers"].items():
        for k, moments in state["state"].items():
            found = there["optimisers"][optimiser]["state"][k]
            assert all(torch.equal(found[moment], tensor) for moment, tensor in moments.items())
    near(forward(resumed, 1), forward(run, 1))
    near(forward(resumed, 2), forward(run, 2), **SEVERAL_STEPS)


@pytest.mark.parametrize("name", ["annealed", "augmented", "chains by class"])
def test_a_captured_run_that_is_taken_back_goes_on_as_one_that_began_there(name, device):
    """What the guard does, and --resume: a state comes into a run that was recorded by then."""
    run = run_of(name, device, 5, captured=True, data=images())
    saved = unpack_state(pack_state(run.state_dict()))
    begun = run_of(name, device, data=images())
    for back in (forward(run, 3), begun):
        back.load_state_dict(copy.deepcopy(saved))
        back.lr_scale = 0.3
        forward(back, 4)
    near(run, begun, **SEVERAL_STEPS)
    assert run.step == begun.step == 9


class Meddling(Heard):
    """Makes every weight 30 times as large after step 6, once."""

    def __init__(self, learner):
        super().__init__()
        self.weights = [*learner.parameters()]

    @torch.no_grad()
    def step(self, step):
        if step == 6:
            torch._foreach_mul_(self.weights, 30)
            self.weights = [torch.zeros(())]


def test_the_guard_takes_a_captured_run_back_on_a_gpu_too(device, tmp_path):
    """To step 6, whose checkpoint has those weights already, and then past it."""
    guard = Guard(warm_up=3, max_gap=1e4, patience=1)
    clocks = {"num_steps": 12, "log_every": 1, "checkpoint_every": 1, "picture_every": 1000, "guard": guard}
    run = run_of("gcn", device, captured=True, data=images(), **clocks)
    heard, folder = Meddling(run.learner), create(tmp_path / "run")
    with folder:
        assert train(folder, run, show=heard).status == "finished"
    assert [(rollback["step"], rollback["to"]) for rollback in folder.record["rollbacks"]] == [(7, 6), (7, 5)]
    assert any("Back to step 5" in sentence for sentence in heard.sentences)


@pytest.mark.parametrize("name", LEARNERS)
def test_no_step_and_no_chain_waits_for_the_gpu(name, device):
    run, noise = run_of(name, device, 1, data=images()), ImageNoise(0, 0, 8, device)
    with no_waiting(device):
        run.advance()
        run.averaged.sample(8, noise)


def test_adam_moves_weights_on_a_gpu_as_torchs_does_on_a_cpu(device):
    """In the layout of convolutions, of which one is 1 × 1: its strides have two readings."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 1), nn.Linear(4, 2)).to(
        memory_format=torch.channels_last
    )
    same = copy.deepcopy(net)
    ours = FusedAdam(net.to(device).parameters(), lr=0.1, betas=(0.5, 0.9))
    theirs = torch.optim.Adam(same.parameters(), lr=0.1, betas=(0.5, 0.9), foreach=False)
    for _ in range(4):
        for mine, other in zip(net.parameters(), same.parameters(), strict=True):
            other.grad = torch.randn_like(other)
            mine.grad = other.grad.to(device)
        ours.step()
        theirs.step()
        ours.load_state_dict(unpack_state(pack_state(ours.state_dict())))
    for mine, other in zip(net.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=1e-5, atol=1e-6)


COMPILED = """
import sys
from dataclasses import replace
import torch
from evolvent import Adam, Energy, GCN, Langevin, Persistent, Schedule, Uniform
from evolvent.data.toys import Ring
from evolvent.training.trainer import Trainer

def run(compiled, captured):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1), torch.nn.Flatten(0))
    energy = Energy(net, Uniform((2,)))
    learner = GCN(energy, Persistent(energy.reference, 64), Langevin(0.01, 4, compiled=compiled))
    schedule = Schedule(9, 32, {"energy": Adam(1e-3)}, captured=captured)
    made = Trainer(learner, Ring(), schedule, device=sys.argv[1])
    for _ in range(6):
        made.advance()
    return learner.particles.bank

torch.testing.assert_close(run(True, True), run(False, False), rtol=0, atol=0.01)
"""


@pytest.mark.slow
def test_a_compiled_chain_runs_within_a_captured_step_on_a_gpu(device):
    """In a process of its own: the shape checks of these tests are no code for a compiler."""
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, device]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
