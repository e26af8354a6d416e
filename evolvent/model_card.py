"""The card of weights that are passed on: what is known of how they came about and what they score, and what is not."""

import json
from collections.abc import Iterable
from typing import Any

from evolvent.cost import in_mib
from evolvent.metrics.scores import told_floor
from evolvent.recipes.find import short_name
from evolvent.storage.reading import newest_scores

CARD = """\
---
library_name: evolvent
license: unknown
tags: [energy-based-model, image-generation]
---

# {title}, step {step}

An energy-based generative ConvNet, p(x) ∝ exp(f(x)) q(x), trained by `evolvent train {recipe}`.{own}

```console
$ evolvent sample {name} --num 64 --out samples.png
```

* **Arguments**: `{arguments}`
{made}* **Weights**: {precision} precision, averaged over the run.
* **Data and their licence**: not said yet.
* **Licence of these weights**: not said yet; `license` above says so.
* **Limits**: not said yet.

## Scores

{scores}
"""

OWN_FILE = "\n`{file}` is the author's own file: it must lie in the folder where the commands are given."


def model_card(
    record: dict[str, Any] | None,
    scores: Iterable[dict[str, Any]],
    metadata: dict[str, str],
    *,
    name: str,
    half: bool,
) -> str:
    """The card of weights with their metadata, in a folder of that name.

    record: of the run that they are of, None for a file's. scores: lines of its `scores.jsonl`, of whatever step.
    """
    recipe = metadata["recipe"]
    scores = [line for line in scores if line["step"] == int(metadata["step"])]
    return CARD.format(
        title=short_name(recipe),
        recipe=recipe,
        own=OWN_FILE.format(file=recipe.rpartition(":")[0]) if ":" in recipe else "",
        name=name,
        step=metadata["step"],
        arguments=metadata["arguments"],
        made=_averaged(metadata) if record is None else _trained(record),
        precision="half" if half else "single",
        scores=_table(scores) or "None yet: `evolvent evaluate RUN` before exporting puts them here.",
    )


def _trained(record: dict[str, Any]) -> str:
    """How a run came about, in a line or two."""
    machine, commit = record.get("machine", {}), record.get("commit") or "not known"
    where = machine.get("gpu") or f"a CPU, threads: {machine.get('num_threads', '?')}"
    minutes, seed = record.get("seconds", 0) / 60, record["seed"]
    most = f", at most {in_mib(record['peak_memory'])} MiB" if record.get("peak_memory") else ""
    line = f"* **Trained** in {minutes:.1f} minutes on {where}{most}; commit {commit}; seed {seed}.\n"
    return line + _began(record.get("init_from"))


def _averaged(metadata: dict[str, str]) -> str:
    """Of what weights in a file are the mean, if they are one (`evolvent.averaging`)."""
    of = [f"`{one['source']}` at step {one['step']}" for one in json.loads(metadata.get("averaged", "[]"))]
    return f"* **Average** of {', '.join(of)}.\n" if of else ""


def _began(origin: dict[str, Any] | None) -> str:
    """The line of a run that began from other weights, as `weights_and_origin` told of them."""
    if origin is None:
        return ""
    source, recipe, step = origin["source"], short_name(origin["recipe"]), origin["step"]
    return f"* **Began from**: the weights of `{source}`, {recipe} at step {step}.\n"


def _table(lines: list[dict[str, Any]]) -> str:
    """The newest score of each kind."""
    if not lines:
        return ""
    heads = ("measure", "value", "samples", "reference", "against", "drawn with", "protocol", "real data")
    keys = ("measure", "value", "num_samples", "num_reference", "against", "asked", "protocol")
    rows = [
        [*(_cell(line.get(key)) for key in keys), told_floor(line.get("floor"), line.get("num_real"))]
        for line in newest_scores(lines).values()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
