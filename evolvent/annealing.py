"""How much nearer to data a model is than what it begins from, in nats: log Z by annealed importance sampling.

    p_β(x) = exp(β f(x)) q(x) / Z(β)                          from the reference, β = 0, to the model and beyond
    E_data log p_β / q = β E_data f − log Z(β) = KL(data ‖ q) − KL(data ‖ p_β)                          [derived]

Of a GCN q has a formula, and log q(x) + β f(x) − log Z(β) is the log-likelihood. Of a GGCN q is the law of its births,
which has none; but Z(β) = E exp(β f(g(z))) is taken in hidden space, and says what evolution adds to births without
it: where the right-hand side is above 0, evolved particles are nearer to data than births are. Its slope in β is
E_data f − E_{p_β} f, so it is highest at the β whose particles have the data's energy: the maximum-likelihood β. It is
also what births lack: KL(data ‖ q) is at least so much, whatever f is (Donsker and Varadhan 1983). Births may lie on a
surface that no datum lies on, and both divergences be infinite; their difference, the mean log ratio, is not.

Z(β) comes of particles that begin in q and carry weights (Neal, *Annealed importance sampling*, 2001):

    log w ← log w + (β′ − β) f(x)        then x moves under p_β′ by MALA, which leaves it as it is
    Z(β) ≈ mean w                        unbiased, where rungs do not look at w; its logarithm is low, by error²/2

The next β is as far as the weights bear: particles as weighted, taken to β′, are worth `BEARS` of as many (Zhou,
Johansen and Aston, *Toward automatic model comparison*, 2016, their conditional effective sample size).
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from evolvent.dynamics import MALA
from evolvent.energy import Energy, Load
from evolvent.learners.update import evaluating, require_one_energy
from evolvent.noise import ImageNoise
from evolvent.reference import Uniform
from evolvent.sampling import check_counts, classes_of
from evolvent.shapes import Labels, PerClass, PerPoint, Points, Scalar
from evolvent.spectral import Spectral

BEARS = 0.95
"""Of the particles' worth, what one rung may leave."""
MOVES = 5
"""Of every particle at each rung."""
BEST_ACCEPTANCE = 0.57
"""Of MALA in many dimensions (Roberts and Rosenthal 1998), towards which step sizes go."""
BEST_STEP = 1.36
"""Times σ² d^(−1/3): the step size of MALA where that is so for N(0, σ² I) in d dimensions."""
NARROWEST = 1e-6
"""Of two rungs: nearer ones say that f is out of all bounds."""


class Rung(NamedTuple):
    """One β on the way, and what has been found there of every class (of one, where the model knows none)."""

    beta: float
    log_z: PerClass
    """log Z(β) of each class, in nats."""
    error: PerClass
    """Of log Z(β): one standard error."""
    effective: float
    """How many particles these weights are worth, as a share, of the class where it is least: (Σw)² / (n Σw²)."""
    acceptance: float
    """Share of moves accepted there; 1 at β = 0, where none is made."""


class Nearer(NamedTuple):
    """By how much p_β is nearer to points than q is, in nats."""

    beta: float
    nats: float
    """Mean of β f − log Z(β)."""
    error: float
    """Of the points' number and of log Z's, together: one standard error."""


class Weighed(Energy):
    """β Φ − log q: the law between q and the model's. A batch is taken at once."""

    def __init__(self, law: Energy, beta: float) -> None:
        super().__init__(law.net, law.reference)
        self.law, self.beta = law, beta

    def potential(self, x: Points) -> PerPoint:
        return self.beta * self.law.potential(x)

    def load(self, x: Points) -> Load:
        return Load(None, False)


class Batch(NamedTuple):
    """Of particles: where they are, their streams of noise, and the law of their classes."""

    x: Points
    noise: ImageNoise
    law: Energy

    def score(self) -> PerPoint:
        with torch.no_grad():
            return -self.law.potential(self.x).double().cpu()

    def moved(self, beta: float, step_size: float) -> tuple["Batch", float]:
        """After their moves under p_β, and the share of moves that were accepted."""
        run = MALA(step_size, MOVES).evolve(Weighed(self.law, beta), self.x, self.noise)
        return self._replace(x=run.end), float(run.acceptance)


