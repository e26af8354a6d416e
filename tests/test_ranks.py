"""N processes compute what one computes: the same losses, the same bank, the same batch statistics."""

from functools import partial

import pytest
import torch
from forked import needs_fork, together
from tiny import trainer as tiny_trainer
from torch import nn

from evolvent.augmentation import AdaptiveAugmentation
from evolvent.conditional import Conditional
from evolvent.data.toys import Ring
from evolvent.dynamics import MALA, Independent, Langevin, Preconditioned
from evolvent.energy import Energy
from evolvent.flows import JKO, Annealed, logistic
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.conditional import ConditionalGCN, ConditionalGGCN
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.wgcn import WGCN
from evolvent.nets.classes import ByClass, Projection
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.particles import Fresh, Persistent, PersistentByClass
from evolvent.processes.ranks import ALONE, Ranks, buckets, normalise
from evolvent.recipes.toys import PlaneScore
from evolvent.reference import Gaussian, Uniform
from evolvent.shapes import carry
from evolvent.spectral import Spectral
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

CHAIN = Langevin(0.05, 3)
NUM_STEPS = 20
TOLERANCE = 1e-5
"""Sums in another order differ by 1e-7 of a number; twenty steps of Adam make up to 1e-6 of it (measured)."""

pytestmark = needs_fork


class Grey(nn.Module):
    """Images of 8 px with one bright half."""

    event_shape = (1, 8, 8)

    def draw(self, num):
        side = torch.rand(num, 1, 1, 1) < 0.5
        image = torch.linspace(-1, 1, 8).sign().expand(num, 1, 8, 8)
        return 0.5 * torch.where(side, image, image.mT) + 0.05 * torch.randn(num, 1, 8, 8)


def on_plane(kind, particles=Persistent, chain=CHAIN, **flow):
    energy = Energy(PlaneScore(width=16), Gaussian((2,)))
    born = (
        Persistent(energy.reference, 45, rebirth=0.1) if particles is Persistent else Fresh(energy.reference)
    )
    return kind(energy, born, chain, **flow), Ring()


def ggcn(mapping_loss, augmentation=None, **training):
    energy = Energy(PlainScore(8, width=8), Uniform((1, 8, 8)))
    mapping = PlainMapping(8, num_hidden=4, width=8)
    flow = JKO(tau=0.1, ends="data", contrast=logistic)
    learner = GGCN(
        energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=training
    )
    learner.augmentation = augmentation
    return learner, Grey()


class LabelledGrey(Grey):
    """The side that is bright is the class."""

    def draw(self, num):
        side = torch.randint(2, (num,))
        image = torch.linspace(-1, 1, 8).sign().expand(num, 1, 8, 8)
        half = torch.where(side.view(-1, 1, 1, 1) == 0, image, image.mT)
        return carry(0.5 * half + 0.05 * torch.randn(num, 1, 8, 8), side)


def conditional():
    energy = Conditional(Projection(PlainScore(8, width=8), 2), Uniform((1, 8, 8)))
    mapping = ByClass(PlainMapping(8, num_hidden=4, width=8), 2)
    flow = JKO(tau=0.1, ends="data", contrast=logistic, share=0.5)
    stages = {"image": Langevin(0.01, 2)}
    learner = ConditionalGGCN(
        energy, mapping, flow=flow, mapping_loss=Adversarial(logistic), training=stages, sampling=stages
    )
    return learner, LabelledGrey()


def chains_by_class():
    energy = Conditional(Projection(PlainScore(8, width=8), 2), Uniform((1, 8, 8)))
    bank = PersistentByClass(energy.reference, 23, 2, rebirth=0.1)
    flow = JKO(tau=0.1, ends="data", share=0.5)
    return ConditionalGCN(energy, bank, Langevin(0.01, 2), flow=flow), LabelledGrey()


def spectral():
    energy = Energy(PlainScore(8, width=8), Spectral((1, 8, 8)))
    bank = Persistent(energy.reference, 45, rebirth=0.1)
    return GCN(energy, bank, Preconditioned(0.01, 2, temperature=1e-3)), Grey()


def augmented():
    transform = AdaptiveAugmentation(num_images=100)
    transform.target = 0.1  # that p moves at once
    return ggcn(Adversarial(), transform)


