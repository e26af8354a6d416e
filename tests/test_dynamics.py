import math

import pytest
import torch
from torch import nn

from evolvent.data.toys import Mixture
from evolvent.dynamics import MALA, Independent, Langevin, Underdamped, at_rest
from evolvent.energy import Energy
from evolvent.nets.score import PlainScore
from evolvent.noise import ImageNoise, Noise
from evolvent.reference import Gaussian, Uniform


class LogDensity(nn.Module):
    """A score that is the log density of a known law."""

    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, x):
        return self.law.log_density(x)


class Stretched(nn.Module):
    """f(x) = −½ Σ (x_k / s_k)²."""

    def __init__(self, deviations):
        super().__init__()
        self.deviations = deviations

    def forward(self, x):
        return -0.5 * (x / self.deviations).square().sum(1)


class HalfLine(nn.Module):
    """√x, which is no number below 0."""

    def forward(self, x):
        return x.sqrt()[:, 0]


class Flat(nn.Module):
    def forward(self, x):
        return 0.0 * x.flatten(1).sum(1)


STANDARD = Energy(Flat(), Gaussian((1,)))


@pytest.mark.parametrize("langevin", [Langevin, Underdamped])
@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0])
def test_langevin_on_a_normal_has_variance_one_over_one_minus_half_h(langevin, step_size):
    """200,000 chains: relative sampling error of a variance 0.003. Leapfrog leaves the same law as an Euler step."""
    torch.manual_seed(0)
    end = (
        langevin(step_size, math.ceil(60 + 8 / step_size))
        .evolve(STANDARD, torch.randn(200_000, 1), Noise())
        .end
    )
    assert end.var() == pytest.approx(1 / (1 - step_size / 2), rel=0.015)


def test_the_papers_convention_is_h_equal_half_delta_squared():
    """x − (δ²/2)∇U + δξ, with the same ξ."""
    delta, x = 0.3, torch.randn(4, 1)
    torch.manual_seed(1)
    end = Langevin(delta**2 / 2, 1).evolve(STANDARD, x, Noise()).end
    torch.manual_seed(1)
    assert torch.allclose(end, x - delta**2 / 2 * x + delta * torch.randn(4, 1))


def test_temperature_scales_the_variance():
    torch.manual_seed(0)
    end = Langevin(0.05, 200, temperature=0.25).evolve(STANDARD, torch.randn(100_000, 1), Noise()).end
    assert end.var() == pytest.approx(0.25 / (1 - 0.025), rel=0.02)


def test_zero_temperature_is_gradient_descent():
    energy = Energy(PlainScore(8), Gaussian((1, 8, 8)))
    x = descended = torch.randn(3, 1, 8, 8)
    for _ in range(5):
        descended = descended - 0.01 * energy.force(descended)
    assert torch.equal(Langevin(0.01, 5, temperature=0.0).evolve(energy, x, Noise()).end, descended)


def test_descent_dissipates_what_the_record_says():
    energy = Energy(PlainScore(8), Gaussian((1, 8, 8)))
    x = torch.randn(3, 1, 8, 8)
    evolution = Langevin(0.01, 5, temperature=0.0).evolve(energy, x, Noise())
    before_the_last = Langevin(0.01, 4, temperature=0.0).evolve(energy, x, Noise()).end
    drop = evolution.energy_drop(energy(evolution.end).detach())
    assert (drop > 0).all()
    assert torch.allclose(drop, (energy(x) - energy(evolution.end)).detach(), rtol=1e-4)
    assert torch.allclose(evolution.force_norm, energy.force(before_the_last).flatten(1).norm(dim=1))
    assert torch.allclose(evolution.distance, (evolution.end - x).flatten(1).norm(dim=1))
    assert evolution.acceptance == 1


