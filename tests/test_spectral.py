import math

import numpy as np
import pytest
import torch
from torch import nn

from evolvent.conditional import Conditional
from evolvent.data import from_array
from evolvent.dynamics import Langevin, Preconditioned
from evolvent.energy import Energy
from evolvent.flows import JKO
from evolvent.learners.conditional import ConditionalGCN
from evolvent.learners.gcn import GCN
from evolvent.nets.classes import Projection
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.particles import Persistent, PersistentByClass
from evolvent.reference import Gaussian, Uniform
from evolvent.sampling import draw
from evolvent.spectral import EXPONENT, Spectral
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

SHAPE = 2, 6, 8
"""Neither of the sides is the other's, and one is halved by the real transform."""


class Field(nn.Module):
    """x = ramp + blurred noise, whose second channel is half of the first and half its own."""

    event_shape = SHAPE

    def ramp(self):
        return torch.linspace(-0.5, 0.5, 8).expand(SHAPE)

    def draw(self, num):
        white = torch.randn(num, *SHAPE)
        white = (white + 0.4 * white.roll(1, 2) + 0.4 * white.roll(1, 3)) / 1.8
        return self.ramp() + torch.stack([white[:, 0], 0.5 * (white[:, 0] + white[:, 1])], 1)


class Quadratic(nn.Module):
    """f(x) = −½ Σ w_k x_k²."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        return -0.5 * (self.weights * x.square()).flatten(1).sum(1)


def seen(data):
    torch.manual_seed(0)
    spectral = Spectral(data.event_shape)
    spectral.see(data)
    return spectral


def covariance(x):
    return x.flatten(1).T.cov()


def test_births_have_the_mean_and_the_covariance_of_stationary_data():
    """Variances are near 0.4; of 20,000 points fitted a covariance is known to 0.003, a mean to 0.005."""
    spectral = seen(Field())
    births, data = spectral.sample(100_000, Noise()), Field().draw(100_000)
    assert torch.allclose(spectral.mean, Field().ramp(), atol=0.02)
    assert torch.allclose(covariance(births), covariance(data), atol=0.015)


def test_the_metric_is_a_power_of_the_covariance_and_moves_as_far_in_all():
    spectral = seen(Field())
    basis = torch.eye(math.prod(SHAPE)).view(-1, *SHAPE)
    half = spectral.stretch(basis).flatten(1)
    variances, axes = torch.linalg.eigh(covariance(Field().draw(100_000)))
    power = axes @ variances.clamp(min=0).pow(EXPONENT).diag() @ axes.T
    metric = half @ half
    assert torch.allclose(half, half.T, atol=1e-6)
    assert metric.trace() == pytest.approx(math.prod(SHAPE), rel=1e-5)
    assert torch.allclose(metric, power * math.prod(SHAPE) / power.trace(), atol=0.1)


def test_a_preconditioned_chain_leaves_the_law_of_langevin_at_steps_of_h_a():
    """U = ½ xᵀWx: covariance T (W − h WAW / 2)⁻¹, T W⁻¹ as h → 0. 2,000 chains: an entry is known to 0.016."""
    spectral = seen(Field())
    weights = torch.ones(SHAPE)
    weights[:, :, ::2] = 2.0
    chain = Preconditioned(0.05, 600, temperature=0.5)
    torch.manual_seed(1)
    end = chain.evolve(Energy(Quadratic(weights), spectral), torch.zeros(2_000, *SHAPE), Noise()).end
    w = weights.flatten().diag()
    half = spectral.stretch(torch.eye(math.prod(SHAPE)).view(-1, *SHAPE)).flatten(1)
    expected = 0.5 * (w - 0.025 * w @ half @ half @ w).inverse()
    assert torch.allclose(covariance(end), expected, atol=0.08)
    assert covariance(end).trace() == pytest.approx(expected.trace().item(), rel=0.01)
    assert covariance(end).trace() == pytest.approx((0.5 / weights).sum().item(), rel=0.08)


def test_it_goes_farther_along_what_varies_more():
    """Down the same slope along a coarse wave and a fine one; the data's deviations along them are as 1.8 to 1."""
    spectral = seen(Field())
    coarse = torch.ones(1, *SHAPE)
    fine = coarse * (-1.0) ** torch.arange(8)
    steps = [
        (direction * spectral.stretch(spectral.stretch(direction))).mean() for direction in (coarse, fine)
    ]
    assert steps[0] / steps[1] == pytest.approx(1.8 ** (2 * EXPONENT), rel=0.05)


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_without_a_metric_it_is_langevin(temperature):
    energy, x, ends = Energy(PlainScore(8), Gaussian((1, 8, 8))), torch.randn(3, 1, 8, 8), []
    for kind in (Langevin, Preconditioned):
        torch.manual_seed(1)
        ends.append(kind(0.01, 5, temperature).evolve(energy, x, Noise()).end)
    assert torch.allclose(*ends, atol=1e-6)


