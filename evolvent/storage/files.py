"""A file is whole or absent: it is written beside its place and moved there when it is complete, power cut or not."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`; a reader sees the old file or the new one, never a part.

    An OSError (no space left, a folder that cannot be written) names `path`, and leaves the old file as it was.
    """
    with open_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file that appears at `path` when the block ends well, and nowhere when it does not."""
    beside = _beside(path)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        try:
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        # What is read inside the block keeps its own name.
        if error.filename in (None, str(beside)):
            error.filename = str(path)
        raise


@contextmanager
def folder_whole(path: Path) -> Iterator[Path]:
    """A folder to fill that appears at `path`, which is absent or empty, when the block ends well, and else nowhere."""
    path = path.resolve()
    beside = _beside(path)
    try:
        # A killed process leaves its folder behind, and after a restart its number may come back as ours.
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            beside.replace(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where no file can be written, before hours are spent on what it shall hold.

    ValueError for a folder, a device, and what is there already unless it may be overwritten; OSError from the system.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file but a device or a pipe: give another name")
    if os.path.lexists(path) and not overwrite:
        raise ValueError(f"{path} already exists: give another name, or --overwrite")
    _check_writable(path)


def check_new_folder(path: Path) -> None:
    """The same for a folder to be filled, which must be absent or empty and not the one that we are in."""
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} already exists and is not an empty folder: choose another --out")
    if path.exists() and path.samefile("."):
        raise ValueError(f"{path} is the folder that you are in: give one of its own by --out")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Try to write where `path` shall be, or in the nearest folder above it that there is; nothing is left behind."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(path)  # a name that cannot be is told here
    try:
        with tempfile.TemporaryFile(dir=folder_above(path)):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


def folder_above(path: Path) -> Path:
    """The nearest folder above that there is. ValueError where a file stands in the way."""
    folder = path.absolute().parent
    while not folder.is_dir():
        if os.path.lexists(folder):
            raise ValueError(f"{folder} is no folder, and {path} would lie in it: give another name")
        folder = folder.parent
    return folder


def _beside(path: Path) -> Path:
    # The process number keeps two writers apart; the dot keeps what is half-written out of listings. A name may be
    # so long that no letter can be added.
    return path.with_name(f".{path.name[:40]}.{os.getpid()}.tmp")


def sweep(pattern: Path) -> None:
    """Remove what killed processes left beside files of this name, which may have a *; nobody may be writing one."""
    for left in pattern.parent.glob(f".{pattern.name}.*.tmp"):
        left.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Wait until the folder's own entries are on the disk: a new name is not, before that."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