def test_step_sizes_run_geometrically_between_their_ends():
    steps = Langevin(0.4, 3, final_step_size=0.1).step_sizes()
    assert steps == pytest.approx([0.4, 0.2, 0.1])
    assert Langevin(0.4, 1).step_sizes() == [0.4]


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_without_momentum_underdamped_is_langevin_and_draws_the_same_noise(temperature):
    energy, x, ends = Energy(PlainScore(8), Gaussian((1, 8, 8))), torch.randn(3, 1, 8, 8), []
    for chain in (Langevin(0.01, 5, temperature), Underdamped(0.01, 5, temperature, momentum=0.0)):
        torch.manual_seed(1)
        ends.append((chain.evolve(energy, x, Noise()).end, torch.randn(1)))
    assert torch.allclose(ends[0][0], ends[1][0], atol=1e-5)
    assert ends[0][1] == ends[1][1]


def test_momentum_forgets_the_start_along_a_valley_in_fewer_moves():
    """Deviations 1 and 0.1; 10,000 chains, so a mean is known to 0.01. Langevin keeps (1 − h)^n of the start."""
    torch.manual_seed(0)
    energy, start = Energy(Stretched(torch.tensor([1.0, 0.1])), Uniform((2,))), torch.tensor([[3.0, 0.0]])
    chains = [
        kind(0.002, 200).evolve(energy, start.expand(10_000, 2), Noise()) for kind in (Langevin, Underdamped)
    ]
    slow, fast = (abs(chain.end[:, 0].mean()) for chain in chains)
    assert slow == pytest.approx(3 * 0.998**200, abs=0.05)
    assert fast < 0.3 * slow
    assert chains[1].end[:, 1].var() == pytest.approx(0.01 / (1 - 0.1), rel=0.06)


def test_mala_leaves_an_anisotropic_gaussian_invariant_at_any_step_size():
    """50,000 chains started in the law: each variance's relative error is 0.006; ULA at this h is 25 % off."""
    torch.manual_seed(0)
    deviations = torch.tensor([1.0, 0.5])
    energy = Energy(Stretched(deviations), Uniform((2,)))
    start = deviations * torch.randn(50_000, 2)
    evolution = MALA(0.1, 100).evolve(energy, start, Noise())
    assert torch.allclose(evolution.end.var(0), deviations**2, rtol=0.03)
    assert 0.5 < evolution.acceptance < 0.99


def test_mala_keeps_the_weights_of_two_modes():
    """30,000 chains started in the law stay in it: the weight's error is 0.003."""
    torch.manual_seed(0)
    law = Mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), std=0.5)
    energy = Energy(LogDensity(law), Uniform((2,)))
    evolution = MALA(0.15, 60).evolve(energy, law.draw(30_000), Noise())
    assert (evolution.end[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.015)
    assert evolution.end[:, 1].var() == pytest.approx(0.25, rel=0.04)


def test_mala_accepts_everything_as_the_step_vanishes():
    torch.manual_seed(0)
    acceptance = [
        MALA(h, 5).evolve(STANDARD, torch.randn(5000, 1), Noise()).acceptance for h in (1.0, 0.1, 1e-4)
    ]
    assert acceptance[0] < acceptance[1] < acceptance[2]
    assert acceptance[2] > 0.9999


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_independent_proposals_forget_the_start_and_draw_the_reference_tilted_by_the_potential(temperature):
    """q exp(−Φ/T) of N(0, 1) and Φ = x²/2 is N(0, T / (T + 1)); 50,000 chains know a variance to 0.006 of itself."""
    torch.manual_seed(0)
    energy = Energy(Stretched(torch.tensor([1.0])), Gaussian((1,)))
    start = torch.full((50_000, 1), 3.0)
    evolution = Independent(num_steps=30, temperature=temperature).evolve(energy, start, Noise())
    assert evolution.end.var() == pytest.approx(temperature / (temperature + 1), rel=0.025)
    assert evolution.end.mean() == pytest.approx(0, abs=0.02)
    assert torch.equal(evolution.start_energy, energy(start))
    assert 0.3 < evolution.acceptance < 0.9


def test_independent_proposals_go_to_a_mode_that_no_step_reaches():
    torch.manual_seed(0)
    law = Mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), std=0.1)
    energy = Energy(LogDensity(law), Uniform((2,), low=-1.5, high=1.5))
    start = torch.tensor([[-1.0, 0.0]]).repeat(2000, 1)
    gone = (Independent(num_steps=1000).evolve(energy, start, Noise()).end[:, 0] > 0).float().mean()
    assert gone == pytest.approx(0.5, abs=0.05)
    assert (MALA(1e-3, 300).evolve(energy, start, Noise()).end[:, 0] < 0).all()


