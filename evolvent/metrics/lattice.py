"""How far is a learned energy from a law of the plane whose density is known: exactly, up to a lattice.

    KL(p ‖ q) = Σ p log(p/q),      p ∝ exp(log p),  q ∝ exp(−U)      on a square lattice, both summing to one

An energy alone has no density, because nobody knows the integral of exp(−U); in the plane a sum over a lattice
does. It judges the energy at temperature 1, not the samples of a chain that may have missed it.
"""

from collections.abc import Callable

import torch

from evolvent.shapes import PerPoint, Points

SIDE = 512
"""Points along one side of the lattice."""
PIECE = 2**15
LEAST_MASS = 0.99


def plane_kl(
    log_density: Callable[[Points], PerPoint], energy: Callable[[Points], PerPoint], *, reach: float
) -> float:
    """KL in nats of the law from exp(−energy), on [−reach, reach]²; energy beyond is not seen.

    Raises ValueError where the square holds less than 99 % of the law, or the energy is not finite.
    """
    line = (torch.arange(SIDE, dtype=torch.float32) + 0.5) / SIDE * 2 * reach - reach
    points = torch.cartesian_prod(line, line)
    with torch.no_grad():
        log_p = torch.cat([log_density(some).double() for some in points.split(PIECE)])
        log_q = torch.cat([-energy(some).double() for some in points.split(PIECE)])
    mass = float(log_p.exp().sum()) * (2 * reach / SIDE) ** 2
    if mass < LEAST_MASS:
        raise ValueError(f"[−{reach:g}, {reach:g}]² holds {mass:.0%} of the law: a larger reach is needed")
    if not log_q.isfinite().all():
        raise ValueError("the energy is not finite somewhere on the plane: it has diverged")
    log_p, log_q = log_p.log_softmax(0), log_q.log_softmax(0)
    # Where the law has no mass it asks nothing of the energy: 0 log 0 = 0.
    inside = log_p.isfinite()
    return float((log_p[inside].exp() * (log_p - log_q)[inside]).sum())
