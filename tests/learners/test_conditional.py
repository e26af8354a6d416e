"""GCN and GGCN by class: what they owe to the trainer, to sampling, and to the classes."""

import copy

import pytest
import torch
from torch import nn

from evolvent.conditional import Conditional
from evolvent.dynamics import Langevin
from evolvent.flows import JKO, logistic
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.conditional import ConditionalGCN, ConditionalGGCN
from evolvent.nets.classes import ByClass, Projection
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.noise import ImageNoise
from evolvent.particles import PersistentByClass
from evolvent.reference import Gaussian, Uniform
from evolvent.sampling import classes_of, draw
from evolvent.shapes import apart, carry
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

SHAPE = (1, 8, 8)
CHAIN = Langevin(0.05, 3, temperature=0.01)
CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def ggcn(mapping_loss=None, **training):
    torch.manual_seed(0)
    return ConditionalGGCN(
        Conditional(Projection(PlainScore(8, width=8), 3), Uniform(SHAPE)),
        ByClass(PlainMapping(8, num_hidden=8, width=8), 3),
        flow=JKO(tau=0.1, ends="data", contrast=logistic, share=0.5),
        mapping_loss=mapping_loss or Adversarial(logistic),
        training=training,
        sampling=training,
    )


class Shades(nn.Module):
    """Class k is of grey k − 1, give or take."""

    event_shape = SHAPE

    def draw(self, num):
        labels = torch.randint(3, (num,))
        return carry((labels - 1).view(-1, 1, 1, 1) * 0.8 + 0.1 * torch.randn(num, *SHAPE), labels)


class Blobs(nn.Module):
    """Three Gaussians of the plane, each a class."""

    event_shape = (2,)

    def draw(self, num):
        labels = torch.randint(3, (num,))
        return carry(CENTRES[labels] + 0.1 * torch.randn(num, 2), labels)


class PlaneScore(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
        self.read_out = nn.Linear(32, 1, bias=False)


class PlaneMapping(nn.Sequential):
    num_hidden = 4

    def __init__(self):
        super().__init__(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 2))


def gcn(flow=None):
    torch.manual_seed(0)
    energy = Conditional(Projection(PlainScore(8, width=8), 3), Uniform(SHAPE))
    nn.init.normal_(energy.net.directions)  # at birth all classes are one
    return ConditionalGCN(energy, PersistentByClass(Uniform(SHAPE), 16, 3), CHAIN, flow=flow)


LEARNERS = {
    "chains": gcn,
    "chains, JKO": lambda: gcn(JKO(tau=0.1, ends="data", share=0.5)),
    "adversarial": ggcn,
    "image": lambda: ggcn(image=CHAIN),
    "hidden, then image": lambda: ggcn(Cooperative(), hidden=Langevin(0.05, 2), image=CHAIN),
}


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]()


def trainer(learner, num_steps=6):
    adam = {name: Adam(1e-3) for name in ("energy", "mapping") if hasattr(learner, name)}
    schedule = Schedule(num_steps, 8, adam)
    return Trainer(learner, Shades(), schedule, seed=4)


def test_an_update_shows_points_without_labels_and_their_extremes(learner):
    update = learner(Shades().draw(16))
    assert update.particles.shape == (16, *SHAPE)
    assert update.stats["particle_min"] == update.particles.min()
    assert update.stats["particle_max"] == update.particles.max()
    assert all(sign.isfinite() and not sign.requires_grad for sign in update.stats.values())


def test_a_loss_moves_the_module_it_names_its_classes_too_and_no_other(learner):
    for moved in learner(Shades().draw(16)).losses:
        learner.zero_grad()
        learner(Shades().draw(16)).losses[moved].backward(
            inputs=list(learner.get_submodule(moved).parameters())
        )
        for name, parameter in learner.named_parameters():
            assert (parameter.grad is not None) == name.startswith(f"{moved}."), name


def test_births_pair_with_data_of_their_class(learner, monkeypatch):
    seen = []
    flow = learner.flow
    learner.flow = lambda energy, data, evolution: (
        seen.append((data, evolution)) or flow(energy, data, evolution)
    )
    data = Shades().draw(16)
    learner(data)
    ((met, evolution),) = seen
    assert torch.equal(met, data)
    for points in (evolution.start, evolution.end):
        assert torch.equal(apart(points)[1], apart(data)[1])


