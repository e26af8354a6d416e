"""How likely a model finds points that are given: their energies, of which the lower is the likelier.

    U(x)                        of a model that knows no classes
    U(x, y)                     of one that does, at a class for each point
    −log Σ_y exp(−U(x, y))      where no class is known (`Conditional.class_free`)                       [derived]

Differences alone mean something, as log Z is not known. Of a GGCN, U is what the energy has learned: the density of its
births, which `draw` begins from, has no formula and is no part of it.
"""

from typing import NamedTuple

import torch
from torch import nn

from evolvent.data.pixels import to_particles
from evolvent.energy import Energy
from evolvent.learners.update import evaluating, require_one_energy
from evolvent.sampling import classes_of
from evolvent.shapes import Labels, PerPoint, Pixels, Points


class Energies(NamedTuple):
    """Of every point, on the CPU in float64."""

    energy: PerPoint
    """U = Φ − log q."""
    potential: PerPoint
    """Φ."""


def energies(
    learner: nn.Module,
    x: Points | Pixels,
    *,
    labels: Labels | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Energies:
    """Of points, or of pixels, which stand for the centres of their bins; each is of its own point alone.

    labels: the class of each point, of a learner that knows classes; None for the energy of no class.
    batch_size: taken at once, in as much memory. device: of the learner.

    Raises ValueError for a learner of several energies, points and labels that are not the learner's, and an energy
    that is NaN or infinite.
    """
    _check(learner, x, labels)
    found = []
    with torch.no_grad(), evaluating(learner):
        for first in range(0, len(x), batch_size):
            # The last batch is padded: a product of matrices may round otherwise at another size.
            rows = torch.arange(first, first + batch_size).clamp(max=len(x) - 1).to(x.device)
            points = x[rows].to(device)
            points = to_particles(points) if points.dtype == torch.uint8 else points
            law = _law(learner, None if labels is None else labels[rows.to(labels.device)].to(device))
            found.append(torch.stack([law.potential(points), law.pull(points)]).double().cpu())
    potential, pull = torch.cat(found, 1)[:, : len(x)]
    if num_lost := int((~(potential + pull).isfinite()).sum()):
        raise ValueError(
            f"the energies of {num_lost} of {len(x)} points are NaN or infinite: the run has diverged, take an"
            " earlier checkpoint"
        )
    return Energies(potential + pull, potential)


def _law(learner: nn.Module, labels: Labels | None) -> Energy:
    if labels is not None:
        return learner.energy.given(labels)
    return learner.energy.class_free() if classes_of(learner) else learner.energy


def _check(learner: nn.Module, x: Points | Pixels, labels: Labels | None) -> None:
    require_one_energy(learner, "no one of them is the points'")
    shape = learner.energy.reference.event_shape
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"the model's points are {list(shape)}, and these are {list(x.shape[1:])}")
    if not len(x):
        raise ValueError("no points have no energies: give at least one")
    if labels is None:
        return
    classes_of(learner, labels.unique().tolist())
    if len(labels) != len(x):
        raise ValueError(f"{len(x)} points have {len(labels)} labels: give one to each, or none")
