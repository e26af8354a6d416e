"""Nothing in a chain or a training step waits for a number: a GPU would stand still for each that the host reads."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from each import CHAIN, LEARNERS, SHAPE, energy, trainer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from evolvent import compiled
from evolvent.dynamics import MALA, Independent, Underdamped
from evolvent.noise import ImageNoise, Noise

WAITING = (
    torch.ops.aten._local_scalar_dense.default,  # item, float, bool
    torch.ops.aten.nonzero.default,  # a size that only the device knows
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
)


CROSSING = torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.new_tensor, torch.tensor, torch.from_numpy
"""The last three send from pageable memory, which a CUDA graph refuses to record."""


class Operators(TorchDispatchMode):
    """Notes the operators that make the host wait."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        masked = function is torch.ops.aten.index.Tensor and any(
            rows is not None and rows.dtype == torch.bool for rows in args[1]
        )
        if masked or function in WAITING:
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


class Lists(TorchFunctionMode):
    """Notes what on a CPU is no operator: `tolist` and `numpy` read the memory, and constants are sent to it."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in CROSSING:
            self.seen.append(function.__name__)
        return function(*args, **(kwargs or {}))


@contextmanager
def reads():
    """The list of what the host has read or sent so far."""
    with Operators() as operators, Lists(operators.seen):
        yield operators.seen


def test_the_spy_sees_a_read():
    with reads() as seen:
        float(torch.ones(1).sum())
        torch.ones(3).tolist()
        torch.ones(3)[torch.ones(3) > 0]
        torch.ones(3).new_tensor([1.0]).add(torch.tensor(2.0))
    assert len(seen) == 5


@pytest.mark.parametrize("chain", [CHAIN, MALA(0.01, 3), Independent(num_steps=3)])
@pytest.mark.parametrize("noise", [Noise(), ImageNoise(0, 0, 16)])
def test_a_chain_reads_nothing(chain, noise):
    with reads() as seen:
        chain.evolve(energy(), torch.rand(16, *SHAPE), noise)
    assert not seen


@pytest.mark.parametrize("chain", [CHAIN, Underdamped(0.01, 3), MALA(0.01, 3)])
def test_what_a_compiled_chain_is_handed_comes_from_no_host(monkeypatch, chain):
    """In the place of the machine code stands a chain that does not move; the first run rehearses the draws."""
    monkeypatch.setattr(compiled, "graph", lambda: lambda _, energy, state, *drawn: (state, state.refused))
    chain, held, x = replace(chain, compiled=True), energy(), torch.rand(16, *SHAPE)
    chain.evolve(held, x, Noise())
    with reads() as seen:
        chain.evolve(held, x, Noise())
    assert not seen


@pytest.mark.parametrize("name", LEARNERS)
def test_a_training_step_reads_nothing(name):
    run = trainer(LEARNERS[name]())
    run.advance()
    with reads() as seen:
        run.advance()
    assert not seen


@pytest.mark.parametrize("name", LEARNERS)
def test_training_and_drawing_mix_no_devices(name, monkeypatch):
    """On torch's device of tensors without numbers, beside which a tensor of the CPU is an error as on a GPU."""
    monkeypatch.setattr(
        "evolvent.training.trainer.autocast", lambda *_: nullcontext()
    )  # knows no such device
    monkeypatch.setattr(
        "evolvent.training.trainer.let_see", lambda learner, data: None
    )  # before the first step
    run = trainer(LEARNERS[name](), "meta")
    run.advance()
    run.advance()
    assert run.averaged.sample(6, Noise("meta")).shape[0] == 6
