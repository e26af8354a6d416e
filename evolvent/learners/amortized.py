"""Amortised, symmetrical learning: the mapping learns where the particles end up.            [source: the idea]

MCMC is slow, so the top-down net learns from the same particles, in the same step, as the bottom-up net. A mapping
loss is a callable (energy, births, evolution, cost) → scalar, differentiable in φ through the births; cost is what the
flow made of the same step, Φ(data) in it.                                                                [derived]
"""

from collections.abc import Callable
from dataclasses import dataclass

from evolvent.dynamics import Evolution
from evolvent.energy import Energy, squared_norm
from evolvent.flows import Contrast, Cost, linear
from evolvent.shapes import Points, Scalar

MappingLoss = Callable[[Energy, Points, Evolution, Cost], Scalar]


@dataclass(frozen=True)
class Cooperative:
    """mean ‖g(z) − x^L‖² over the same z, x^L held fixed.

    The coupling through z makes it an upper bound on W₂²(q_φ, ρ_L): g follows the JKO flow.
    """

    def __call__(self, energy: Energy, births: Points, evolution: Evolution, cost: Cost) -> Scalar:
        return squared_norm(births - evolution.end).mean()


@dataclass(frozen=True)
class Adversarial:
    """The energy's own contrast with data and births exchanged; no chain is needed.

    linear:    mean Φ(g(z)) − Φ(data)             its φ-gradient is that of mean Φ(g(z))
    logistic:  mean softplus(Φ(g(z)) − Φ(data))   pairwise
    """

    contrast: Contrast = linear

    def __call__(self, energy: Energy, births: Points, evolution: Evolution, cost: Cost) -> Scalar:
        return self.contrast(energy.potential(births) - cost.at_data)
