"""Nothing in a chain or a training step waits for a number: a GPU would stand still for each that the host reads."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from evolvent.augmentation import AdaptiveAugmentation
from evolvent.conditional import Conditional
from evolvent.data import from_array
from evolvent.dynamics import MALA, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, Annealed, logistic
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.conditional import ConditionalGCN, ConditionalGGCN
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.learners.wgcn import WGCN
from evolvent.nets.classes import ByClass, Projection
from evolvent.nets.mapping import PlainMapping, Upsampling
from evolvent.nets.score import PlainScore
from evolvent.noise import ImageNoise, Noise
from evolvent.particles import Fresh, Persistent, PersistentByClass
from evolvent.reference import Uniform
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

CHAIN = Langevin(0.01, 3, temperature=0.1)


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


def energy(size=8):
    return Energy(PlainScore(size, width=4), Uniform((1, size, size)))


def ggcn(loss, augmentation=None, **training):
    mapping = PlainMapping(8, num_hidden=4, width=4)
    flow = JKO(tau=0.1, ends="data", share=0.5, contrast=logistic)
    learner = GGCN(energy(), mapping, flow=flow, mapping_loss=loss, training=training, sampling=training)
    learner.augmentation = augmentation
    return learner


def multigrid():
    mappings = [PlainMapping(4, num_hidden=4, width=4), Upsampling(8, 4, width=4)]
    return MultiGrid([energy(4), energy(8)], mappings, flow=KL(), mapping_loss=Adversarial(), dynamics=CHAIN)


def conditional():
    energy = Conditional(Projection(PlainScore(8, width=4), 3), Uniform((1, 8, 8)))
    mapping = ByClass(PlainMapping(8, num_hidden=4, width=4), 3)
    flow = JKO(tau=0.1, ends="data", share=0.5, contrast=logistic)
    stages = {"hidden": CHAIN, "image": CHAIN}
    return ConditionalGGCN(
        energy, mapping, flow=flow, mapping_loss=Adversarial(logistic), training=stages, sampling=stages
    )


def chains_by_class():
    energy = Conditional(Projection(PlainScore(8, width=4), 3), Uniform((1, 8, 8)))
    return ConditionalGCN(energy, PersistentByClass(energy.reference, 16, 3), CHAIN, flow=JKO(tau=0.1))


def bank():
    return Persistent(Uniform((1, 8, 8)), 32, rebirth=0.5)


LEARNERS = {
    "gcn": lambda: GCN(energy(), bank(), CHAIN),
    "wgcn": lambda: WGCN(energy(), bank(), CHAIN, flow=JKO(tau=0.1)),
    "annealed": lambda: GCN(energy(), bank(), CHAIN, flow=Annealed(JKO(tau=0.4), end=0.1, num_updates=3)),
    "fresh": lambda: GCN(energy(), Fresh(Uniform((1, 8, 8))), MALA(0.01, 3)),
    "ggcn": lambda: ggcn(Cooperative(), hidden=CHAIN, image=CHAIN),
    "selection": lambda: ggcn(Adversarial(), selection=Independent(num_steps=3)),
    "by class": conditional,
    "chains by class": chains_by_class,
    "amortised": lambda: ggcn(Adversarial(logistic)),
    "augmented": lambda: ggcn(Adversarial(logistic), AdaptiveAugmentation(num_images=100), image=CHAIN),
    "multigrid": multigrid,
}


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
        chain.evolve(energy(), torch.rand(16, 1, 8, 8), noise)
    assert not seen


def trainer(learner, device="cpu"):
    pixels = torch.randint(0, 256, (64, 8, 8), dtype=torch.uint8).numpy()
    data = from_array(pixels, np.arange(64) % 3)
    if hasattr(learner, "num_classes"):
        data = data.with_labels(learner.num_classes)
    adam = {
        name: Adam(1e-3) for name, part in learner.named_children() if any(True for _ in part.parameters())
    }
    return Trainer(learner, data, Schedule(4, 16, adam), device=device)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_training_step_reads_nothing(name):
    run = trainer(LEARNERS[name]())
    run.advance()
    with reads() as seen:
        run.advance()
    assert not seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", LEARNERS)
def test_a_training_step_never_waits_for_the_gpu(name):
    run = trainer(LEARNERS[name](), device="cuda")
    run.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
