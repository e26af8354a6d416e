"""What every learner returns, and the vital signs that every learner shows.

A learner is a module with

    forward(data) -> Update       one update: losses, each named after the submodule that it trains
    stages                        the dynamics that sampling runs, by name, in order
    sample(num, noise, stages)    `num` points

The trainer needs nothing else, so a learner of your own needs no base class.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

from evolvent.dynamics import Evolution
from evolvent.energy import Energy, scores_of, squared_norm
from evolvent.flows import Cost
from evolvent.shapes import PerPoint, Points, Scalar


class Update(NamedTuple):
    """One learning step, before any gradient is taken."""

    losses: dict[str, Scalar]
    """Each loss trains the submodule of its name and no other parameter."""
    particles: Points
    """The evolved particles, for the eye."""
    stats: dict[str, Scalar]
    """Vital signs, cut from the graph."""


def vital_signs(
    energy: Energy, data: Points, evolution: Evolution, cost: Cost, at_end: PerPoint | None = None
) -> dict[str, Scalar]:
    """What a person watches, as batch means: gap, force, action, how far particles lie, and what a chain did.

    Particles at rest have no chain to tell of. Only the force on the data is computed for this, on an eighth of them.

    at_end: Φ at the particles, where the cost saw them otherwise than they are.
    """
    some_data = data[: max(1, len(data) // 8)]
    lowest, highest = evolution.end.aminmax()
    signs = {
        "energy_gap": cost.energy_gap,
        "gap_spread": cost.gap_spread,
        "force_norm": evolution.force_norm.mean(),
        "data_force_norm": squared_norm(energy.force(some_data)).sqrt().mean(),
        "kinetic": cost.kinetic,
        "particle_min": lowest,
        "particle_max": highest,
    }
    if evolution.start_energy is None:
        return signs
    end_energy = (cost.at_particles if at_end is None else at_end) + energy.pull(evolution.end)
    return signs | {
        "energy_drop": evolution.energy_drop(end_energy).mean(),
        "distance": evolution.distance.mean(),
        "acceptance": evolution.acceptance,
    }


def require_separate(learner: nn.Module) -> None:
    """ValueError where a score of the learner's gives no point an energy of its own."""
    for name, layer in (named for score in scores_of(learner) for named in score.named_modules()):
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"the score's layer {name or 'itself'} is a batch norm, under which a point's energy depends on the"
                " points beside it: leave it out, or take GroupNorm"
            )


def require_one_energy(learner: nn.Module, and_so: str) -> None:
    """ValueError for a learner of several energies, as of several grids; `and_so` ends the sentence."""
    if not hasattr(learner, "energy"):
        raise ValueError(f"{type(learner).__name__} has several energies, and {and_so}")


def require_stages(asked: Iterable[str], offered: Iterable[str]) -> None:
    """ValueError when sampling is asked for a stage that the learner does not have."""
    unknown = [name for name in asked if name not in offered]
    if unknown:
        raise ValueError(f'no dynamics "{unknown[0]}" here: this learner has {", ".join(offered) or "none"}')


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Run `net` on its running statistics and without dropout, so that no point of a batch sees another."""
    trained = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True