def anneal(
    learner: nn.Module,
    num: int,
    *,
    seed: int = 0,
    betas: Sequence[float] | None = None,
    classes: Sequence[int] | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Iterator[Rung]:
    """The rungs from β = 0 to the last of `betas`, each of which is one, as they are reached; there may be any number.

    num: particles, of which every class has its share in turns. betas: None for the learner's own alone (`own_beta`).
    classes: None for all that it knows.

    Raises ValueError for a learner of several energies, a reference whose law has no end (`Uniform`, `Spectral`), fewer
    than two particles a class, and a score that is NaN or infinite.
    """
    check_counts(num, batch_size)
    law, known = law_of(learner), classes_of(learner, classes)
    check_particles(num, len(known))
    betas = [own_beta(learner)] if betas is None else sorted(betas)
    if not (betas and betas[0] > 0 and betas[-1] < math.inf):
        raise ValueError(f"the betas on the way must be above 0 and finite, not {betas}")
    turns = torch.arange(num) % max(1, len(known))
    batches = [
        _born(law, ImageNoise(seed, int(rows[0]), len(rows), device), known, turns[rows])
        for rows in torch.arange(num).split(batch_size)
    ]
    return _climb(learner, batches, turns, betas)


def check_particles(num: int, num_classes: int) -> None:
    """ValueError for too few to have an error."""
    if num < 2 * max(1, num_classes):
        of_each = " of each class" if num_classes else ""
        raise ValueError(f"weights have no error below 2 particles{of_each}, and {num} are asked for")


def nearer(rungs: list[Rung], score: PerPoint, turns: Labels | None = None) -> list[Nearer]:
    """What every rung says of points whose scores f = −Φ are given.

    turns: which of the rungs' classes each point is of, counted from 0; None for one class.
    """
    turns = torch.zeros(len(score), dtype=torch.int64) if turns is None else turns
    found = []
    for rung in rungs:
        gains = rung.beta * score.double() - rung.log_z[turns]
        share = torch.bincount(turns, minlength=len(rung.log_z)) / len(turns)
        variance = gains.var() / len(gains) + (share * rung.error).square().sum()
        found.append(Nearer(rung.beta, float(gains.mean()), float(variance) ** 0.5))
    return found


def own_beta(learner: nn.Module) -> float:
    """The weight of f in the learner's law: a GGCN's own in hidden space, and 1, of p ∝ exp(f) q, elsewhere."""
    return float(learner.beta) if hasattr(learner, "mapping") else 1.0


def law_of(learner: nn.Module) -> Energy:
    """The model's, over what has a density: hidden codes where there is a mapping.

    Raises ValueError where there is none: for a learner of several energies, and a reference without end.
    """
    require_one_energy(learner, "no one of them is the model's")
    if hasattr(learner, "mapping"):
        return learner.energy.pullback(learner.mapping, learner.hidden)
    if isinstance(learner.energy.reference, Uniform | Spectral):
        raise ValueError(
            "this model's reference is flat without end, and its Z is infinite: there is none to find"
        )
    return learner.energy


def _born(law: Energy, noise: ImageNoise, known: list[int], turns: Labels) -> Batch:
    x = law.reference.sample(len(turns), noise)
    if known:
        law = law.given(torch.tensor(known, device=x.device)[turns.to(x.device)])
    return Batch(x, noise, law)


def _climb(learner: nn.Module, batches: list[Batch], turns: Labels, betas: Sequence[float]) -> Iterator[Rung]:
    num_dims = batches[0].law.reference.num_dims
    step_size = BEST_STEP * float(torch.cat([batch.x for batch in batches]).var()) / num_dims ** (1 / 3)
    log_weights, beta = torch.zeros(len(turns), dtype=torch.float64), 0.0
    yield _rung(beta, log_weights, turns, 1.0)
    for stop in betas:
        while beta < stop:
            with evaluating(learner):
                score = torch.cat([batch.score() for batch in batches])
                rise = _rise(score, log_weights, stop - beta)
                beta = stop if rise == stop - beta else beta + rise
                moves = [batch.moved(beta, step_size) for batch in batches]
            log_weights = log_weights + rise * score
            batches = [batch for batch, _ in moves]
            acceptance = sum(share * len(batch.x) for batch, share in moves) / len(turns)
            step_size *= math.exp(acceptance - BEST_ACCEPTANCE)
            yield _rung(beta, log_weights, turns, acceptance)


def _rung(beta: float, log_weights: PerPoint, turns: Labels, acceptance: float) -> Rung:
    of_class = [log_weights[turns == y] for y in range(int(turns.max()) + 1)]
    log_z = torch.stack([w.logsumexp(0) - math.log(len(w)) for w in of_class])
    worth = torch.stack([_worth(w) for w in of_class])
    numbers = torch.tensor([len(w) for w in of_class])
    error = ((1 / worth - 1).clamp(min=0) / (numbers - 1)).sqrt()
    return Rung(beta, log_z, error, float(worth.min()), acceptance)


def _worth(log_weights: PerPoint) -> Scalar:
    """(Σw)² / (n Σw²)."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp() / len(log_weights)


def _rise(score: PerPoint, log_weights: PerPoint, most: float) -> float:
    """How much further β may go: (Σ w u)² / Σ w u² = BEARS for w the weights and u = exp(rise · f), by bisection."""
    if not score.isfinite().all():
        raise ValueError(
            "the scores of particles are NaN or infinite: the run has diverged, take an earlier checkpoint"
        )
    share = log_weights.log_softmax(0)

    def bears(rise: float) -> bool:
        left = 2 * (share + rise * score).logsumexp(0) - (share + 2 * rise * score).logsumexp(0)
        return float(left) >= math.log(BEARS)

    if bears(most):
        return most
    low, high = 0.0, most
    while high - low > NARROWEST * high:
        middle = (low + high) / 2
        low, high = (middle, high) if bears(middle) else (low, middle)
    return low
