"""The run folder: what a run leaves behind, enough to read it, go on with it, sample from it and repeat it.

    run.json             what was run (recipe, arguments, seed, commit, versions, machine), how it ended
    log.jsonl            one JSON object a line: step, seconds, losses, vital signs
    samples/             the particles over time; samples.png at the end
    checkpoints/         states that were looked at and found healthy, the last three and one a quarter of the run:
                         resuming the newest is bitwise going straight on
    model.safetensors    the averaged weights and what rebuilds them: this file alone can be sampled from
    scores.jsonl         what `evolvent evaluate` found

Every file but the logs is written whole or not at all, what is trained carries its checksum (`sealed`), and one
process at a time holds the folder. Nothing in it depends on where it lies.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evolvent.sampling import needed
from evolvent.storage.circumstances import circumstances, now, version_of
from evolvent.storage.files import sweep, write_whole
from evolvent.storage.sealed import pack_state, pack_weights, unpack_state, unpack_weights

NUM_CHECKPOINTS = 3
RECORD = {"recipe": str, "arguments": dict, "seed": int, "device": str, "status": str}
"""What run.json must hold for the run to be taken up again."""
MAYBE = {"step": int, "sessions_begun_at_step": list, "sources": dict, "machine": dict, "seconds": float}
"""And what it may."""
ORIGIN = {"source": str, "recipe": str, "step": int}
"""And what its init_from must, where there is one."""
SCORE = {"step": int, "measure": str, "protocol": str, "num_samples": int, "num_reference": int}
SCORE |= {"value": int | float, "floor": int | float | None, "lower_is_better": bool, "against": str | None}
SCORE |= {"asked": str | None, "num_real": int | None}
"""What a line of scores.jsonl must hold."""
ALIKE = ("measure", "num_samples", "num_reference", "protocol", "against", "asked")
"""What two scores must share to be compared; asked is what was, of the sampling, in place of the recipe's own."""
MODEL = "model.safetensors"
WRITTEN = (".lock", "run.json", "log.jsonl", "samples", "samples.png", "checkpoints", MODEL, "scores.jsonl")
"""The names in a run folder that are written to."""
WHOLE = ("run.json", "log.jsonl", MODEL, "samples.png", "samples/step-*.png", "checkpoints/step-*.pt")
"""Those of them that whoever holds the folder writes whole."""


