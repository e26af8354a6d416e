"""Classes: the label follows its point through cuts, joins and chains, and moves nothing by itself."""

import pytest
import torch
from torch import nn

from evolvent.conditional import Conditional
from evolvent.dynamics import MALA, Independent, Langevin, at_rest
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.nets.classes import Projection
from evolvent.nets.score import PlainScore, ResidualScore
from evolvent.noise import ImageNoise
from evolvent.reference import Gaussian, Uniform
from evolvent.shapes import apart, carry

SHAPE = (1, 8, 8)


def energy(num_classes=3, reference=Uniform, score=PlainScore):
    torch.manual_seed(0)
    net = Projection(score(8, width=8), num_classes)
    nn.init.normal_(net.directions)
    return Conditional(net, reference(SHAPE))


def points(num=12, seed=1):
    torch.manual_seed(seed)
    return torch.rand(num, *SHAPE) * 2 - 1, torch.randint(3, (num,))


class Bias(nn.Module):
    """f(x, y) = a_y: a score that sees the class alone."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.heights = nn.Parameter(torch.tensor([0.0, 10.0, 100.0]))

    def forward(self, x):
        return self.heights[apart(x)[1]] + 0 * x.flatten(1).sum(1)


class Of(nn.Module):
    """The score of one class: what a net without labels would be."""

    def __init__(self, net, label):
        super().__init__()
        self.net, self.label = net, label

    def forward(self, x):
        return self.net(carry(x, self.label.expand(len(x))))


@pytest.mark.parametrize("shape", [(5,), (1, 4, 4), (3, 4, 2)])
def test_what_is_carried_comes_apart_again(shape):
    x, labels = torch.randn(7, *shape), torch.arange(7) * 1000
    back, same = apart(carry(x, labels))
    assert torch.equal(back, x) and torch.equal(same, labels)
    with pytest.raises(ValueError, match="7 points cannot carry 6 labels"):
        carry(x, labels[1:])


@pytest.mark.parametrize("score", [PlainScore, ResidualScore])
def test_a_projection_without_directions_is_the_net_alone_to_the_last_bit(score):
    x, labels = points()
    net = score(8, width=8)
    plain, by_class = Energy(net, Uniform(SHAPE)), Conditional(Projection(net, 3), Uniform(SHAPE))
    assert torch.equal(by_class(carry(x, labels)), plain(x))
    assert torch.equal(by_class.given(labels).force(x), plain.force(x))


def test_the_score_of_a_class_is_the_common_one_and_what_its_direction_adds():
    x, labels = points()
    u = energy()
    features = u.net.score.features(x).flatten(1)
    common, own = features @ u.net.score.read_out.weight[0], (features * u.net.directions[labels]).sum(1)
    assert torch.allclose(
        u.net(carry(x, labels)), common + own, atol=1e-4
    )  # sums of 128 terms in another order


@pytest.mark.parametrize("rows", [None, 1, 5, 12])
def test_at_fixed_classes_value_and_force_are_those_of_labelled_points_in_any_slices(rows):
    x, labels = points()
    u = energy(reference=Gaussian)
    value, force = u.given(labels).value_and_force(x, rows=rows)
    for i, label in enumerate(labels):
        alone = Energy(Of(u.net, label), u.reference)
        assert torch.allclose(value[i], alone(x[i : i + 1])[0], atol=1e-4)
        assert torch.allclose(force[i], alone.force(x[i : i + 1])[0], atol=1e-5)


def test_the_label_is_no_part_of_what_the_reference_weighs():
    x, _ = points()
    u = Conditional(Bias(), Gaussian(SHAPE))
    zeros = torch.zeros(12, dtype=torch.int64)
    assert torch.equal(u(carry(x, zeros)), u.reference.energy(x))
    labelled = u.force(carry(x, zeros + 2))
    assert torch.allclose(labelled[:, :-1], x) and not labelled[:, -1].any()


@pytest.mark.parametrize("at_once", [True, False])
def test_the_energy_of_no_class_is_that_of_the_law_summed_over_classes(at_once, monkeypatch):
    """exp(−U(x)) = Σ_y exp(−U(x, y)), and its force is the mean over p(y | x) of those at each class.

    So whether the net scores all classes for one pass or is run once for each.
    """
    x, _ = points()
    u = energy(reference=Gaussian)
    assert isinstance(u.net, Projection)
    if not at_once:
        monkeypatch.delattr(Projection, "at_every_class")
    each = [u.given(torch.full((12,), label)) for label in range(3)]
    joint = torch.stack([-one(x) for one in each]).double().exp()
    free = u.class_free()
    assert torch.allclose(free(x).double(), -joint.sum(0).log(), rtol=1e-5)
    share = (joint / joint.sum(0)).float().view(3, 12, 1, 1, 1)
    expected = (share * torch.stack([one.force(x) for one in each])).sum(0)
    assert torch.allclose(free.force(x), expected, atol=1e-5)


def test_a_class_far_above_all_others_is_the_energy_of_no_class():
    """Φ = −a_y with heights 0, 10, 100: no exponential of 100 is taken in float32."""
    x, _ = points()
    assert torch.equal(
        Conditional(Bias(), Uniform(SHAPE)).class_free().potential(x), torch.full((12,), -100.0)
    )


def test_a_batch_of_another_size_than_the_labels_is_refused():
    x, labels = points()
    with pytest.raises(ValueError, match="11 points cannot carry 12 labels"):
        energy().given(labels)(x[1:])


def test_the_energy_gap_compares_every_row_at_the_classes_of_its_points():
    """Φ = −a_y: of equal classes the gap is 0 whatever the points are; else it is the difference of heights."""
    x, labels = points()
    u, flow = Conditional(Bias(), Uniform(SHAPE)), KL()
    same = flow(u, carry(x, labels), at_rest(u, carry(-x, labels)))
    assert same.energy_gap == 0 and same.gap_spread == 0
    ones, twos = torch.ones(12, dtype=torch.int64), torch.full((12,), 2)
    other = flow(u, carry(x, ones), at_rest(u, carry(x, twos)))
    assert other.energy_gap == -(100 - 10)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_share_of_the_action_is_taken_at_the_labels_of_its_points(share):
    """The kinetic energy of a few pairs is that of each of their ends alone, at its own class."""
    (x, labels), (start, _) = points(), points(seed=2)
    u = energy()
    cost = JKO(tau=0.1, share=share)(u, carry(x, labels), at_rest(u, carry(start, labels)))
    few = round(12 * share)
    alone = [
        u.given(labels[i : i + 1]).force(start[i : i + 1]).square().sum()
        for i in range(few)
        for _ in range(2)
    ]
    assert torch.allclose(cost.kinetic, torch.stack(alone).mean(), rtol=1e-4)  # float32 sums in another order


@pytest.mark.parametrize(
    "chain", [Langevin(0.05, 4, temperature=0.1), MALA(0.01, 4), Independent(num_steps=4)]
)
def test_a_chain_of_many_classes_is_the_chains_of_each(chain):
    x, labels = points()
    u = energy()
    together = chain.evolve(u.given(labels), x, ImageNoise(0, 0, 12)).end
    for label in range(3):
        alone = chain.evolve(u.given(torch.full((12,), label)), x, ImageNoise(0, 0, 12)).end
        assert torch.allclose(together[labels == label], alone[labels == label], atol=1e-5)
        assert not torch.allclose(together[labels != label], alone[labels != label], atol=1e-3)
