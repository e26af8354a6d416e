"""The report: tables with their floors, the curves of dissipation, and what others published, marked as theirs."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ablating.cells import CELLS
from evolvent.files import open_whole, write_whole

LADDER = (
    ("GCN", "gcn", "image"),
    ("w-GCN: + JKO flow", "wgcn", "image"),
    ("GGCN: + hidden birth, short evolution in image space", "ggcn", "image"),
    ("amortised: − chain in training", "amortised", "births"),
    ("amortised: + hidden evolution at sampling", "amortised", "hidden"),
)
"""Words, cell and sampling: each a step from the row above."""
TAUS = ("gcn", "wgcn-half", "wgcn", "wgcn-double", "wgcn-path-half", "wgcn-path", "wgcn-path-double")
UPSAMPLING = (("fixed", "births"), ("fixed", "image"), ("trainable", "births"), ("trainable", "image"))
CURVES = ("gcn", "wgcn", "wgcn-path")

PUBLISHED = """\
## What others published

**On other features, under other protocols: not to be compared with the tables above.** Inception Score, as published
in FRAME Revisited (arXiv 1812.01186), CIFAR-10: real images 11.24, DCGAN 6.16, WINN-5CNN 5.58, FRAME 4.28 (with labels
4.95), wFRAME 5.52 (with labels 6.05). FID over Inception's features, as published, CIFAR-10 without labels: Energy
Matching 3.34, CDRL-large 3.68, CDRL 4.31, CLEL 8.61, DRL 9.58, VAEBM 12.2, EBM life-cycle 22.1, Improved-CD 25.1,
JEM 38.4, IGEBM 40.6; R3GAN, a neighbour among GANs, 1.96.

