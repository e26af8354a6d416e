import pytest
import torch

from evolvent.metrics import acceptance_rate, autocorrelation, autocorrelation_time, effective_sample_size


def autoregression(rho, *, num_chains=50, num_steps=2000, seed=0):
    """x ← ρ x + (1 − ρ²)^½ ξ from its own stationary law: correlation ρ^t, time (1 + ρ)/(1 − ρ)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_steps, num_chains, generator=generator, dtype=torch.float64)
    x, chain = noise[0], []
    for xi in noise:
        x = rho * x + (1 - rho**2) ** 0.5 * xi
        chain.append(x)
    return torch.stack(chain, 1)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_the_time_of_an_autoregression_is_one_plus_rho_over_one_minus_rho(rho):
    """100,000 draws: the time is known to some per cent."""
    chains = autoregression(rho)
    assert autocorrelation_time(chains) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)
    assert effective_sample_size(chains) == pytest.approx(chains.numel() * (1 - rho) / (1 + rho), rel=0.1)


def test_correlation_is_the_sum_over_pairs_of_steps():
    chains = autoregression(0.5, num_chains=3, num_steps=20)
    centred = chains - chains.mean()
    expected = torch.stack([(centred[:, : 20 - t] * centred[:, t:]).sum() for t in range(20)])
    torch.testing.assert_close(autocorrelation(chains), expected / expected[0], rtol=0, atol=1e-12)


def test_the_effective_size_is_the_variance_over_that_of_the_mean():
    """400 chains one by one: their means spread as σ²/ESS, known to 7 %."""
    chains = autoregression(0.8, num_chains=400, num_steps=500)
    spread = float(chains.mean(1).var())
    size = effective_sample_size(chains) / 400
    assert float(chains.var()) / size == pytest.approx(spread, rel=0.25)


def test_order_of_chains_and_scale_do_not_matter():
    chains = autoregression(0.5, num_chains=5, num_steps=200)
    assert autocorrelation_time(3 * chains.flip(0) + 7) == pytest.approx(
        autocorrelation_time(chains), rel=1e-9
    )


def test_chains_that_stay_apart_do_not_count_as_mixed():
    """Two modes, never left: each chain alone looks perfect."""
    chains = autoregression(0.0, num_chains=2, num_steps=200) + torch.tensor([[-50.0], [50.0]])
    with pytest.raises(ValueError, match="do not mix"):
        effective_sample_size(chains)


def test_acceptance_is_the_share_of_moves():
    positions = torch.tensor([[0.0, 0, 1, 1, 2], [5.0, 6, 7, 8, 9]])[..., None].expand(-1, -1, 3)
    assert acceptance_rate(positions) == 0.75


def test_chains_without_a_correlation_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="never move"):
        autocorrelation(torch.full((2, 50), 0.1))
    with pytest.raises(ValueError, match="not finite"):
        autocorrelation(torch.full((2, 50), torch.nan))
    with pytest.raises(ValueError, match="4 steps at least"):
        autocorrelation(torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least 2"):
        acceptance_rate(torch.ones(2, 1, 3))