def images(num=40):
    pixels = np.random.RandomState(0).randint(0, 256, (num, 8, 8, 3)).astype(np.uint8)
    return from_array(pixels, np.arange(num) % 3)


def learner(reference, kind=GCN):
    shape, chain = (3, 8, 8), Preconditioned(0.01, 2, temperature=1e-4)
    if kind is ConditionalGCN:
        energy = Conditional(Projection(PlainScore(8, 3, width=4), 3), reference(shape))
        return kind(energy, PersistentByClass(energy.reference, 8, 3), chain, flow=JKO(tau=0.1))
    energy = Energy(PlainScore(8, 3, width=4), reference(shape))
    return kind(energy, Persistent(energy.reference, 16), chain)


def trained(learner, num_steps=2):
    data = images().with_labels(3) if hasattr(learner, "num_classes") else images()
    trainer = Trainer(learner, data, Schedule(num_steps, 8, {"energy": Adam(1e-3)}))
    while not trainer.finished:
        trainer.advance()
    return trainer


@pytest.mark.parametrize("kind", [GCN, ConditionalGCN])
def test_the_first_step_finds_a_reference_that_has_seen_the_data_and_a_bank_of_its_births(kind):
    """By class, too: labels are no part of what is seen. Random pixels are white, and so are births: 0.578."""
    torch.manual_seed(0)
    ours = learner(Spectral, kind)
    assert ours.particles.bank.isnan().all()
    trainer = trained(ours)
    assert ours.particles.bank.std() == pytest.approx(0.578, rel=0.1)
    drawn = trainer.averaged.sample(64, Noise())
    assert drawn.std() == pytest.approx(0.578, rel=0.1)


def test_what_has_seen_the_data_can_be_used_without_a_trainer_and_what_has_not_is_refused():
    data, energy = images(), Energy(PlainScore(8, 3, width=4), Spectral((3, 8, 8)))
    chain = Preconditioned(0.01, 2, temperature=1e-4)
    with pytest.raises(ValueError, match="has to see data before it can be drawn from"):
        draw(GCN(energy, Persistent(energy.reference, 16), chain), 2)
    energy.reference.see(data)
    ours = GCN(energy, Persistent(energy.reference, 16), chain)
    assert ours(data.draw(8)).losses["energy"].isfinite()
    assert draw(ours, 2).isfinite().all()


def test_the_spectrum_of_images_of_one_colour_is_the_least_that_is_kept():
    """A mean far from 0 does not drown what little varies about it: its metric is the identity, to rounding."""
    one = Field()
    one.draw = lambda num: torch.full((num, *SHAPE), 0.3)
    x = torch.randn(4, *SHAPE)
    assert torch.allclose(seen(one).stretch(x), x, atol=1e-5)


def test_a_source_that_hands_out_fewer_is_seen_no_less():
    few, field = Field(), Field()
    few.draw = lambda num: field.draw(num // 3)
    assert torch.allclose(seen(few).root, seen(field).root, atol=0.03)


def test_a_bank_that_somebody_filled_stays():
    ours = learner(Uniform)
    ours.particles.bank.fill_(0.25)
    Trainer(ours, images(), Schedule(1, 8, {"energy": Adam(1e-3)}))
    assert (ours.particles.bank == 0.25).all()


def test_what_was_seen_goes_with_the_weights():
    saved = trained(learner(Spectral)).averaged
    again = learner(Spectral)
    again.load_state_dict(saved.state_dict())
    torch.manual_seed(1)
    expected = saved.sample(4, Noise())
    torch.manual_seed(1)
    assert torch.equal(again.eval().sample(4, Noise()), expected)


def test_what_has_no_such_spectrum_is_refused():
    with pytest.raises(ValueError, match=r"images \[channels, height, width\], not of \[2\]"):
        Spectral((2,))
    with pytest.raises(ValueError, match=r"images \[1, 8, 8\], the data of \[3, 8, 8\]"):
        Spectral((1, 8, 8)).see(images())
    broken = Field()
    broken.draw = lambda num: torch.full((num, *SHAPE), math.nan)
    with pytest.raises(ValueError, match="numbers among them that are not finite"):
        Spectral(SHAPE).see(broken)
