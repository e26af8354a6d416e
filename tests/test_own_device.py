"""No tensor of a training step or of a chain is made on another device than the learner's, nor read from one.

Where it were, a GPU would stop with an error, wait for the host, or record the number in a CUDA graph for ever; on a
CPU nobody would notice. So the learner is on "meta" here, a device that has shapes and no numbers, and a spy looks at
every operator.
"""

from contextlib import nullcontext

import pytest
import torch
from each import CHAIN, LEARNERS, SHAPE, energy, trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evolvent.data.textures import Crops
from evolvent.data.toys import Checkerboard, Ring
from evolvent.dynamics import MALA, Independent, Underdamped
from evolvent.noise import ImageNoise, Noise
from evolvent.observed import Observed
from evolvent.views import Masked


class Elsewhere(TorchDispatchMode):
    """Notes the operators that take or make a tensor on another device than "meta"."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != "meta" for tensor in tensors):
            self.seen.append(str(function))
        return made


@pytest.fixture(autouse=True)
def _meta_knows_no_autocast_and_no_numbers_of_the_data(monkeypatch):
    monkeypatch.setattr("evolvent.training.trainer.autocast", lambda precision, device: nullcontext())
    monkeypatch.setattr("evolvent.training.trainer.let_see", lambda learner, data: None)


def test_the_spy_sees_what_is_made_elsewhere():
    x = torch.ones(3, device="meta")
    with Elsewhere() as spy:
        x + 1
        assert not spy.seen
        x * torch.tensor(2.0)  # made, and multiplied with
        torch.arange(3)
    assert len(spy.seen) == 3


@pytest.mark.parametrize("name", LEARNERS)
def test_a_training_step_stays_on_the_learners_device(name):
    """Two steps, as the first makes what the optimisers and the signs keep."""
    run = trainer(LEARNERS[name](), device="meta")
    with Elsewhere() as spy:
        run.advance()
        run.advance()
    assert not spy.seen


@pytest.mark.parametrize("name", LEARNERS)
def test_sampling_stays_on_the_learners_device(name):
    learner = LEARNERS[name]().to("meta")
    with Elsewhere() as spy:
        learner.sample(4, ImageNoise(0, 0, 4, "meta"))
    assert not spy.seen


@pytest.mark.parametrize("chain", [CHAIN, Underdamped(0.01, 3), MALA(0.01, 3), Independent(num_steps=3)])
@pytest.mark.parametrize("noise", [Noise("meta"), ImageNoise(0, 0, 16, "meta")])
def test_a_chain_stays_where_its_particles_are(chain, noise):
    on_meta, x = energy().to("meta"), torch.rand(16, *SHAPE, device="meta")
    with Elsewhere() as spy:
        chain.evolve(on_meta, x, noise)
    assert not spy.seen


def test_a_completion_stays_where_what_is_seen_lies():
    held, view = energy().to("meta"), Masked(torch.ones(SHAPE)).to("meta")
    held.net = Observed(held.net, torch.rand(4, *SHAPE, device="meta"), view, 0.5)
    with Elsewhere() as spy:
        CHAIN.evolve(held, torch.rand(4, *SHAPE, device="meta"), Noise("meta"))
    assert not spy.seen


@pytest.mark.parametrize(
    "source", [Ring(), Checkerboard(), Crops(torch.zeros(3, 20, 30, dtype=torch.uint8), 8)]
)
def test_a_source_draws_where_it_is(source):
    on_meta = source.to("meta")
    with Elsewhere() as spy:
        x = on_meta.draw(8)
        if hasattr(on_meta, "log_density"):
            on_meta.log_density(x)
    assert not spy.seen
