"""The command report: what a run went through and came to, or several side by side.

Two scores stand in one row only if they were measured alike: same measure, counts, protocol and data, of samples
drawn as their recipes do or with the same options. A score of another step than the run's last says so.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evolvent import pictures
from evolvent.cli.options import hyphenated
from evolvent.cli.terminal import WHOLE, open_console, print_table
from evolvent.cost import Drawing, in_mib
from evolvent.metrics.scores import told_floor
from evolvent.recipes.find import short_name
from evolvent.storage.files import check_place
from evolvent.storage.reading import newest_scores, read_log, read_record, read_scores

PICTURE = "report.png"
COLUMN = 13
"""Letters that a column of a table needs to be read, with its edge: "separation" is not folded."""


class Past(NamedTuple):
    """What a run folder tells of the run."""

    record: dict[str, Any]
    lines: list[dict[str, Any]]
    """Of the log, without warnings; the last one has every sign."""
    scores: dict[tuple, dict[str, Any]]
    """The newest of each kind."""


def report(source: list[str], *, out: str | None = None, overwrite: bool = False) -> None:
    """Draw the curves of a run, or of several in one picture, and print their last numbers and their scores.

    Args:
        source: run folders; of several, the options that differ are told as well.
        out: the picture, a .png (default: report.png, in the run's folder or, of several, here).
        overwrite: replace a picture that exists; a run's own report.png is always drawn anew.
    """
    once = {os.path.realpath(word): Path(word) for word in source}
    folders, short = [*once.values()], [Path(real).name for real in once]
    names = short if len({*short}) == len(short) else map(str, folders)
    pasts = {name: past_of(folder) for name, folder in zip(names, folders, strict=True)}
    own = out is None and len(pasts) == 1
    place = folders[0] / PICTURE if own else Path(out or PICTURE)
    if own and not os.access(folders[0], os.W_OK):
        raise ValueError(f"{folders[0]} cannot be written: name the picture of the curves by --out")
    check_place(place, overwrite=overwrite or own)
    if place.suffix != ".png":
        raise ValueError(f"the picture of the curves is a .png, not {place}")
    signs = signs_of(pasts.values())
    if not signs:
        raise ValueError(f"{', '.join(pasts)}: no vital sign was logged, so there is none to draw")
    pictures.save_image(pictures.curves({name: past.lines for name, past in pasts.items()}, signs), place)
    heads = [*pasts]
    _show("runs", ("what", *heads), rows_of([*pasts.values()], signs))
    if costs := cost_rows([*pasts.values()]):
        _show("costs", ("what", *heads), costs)
    if scores := score_rows([*pasts.values()]):
        _show("scores", ("measure", "samples", "reference", "protocol", *heads, "real"), scores)
    print(f"curves:  {place}")


def _show(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """A column a run; where so many have no room, a row a run, in as many tables as their columns take."""
    width = open_console().width
    if len(heads) * COLUMN <= width:
        print_table(title, heads, rows)
        return
    num = max(1, (width - 4 - min(WHOLE, max(map(len, heads)))) // COLUMN)
    for i in range(0, len(rows), num):
        part = [heads, *rows[i : i + num]]
        print_table(title, [column[0] for column in part], [*zip(*part, strict=True)][1:])


def past_of(path: Path) -> Past:
    """ValueError where there is no run, or one that has logged nothing."""
    record = read_record(path)
    lines = [line for line in read_log(path / "log.jsonl") if "warning" not in line]
    if not lines:
        raise ValueError(f"{path} has logged nothing yet")
    return Past(record, lines, newest_scores(read_scores(path / "scores.jsonl")))


def signs_of(pasts: Iterable[Past]) -> list[str]:
    """The names of all that was logged, in the order in which it was."""
    names = dict.fromkeys(name for past in pasts for name in past.lines[-1])
    return [name for name in names if name not in ("step", "seconds") and "@" not in name]


def rows_of(pasts: Sequence[Past], signs: Sequence[str]) -> list[tuple[str, ...]]:
    """Recipe and status, the options that are not the same everywhere, the last step and its signs."""
    rows = [("recipe", *(short_name(past.record["recipe"]) for past in pasts))]
    rows += [("status", *(past.record["status"] for past in pasts))]
    given = [_options(past.record) for past in pasts]
    for name in dict.fromkeys(name for options in given for name in options):
        values = [str(options.get(name, "-")) for options in given]
        if len(set(values)) > 1:
            rows.append((hyphenated(f"--{name}"), *values))
    for name in ("step", "seconds", *signs):
        rows.append((name.replace("_", " "), *(_cell(past.lines[-1], name) for past in pasts)))
    return rows


def cost_rows(pasts: Sequence[Past]) -> list[tuple[str, ...]]:
    """What training took and what a sample takes, of what is known; of samples drawn as the recipe does."""
    costs = [_costs(past) for past in pasts]
    names = dict.fromkeys(name for cost in costs for name in cost)
    return [(name, *(cost.get(name, "-") for cost in costs)) for name in names]


def _costs(past: Past) -> dict[str, str]:
    record, costs = past.record, {}
    if counts := record.get("parameters"):
        costs["parameters"] = f"{sum(counts.values()):,}"
    if most := record.get("peak_memory"):
        costs["peak memory, MiB"] = in_mib(most)
    drawn = [score for score in past.scores.values() if not score.get("asked") and score.get("cost")]
    if drawn:
        costs |= Drawing(drawn[-1]["cost"]["gradients"], drawn[-1]["cost"]["seconds"]).told()
    return costs


def score_rows(pasts: Sequence[Past]) -> list[tuple[str, ...]]:
    """A row for each kind of score that one of the runs has, and what real data score where that is known."""
    rows = []
    for kind in dict.fromkeys(kind for past in pasts for kind in past.scores):
        found = [past.scores.get(kind, {}) for past in pasts]
        known = next(score for score in found if score)
        measure, num_samples, num_reference, *how = kind
        arrow = "↓" if known["lower_is_better"] else "↑"
        values = (_value(score, past.lines[-1]["step"]) for score, past in zip(found, pasts, strict=True))
        counts = str(num_samples), str(num_reference)
        real = told_floor(known["floor"], known.get("num_real"))
        rows.append((f"{measure} {arrow}", *counts, _told(*how), *values, real))
    return rows


def _value(score: Mapping[str, Any], last_step: int) -> str:
    value = _cell(score, "value")
    return value if score.get("step", last_step) == last_step else f"{value} at step {score['step']}"


def _told(protocol: str, against: str | None, asked: str | None) -> str:
    parts = protocol, against and f"against {against}", asked and f"drawn with {asked}"
    return ", ".join(part for part in parts if part)


def _options(record: dict[str, Any]) -> dict[str, Any]:
    """What the run was made with, by the names of the options."""
    began = {"init_from": origin["source"]} if (origin := record.get("init_from")) else {}
    return began | record["arguments"] | {"seed": record["seed"]}


def _cell(line: Mapping[str, Any], name: str) -> str:
    return "-" if line.get(name) is None else f"{line[name]:.4g}"