| other libraries under this protocol | frechet | kernel |
|---|---|---|
| *not yet measured* | | |
"""


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
    parts += [_stages(found), _dissipation(found, out), PUBLISHED, _pictures(found)]
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


def _stages(found: Found) -> str:
    """Every way to sample from one GGCN, and what evolution takes off the distances of its births."""
    text = "One trained GGCN, drawn from in four ways; gain: what evolution takes off the distance of births."
    rows = [(sampling, "ggcn", sampling) for sampling in CELLS["ggcn"].samplings]
    return _table("Stages of sampling", text, rows, found, births=found.scores("ggcn", "births"))


HEADS = (
    "frechet, test ↓",
    "kernel, test ↓",
    "frechet, train ↓",
    "kernel, train ↓",
    "recall ↑",
    "coverage ↑",
    "class score ↑",
    "memorisation ratio",
    "memorised share ↓",
)
KEYS = (
    ("test", "frechet"),
    ("test", "kernel"),
    ("train", "frechet"),
    ("train", "kernel"),
    ("test", "recall"),
    ("test", "coverage"),
    ("test", "class-score"),
    ("test", "memorisation-ratio"),
    ("test", "memorised-share"),
)


def _table(
    title: str,
    text: str,
    rows: Sequence[tuple[str, str, str]],
    found: Found,
    births: list[dict] | None = None,
) -> str:
    """One line a (words, cell, sampling) that is there, and the floor; "" where none is."""
    gain = ["gain, frechet", "gain, kernel"] if births else []
    lines, floors = [_line("", *HEADS, *gain), _line(*["---"] * (1 + len(HEADS) + len(gain)))], None
    for words, cell, sampling in rows:
        records = found.scores(cell, sampling)
        if records:
            floors = records[0]
            more = [_gain(records, births, key) for key in KEYS[:2]] if births else []
            lines.append(_line(words, *(_mean(records, _value(key)) for key in KEYS), *more))
        elif faults := [record["diverged"] for record in found.training(cell) if record["diverged"]]:
            lines.append(_line(words, f"diverged, {faults[0]}"))
    if floors is None and len(lines) == 2:
        return ""
    if floors:
        lines.append(
            _line("*floor: real images*", *(f"*{_number(_value(key, 'floor')(floors))}*" for key in KEYS))
        )
    return f"## {title}\n\n{text}\n\n" + "\n".join(lines) + "\n"


def _costs(found: Found) -> str:
    heads = ("steps", "images seen", "s, training", "parameters: energy", "mapping", "peak memory, MiB")
    heads += ("gradients an image", "sampling", "gradients a sample", "s per 1,000 samples")
    lines = [_line("", *heads), _line(*["---"] * (1 + len(heads)))]
    for name, cell in CELLS.items():
        records = found.training(name)
        if not records:
            continue
        keys = ("steps", "images", "seconds")
        cells = [_mean(records, lambda record, key=key: record[key]) for key in keys]
        cells += [f"{records[0]['parameters'].get(part, 0):,}" for part in ("energy", "mapping")]
        cells += [
            _mean(records, lambda record: record["peak_mib"]),
            _number(records[0]["gradients_per_image"]),
        ]
        for sampling in cell.samplings:
            drawn = found.scores(name, sampling)
            costs = (
                [_mean(drawn, lambda record, key=key: record[key]) for key in DRAWING] if drawn else ["", ""]
            )
            lines.append(_line(cell.words, *cells, sampling, *costs))
            cells = [""] * len(cells)
    text = (
        "Gradients are those through the score, a point each: of forces and of what is learned from, and one more"
        " where a force is differentiated. Memory is what training holds at its peak."
    )
    return f"## Cost\n\n{text}\n\n" + "\n".join(lines) + "\n" if len(lines) > 2 else ""


DRAWING = ("gradients_per_sample", "seconds_per_1000")


def _dissipation(found: Found, out: Path) -> str:
    """The figure of energy drop and gap over training steps, first seed."""
    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    panels, shown = figure.subplots(1, 2), []
    for cell in CURVES:
        for record in found.training(cell)[:1]:
            lines = [
                json.loads(line) for line in (out / record["folder"] / "log.jsonl").read_text().splitlines()
            ]
            steps = [line["step"] for line in lines]
            for axes, key in zip(panels, ("energy_drop", "energy_gap"), strict=True):
                (curve,) = axes.plot(
                    steps, [line[key] for line in lines], linewidth=1, label=CELLS[cell].words
                )
                ends = ([line[f"{key}@{end}"] for line in lines] for end in ("min", "max"))
                axes.fill_between(steps, *ends, alpha=0.2, linewidth=0, color=curve.get_color())
            shown.append(cell)
    if not shown:
        return ""
    for axes, words in zip(panels, ("energy that a chain dissipates, nats", "energy gap, nats"), strict=True):
        axes.set(title=words, xlabel="step", yscale="symlog")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with open_whole(out / "dissipation.png") as file:
        figure.savefig(file, format="png")
    text = "Means over ten steps; the band is from the least to the greatest step among them."
    return f"## Energy dissipation\n\n{text}\n\n![energy drop and gap over training](dissipation.png)\n"


def _pictures(found: Found) -> str:
    """The first seed's samples, and each of some with its nearest training images."""
    lines = [_line("", "samples", "samples, each with its five nearest training images"), _line(*["---"] * 3)]
    for cell, words in ((name, cell.words) for name, cell in CELLS.items()):
        for sampling in CELLS[cell].samplings:
            for record in found.scores(cell, sampling)[:1]:
                name = f"{record['folder']}-{sampling}"
                lines.append(_line(f"{words}: {sampling}", f"![]({name}.png)", f"![]({name}-nearest.png)"))
    return "## Pictures\n\n" + "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _value(key: tuple[str, str], what: str = "value") -> Callable[[dict], float | None]:
    part, measure = key
    return lambda record: next(score[what] for score in record[part] if score["measure"] == measure)


def _gain(records: list[dict], births: list[dict], key: tuple[str, str]) -> str:
    before, after = (statistics.mean(map(_value(key), some)) for some in (births, records))
    return f"{100 * (1 - after / before):.1f} %"


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
