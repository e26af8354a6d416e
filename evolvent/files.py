"""A file is whole or absent: it is written beside its place and moved there when it is complete, power cut or not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    # The process number keeps two writers apart; the dot keeps the half-written file out of listings.
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def sync_folder(path: Path) -> None:
    """Wait until the folder's own entries are on the disk: a new name is not, before that."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