def test_stopping_and_going_on_equals_going_straight_on_bitwise(learner):
    straight, first = trainer(copy.deepcopy(learner)), trainer(copy.deepcopy(learner))
    for _ in range(3):
        straight.advance()
        first.advance()
    second = trainer(copy.deepcopy(learner))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        straight.advance()
        second.advance()
    for a, b in zip(
        straight.learner.state_dict().values(), second.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_sample_i_is_of_class_i_mod_n_and_bitwise_that_of_its_class_alone(learner):
    learner.eval()
    every = draw(learner, 7, seed=3, batch_size=8)
    assert torch.equal(every[:4], draw(learner, 4, seed=3, batch_size=8))
    for label in range(3):
        alone = draw(learner, 7, seed=3, batch_size=8, classes=[label])
        assert torch.equal(alone[label::3], every[label::3])
        assert not torch.equal(alone, every)
    few = draw(learner, 9, seed=3, batch_size=4, classes=[2, 0])  # over three chunks
    assert torch.equal(few[1::2], draw(learner, 9, seed=3, batch_size=4, classes=[0])[1::2])
    assert torch.equal(learner.sample(8, ImageNoise(3, 0, 8)), draw(learner, 8, seed=3, batch_size=8))


def test_unknown_classes_are_refused(learner):
    with pytest.raises(ValueError, match="there is no class 3: this model knows 0 to 2"):
        draw(learner, 2, classes=[1, 3])
    with pytest.raises(ValueError, match="without labels"):
        classes_of(nn.Identity(), [0])
    assert classes_of(nn.Identity()) == []


def test_nets_of_different_classes_are_refused():
    energy = Conditional(Projection(PlainScore(8, width=8), 2), Uniform(SHAPE))
    parts = {"flow": JKO(), "mapping_loss": Adversarial(), "training": {}, "sampling": {}}
    with pytest.raises(ValueError, match="the score knows 2 classes and the mapping 3"):
        ConditionalGGCN(energy, ByClass(PlainMapping(8, num_hidden=8, width=8), 3), **parts)
    with pytest.raises(ValueError, match="the score knows 2 classes and the bank 3"):
        ConditionalGCN(energy, PersistentByClass(Uniform(SHAPE), 8, 3), CHAIN)
    with pytest.raises(ValueError, match="half of 7 codes"):
        ByClass(PlainMapping(8, num_hidden=7, width=8), 3)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        Projection(PlainScore(8, width=8), 0)


def test_a_mapping_learns_where_each_class_lies():
    torch.manual_seed(0)
    learner = ConditionalGGCN(
        Conditional(Projection(PlaneScore(), 3), Uniform((2,))),
        ByClass(PlaneMapping(), 3),
        flow=JKO(tau=0.2, ends="data", contrast=logistic),
        mapping_loss=Adversarial(logistic),
        training={},
        sampling={},
    )
    adam = {"energy": Adam(5e-3, betas=(0.0, 0.9)), "mapping": Adam(2e-3, betas=(0.0, 0.9))}
    run = Trainer(learner, Blobs(), Schedule(250, 64, adam, averaging=0.9))
    while not run.finished:
        run.advance()
    nearest = torch.cdist(draw(run.averaged, 300, batch_size=300), CENTRES).argmin(1)
    assert (nearest == torch.arange(300) % 3).float().mean() > 0.95  # 0.33 without classes


def test_chains_learn_where_each_class_lies():
    torch.manual_seed(0)
    energy = Conditional(Projection(PlaneScore(), 3), Gaussian((2,), std=2.0))
    bank = PersistentByClass(energy.reference, 64, 3, rebirth=0.1)
    chain = Langevin(0.02, 20, temperature=0.1)
    learner = ConditionalGCN(energy, bank, chain, sampling=Langevin(0.02, 200, temperature=0.1))
    run = Trainer(learner, Blobs(), Schedule(200, 64, {"energy": Adam(5e-3)}, averaging=0.9))
    while not run.finished:
        run.advance()
    nearest = torch.cdist(draw(run.averaged, 300, batch_size=300), CENTRES).argmin(1)
    assert (nearest == torch.arange(300) % 3).float().mean() > 0.95  # 0.33 without classes