LEARNERS = {
    "by class, batch norm, chains": conditional,
    "by class, with a bank": chains_by_class,
    "gcn with a bank": partial(on_plane, GCN),
    "gcn that sees the spectrum": spectral,
    "gcn afresh, mala": partial(on_plane, GCN, Fresh, MALA(0.05, 3)),
    "wgcn with a bank": partial(on_plane, WGCN, flow=JKO(tau=0.1, ends="data", share=0.5)),
    "wgcn, annealed": lambda: on_plane(WGCN, flow=Annealed(JKO(tau=0.4), end=0.1, num_updates=10)),
    "ggcn, batch norm": partial(ggcn, Adversarial()),
    "ggcn, selection": partial(ggcn, Adversarial(), selection=Independent(num_steps=2)),
    "ggcn, augmented": augmented,
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
        lines.append({name: x.item() for name, x in (update.losses | update.stats).items()})
    return lines, trainer.state_dict()


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_two_processes_have_the_losses_and_the_bank_of_one(tmp_path, make):
    alone, alone_state = trained(make, ALONE)
    both = together(tmp_path, partial(trained, make))
    for lines, state in both:
        for line, other in zip(alone, lines, strict=True):
            for name in line:
                if name != "gap_spread":  # the mean of what it is in each rank
                    assert other[name] == pytest.approx(line[name], rel=TOLERANCE, abs=TOLERANCE), name
        for name, tensor in alone_state["learner"].items():
            assert torch.allclose(state["learner"][name].float(), tensor.float(), atol=TOLERANCE), name
    for name, tensor in both[0][1]["averaged"].items():
        assert torch.equal(tensor, both[1][1]["averaged"][name]), name


def given(num, ranks):
    """A gradient of its own in every rank, in buckets of 100 elements, and its mean."""
    torch.manual_seed(ranks.rank)
    gradients = [torch.randn(shape) for shape in ((70,), (40, 2), (), (250,))] + [torch.randn(5).double()]
    before = [g.clone() for g in gradients]
    ranks.add(gradients)
    return before, gradients


def test_gradients_are_summed_over_ranks_whatever_their_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr("evolvent.processes.ranks.BUCKET", 100)
    sizes = [[t.numel() for t in bucket] for bucket in buckets(map(torch.zeros, (70, 30, 1, 250)))]
    assert sizes == [[70, 30], [1], [250]]
    found = together(tmp_path, partial(given, 3), num=3)
    for k, expected in enumerate(map(sum, zip(*(before for before, _ in found), strict=True))):
        for _, after in found:
            assert after[k].dtype == expected.dtype
            assert torch.allclose(after[k], expected, atol=1e-6)  # a sum in another order


def noise_and_rows(ranks):
    torch.manual_seed(1)
    with ranks.sharing():
        here_ = Noise().normal(4, 3)
    return here_, Noise().uniform(2), ranks.whole(here_)


def test_every_row_has_the_noise_that_it_has_in_one_process(tmp_path):
    torch.manual_seed(1)
    normal, uniform = torch.randn(8, 3), torch.rand(2)
    for rank, (rows, outside, whole) in enumerate(together(tmp_path, noise_and_rows)):
        assert torch.equal(rows, normal[rank::2])
        assert torch.equal(outside, uniform)  # outside a step a process is by itself
        assert torch.equal(whole, normal)


def normalised(x, slope, ranks):
    norm = nn.BatchNorm2d(3)
    if ranks.num > 1:
        norm.forward = partial(normalise, norm, ranks)
    rows = ranks.rows(x).requires_grad_()
    y = norm(rows)
    (first,) = torch.autograd.grad((y * ranks.rows(slope)).sum(), rows, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), rows)
    return ranks.whole(y.detach()), ranks.whole(first.detach()), ranks.whole(second), norm.running_var


def test_batch_norm_sees_the_whole_batch_and_so_do_its_first_two_derivatives(tmp_path):
    torch.manual_seed(0)
    x, slope = 3 + torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    expected = normalised(x, slope, ALONE)
    for found in together(tmp_path, partial(normalised, x, slope)):
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-5)  # float32, variance by a sum in another order


class Own(Persistent):
    """A bank that no one knows of."""

    shards = ()

    def commit(self, slots, x):
        self.bank[slots[: len(x)]] = x.detach()

    def start(self, num, noise):
        return self.reference.sample(num, noise), torch.arange(num)


def test_a_bank_that_the_processes_do_not_share_is_told(tmp_path):
    def disagree(ranks):
        energy = Energy(PlaneScore(width=16), Gaussian((2,)))
        learner = GCN(energy, Own(energy.reference, 32), CHAIN)
        trainer = Trainer(learner, Ring(), Schedule(9, 16, {"energy": Adam(1e-3)}), ranks=ranks)
        trainer.advance()
        trainer.state_dict()

    for error in together(tmp_path, disagree):
        assert "no longer agree on particles.bank" in str(error)


def test_rows_in_another_order_are_not_equal(tmp_path):
    bank = torch.rand(8, 2)

    def disagree(ranks):
        ranks.check_equal({"bank": bank.roll(ranks.rank, 0)})

    for error in together(tmp_path, disagree):
        assert "no longer agree on bank" in str(error)


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="batch of 8 cannot be split evenly over 3 processes"):
        tiny_trainer(ranks=Ranks(0, 3))
