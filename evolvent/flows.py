"""What one update of the energy owes to the particles that evolved: the two discrete flows of the paper.

    KL flow     ρ_t = argmin KL(ρ ‖ ρ_{t−1})       + ∫ Φ dρ        FRAME, GCN
    JKO flow    ρ_t = argmin W₂²(ρ, ρ_{t−1}) / 2τ  + ∫ Φ dρ        w-GCN                  [source: the idea]

The θ-gradient of the KL flow is the maximum-likelihood one, E_data ∇Φ − E_particles ∇Φ. The JKO flow adds the
kinetic energy of the transport, which sees distance where KL vanishes.

Here, and nowhere else, θ receives gradients from particles. To write another flow, subclass `KL`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import softplus

from evolvent.dynamics import Evolution
from evolvent.energy import Energy, gradient, squared_norm
from evolvent.shapes import PerPoint, Points, Scalar

Contrast = Callable[[PerPoint], Scalar]
"""How a difference of potentials, Φ(data) − Φ(particle), becomes a loss."""


def linear(difference: PerPoint) -> Scalar:
    """The mean: maximum likelihood."""
    return difference.mean()


def logistic(difference: PerPoint) -> Scalar:
    """mean softplus, data and particle paired: at its optimum f is log(data / particles) as densities.   [derived]"""
    return softplus(difference).mean()


class Cost(NamedTuple):
    """The loss of one update and the numbers that tell how it fares."""

    loss: Scalar
    at_data: PerPoint
    """Φ(data), cut from the graph; and so at the particles."""
    at_particles: PerPoint
    kinetic: Scalar
    """mean ‖∇Φ‖² over both ends of the action; 0 under the KL flow, which does not look at it."""

    @property
    def energy_gap(self) -> Scalar:
        """mean Φ(particles) − mean Φ(data): 0 when the energy no longer tells them apart."""
        return (self.at_particles - self.at_data).mean()

    @property
    def gap_spread(self) -> Scalar:
        """Standard deviation of Φ(particle) − Φ(data) over the batch: 0 under a flat energy alone."""
        return (self.at_particles - self.at_data).std(correction=0)

    @property
    def separation(self) -> Scalar:
        """mean sign(Φ(particle) − Φ(data)) over pairs: 1 when every particle lies above its datum."""
        return (self.at_particles - self.at_data).sign().mean()


@dataclass(frozen=True, kw_only=True)
class KL:
    """mean Φ(data) − mean Φ(x_t), or another contrast of the two."""

    contrast: Contrast = linear

    def __call__(self, energy: Energy, data: Points, evolution: Evolution) -> Cost:
        if data.shape != evolution.end.shape:
            raise ValueError(
                f"data of shape {list(data.shape)} and particles of shape {list(evolution.end.shape)} cannot be paired"
            )
        # One pass over both: the score has no layer that mixes the points of a batch.
        at_data, at_particles = energy.potential(torch.cat([data, evolution.end])).chunk(2)
        loss = self.contrast(at_data - at_particles)
        return Cost(loss, at_data.detach(), at_particles.detach(), torch.zeros_like(loss.detach()))


@dataclass(frozen=True, kw_only=True)
class JKO(KL):
    """The KL flow's cost plus the kinetic energy of the transport, (τ/4) Σ_ends mean ‖∇Φ(end)‖².   [derived]

    By Benamou–Brenier, W₂²(ρ_{t−1}, ρ_t)/2τ ≤ (τ/2) E‖∇Φ‖² along the path, equal to first order in τ; here by the
    trapezoid rule. It is minimised, so it is a penalty, and τ is its dial; τ = 0 is the KL flow to the last bit.

    tau: the JKO step, in the units of a Langevin step size; num_steps · step_size is its natural start.
    ends: of the action, "path" for the previous and the current particles, "data" for the current particles and
        the data (zero-centred gradient penalties at both, R1 + R2: γ/2 each is τ = 2γ).
    share: of the batch on which the action is evaluated; the estimate stays unbiased and costs as much less.
    """

    tau: float = 0.1
    ends: Literal["path", "data"] = "path"
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.tau < math.inf:
            raise ValueError(f"tau must be 0 or above, not {self.tau}: the kinetic energy is a penalty")
        if self.ends not in ("path", "data"):
            raise ValueError(f'the ends of the action are "path" or "data", not "{self.ends}"')
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], not {self.share}")

    def __call__(
        self, energy: Energy, data: Points, evolution: Evolution, *, tau: Scalar | None = None
    ) -> Cost:
        """tau: in the place of the flow's own, where it changes from update to update."""
        cost = super().__call__(energy, data, evolution)
        if self.tau == 0:
            return cost
        tau = self.tau if tau is None else tau
        other = evolution.start if self.ends == "path" else data
        few = max(1, round(self.share * len(data)))
        kinetic = self.kinetic(energy, torch.cat([other[:few], evolution.end[:few]]))
        return cost._replace(loss=cost.loss + tau / 2 * kinetic, kinetic=kinetic.detach())

    @staticmethod
    def kinetic(energy: Energy, ends: Points) -> Scalar:
        """mean ‖∇Φ‖² over the ends, differentiable in θ."""
        return squared_norm(gradient(energy.potential, ends, create_graph=True)).mean()


class Annealed(nn.Module):
    """A JKO flow whose τ goes geometrically from its own to `end` within `num_updates`, and then stays.       [derived]

    A large τ keeps an energy gentle that has seen little; a small one lets it sharpen (the schedule of γ in R3GAN,
    arXiv 2501.05441, for its zero-centred gradient penalties).
    """

    of_training = ("updates",)

    def __init__(self, flow: JKO, *, end: float, num_updates: int) -> None:
        super().__init__()
        least, most = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
        if not (flow.tau > 0 and all(least <= number <= most for number in (flow.tau, end, end / flow.tau))):
            raise ValueError(
                f"tau goes by factors, and not from {flow.tau} to {end}: both and the factor between them must lie"
                f" between {least:.2g} and {most:.2g}, as float32 holds them"
            )
        if num_updates < 1:
            raise ValueError(f"tau reaches its end within at least 1 update, not {num_updates}")
        self.flow, self.end, self.num_updates = flow, end, num_updates
        self.register_buffer("updates", torch.zeros(()))

    @property
    def tau(self) -> Scalar:
        """That of the next update."""
        done = (self.updates / self.num_updates).clamp(max=1)
        return self.flow.tau * (self.end / self.flow.tau) ** done

    def forward(self, energy: Energy, data: Points, evolution: Evolution) -> Cost:
        cost = self.flow(energy, data, evolution, tau=self.tau)
        self.updates += 1
        return cost


Flow = KL | Annealed
"""What a learner takes."""
