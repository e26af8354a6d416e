"""Where, when and by what a run was made: what a repeat of it would want to know, and whether it is still so."""

import hashlib
import os
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGE = Path(__file__).parents[1]


def circumstances(device: str, recipe: str) -> dict[str, Any]:
    """Commit, digests of the sources, versions, machine, time; `recipe` as run.json names it."""
    packages = ("torch", "numpy", "evolvent")
    return {
        "commit": commit(),
        "sources": sources(recipe),
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in packages},
        "machine": {
            "platform": platform.platform(),
            "num_cpus": os.cpu_count(),
            "num_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        },
        "started": now(),
    }


def sources(recipe: str) -> dict[str, str]:
    """SHA-256 of the package's modules, which an installed copy has though it knows no commit, and of a recipe file."""
    package = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        package.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return {"evolvent": package.hexdigest()} | recipe_file(recipe)


def recipe_file(recipe: str) -> dict[str, str]:
    """The name and SHA-256 of the file of one's own that a recipe lies in; {} for the package's recipes."""
    file = Path(recipe.rpartition(":")[0])
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {}


class SourceChanged(UserWarning):
    """What made a run or its weights has been changed since."""


def warn_of_changes(before: dict[str, Any], now: dict[str, str], source: Path | str) -> None:
    """Warn of every digest of `now` that was another before, when `source` was made."""
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            sentence = (
                f"{name} has changed since {source} was made: only as it was does it give the same numbers"
            )
            warnings.warn(sentence, SourceChanged, stacklevel=2)


def version_of(package: str) -> str:
    """The installed version, or "not installed" for a source tree that is run in place."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str | None:
    """The commit of the package's own source, "+" appended when it was changed since; None when installed."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(PACKAGE), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed copy may lie in a folder of someone else's repository: only a tracked file counts.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