class Run:
    """One run folder, held by this process until `close`; made by `create` or `open`, usable with `with`."""

    def __init__(self, path: Path, lock: io.IOBase, record: dict[str, Any]) -> None:
        self.path, self.record = path, record
        self._lock = lock

    @classmethod
    def create(
        cls,
        out: Path | str,
        *,
        recipe: str,
        arguments: dict[str, Any],
        seed: int = 0,
        device: str = "cpu",
        init_from: dict[str, Any] | None = None,
    ) -> "Run":
        """Start a run in the folder `out`, which must be new or empty (ValueError otherwise).

        init_from: where its first weights come from (`pretrained.weights_and_origin`); None for drawn ones.
        """
        path = Path(out)
        if path.is_symlink() and not path.exists():
            raise ValueError(
                f"{path} is a link to nothing: make the folder {os.readlink(path)}, or choose another --out"
            )
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file: a run needs a folder, choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        lock = _hold_swept(path)
        if any(entry.name != ".lock" for entry in path.iterdir()):
            lock.close()
            raise ValueError(
                f"{path} already holds files: go on with that run by --resume --out {path},"
                " or choose another folder with --out"
            )
        record = {"recipe": recipe, "arguments": arguments, "init_from": init_from, "seed": seed}
        record |= {"device": device} | circumstances(device, recipe)
        run = cls(path, lock, record)
        try:
            run.mark("running")
        except BaseException:
            run.discard()
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Take up the run in a folder again. ValueError when there is none or another process holds it."""
        path = Path(path)
        record = read_record(path)
        if links := [name for name in WRITTEN if (path / name).is_symlink()]:
            raise ValueError(
                f"{path / links[0]} is a link, and a run writes nothing outside of its folder: put there what it leads"
                " to, or link the whole folder"
            )
        return cls(path, _hold_swept(path), record)

    def discard(self) -> None:
        """Remove a run that has made no step: a mistake leaves no folder behind."""
        for file in (*self.checkpoints(), *(self.path / name for name in ("run.json", "log.jsonl", ".lock"))):
            file.unlink(missing_ok=True)
        for folder in (self.path / "checkpoints", self.path):
            with suppress(OSError):  # not ours alone
                folder.rmdir()

    def close(self) -> None:
        """Let the folder go."""
        self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mark(self, status: str, **facts: Any) -> None:
        """Set the status (running, stopped, finished, diverged, failed) and any other facts in run.json."""
        finished = None if status == "running" else now()
        self.record |= {"status": status, "finished": finished} | facts
        write_whole(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to log.jsonl; a process that is killed next leaves it there."""
        append_line(self.path / "log.jsonl", line)

    def cut_log(self, step: int) -> None:
        """Drop the lines past `step` and a half-written last one: what is left is one unbroken run's log."""
        kept = [line for line in read_log(self.path / "log.jsonl") if line["step"] <= step]
        write_whole(self.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def save_checkpoint(self, step: int, state: dict[str, Any], *, milestones: Sequence[int] = ()) -> None:
        """Write the state (tensors and plain containers); drop all but the newest three and the milestones.

        A milestone is the first checkpoint at or past one of the steps `milestones`.
        """
        write_whole(self.path / "checkpoints" / f"step-{step:08d}.pt", pack_state(state))
        files = self.checkpoints()
        kept = {*files[:NUM_CHECKPOINTS]}
        for milestone in milestones:
            kept |= {*[file for file in files if step_of(file) >= milestone][-1:]}
        for old in {*files} - kept:
            old.unlink()

    def drop_checkpoints(self, *, above: int) -> None:
        """Remove the checkpoints past a step: what they hold was not healthy after all."""
        for file in self.checkpoints():
            if step_of(file) > above:
                file.unlink()

    def checkpoints(self) -> list[Path]:
        """The checkpoint files, newest first."""
        files = (self.path / "checkpoints").glob("step-*.pt")
        return sorted((file for file in files if file.stem[5:].isdigit()), key=step_of, reverse=True)

    def load_checkpoint(self, *, below: int | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest readable state, None when there is no checkpoint, and a warning for each that is corrupt.

        below: take one of a step below this, where there is one. Corrupt files are removed, so that they do not crowd
        out good ones. Raises ValueError when all are.
        """
        found, warnings = self.checkpoints(), []
        found = [file for file in found if below is None or step_of(file) < below] or found
        for file in found:
            try:
                state = unpack_state(file.read_bytes())
            except OSError:  # a disk that fails is not a file that is damaged
                raise
            except Exception as error:  # a sealed archive may still hold what is no state
                reason = str(error) if type(error) is ValueError else type(error).__name__
                warnings.append(f"checkpoint {file} cannot be read ({reason}) and is passed over")
                continue
            for damaged in found[: len(warnings)]:
                damaged.unlink()
            return state, warnings
        if found:
            raise ValueError(
                f"none of the {len(found)} checkpoints in {self.path / 'checkpoints'} can be read: restore"
                " one from a copy, or start anew in another folder with --out"
            )
        return None, warnings

    def save_model(self, step: int, learner: nn.Module) -> None:
        """Write the weights of `learner` with what rebuilds it; what only training needs stays behind."""
        weights = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in needed(learner).items()
        }
        metadata = {
            "recipe": self.record["recipe"],
            "arguments": json.dumps(self.record["arguments"]),
            "step": str(step),
            "evolvent": version_of("evolvent"),
            "sources": json.dumps(self.record.get("sources", {})),
        }
        write_whole(self.path / MODEL, pack_weights(weights, metadata))

    def picture_path(self, step: int) -> Path:
        """Where the particles of `step` are shown."""
        return self.path / "samples" / f"step-{step:08d}.png"


class Shadow(Run):
    """A run as the processes beside the first know it: the first alone reads and writes the folder."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        super().__init__(path, io.BytesIO(), record)

    def discard(self) -> None:
        pass

    def mark(self, status: str, **facts: Any) -> None:
        self.record |= {"status": status} | facts

    def log(self, line: dict[str, Any]) -> None:
        pass

    def cut_log(self, step: int) -> None:
        pass

    def save_checkpoint(self, step: int, state: dict[str, Any], *, milestones: Sequence[int] = ()) -> None:
        pass

    def drop_checkpoints(self, *, above: int) -> None:
        pass

    def save_model(self, step: int, learner: nn.Module) -> None:
        pass


def step_of(file: Path) -> int:
    """The step in a checkpoint's name."""
    return int(file.stem.removeprefix("step-"))


def read_record(path: Path) -> dict[str, Any]:
    """run.json of a run folder. ValueError when there is none or it cannot be read."""
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"{path} is not a run: it has no run.json")
    try:
        record = json.loads(file.read_text())
        wrong = [name for name, kind in RECORD.items() if type(record[name]) is not kind]
        wrong += [name for name, kind in MAYBE.items() if type(record.get(name, kind())) is not kind]
        wrong += ["init_from"] if _is_odd(record.get("init_from")) else []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}): restore it, or start a new run") from error
    if wrong:
        raise ValueError(f"{file} has an odd {wrong[0]}: restore it, or start a new run")
    return record


def _is_odd(origin: Any) -> bool:
    if origin is None:
        return False
    return not isinstance(origin, dict) or any(type(origin.get(n)) is not kind for n, kind in ORIGIN.items())


def read_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights and metadata of a model.safetensors, or of the one in a run folder."""
    weights, metadata, _ = read_model_with_sum(path)
    return weights, metadata


def read_model_with_sum(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
    """The same and the SHA-256 of the file, which is read once."""
    file = path / MODEL if path.is_dir() else path
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


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON object to a .jsonl file: all of the line, or on a full disk nothing."""
    content = (json.dumps(line) + "\n").encode()
    # A link is not followed: a run folder of somebody else's could lead anywhere.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with open(path, "ab", buffering=0, opener=lambda name, _: os.open(name, flags, 0o666)) as file:
        length = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(path)
            with suppress(OSError):
                os.truncate(path, length)
            raise


def hold(path: Path) -> io.IOBase:
    """Take the folder for this process; the system lets it go when the process ends, however it ends."""
    try:
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}): a run needs a folder of its own that can be;"
            " copy it to one to go on with it"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ValueError(
            f"{path} is in use by another process: wait for it, or choose another --out"
        ) from error
    return lock


def _hold_swept(path: Path) -> io.IOBase:
    """The same, without what a killed holder left half-written."""
    lock = hold(path)
    for name in WHOLE:
        sweep(path / name)
    return lock


def next_free(recipe_name: str, root: Path = Path("runs")) -> Path:
    """runs/<recipe>-<n> with the smallest n above all that exist."""
    numbers = [entry.name.removeprefix(f"{recipe_name}-") for entry in root.glob(f"{recipe_name}-*")]
    return root / f"{recipe_name}-{1 + max((int(n) for n in numbers if n.isdigit()), default=0)}"
