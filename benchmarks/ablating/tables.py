"""The report: tables with their floors, and the curves of dissipation."""

import json
import statistics
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablating.cells import CELLS
from evolvent.storage.files import open_whole, write_whole

Row = tuple[str, str, str]
"""Words, cell and sampling."""

LADDER = (
    ("GCN", "gcn", "image"),
    ("w-GCN: + JKO flow", "wgcn", "image"),
    ("GGCN: + hidden birth, short evolution in image space", "ggcn", "image"),
    ("amortised: − chain in training", "amortised", "births"),
    ("amortised: + hidden evolution at sampling", "amortised", "hidden"),
    ("amortised: + selection among births before it", "amortised", "selection+hidden"),
)
"""Each a step from the row above."""
TAUS = ("gcn", "wgcn-half", "wgcn", "wgcn-double", "wgcn-path-half", "wgcn-path", "wgcn-path-double")
BY_CLASS = (
    ("GCN", "gcn", "image"),
    ("GCN, by class", "gcn-labels", "image"),
    ("w-GCN", "wgcn", "image"),
    ("w-GCN, by class", "wgcn-labels", "image"),
    ("amortised: births", "amortised", "births"),
    ("amortised: births, by class", "amortised-labels", "births"),
    ("amortised: + hidden evolution", "amortised", "hidden"),
    ("amortised: + hidden evolution, by class", "amortised-labels", "hidden"),
    ("amortised: + selection and hidden evolution", "amortised", "selection+hidden"),
    ("amortised: + selection and hidden evolution, by class", "amortised-labels", "selection+hidden"),
)
RATES = [
    f"{cell}{rate}"
    for rate in ("-lr-half", "", "-lr-double", "-lr-fourfold")
    for cell in ("gcn", "wgcn", "wgcn-chain")
    if f"{cell}{rate}" in CELLS
]
UPSAMPLING = (("fixed", "births"), ("fixed", "image"), ("trainable", "births"), ("trainable", "image"))
CURVES = ("gcn", "wgcn", "wgcn-path")


class Found:
    """What the cells of a folder have left so far, over all seeds."""

    def __init__(self, out: Path) -> None:
        records = [
            json.loads(file.read_text()) | {"folder": file.parent.name} for file in out.glob("*/*.json")
        ]
        records.sort(key=lambda record: record["seed"])
        self.trained = [record for record in records if "steps" in record]
        self.scored = [record for record in records if "sampling" in record]

    def training(self, cell: str) -> list[dict]:
        return [record for record in self.trained if record["cell"] == cell]

    def scores(self, cell: str, sampling: str) -> list[dict]:
        return [record for record in self.scored if (record["cell"], record["sampling"]) == (cell, sampling)]


def report(out: Path, heading: str) -> None:
    """Write ablation.md and the figure from all that is there."""
    found = Found(out)
    parts = [f"# Ablation\n\n{heading}\n", _ladder(found), _costs(found), _taus(found), _upsampling(found)]
    parts += [_rates(found), _by_class(found), _stages(found), _dissipation(found, out), _pictures(found)]
    write_whole(out / "ablation.md", "\n".join(part for part in parts if part))


def _ladder(found: Found) -> str:
    text = (
        "Each row is a small change of the row above, with the same nets. As in the recipes, hidden birth comes with an"
        " adversarial mapping and the logistic contrast; the last two rows are the same weights."
    )
    return _table("From GCN to amortised GGCN", text, LADDER, found)


def _taus(found: Found) -> str:
    text = "w-GCN under the time step τ of the JKO flow and both ends of its action; at τ = 0 it is GCN."
    return _table("Time step and ends", text, [(CELLS[cell].words, cell, "image") for cell in TAUS], found)


def _upsampling(found: Found) -> str:
    text = "One chain in image space, from births of a mapping that stays as it was drawn, and of one that learns."
    rows = [(f"{CELLS[cell].words}: {sampling}", cell, sampling) for cell, sampling in UPSAMPLING]
    return _table("Fixed and trainable upsampling", text, rows, found)


def _by_class(found: Found) -> str:
    text = "With labels every class has an energy of its own, and its own chains or births; classes are drawn in turns."
    return _table("With labels", text, BY_CLASS, found)


def _rates(found: Found) -> str:
    text = "GCN and w-GCN from half to four times the learning rate at which both are trained elsewhere."
    if not any(found.training(cell) for cell in RATES if "-lr-" in cell):
        return ""
    return _table("The learning rate", text, [(CELLS[cell].words, cell, "image") for cell in RATES], found)


def _stages(found: Found) -> str:
    """Every way to sample from one GGCN, and what evolution takes off the distances of its births."""
    text = "One trained GGCN, drawn from in four ways; gain: what evolution takes off the distance of births."
    rows = [(sampling, "ggcn", sampling) for sampling in CELLS["ggcn"].samplings]
    return _table("Stages of sampling", text, rows, found, births=found.scores("ggcn", "births"))


MEASURES = {
    "frechet, test ↓": ("test", "frechet"),
    "kernel, test ↓": ("test", "kernel"),
    "frechet, train ↓": ("train", "frechet"),
    "kernel, train ↓": ("train", "kernel"),
    "recall ↑": ("test", "recall"),
    "coverage ↑": ("test", "coverage"),
    "class score ↑": ("test", "class-score"),
    "memorisation ratio": ("test", "memorisation-ratio"),
    "memorised share ↓": ("test", "memorised-share"),
}
GAINS = {"gain, frechet": ("test", "frechet"), "gain, kernel": ("test", "kernel")}


