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
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from evolvent.sampling import needed
from evolvent.storage.circumstances import circumstances, now, version_of
from evolvent.storage.files import sweep, write_whole
from evolvent.storage.reading import CHECKPOINT, MODEL, metadata_of, read_log, read_record
from evolvent.storage.sealed import pack_state, pack_weights, unpack_state

NUM_CHECKPOINTS = 3
STEP = "step-"
"""Before the number in the name of a file that is of one step."""
WRITTEN = (".lock", "run.json", "log.jsonl", "samples", "samples.png", "checkpoints", MODEL, "scores.jsonl")
"""The names in a run folder that are written to."""
WHOLE = ("run.json", "log.jsonl", MODEL, "samples.png")
WHOLE += (f"samples/{STEP}*.png", f"checkpoints/{STEP}*{CHECKPOINT}")
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
        write_whole(self.path / "checkpoints" / name_of(step, CHECKPOINT), pack_state(state))
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
        files = (self.path / "checkpoints").glob(f"{STEP}*{CHECKPOINT}")
        return sorted(
            (file for file in files if file.stem.removeprefix(STEP).isdigit()), key=step_of, reverse=True
        )

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
        metadata = metadata_of(self.record, step) | {"evolvent": version_of("evolvent")}
        write_whole(self.path / MODEL, pack_weights(weights, metadata))

    def picture_path(self, step: int) -> Path:
        """Where the particles of `step` are shown."""
        return self.path / "samples" / name_of(step, ".png")


class Shadow(Run):
    """A run as the processes beside the first know it: the first alone reads and writes the folder."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        super().__init__(path, io.BytesIO(), record)

    def mark(self, status: str, **facts: Any) -> None:
        self.record |= {"status": status} | facts

    def _leave(self, *_: Any, **__: Any) -> None:
        """To the first."""

    discard = log = cut_log = save_checkpoint = drop_checkpoints = save_model = _leave


def name_of(step: int, suffix: str) -> str:
    """The name of a file that is of one step; by their names they stand in the order of their steps."""
    return f"{STEP}{step:08d}{suffix}"


def step_of(file: Path) -> int:
    """The step in a checkpoint's name."""
    return int(file.stem.removeprefix(STEP))


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
