"""A file is whole or absent: it is written beside its place and moved there when it is complete, power cut or not."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`; a reader sees the old file or the new one, never a part.

    An OSError (no space left, a folder that cannot be written) names `path`, and leaves the old file as it was.
    """
    # The process number keeps two writers apart; the dot keeps the half-written file out of listings.
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise


def sync_folder(path: Path) -> None:
    """Wait until the folder's own entries are on the disk: a new name is not, before that."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
