"""How well a chain explores: what its correlated steps are worth in independent draws.

    τ = 1 + 2 Σ_{t≥1} ρ_t,      effective sample size = number of draws / τ

ρ_t is the correlation at lag t of one number of interest along the chain (an energy, a coordinate). Its
estimate is noise at long lags, so the sum ends where that of two neighbours, which is positive for a
reversible chain, first is not, and is kept from rising (Geyer, Practical Markov chain Monte Carlo, 1992).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Chains = Float[Tensor, "chains steps"]
"""One number of interest along each of several chains of one law, after its burn-in."""


def autocorrelation(chains: Chains) -> Float[Tensor, " steps"]:
    """ρ_t at lags 0, 1, …, in float64, over all chains and round their common mean.

    Round the common mean, so that chains that stay apart, each in its own mode, count as correlated for ever.
    Raises ValueError for fewer than four steps, a chain that never moves or a number that is not finite.
    """
    num_steps = chains.shape[1]
    if num_steps < 4 or len(chains) == 0:
        raise ValueError(
            f"{len(chains)} chains of {num_steps} steps have no correlation to measure: 4 steps at least"
        )
    if not chains.isfinite().all():
        raise ValueError("a chain is not finite: it has diverged, which no correlation can tell")
    if (chains == chains[0, 0]).all():
        raise ValueError(f"the {len(chains)} chains never move: they have no correlation")
    centred = chains.double() - chains.double().mean()
    # Twice as long, so that the transform's end does not meet its beginning.
    spectrum = torch.fft.rfft(centred, n=2 * num_steps).abs().square().mean(0)
    covariance = torch.fft.irfft(spectrum, n=2 * num_steps)[:num_steps]
    return covariance / covariance[0]


def autocorrelation_time(chains: Chains) -> float:
    """τ in steps: 1 for independent draws, less if the chain alternates (Stan's bound: 1/log₁₀ draws).

    Raises ValueError if the correlation does not die within the chains.
    """
    rho = autocorrelation(chains)
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    ended = pairs <= 0
    if not ended.any():
        raise ValueError(
            f"the correlation does not die within {chains.shape[1]} steps: run longer, or they do not mix"
        )
    positive = pairs[: int(ended.int().argmax())]
    tau = float(2 * positive.cummin(0).values.sum() - 1)
    return max(tau, 1 / math.log10(max(chains.numel(), 10)))


def effective_sample_size(chains: Chains) -> float:
    """How many independent draws have the variance that the mean over all chains and steps has."""
    return chains.numel() / autocorrelation_time(chains)


def acceptance_rate(positions: Float[Tensor, "chains steps *event"]) -> float:
    """Share of steps at which the point moved: for a Metropolis chain, the share of accepted proposals."""
    if positions.shape[1] < 2:
        raise ValueError(f"{positions.shape[1]} steps hold no move: at least 2 are needed")
    moved = (positions[:, 1:] != positions[:, :-1]).flatten(2).any(2)
    return float(moved.double().mean())
