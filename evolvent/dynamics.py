"""How particles move: Langevin evolution under an energy.

    x ← x − h ∇U(x) + √(2 h T) ξ,   ξ ~ N(0, I)

The papers write the step as δ²/2 and the noise as δ: h = δ²/2 and T = 1. This is the only place where the two
conventions meet; everywhere else a step size is h.   [source: Langevin dynamics of FRAME and GCN]

To write another dynamics, subclass `Dynamics` and define `propose`; override `begin` and `step` as well where a move
may be refused, or instead where it takes no force. `evolve` is inherited.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import NamedTuple

import torch

from evolvent.compiled import run_compiled
from evolvent.energy import Energy, squared_norm
from evolvent.noise import Noise
from evolvent.shapes import PerPoint, Points, Scalar, wide


class Evolution(NamedTuple):
    """What one run of a chain leaves behind: the record that is passed on to the flow."""

    start: Points
    end: Points
    start_energy: PerPoint | None
    """U(start), in nats; None for particles at rest."""
    force_norm: PerPoint
    """‖∇U‖ where the last move began, the last place where a chain needs it; at rest, of some of the particles only.
    0 of a dynamics that takes no force."""
    distance: PerPoint
    """‖end − start‖."""
    acceptance: Scalar
    """Share of moves that were accepted, 1 for an unadjusted dynamics."""

    def energy_drop(self, end_energy: PerPoint) -> PerPoint:
        """U(start) − U(end), in nats: what each particle of a chain dissipated.

        An unadjusted chain takes no U(end), and every flow has Φ(end) anyway.
        """
        return self.start_energy - end_energy

    def since(self, energy: Energy, start: Points) -> "Evolution":
        """The same end, told from an earlier start: the particles moved before this chain took them over."""
        start = start.detach()
        with torch.no_grad():
            start_energy = energy(start)
        return self._replace(
            start=start, start_energy=start_energy, distance=squared_norm(self.end - start).sqrt()
        )


class Felt(NamedTuple):
    """U and ∇U at the same points."""

    energy: PerPoint
    force: Points


class State(NamedTuple):
    """What the next step needs of the last, and what the record needs of both."""

    x: Points
    felt: Felt
    """Where the last move began; zeros before the first."""
    refused: PerPoint
    """How many moves of each particle were refused so far."""
    rows: int | None = None
    """Particles whose force is taken at once (`Energy.load`); None for all."""
    here: Felt | None = None
    """At x, of a dynamics that must feel its end before it knows whether it moves."""
    momentum: Points | None = None
    """Of a dynamics that keeps some: at the middle of its last move; None before the first."""

    def where_it_ended(self) -> Points:
        """x, but NaN where U is: no rule leaves such a place, and the particle would look as if it had settled."""
        if self.here is None:
            return self.x
        return self.x.masked_fill(wide(self.here.energy.isnan(), self.x), math.nan)


@dataclass(frozen=True)
class Dynamics:
    """`num_steps` moves of step size h, or from h to `final_step_size` in geometric progression.

    compiled: run the chain as machine code, made when it first runs (`evolvent.compiled`): the same particles up to
        rounding. It takes seconds for an energy on the plane, minutes for a deep net, and pays for the first.
    """

    step_size: float
    num_steps: int
    temperature: float = 1.0
    final_step_size: float | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        last = self.step_size if self.final_step_size is None else self.final_step_size
        if not (0 < self.step_size < math.inf and 0 < last < math.inf):
            raise ValueError(f"step sizes must be above 0 and finite, not {self.step_size} to {last}")
        if not (isinstance(self.num_steps, Integral) and 1 <= self.num_steps < 2**31):
            raise ValueError(
                f"a chain needs at least 1 step, and a whole number of them, not {self.num_steps}"
            )
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"the temperature must be 0 or above and finite, not {self.temperature}")

    def step_sizes(self) -> list[float]:
        """h of every step."""
        last = self.step_size if self.final_step_size is None else self.final_step_size
        ratio = (last / self.step_size) ** (1 / max(1, self.num_steps - 1))
        return [self.step_size * ratio**k for k in range(self.num_steps)]

    def propose(self, x: Points, force: Points, noise: Noise, step_size: float) -> Points:
        """Where a particle at x that feels ∇U(x) = force goes next."""
        raise NotImplementedError

    def begin(self, energy: Energy, x: Points, rows: int | None) -> State:
        """The state of a chain that has not moved."""
        nothing = Felt(x.new_zeros(len(x)), torch.zeros_like(x))
        return State(x, nothing, refused=x.new_zeros(len(x)), rows=rows)

    def step(self, energy: Energy, state: State, noise: Noise, step_size: float) -> State:
        """Feel, then move: an unadjusted dynamics takes every proposal, and as many forces as moves."""
        felt = Felt(*energy.value_and_force(state.x, rows=state.rows))
        return state._replace(x=self.propose(state.x, felt.force, noise, step_size), felt=felt)

    def run(
        self, energy: Energy, state: State, noise: Noise, step_sizes: Sequence[float]
    ) -> tuple[State, PerPoint]:
        """One move after the other: the state after the last, and U where the first began."""
        energies = []
        for step_size in step_sizes:
            state = self.step(energy, state, noise, step_size)
            energies = energies or [state.felt.energy]
        return state, energies[0]

    def evolve(self, energy: Energy, x: Points, noise: Noise) -> Evolution:
        """Run the chain from x. No gradient in θ is kept; memory does not grow with the number of steps."""
        start = x.detach()
        rows, light = energy.load(start)
        state = self.begin(energy, start, rows)
        if self.compiled:
            state, start_energy = run_compiled(self, energy, state, noise, light=light)
        else:
            state, start_energy = self.run(energy, state, noise, self.step_sizes())
        end = state.where_it_ended()
        return Evolution(
            start=start,
            end=end,
            start_energy=start_energy,
            force_norm=squared_norm(state.felt.force).sqrt(),
            distance=squared_norm(end - start).sqrt(),
            acceptance=1 - state.refused.mean() / self.num_steps,
        )


@dataclass(frozen=True)
class Langevin(Dynamics):
    """Unadjusted Langevin (ULA): a gradient step and fresh noise. At temperature 0 it is gradient descent."""

    def propose(self, x: Points, force: Points, noise: Noise, step_size: float) -> Points:
        moved = x - step_size * force
        if self.temperature == 0:
            return moved
        return moved + (2 * step_size * self.temperature) ** 0.5 * noise.normal(*x.shape)


@dataclass(frozen=True)
class Preconditioned(Langevin):
    """Langevin in the metric A of the energy's reference: far where the data vary much, little where they do little.

        x ← x − h A ∇U(x) + √(2 h T) A^½ ξ

    A does not change along the chain, so it samples exp(−U/T) as Langevin does, up to the step size. Under a reference
    without a metric of its own it is Langevin.                                                           [derived]
    """

    def step(self, energy: Energy, state: State, noise: Noise, step_size: float) -> State:
        felt = Felt(*energy.value_and_force(state.x, rows=state.rows))
        stretch, still = energy.reference.stretch, torch.zeros_like(state.x)
        move = stretch(self.propose(still, stretch(felt.force), noise, step_size))  # Langevin of A^−½ x
        return state._replace(x=state.x + move, felt=felt)


@dataclass(frozen=True)
class Underdamped(Dynamics):
    """Underdamped Langevin: a move keeps the share μ = `momentum` of the last one's p. At μ = 0 it is Langevin.

        p ← μ p + √(T (1 − μ²)) ξ                           refreshed in part (Horowitz 1991), at first wholly
        p ← p − δ/2 ∇U(x),   x ← x + δ p,   p ← p − δ/2 ∇U(x),   δ = √(2h)                        leapfrog

    Along a narrow valley a chain goes on for some 1 / (1 − μ) moves before it turns, and mixes in fewer. The last kick
    of a move and the first of the next feel one force, so there are as many forces as moves; where step sizes change
    that last kick has the next move's δ.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"momentum is the share that a move keeps, from 0 to below 1, not {self.momentum}"
            )

    def step(self, energy: Energy, state: State, noise: Noise, step_size: float) -> State:
        felt = Felt(*energy.value_and_force(state.x, rows=state.rows))
        delta = (2 * step_size) ** 0.5
        kick = delta / 2 * felt.force
        kept, momentum = 0.0, -kick
        if state.momentum is not None:
            kept, momentum = self.momentum, self.momentum * (state.momentum - kick) - kick
        if self.temperature > 0:
            momentum = momentum + (self.temperature * (1 - kept**2)) ** 0.5 * noise.normal(*state.x.shape)
        return state._replace(x=state.x + delta * momentum, felt=felt, momentum=momentum)


