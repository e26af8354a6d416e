"""What `energy --anneal` tells: by how many nats the model is nearer to images than what it begins from."""

from collections.abc import Iterator, Mapping, Sequence

from rich.progress import SpinnerColumn, TextColumn

from evolvent.annealing import Nearer, Rung, anneal, check_particles, law_of, nearer, own_beta
from evolvent.cli.drawing import check_at_once
from evolvent.cli.terminal import passing, print_table, printable
from evolvent.pretrained import Saved
from evolvent.shapes import Labels, PerPoint

FARTHEST = 4
"""Times the learner's own β, where the way ends at the latest."""
PAST = 2
"""Standard errors below the best, at which it is passed: from there on the way ends at the learner's own β."""
FEWEST = 2
"""Particles that the weights of each class may be worth; below it they say nothing, and the way ends anywhere."""

Scored = tuple[PerPoint, Labels | None]
"""The scores of images, and which of the classes that particles are of each is of."""


def check_way(saved: Saved, num: int, classes: Sequence[int] | None) -> None:
    """ValueError where there is no way for so many particles."""
    check_at_once(saved, num, way_out="take fewer particles")
    check_particles(num, len(classes or ()))
    law_of(saved.learner)


def tell_nearness(
    saved: Saved, sides: Mapping[str, Scored], num: int, *, classes: Sequence[int] | None, at_once: int
) -> None:
    """Climb from births to the model, and beyond where that is nearer still; print the rungs and a sentence a side."""
    own = own_beta(saved.learner)
    rungs = anneal(
        saved.learner,
        num,
        betas=(own, FARTHEST * own),
        classes=classes,
        batch_size=at_once,
        device=saved.device,
    )
    births = "births" if hasattr(saved.learner, "mapping") else "the reference"
    climbed, found = [], {name: [] for name in sides}
    for rung in _shown(rungs):
        climbed.append(rung)
        for name, (score, turns) in sides.items():
            found[name] += nearer([rung], score, turns)
        lost = rung.effective * num / max(1, len(classes or ())) < FEWEST
        if lost or (rung.beta >= own and all(map(_is_past, found.values()))):
            break
    heads = ("β", "log Z", *(f"nearer to {name}" for name in found), "particles' worth", "accepted")
    rows = [_row(rung, ways) for rung, *ways in zip(climbed, *found.values(), strict=True)]
    print_table(f"from {births}, β = 0, to exp(β f): nats, {num:,} particles", heads, rows)
    for name, way in found.items():
        print(_sentence(printable(name), births, way, own))


def _row(rung: Rung, ways: Sequence[Nearer]) -> list[str]:
    nats = [_nats(way, 3) for way in ways]
    return [
        f"{rung.beta:.3f}",
        f"{float(rung.log_z.mean()):.3f}",
        *nats,
        f"{rung.effective:.1%}",
        f"{rung.acceptance:.0%}",
    ]


def _sentence(name: str, births: str, way: Sequence[Nearer], own: float) -> str:
    """Where the law is nearest to a side, and how near it is at the model's own β."""
    best = _best(way)
    at_own = [one for one in way if one.beta == own]
    where = f"at β = {best.beta:.3g}"
    if at_own and best is way[-1]:
        where += " (the last that was taken: a larger one may be nearer still)"
    nearest = f"nearest to {name} {where}: {_nats(best, 2)} nats an image nearer than {births}"
    if at_own:
        return f"{nearest}; at the model's own β = {own:g}, {_nats(at_own[0], 2)}"
    return (
        f"{nearest}; at β = {way[-1].beta:.3g}, short of the model's own {own:g}, the weights are worth"
        f" fewer than {FEWEST} particles: take more"
    )


def _nats(found: Nearer, digits: int) -> str:
    return f"{found.nats:.{digits}f} ± {found.error:.{digits}f}"


def _best(way: Sequence[Nearer]) -> Nearer:
    return max(way, key=lambda one: one.nats)


def _is_past(way: Sequence[Nearer]) -> bool:
    best = _best(way)
    return way[-1].nats < best.nats - PAST * max(best.error, way[-1].error)


def _shown(rungs: Iterator[Rung]) -> Iterator[Rung]:
    """The rungs, under a line that says how far they have come where a person looks on."""
    with passing(SpinnerColumn(), TextColumn("β = {task.fields[beta]:.3f}")) as progress:
        task = progress.add_task("", total=None, beta=0.0)
        for rung in rungs:
            progress.update(task, beta=rung.beta)
            yield rung