def test_at_temperature_0_the_most_likely_of_all_proposals_is_kept():
    energy = Energy(Stretched(torch.tensor([1.0])), Gaussian((1,)))
    start = torch.randn(64, 1)
    end = Independent(num_steps=20, temperature=0.0).evolve(energy, start, ImageNoise(0, 0, 64)).end
    noise, seen = ImageNoise(0, 0, 64), [start]
    for _ in range(20):
        seen.append(noise.normal(64, 1))
        noise.uniform(64)
    every = torch.cat(seen, 1)
    assert torch.equal(end, every.gather(1, every.abs().argmin(1, keepdim=True)))


@pytest.mark.parametrize("chain", [Langevin(0.1, 3), MALA(0.1, 3), Independent(num_steps=3)])
def test_a_particle_whose_energy_is_not_a_number_does_not_look_settled(chain):
    """A Metropolis rule accepts nothing there, and would hand back the start as the end."""
    start = torch.tensor([[-0.5], [0.5]])
    end = chain.evolve(Energy(HalfLine(), Uniform((1,))), start, ImageNoise(0, 0, 2)).end
    assert end[0].isnan().all()
    assert end[1].isfinite().all()


def test_one_particle_does_not_see_its_batch():
    energy = Energy(PlainScore(8, width=8), Gaussian((1, 8, 8)))
    chain = Langevin(0.02, 10)
    together = chain.evolve(energy, torch.ones(5, 1, 8, 8), ImageNoise(0, 0, 5)).end[3]
    alone = chain.evolve(energy, torch.ones(1, 1, 8, 8), ImageNoise(0, 3, 1)).end[0]
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("chain", "num_forces"), [(Langevin(0.1, 5), 5), (Underdamped(0.1, 5), 5), (MALA(0.1, 5), 6)]
)
def test_a_chain_takes_a_force_a_move_and_one_more_where_the_last_may_be_refused(chain, num_forces):
    asked = []

    class Counted(Flat):
        def forward(self, x):
            asked.append(torch.is_grad_enabled())
            return super().forward(x)

    energy = Energy(Counted(), Gaussian((1,)))
    energy.load(torch.randn(4, 1))
    once = len(asked)
    chain.evolve(energy, torch.randn(4, 1), Noise())
    assert len(asked) - 2 * once == num_forces


@pytest.mark.parametrize("chain", [Langevin(0.1, 3), Underdamped(0.1, 3), MALA(0.5, 3)])
def test_the_record_tells_the_energy_of_the_start_and_the_force_where_the_last_move_began(chain):
    x = torch.randn(64, 1)
    torch.manual_seed(0)
    evolution = chain.evolve(STANDARD, x, Noise())
    torch.manual_seed(0)
    shorter = type(chain)(chain.step_size, 2).evolve(STANDARD, x, Noise())
    assert torch.equal(evolution.start_energy, STANDARD(x))
    assert torch.equal(evolution.force_norm, STANDARD.force(shorter.end).flatten(1).norm(dim=1))


def test_particles_at_rest_stay_and_still_report_their_force():
    x = torch.randn(16, 1)
    evolution = at_rest(STANDARD, x)
    assert torch.equal(evolution.end, x)
    assert torch.allclose(evolution.force_norm, x[:2].abs().flatten())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"step_size": 0.0}, "step sizes must be above 0"),
        ({"num_steps": 0}, "at least 1 step"),
        ({"temperature": -1.0}, "temperature must be 0 or above"),
        ({"final_step_size": -1.0}, "step sizes must be above 0"),
    ],
)
def test_impossible_chains_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Langevin(**{"step_size": 0.1, "num_steps": 2} | settings)
    with pytest.raises(ValueError, match="above 0"):
        MALA(0.1, 2, temperature=0.0)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        Underdamped(0.1, 2, momentum=1.0)
