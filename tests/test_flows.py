"""The flows against finite differences and against an enumerable model."""

import pytest
import torch
from torch import nn

from evolvent.dynamics import Evolution
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, Annealed, linear, logistic
from evolvent.nets.score import PlainScore
from evolvent.reference import Gaussian, Uniform


def evolution_of(start, end):
    nothing = start.new_zeros(len(start))
    return Evolution(start, end, nothing, nothing, nothing, start.new_ones(()))


def gradients(loss, module):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])


@pytest.fixture
def scene():
    """An energy in float64, data, and particles before and after a move."""
    torch.manual_seed(0)
    energy = Energy(PlainScore(8, width=4), Gaussian((1, 8, 8))).double()
    data, start, end = torch.randn(3, 6, 1, 8, 8, dtype=torch.float64)
    return energy, data, evolution_of(start, end)


class Table(nn.Module):
    """An enumerable score: f(x) = Σ_k θ_k φ_k(x) at the points of a line."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))

    def features(self, x):
        return torch.stack([x, x**2, torch.cos(2 * x)], dim=-1)

    def forward(self, x):
        return self.features(x.squeeze(1)) @ self.weights


def test_the_kl_gradient_is_the_maximum_likelihood_one():
    """On a model whose states are enumerated, particles drawn as the law itself (one a state, by weight) make the
    flow's gradient that of −log-likelihood. Float64 central differences: error 1e-9."""
    points = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    energy = Energy(Table(), Uniform((1,)))
    data = torch.tensor([[0.4], [0.9], [-1.1]], dtype=torch.float64)

    def likelihood_loss(weights):
        score = energy.net.features(points.squeeze(1)) @ weights
        return (score.logsumexp(0) - energy.net.features(data.squeeze(1)) @ weights).mean()

    weights = energy.net.weights.detach()
    basis = torch.eye(3, dtype=torch.float64) * 1e-5
    slope = torch.stack([(likelihood_loss(weights + e) - likelihood_loss(weights - e)) / 2e-5 for e in basis])
    law = (-energy(points)).softmax(0).detach()
    ours = torch.zeros(3, dtype=torch.float64)
    for point, weight in zip(points, law, strict=True):
        cost = KL()(energy, data, evolution_of(data, point.expand(3, 1)))
        ours += weight * gradients(cost.loss, energy)
    assert torch.allclose(ours, slope, atol=1e-8)


def test_the_energy_gap_is_particles_minus_data(scene):
    energy, data, evolution = scene
    gap = KL()(energy, data, evolution).energy_gap
    assert gap == pytest.approx(
        float((energy.potential(evolution.end) - energy.potential(data)).mean().detach())
    )


def test_tau_zero_is_gcn_to_the_last_bit(scene):
    energy, data, evolution = scene
    plain, jko = KL()(energy, data, evolution), JKO(tau=0.0)(energy, data, evolution)
    assert torch.equal(plain.loss, jko.loss)
    assert torch.equal(gradients(plain.loss, energy), gradients(jko.loss, energy))


@pytest.mark.parametrize("ends", ["path", "data"])
def test_the_kinetic_gradient_agrees_with_finite_differences(scene, ends):
    """∂/∂θ of (τ/4)[mean‖∇Φ‖² + mean‖∇Φ‖²], float64 central differences along a direction."""
    energy, data, evolution = scene
    flow = JKO(tau=0.3, ends=ends)
    parameters = list(energy.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum(
        (g * d).sum()
        for g, d in zip(
            torch.autograd.grad(flow(energy, data, evolution).loss, parameters), direction, strict=True
        )
    )

    def moved(by):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += by * d
        loss = flow(energy, data, evolution).loss.detach()
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p -= by * d
        return loss

    assert torch.allclose(slope, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)


def test_the_action_is_the_trapezoid_rule_of_the_kinetic_energy(scene):
    energy, data, evolution = scene
    square = [energy.force(x) - x for x in (evolution.start, evolution.end)]  # ∇Φ = ∇U − x under N(0, I)
    means = [s.flatten(1).square().sum(1).mean() for s in square]
    loss = JKO(tau=0.4)(energy, data, evolution).loss - KL()(energy, data, evolution).loss
    assert torch.allclose(loss, 0.4 / 4 * (means[0] + means[1]))


def test_the_kinetic_energy_on_a_share_is_unbiased_over_the_batch(scene):
    energy, data, evolution = scene
    flow, whole = JKO(share=0.5), JKO()
    halves = [
        flow(energy, data[rows], evolution_of(evolution.start[rows], evolution.end[rows])).kinetic
        for rows in (torch.arange(6), torch.arange(6).roll(3))
    ]
    assert torch.allclose((halves[0] + halves[1]) / 2, whole(energy, data, evolution).kinetic)


def test_the_logistic_contrast_is_blind_to_a_shift_of_the_energy_and_bounded_below():
    difference = torch.tensor([-50.0, 0.0, 3.0])
    assert linear(difference) == pytest.approx(float(difference.mean()))
    assert logistic(difference) == pytest.approx(float((0.0 + 0.6931472 + 3.0485873) / 3), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tau": -0.1}, "tau must be 0 or above"),
        ({"share": 0.0}, "share must lie in"),
    ],
)
def test_impossible_flows_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        JKO(**settings)


def test_unequal_numbers_of_data_and_particles_are_refused(scene):
    energy, data, evolution = scene
    with pytest.raises(ValueError, match=r"data of shape \[5, 1, 8, 8\] and particles of shape \[6"):
        KL()(energy, data[:5], evolution)


def test_an_annealed_tau_goes_by_equal_factors_and_stays_at_its_end(scene):
    flow = Annealed(JKO(tau=0.8), end=0.05, num_updates=4)
    for tau in (0.8, 0.4, 0.2, 0.1, 0.05, 0.05):
        assert flow.tau == pytest.approx(tau, rel=1e-6)  # float32
        energy, data, evolution = scene
        annealed, fixed = flow(*scene), JKO(tau=tau)(energy, data, evolution)
        assert annealed.loss.item() == pytest.approx(fixed.loss.item(), rel=1e-6)
        assert annealed.kinetic == fixed.kinetic


@pytest.mark.parametrize(
    ("tau", "end"),
    [
        (0.0, 0.1),
        (0.1, 0.0),
        (0.1, float("inf")),
        (0.1, float("nan")),
        (0.1, 1e-50),  # 0 as a float32
        (0.1, 1e-38),  # a float32 with fewer digits
        (1e-50, 0.1),
        (0.1, 1e39),
        (1e39, 0.1),
        (1e30, 1e-30),  # the factor between them
        (1e-30, 1e30),
    ],
)
def test_a_tau_that_no_factor_leads_to_is_refused(tau, end):
    with pytest.raises(ValueError, match="tau goes by factors"):
        Annealed(JKO(tau=tau), end=end, num_updates=4)


def test_a_tau_goes_nowhere_within_no_update():
    with pytest.raises(ValueError, match="at least 1 update, not 0"):
        Annealed(JKO(tau=0.1), end=0.2, num_updates=0)
