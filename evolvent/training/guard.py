"""The guard: takes a run back when its vital signs explode, and says when an energy stays flat.

At every logged look it measures the size of three signs over the steps since the last one,

    max |energy gap|      max force norm      max |particle|

Exploding is a number that is not finite, at once, or a sign above `factor` × its running median, `patience` looks in
a row. The run then goes back to its last healthy checkpoint (bank, optimisers and average with it), learning rates
shrink, and it goes on; after `max_rollbacks` it stops as `Diverged`. No number is edited: a run that the guard never
took back is bitwise the run without it.

The noise of a step depends on (seed, step) and not on the attempt: what differs after a rollback is the learning
rate alone, so an explosion that comes back was not bad luck.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

WATCHED = {
    "energy_gap": ("energy_gap@min", "energy_gap@max"),
    "force_norm": ("force_norm@min", "force_norm@max"),
    "particle": ("particle_min@min", "particle_max@max"),
}
"""The signs whose size is judged, and where a line has their extremes; "particle" is the greatest |x|."""


@dataclass(frozen=True)
class Guard:
    """When to act and how; looks are those of `Schedule.log_every`.

    factor, patience: exploding is `factor` × the running median, `patience` looks in a row.
    window, warm_up: the median is over the last `window` healthy looks; before `warm_up` of them size is not judged
        by it.
    min_gap: while the energy gap is below so many nats neither it nor the force explodes: energies wake up, too.
    max_gap: an energy gap that is too large from the first look on, in nats; healthy textures reach 1e4.
    shrink, max_rollbacks: of the learning rates at every rollback, and how often. Past the last: Diverged.
    flat_after, flat_spread: from that step on an energy is flat, which is told once, when over a look neither the
        energy gap nor its spread in the batch exceeds `flat_spread` nats.
    """

    factor: float = 10.0
    patience: int = 2
    window: int = 50
    warm_up: int = 5
    min_gap: float = 10.0
    max_gap: float = 1e6
    shrink: float = 0.3
    max_rollbacks: int = 3
    flat_after: int = 200
    flat_spread: float = 0.05

    def __post_init__(self) -> None:
        if not (
            self.factor > 1
            and self.max_gap > self.min_gap >= 0
            and 0 < self.shrink < 1
            and self.flat_spread >= 0
        ):
            raise ValueError(
                f"a guard needs factor above 1, max_gap above min_gap, shrink in (0, 1), flat_spread from 0, not"
                f" {self.factor}, {self.max_gap} and {self.min_gap}, {self.shrink}, {self.flat_spread}"
            )
        if min(self.patience, self.window, self.warm_up) < 1 or min(self.max_rollbacks, self.flat_after) < 0:
            raise ValueError(
                "a guard's patience, window and warm_up are at least 1, its other counts at least 0"
            )


class Verdict(NamedTuple):
    """What a look at the vital signs comes to."""

    suspect: str | None
    """Why this state may not be saved; None for a healthy one."""
    exploding: bool
    """Whether the run must not go on from here."""


class Health:
    """What a guard remembers of a run: the sizes of its signs, its rollbacks. It is part of every checkpoint.

    Without a guard (None) numbers that are not finite are found all the same, and nothing else.
    """

    def __init__(self, guard: Guard | None) -> None:
        self.guard = guard
        self.sizes: dict[str, list[float]] = {}
        self.num_alarms, self.flat_told = 0, False
        self.rollbacks: list[dict[str, Any]] = []

    def examine(self, line: Mapping[str, float], *, finite: bool, logged: bool) -> Verdict:
        """Judge what was read. Only logged looks are remembered: others depend on when a session was stopped."""
        if not finite or not all(map(math.isfinite, line.values())):
            return Verdict("a number is not finite", exploding=True)
        if self.guard is None:
            return Verdict(None, exploding=False)
        now = sizes(line)
        suspect = self._suspect(now)
        if logged:
            self.num_alarms = self.num_alarms + 1 if suspect else 0
            if not suspect:
                for name, size in now.items():
                    self.sizes[name] = [*self.sizes.get(name, []), size][-self.guard.window :]
        return Verdict(suspect, exploding=self.num_alarms >= self.guard.patience)

    def _suspect(self, now: dict[str, float]) -> str | None:
        gap = now.get("energy_gap", self.guard.max_gap)
        if gap > self.guard.max_gap:
            return f"an energy gap of {gap:.3g} nats"
        for name, size in now.items():
            past = self.sizes.get(name, [])
            if gap < self.guard.min_gap and name != "particle":
                continue
            if len(past) >= self.guard.warm_up and size > self.guard.factor * median(past):
                return f"{name.replace('_', ' ')} {size:.3g}, {size / median(past):.3g} × its running median"
        return None

    def flat(self, line: Mapping[str, float]) -> str | None:
        """A sentence, once, when the energy tells nothing from anything."""
        if self.guard is None or self.flat_told or line["step"] < self.guard.flat_after:
            return None
        gap, spread = sizes(line).get("energy_gap"), line.get("gap_spread@max")
        if gap is None or spread is None or max(gap, spread) > self.guard.flat_spread:
            return None
        self.flat_told = True
        force = f"; force on data {line['data_force_norm']:.2g}" if "data_force_norm" in line else ""
        return (
            f"step {line['step']}: the energy is flat (gap at most {gap:.2g} nats, spread {spread:.2g}{force}):"
            " particles feel no difference from data (KL-vanishing). Try a smaller tau, another learning rate, a score"
            " that starts from He's normal law, or longer chains"
        )

    def may_roll_back(self) -> bool:
        return self.guard is not None and len(self.rollbacks) < self.guard.max_rollbacks

    def state_dict(self) -> dict[str, Any]:
        return {
            "sizes": self.sizes,
            "num_alarms": self.num_alarms,
            "flat_told": self.flat_told,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sizes = {name: list(past) for name, past in state["sizes"].items()}
        self.num_alarms, self.flat_told = state["num_alarms"], state["flat_told"]
        self.rollbacks = list(state["rollbacks"])


def sizes(line: Mapping[str, float]) -> dict[str, float]:
    """The greatest absolute value of every watched sign since the last look, those that the learner shows."""
    return {
        name: max(abs(line[end]) for end in ends) for name, ends in WATCHED.items() if line.keys() >= {*ends}
    }


def likely_cause(line: Mapping[str, float]) -> str:
    """What probably happened, and what to try."""
    takes_steps = line.get("force_norm", 1) > 0
    if takes_steps and line.get("acceptance", 1) < 0.2:
        return f"the chain accepts {line['acceptance']:.0%} of its moves: try a smaller chain step size"
    if not line.get("energy_drop", 0) >= 0:  # NaN, too
        return (
            f"the chain climbs its energy (drop {line['energy_drop']:.3g}), so its step size is too large for this"
            " force: try a smaller learning rate, a larger tau, or a smaller chain step size"
        )
    return "the learning rate is probably too high: try a smaller one, or a larger tau"
