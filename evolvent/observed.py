"""Points of which a part is seen: the same energy with one term more, and no training.

    v = P (x + σ ξ)                            what is seen (`views`), ξ ~ N(0, I)
    p(x | v) ∝ p(x) exp(−‖P x − v‖² / 2σ²)     Bayes: the misfit joins the energy                        [derived]

Whatever evolves under U evolves under it, in image space, and through the mapping in hidden space, where a code is
looked for whose birth shows what is seen: the pattern completion that FRAME and GCN are known for. The model is the one
that its chains follow, p ∝ (exp(β f) q)^(1/T), and σ means the same at every weight β and temperature T of them.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import nn

from evolvent.dynamics import Dynamics, Independent, Langevin, Preconditioned
from evolvent.energy import Energy, squared_norm
from evolvent.learners.update import require_one_energy
from evolvent.machine import Precision, in_full_precision
from evolvent.sampling import check_counts, classes_of, draw_chunk
from evolvent.shapes import Labels, PerPoint, Points
from evolvent.views import View, check_view

IN_HIDDEN_SPACE = {
    "selection": Independent(num_steps=100),
    "hidden": Langevin(0.002, 150, final_step_size=0.0004),
}
"""How codes find what is seen: from the best of a hundred births, in steps that a narrow misfit does not throw out."""

LEAST_SIGMA = 1e-6
"""What float32 tells apart in points of order one; a narrower misfit overflows it."""


class Observed(nn.Module):
    """The score β f(x) − T ‖P x − v‖² / 2σ² over a score f; row i of a batch is held to row i of v.

    seen: [batch, *event], of which v = P seen alone has a part in anything.
    view: P, what is seen of a point (`views`).
    sigma: how far off a seen value may lie, in the units of the points.
    beta: β, the weight of f where no stage weighs it.
    temperature: T of the chains, which follow exp(score / T); at 0 they descend as if it were 1.
    """

    by_row = True

    def __init__(
        self,
        score: nn.Module,
        seen: Points,
        view: View,
        sigma: float,
        *,
        beta: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not LEAST_SIGMA <= sigma < math.inf:
            raise ValueError(
                f"sigma, how far off a seen value may lie, is at least {LEAST_SIGMA} and finite, not {sigma}"
            )
        self.score, self.beta, self.stiffness = score, beta, (temperature or 1.0) / sigma / sigma
        self.view = view
        self.register_buffer("seen", view(seen))

    def forward(self, x: Points) -> PerPoint:
        if len(x) != len(self.seen):
            raise ValueError(f"{len(self.seen)} points were seen in part, and {len(x)} are held to them")
        points = x[:, : self.seen.shape[1]].float()  # a label is carried behind them
        with in_full_precision(x.device):
            misfit = squared_norm(self.view(points) - self.seen)
        return self.beta * self.score(x) - self.stiffness * misfit / 2


def stages_to_complete(learner: nn.Module) -> dict[str, Dynamics]:
    """Those that `complete` runs: in hidden space where there is a mapping, else the learner's own."""
    return dict(IN_HIDDEN_SPACE if hasattr(learner, "mapping") else learner.stages)


@torch.inference_mode(False)
@torch.no_grad()
def complete(
    learner: nn.Module,
    seen: Points,
    view: View,
    *,
    sigma: float = 0.5,
    seed: int = 0,
    stages: Mapping[str, Dynamics] | None = None,
    labels: Labels | None = None,
    batch_size: int = 64,
    precision: Precision = "float32",
) -> Points:
    """A draw of p(x | v) for each row of `seen`, with what is seen put back in its place; [batch, *event] on the CPU.

    seen, view, sigma: as `Observed` has them, and float32; seen is where the learner is.
    labels: one a row, of a learner that knows classes.
    Row i depends on (seed, i) and on what it is held to, whatever the number of rows. Every stage is under the β of a
    learner that has one. ValueError for a learner of several energies, as of several grids, stages of several
    temperatures, a view that is no orthogonal projection, and rows or labels that are not the learner's.
    """
    stages = stages_to_complete(learner) if stages is None else stages
    check_counts(len(seen), batch_size)
    seen = _checked(learner, seen)
    _check_labels(learner, len(seen), labels)
    model, view, found = copy.deepcopy(learner), copy.deepcopy(view), []
    if isinstance(view, nn.Module):
        view.to(seen.device)
    check_view(view, seen)
    score, held = model.energy.net, {"beta": 1.0, "temperature": _temperature(stages)}
    if hasattr(model, "beta"):
        held["beta"], model.beta = model.beta, 1.0
    for first in range(0, len(seen), batch_size):
        rows = torch.arange(first, first + batch_size).clamp(max=len(seen) - 1)  # the last chunk is padded
        model.energy.net = Observed(score, seen[rows], view, sigma, **held)
        _check_steps(model.energy, stages, sigma)
        x = draw_chunk(
            model, first, seed=seed, stages=stages, batch_size=batch_size, device=seen.device,
            labels=None if labels is None else labels[rows], precision=precision,
        )  # fmt: skip
        x = x.to(seen.device)
        found.append((view(seen[rows]) + (x - view(x))).cpu())
    return torch.cat(found)[: len(seen)]


def _temperature(stages: Mapping[str, Dynamics]) -> float:
    """That of all stages, 1 without any. ValueError where they have several."""
    found = {stage.temperature for stage in stages.values()} or {1.0}
    if len(found) > 1:
        raise ValueError(
            f"the stages {', '.join(stages)} have several temperatures, and a completion is of one law:"
            " give them one by --temperature"
        )
    return found.pop()


def _check_steps(energy: Energy, stages: Mapping[str, Dynamics], sigma: float) -> None:
    """ValueError where a step in image space is so long that what is seen would throw a particle ever farther off."""
    stage = stages.get("image")
    if not isinstance(stage, Langevin):
        return
    longest = energy.reference.longest() if isinstance(stage, Preconditioned) else 1.0
    most = 2 / energy.net.stiffness / longest
    if stage.step_size > most:
        least = sigma * (stage.step_size / most) ** 0.5
        raise ValueError(
            f"steps of {stage.step_size:g} at temperature {stage.temperature:g} are too long for what is held to"
            f" σ = {sigma:g}: give a --step-size of {0.95 * most:.2g}, or a --sigma of {1.05 * least:.2g}"
        )


def _checked(learner: nn.Module, seen: Points) -> Points:
    """The rows as float32, of their own. ValueError where the learner cannot be held to them."""
    require_one_energy(learner, "what is seen belongs to one")
    shape = tuple(draw_chunk(learner, 0, stages={}, batch_size=1, device=seen.device).shape[1:])
    if tuple(seen.shape[1:]) != shape or not seen.is_floating_point():
        raise ValueError(
            f"seen are rows of the model's points, floats of shape [rows, {', '.join(map(str, shape))}], as images are"
            f" from -1 to 1; they are {seen.dtype} of shape {list(seen.shape)}"
        )
    return seen.float().clone()  # a chain takes no tensors of inference mode


def _check_labels(learner: nn.Module, num: int, labels: Labels | None) -> None:
    """ValueError unless they are one a row, of classes that the learner knows, and none where it knows none."""
    if not getattr(learner, "num_classes", 0):
        if labels is not None:
            raise ValueError("this model was trained without labels: leave them out")
        return
    given = "none" if labels is None else f"{labels.dtype} of shape {list(labels.shape)}"
    if labels is None or labels.shape != (num,) or labels.is_floating_point():
        raise ValueError(
            f"a label for each of {num} rows is wanted, whole numbers [{num}], and there are {given}"
        )
    classes_of(learner, labels.unique().tolist())
