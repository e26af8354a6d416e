"""From the reference to the model: log Z, and by how many nats the model is nearer to data."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from evolvent.annealing import anneal, nearer, own_beta
from evolvent.conditional import Conditional
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.amortized import Adversarial
from evolvent.learners.conditional import ConditionalGCN
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.particles import Fresh, PersistentByClass
from evolvent.reference import Gaussian, Uniform
from evolvent.shapes import apart

NUM_DIMS = 6
WITHIN = 4
"""Standard errors."""


class Tilt(nn.Module):
    """f(x) = ⟨a, x⟩ − b ‖x‖² / 2 + c y, under which a Gaussian stays one; y is 0 without classes."""

    num_classes = 2

    def __init__(self, *, labelled=False):
        super().__init__()
        self.labelled = labelled

    def forward(self, x):
        x, y = apart(x) if self.labelled else (x, 0)
        return 0.8 * x.sum(1) - 0.75 * x.square().sum(1) + 3.0 * y


def log_z(beta, std=1.0):
    """Of exp(β f) N(0, σ² I), by completing the square."""
    precision = std**-2 + 1.5 * beta
    return NUM_DIMS * ((0.8 * beta) ** 2 / (2 * precision) - 0.5 * math.log(precision * std**2))


def gcn(net, reference, temperature=1.0):
    return GCN(Energy(net, reference), Fresh(reference), Langevin(0.1, 1, temperature=temperature))


def test_every_rung_has_the_log_z_of_a_gaussian_that_is_tilted():
    rungs = list(anneal(gcn(Tilt(), Gaussian((NUM_DIMS,), std=0.7)), 1000, betas=(0.5, 2.0), batch_size=700))
    assert (
        rungs[0].beta == 0 and rungs[-1].beta == 2 and 0.5 in [rung.beta for rung in rungs] and len(rungs) > 6
    )
    assert float(rungs[0].log_z) == 0 and float(rungs[0].error) < 1e-6
    for rung in rungs:
        assert abs(float(rung.log_z) - log_z(rung.beta, 0.7)) <= WITHIN * float(rung.error), rung
    assert float(rungs[-1].error) < 0.05 and rungs[-1].effective > 0.4
    assert 0.4 < rungs[-1].acceptance < 0.75


def test_a_ring_has_the_log_z_of_a_fine_lattice():
    """No Gaussian: the law at β = 1 lies on a circle, and mostly on one side of it."""

    class OnRing(nn.Module):
        def forward(self, x):
            return -8 * (x.norm(dim=1) - 2).square() + x[:, 0]

    reference = Gaussian((2,))
    *_, last = anneal(gcn(OnRing(), reference), 2000, batch_size=2000)
    line = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    lattice = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    exact = float((OnRing()(lattice) - reference.energy(lattice)).logsumexp(0)) + 2 * math.log(0.01)
    assert abs(float(last.log_z) - exact) <= WITHIN * float(last.error) < 0.2


def test_births_are_the_reference_of_a_ggcn_and_its_beta_the_end():
    """Through x = z / 2 the births are N(0, ¼ I)."""

    class Halved(nn.Module):
        num_hidden = NUM_DIMS

        def forward(self, hidden):
            return hidden / 2

    energy, loss = Energy(Tilt(), Uniform((NUM_DIMS,))), Adversarial()
    learner = GGCN(energy, Halved(), flow=KL(), mapping_loss=loss, training={}, sampling={}, beta=3.0)
    *_, last = anneal(learner, 1000, batch_size=500)
    assert last.beta == own_beta(learner) == 3.0
    assert abs(float(last.log_z) - log_z(3.0, 0.5)) <= WITHIN * float(last.error) < 0.2


def test_each_class_has_a_log_z_of_its_own():
    reference = Gaussian((NUM_DIMS,))
    energy = Conditional(Tilt(labelled=True), reference)
    learner = ConditionalGCN(energy, PersistentByClass(reference, 2, 2), Langevin(0.1, 1))
    both = list(anneal(learner, 1000, batch_size=250))[-1]
    for y in (0, 1):
        assert abs(float(both.log_z[y]) - log_z(1.0) - 3 * y) <= WITHIN * float(both.error[y]) < 0.3
    alone = list(anneal(learner, 600, classes=[1], batch_size=300))[-1]
    assert abs(float(alone.log_z) - log_z(1.0) - 3) <= WITHIN * float(alone.error) < 0.3
    x = torch.randn(500, NUM_DIMS, generator=torch.Generator().manual_seed(0))
    # A class's constant in f is in its log Z as well, and says nothing.
    of_both = nearer([both], torch.cat([Tilt()(x), Tilt()(x) + 3]), torch.arange(1000) // 500)
    of_one = nearer([both._replace(log_z=both.log_z[:1], error=both.error[:1])], Tilt()(x))
    assert abs(of_both[0].nats - of_one[0].nats) <= WITHIN * float(both.error.norm())


def test_nearer_is_the_difference_of_two_divergences():
    """KL(data ‖ q) − KL(data ‖ p_β), for data, q and p_β that are all Gaussian; torch knows the divergences."""
    data = MultivariateNormal(torch.full((NUM_DIMS,), 0.5), 0.3 * torch.eye(NUM_DIMS))
    torch.manual_seed(0)
    x = data.sample((4000,))
    rungs = list(anneal(gcn(Tilt(), Gaussian((NUM_DIMS,))), 1000, betas=[2.5], batch_size=500))
    for rung, found in zip(rungs, nearer(rungs, Tilt()(x)), strict=True):
        precision = 1 + 1.5 * rung.beta
        p = MultivariateNormal(
            torch.full((NUM_DIMS,), 0.8 * rung.beta / precision), torch.eye(NUM_DIMS) / precision
        )
        q = MultivariateNormal(torch.zeros(NUM_DIMS), torch.eye(NUM_DIMS))
        exact = float(kl_divergence(data, q) - kl_divergence(data, p))
        assert found.beta == rung.beta and abs(found.nats - exact) <= WITHIN * found.error + 1e-6
    assert 0 < found.error < 0.1


def test_its_error_is_the_spread_of_many_ways():
    learner, ends = gcn(Tilt(), Gaussian((NUM_DIMS,))), []
    for seed in range(30):
        *_, last = anneal(learner, 100, seed=seed, batch_size=100)
        ends.append((float(last.log_z), float(last.error)))
    found, told = torch.tensor(ends).T
    assert found.std() / 1.6 < told.mean() < found.std() * 1.6
    deviation = (found.mean() - log_z(1.0)) / (found.std() / 30**0.5)
    assert Normal(0.0, 1.0).cdf(-deviation.abs()) > 1e-4


def test_the_way_depends_on_the_seed_alone():
    learner = gcn(Tilt(), Gaussian((NUM_DIMS,)))
    first, again = (list(anneal(learner, 64, seed=5, batch_size=64)) for _ in range(2))
    other = list(anneal(learner, 64, seed=6, batch_size=64))
    assert [rung.beta for rung in first] == [rung.beta for rung in again]
    assert torch.equal(first[-1].log_z, again[-1].log_z) and not torch.equal(first[-1].log_z, other[-1].log_z)
    in_parts = list(anneal(learner, 64, seed=5, batch_size=24))
    assert torch.allclose(in_parts[-1].log_z, first[-1].log_z, atol=1e-4)


def test_dropout_has_no_part_in_it_and_the_caller_goes_on_training():
    torch.manual_seed(0)
    learner = gcn(
        nn.Sequential(nn.Linear(NUM_DIMS, 1), nn.Dropout(0.5), nn.Flatten(0)), Gaussian((NUM_DIMS,))
    )
    ends = []
    for rung in anneal(learner.train(), 64):
        assert learner.energy.net.training
        ends.append(float(rung.log_z))
    assert ends == [float(rung.log_z) for rung in anneal(learner.eval(), 64)]


class Broken(nn.Module):
    def forward(self, x):
        return x.sum(1) * math.inf


@pytest.mark.parametrize(
    ("learner", "words", "says"),
    [
        (gcn(Tilt(), Uniform((NUM_DIMS,))), {}, "its Z is infinite"),
        (nn.Linear(1, 1), {}, "several energies"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"num": 1}, "no error below 2 particles, and 1 are"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"num": 0}, "at least 1 sample"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"betas": [0.0]}, "above 0 and finite"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"betas": [1.0, math.inf]}, "above 0 and finite"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"betas": []}, "above 0 and finite"),
        (gcn(Tilt(), Gaussian((NUM_DIMS,))), {"classes": [1]}, "trained without labels"),
        (gcn(Broken(), Gaussian((NUM_DIMS,))), {}, "scores of particles are NaN or infinite"),
    ],
)
def test_a_way_that_does_not_exist_is_one_sentence(learner, words, says):
    with pytest.raises(ValueError, match=says):
        list(anneal(learner, **({"num": 8} | words)))


def test_a_gcn_is_its_law_whatever_the_temperature_of_its_chains():
    assert own_beta(gcn(Tilt(), Gaussian((NUM_DIMS,)), temperature=0.25)) == 1.0