@dataclass(frozen=True)
class MALA(Langevin):
    """Metropolis-adjusted Langevin: the same proposal, accepted so that exp(−U/T) is left exactly invariant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature == 0:
            raise ValueError("MALA needs a temperature above 0: at 0 no law is left invariant (use Langevin)")

    def begin(self, energy: Energy, x: Points, rows: int | None) -> State:
        here = Felt(*energy.value_and_force(x, rows=rows))
        return super().begin(energy, x, rows)._replace(here=here)

    def step(self, energy: Energy, state: State, noise: Noise, step_size: float) -> State:
        x, here = state.x, state.here
        y = self.propose(x, here.force, noise, step_size)
        there = Felt(*energy.value_and_force(y, rows=state.rows))
        log_ratio = (
            (here.energy - there.energy) / self.temperature
            + self._log_proposal(y, x, there.force, step_size)
            - self._log_proposal(x, y, here.force, step_size)
        )
        accept = noise.uniform(len(x)).log() < log_ratio
        each = wide(accept, x)
        new = Felt(torch.where(accept, there.energy, here.energy), torch.where(each, there.force, here.force))
        refused = state.refused + (~accept).float()
        return State(torch.where(each, y, x), here, refused, state.rows, here=new)

    def _log_proposal(self, x: Points, y: Points, force: Points, step_size: float) -> PerPoint:
        """log N(y; x − h∇U(x), 2hT), up to the constant that both directions share."""
        return -squared_norm(y - x + step_size * force) / (4 * step_size * self.temperature)


@dataclass(frozen=True)
class Independent(Dynamics):
    """Independence Metropolis: every proposal is a fresh draw of q, accepted so that q exp(−Φ/T) is left invariant.

    It takes no force, and goes from mode to mode at once. Its proposals are good where the reference is: in hidden
    space, where a draw is a birth, it chooses among births (the Metropolis–Hastings GAN; Turner et al. 2019). At
    temperature 0 the least Φ of the start and all proposals is kept. `step_size` has no part in it.
    """

    step_size: float = field(default=1.0, kw_only=True)
    num_steps: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compiled:
            raise ValueError(
                "independent proposals take no force, and are not compiled: leave `compiled` out"
            )

    def begin(self, energy: Energy, x: Points, rows: int | None) -> State:
        # Φ alone: of the ratio of densities the references' share is the proposals' own, the other way up.
        here = Felt(self._potential(energy, x), torch.zeros_like(x))
        return super().begin(energy, x, rows)._replace(here=here)

    def step(self, energy: Energy, state: State, noise: Noise, step_size: float) -> State:
        x, here = state.x, state.here
        y = energy.reference.sample(len(x), noise)
        there = self._potential(energy, y)
        accept = noise.uniform(len(x)).log() < (here.energy - there) / self.temperature
        felt = Felt(here.energy + energy.pull(x), here.force)
        x = torch.where(wide(accept, x), y, x)
        here = here._replace(energy=torch.where(accept, there, here.energy))
        return State(x, felt, state.refused + (~accept).float(), state.rows, here=here)

    @staticmethod
    @torch.no_grad()
    def _potential(energy: Energy, x: Points) -> PerPoint:
        return energy.potential(x)


def at_rest(energy: Energy, x: Points) -> Evolution:
    """The evolution of particles that do not move, for learners without a chain.

    Nothing needs the force there but a person who watches it, so it is taken on an eighth of the particles.
    """
    x = x.detach()
    few = x[: max(1, len(x) // 8)]
    zeros = x.new_zeros(len(x))
    return Evolution(x, x, None, squared_norm(energy.force(few)).sqrt(), zeros, x.new_ones(()))
