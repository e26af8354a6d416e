"""What a run folder holds, read back: its record, its model, its logs. Whatever is odd in them is one sentence."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from evolvent.storage.sealed import unpack_state, unpack_weights

RECORD = {"recipe": str, "arguments": dict, "seed": int, "device": str, "status": str}
"""What run.json must hold for the run to be taken up again."""
MAYBE = {"step": int, "sessions_begun_at_step": list, "sources": dict, "machine": dict, "seconds": float}
MAYBE |= {"parameters": dict, "peak_memory": int}
"""And what it may."""
ORIGIN = {"source": str, "recipe": str, "step": int}
"""And what its init_from must, where there is one."""
SCORE = {"step": int, "measure": str, "protocol": str, "num_samples": int, "num_reference": int}
SCORE |= {"value": int | float, "floor": int | float | None, "lower_is_better": bool, "against": str | None}
SCORE |= {"asked": str | None, "num_real": int | None}
"""What a line of scores.jsonl must hold."""
COST = {"gradients": float, "seconds": float}
"""And its cost, where there is one."""
ALIKE = ("measure", "num_samples", "num_reference", "protocol", "against", "asked")
"""What two scores must share to be compared; asked is what was, of the sampling, in place of the recipe's own."""
MODEL = "model.safetensors"
CHECKPOINT = ".pt"
"""How the files in a run's folder `checkpoints` end."""


def read_record(path: Path) -> dict[str, Any]:
    """run.json of a run folder. ValueError when there is none or it cannot be read."""
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"{path} is not a run: it has no run.json")
    try:
        record = json.loads(file.read_text())
        wrong = [name for name, kind in RECORD.items() if type(record[name]) is not kind]
        wrong += [name for name, kind in MAYBE.items() if type(record.get(name, kind())) is not kind]
        wrong += ["init_from"] if _is_odd(record.get("init_from"), ORIGIN) else []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}): restore it, or start a new run") from error
    if wrong:
        raise ValueError(f"{file} has an odd {wrong[0]}: restore it, or start a new run")
    return record


def _is_odd(part: Any, kinds: dict[str, type]) -> bool:
    """Whether a part that may be missing is there and lacks what it must hold."""
    if part is None:
        return False
    return not isinstance(part, dict) or any(type(part.get(n)) is not kind for n, kind in kinds.items())


def read_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights and metadata of a model.safetensors, of the one in a run folder, or of a checkpoint there."""
    weights, metadata, _ = read_model_with_sum(path)
    return weights, metadata


def read_model_with_sum(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
    """The same and the SHA-256 of the file, which is read once."""
    file = path / MODEL if path.is_dir() else path
    if file.suffix == CHECKPOINT and file.is_file():
        return _averaged_in(file)
    if not file.is_file():
        reason = (
            "the run has saved no model yet" if (path / "run.json").is_file() else "there is no such file"
        )
        raise ValueError(f"{file} holds no weights: {reason}")
    content = file.read_bytes()
    try:
        weights, metadata = unpack_weights(content)
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error
    if not {"recipe", "arguments", "step"} <= metadata.keys():
        raise ValueError(f"{file} was not written by evolvent: its header names no recipe")
    for name, kind in (("arguments", dict), ("step", int), ("sources", dict)):
        try:
            odd = type(json.loads(metadata.setdefault(name, "{}"))) is not kind
        except (ValueError, RecursionError):
            odd = True
        if odd:
            raise ValueError(f"{file} was not written by evolvent: its header has an odd entry for {name}")
    return weights, metadata, hashlib.sha256(content).hexdigest()


def _averaged_in(checkpoint: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
    """Of a file in a run's folder of checkpoints: the averaged weights, and with them what only training needs."""
    record, content = read_record(checkpoint.parent.parent), checkpoint.read_bytes()
    try:
        trainer = unpack_state(content)["trainer"]
        weights, step = trainer["averaged"], int(trainer["step"])
    except (ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint that can be read: {error}") from error
    return weights, metadata_of(record, step), hashlib.sha256(content).hexdigest()


def metadata_of(record: dict[str, Any], step: int) -> dict[str, str]:
    """What the header of a model says of the run that it is of: all that rebuilds it."""
    return {
        "recipe": record["recipe"],
        "arguments": json.dumps(record["arguments"]),
        "step": str(step),
        "sources": json.dumps(record.get("sources", {})),
    }


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that a killed process left half-written does not count."""
    if not path.is_file():
        return []
    *whole, _ = path.read_text(errors="replace").split("\n")
    return [_object(path, number, line) for number, line in enumerate(whole, start=1)]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl: a step, and either numbers or a warning. ValueError for one of another kind."""
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        values = (value for name, value in line.items() if name != "warning")
        if type(line.get("step")) is not int or not all(isinstance(value, int | float) for value in values):
            raise ValueError(f"{path}, line {number} is not of a log: remove that line")
    return lines


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The lines of a scores.jsonl, oldest first. ValueError for one that is no score."""
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        odd = [name for name, kind in SCORE.items() if not isinstance(line.get(name), kind)]
        odd += ["cost"] if _is_odd(line.get("cost"), COST) else []
        if odd:
            raise ValueError(f"{path}, line {number} is no score, by its {odd[0]}: remove that line")
    return lines


def newest_scores(lines: list[dict[str, Any]]) -> dict[tuple, dict[str, Any]]:
    """The last of each kind, by what `ALIKE` names."""
    return {tuple(line.get(name) for name in ALIKE): line for line in lines}


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number} is damaged ({error}): remove that line") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}, line {number} holds no object: remove that line")
    return found