def _table(title: str, text: str, rows: Sequence[Row], found: Found, *, births: Sequence[dict] = ()) -> str:
    """One line a (words, cell, sampling) that is there, and the floor; gains where `births` are given."""
    lines, floor = [], []
    for words, cell, sampling in rows:
        if records := found.scores(cell, sampling):
            gains = [_gain(records, births, key) for key in GAINS.values() if births]
            lines.append(_line(words, *(_mean(records, _value(key)) for key in MEASURES.values()), *gains))
            floor = [_floor(records[0])]
        elif faults := [record["diverged"] for record in found.training(cell) if record["diverged"]]:
            lines.append(_line(words, f"diverged, {faults[0]}"))
    return _section(title, text, [*MEASURES, *(GAINS if births else ())], lines + floor)


def _floor(record: dict) -> str:
    values = (_number(_value(key, "floor")(record)) for key in MEASURES.values())
    return _line("*floor: real images*", *(f"*{value}*" for value in values))


COSTS = (
    "steps", "images seen", "s, training", "parameters: energy", "mapping", "peak memory, MiB",
    "gradients an image", "sampling", "gradients a sample", "s per 1,000 samples",
)  # fmt: skip


def _costs(found: Found) -> str:
    text = (
        "Gradients are those through the score, a point each: of forces and of what is learned from, and one more"
        " where a force is differentiated. Memory is what training holds at its peak."
    )
    lines = [line for cell in CELLS if found.training(cell) for line in _costs_of(cell, found)]
    return _section("Cost", text, COSTS, lines)


def _costs_of(cell: str, found: Found) -> list[str]:
    """A line for each sampling of a trained cell; the first tells what training took."""
    lines, training = [], _of_training(found.training(cell))
    for sampling in CELLS[cell].samplings:
        drawn = found.scores(cell, sampling)
        drawing = _means(drawn, "gradients_per_sample", "seconds_per_1000") if drawn else ["", ""]
        lines.append(_line(CELLS[cell].words, *training, sampling, *drawing))
        training = [""] * len(training)
    return lines


def _of_training(records: list[dict]) -> list[str]:
    of_each = _means(records, "steps", "images", "seconds")
    parameters = [f"{records[0]['parameters'].get(part, 0):,}" for part in ("energy", "mapping")]
    return of_each + parameters + _means(records, "peak_mib") + [_number(records[0]["gradients_per_image"])]


def _dissipation(found: Found, out: Path) -> str:
    """The figure of energy drop and gap over training steps, first seed."""
    logs = {CELLS[cell].words: out / r["folder"] for cell in CURVES for r in found.training(cell)[:1]}
    if not logs:
        return ""
    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    signs = {"energy_drop": "energy that a chain dissipates, nats", "energy_gap": "energy gap, nats"}
    for axes, (sign, title) in zip(figure.subplots(1, 2), signs.items(), strict=True):
        for words, folder in logs.items():
            _curve(axes, sign, (folder / "log.jsonl").read_text(), words)
        axes.set(title=title, xlabel="step", yscale="symlog")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with open_whole(out / "dissipation.png") as file:
        figure.savefig(file, format="png")
    text = "Means over ten steps; the band is from the least to the greatest step among them."
    return f"## Energy dissipation\n\n{text}\n\n![energy drop and gap over training](dissipation.png)\n"


def _curve(axes: Axes, sign: str, log: str, words: str) -> None:
    lines = [json.loads(line) for line in log.splitlines()]
    steps, mean, least, most = (
        [line[key] for line in lines] for key in ("step", sign, f"{sign}@min", f"{sign}@max")
    )
    (curve,) = axes.plot(steps, mean, linewidth=1, label=words)
    axes.fill_between(steps, least, most, alpha=0.2, linewidth=0, color=curve.get_color())


def _pictures(found: Found) -> str:
    lines = []
    for cell, model in CELLS.items():
        for sampling in model.samplings:
            for record in found.scores(cell, sampling)[:1]:
                name = f"{record['folder']}-{sampling}"
                lines.append(
                    _line(f"{model.words}: {sampling}", f"![]({name}.png)", f"![]({name}-nearest.png)")
                )
    heads = "samples", "samples, each with its five nearest training images"
    return _section("Pictures", "Of the first seed.", heads, lines)


def _section(title: str, text: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    """A title, what to know, and a table; "" without a line."""
    if not lines:
        return ""
    table = [_line("", *heads), _line(*["---"] * (1 + len(heads))), *lines]
    return f"## {title}\n\n{text}\n\n" + "\n".join(table) + "\n"


def _value(key: tuple[str, str], what: str = "value") -> Callable[[dict], float | None]:
    part, measure = key
    return lambda record: next(score[what] for score in record[part] if score["measure"] == measure)


def _gain(records: list[dict], births: Sequence[dict], key: tuple[str, str]) -> str:
    before, after = (statistics.mean(map(_value(key), some)) for some in (births, records))
    return f"{100 * (1 - after / before):.1f} %"


def _means(records: list[dict], *keys: str) -> list[str]:
    return [_mean(records, itemgetter(key)) for key in keys]


def _mean(records: list[dict], value: Callable[[dict], float]) -> str:
    """Over seeds, ± their standard deviation where there are several."""
    values = [value(record) for record in records]
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return _number(statistics.mean(values)) + spread


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
