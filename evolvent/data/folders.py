"""Pictures in a folder or in a ZIP file -> `Album`: which files are pictures, and what their places say.

    photos/1.png                     no labels
    photos/cat/1.png, photos/dog/…   label k is the k-th subfolder by name, however deep the picture lies in it
    photos/train/…, photos/test/…    two splits

A ZIP is read where it lies and nothing is unpacked, so a member's path can do no harm. A folder that everything
lies in is passed over, as ZIP files have one. Hidden files and files that are no pictures are passed over too.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from evolvent.data.album import SPLITS, Album, Open, album_of_files

PICTURE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
}  # fmt: skip

MOST_BYTES = 2**28
"""A larger member of a ZIP is refused before it is read: a small one can unpack to gigabytes."""

Place = tuple[str, ...]
"""A picture's place: the folders from the root on, then its name."""


def folder_album(path: Path | str, size: int, *, split: str = "train", channels: int | None = None) -> Album:
    """All pictures under the folder `path`, in the order of their names."""
    folder = Path(path)
    files = {file.relative_to(folder).parts: file for file in _pictures_in(folder)}
    places, labels = sorted_out(list(files), split, str(path))
    paths = [files[place] for place in places]
    return album_of_files(
        lambda: nullcontext(paths.__getitem__),
        [str(file) for file in paths],
        labels,
        name=str(path),
        size=size,
        channels=channels,
    )


def zip_album(path: Path | str, size: int, *, split: str = "train", channels: int | None = None) -> Album:
    """All pictures in the ZIP file `path`, in the order of their names."""
    members = _members(Path(path))
    places, labels = sorted_out(list(members), split, str(path))
    infos = [members[place] for place in places]
    names = [f"{info.filename} in {path}" for info in infos]

    @contextmanager
    def opened() -> Iterator[Open]:
        with zipfile.ZipFile(path) as archive:

            def open_one(i: int) -> io.BytesIO:
                try:
                    return io.BytesIO(archive.read(infos[i]))
                # A damaged member raises whatever its bytes led to: BadZipFile, zlib.error, RuntimeError, …
                except Exception as error:
                    raise ValueError(f"cannot read {names[i]} ({error}); make the ZIP again") from error

            yield open_one

    return album_of_files(opened, names, labels, name=str(path), size=size, channels=channels)


def splits_of_folder(path: Path) -> list[str]:
    return splits_among([file.relative_to(path).parts for file in _pictures_in(path)])


def splits_of_zip(path: Path) -> list[str]:
    return splits_among(list(_members(path)))


def sizes_in(path: Path) -> set[tuple[int, int]]:
    """(width, height) of the pictures in a folder or a ZIP, from their heads; the broken ones are met on reading."""
    if path.is_dir():
        return {size for file in _pictures_in(path) if (size := _size(file))}
    members = _members(path)
    with zipfile.ZipFile(path) as archive:
        return {size for info in members.values() if (size := _size_of_member(archive, info))}


def _size_of_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, int] | None:
    try:
        with archive.open(info) as file:
            return _size(file)
    except Exception:  # as in `zip_album`, which names the member
        return None


def _size(file: Path | IO[bytes]) -> tuple[int, int] | None:
    try:
        with Image.open(file) as image:
            return image.size
    except Exception:
        return None


def splits_among(places: list[Place]) -> list[str]:
    """The splits that folders are named after; none where something else lies beside them."""
    tops = {place[0] for place in _within(places)}
    return sorted(tops) if tops <= {*SPLITS} else []


def sorted_out(places: list[Place], split: str, source: str) -> tuple[list[Place], np.ndarray | None]:
    """The places of the split's pictures in order, and their labels if they lie in more than one subfolder."""
    if not places:
        raise ValueError(f"{source} has no pictures; known endings are {' '.join(sorted(PICTURE_SUFFIXES))}")
    splits = splits_among(places)
    if split not in (splits or ["train"]):
        held = f"; its folders are {', '.join(splits)}" if splits else ""
        raise ValueError(f"{source} has no {split!r} part; load all of it and cut one off with .split{held}")
    if splits:
        depth = len(places[0]) - len(_within(places)[0])
        places = [place for place in places if place[depth] == split]
    places = sorted(places)
    within = _within(places)
    loose = sum(len(place) == 1 for place in within)
    if 0 < loose < len(places):
        raise ValueError(
            f"{source} has {loose} pictures of its own and {len(places) - loose} in subfolders, so "
            "it is not clear what is a label; move the loose ones into a subfolder"
        )
    if loose:
        return places, None
    return places, np.unique([place[0] for place in within], return_inverse=True)[1]


def _within(places: list[Place]) -> list[Place]:
    """The places without the folders that all of them lie in."""
    depth = 0
    while len({place[: depth + 1] for place in places}) == 1 and all(
        len(place) > depth + 1 for place in places
    ):
        depth += 1
    return [place[depth:] for place in places]


def _pictures_in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    for top in sorted(folder.iterdir()):
        for file in top.rglob("*") if top.is_dir() else [top]:
            if _is_picture(file.relative_to(folder).parts) and file.is_file():
                yield file


def _members(path: Path) -> dict[Place, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except Exception as error:
        raise ValueError(f"cannot read {path} ({error}); make the ZIP again") from error
    members = {PurePosixPath(info.filename).parts: info for info in infos}
    members = {place: info for place, info in members.items() if _is_picture(place)}
    for info in members.values():
        if info.file_size > MOST_BYTES:
            raise ValueError(
                f"{info.filename} in {path} unpacks to {info.file_size:,} bytes, and no picture has more than "
                f"{MOST_BYTES:,}; remove it"
            )
    return members


def _is_picture(place: Place) -> bool:
    *folders, name = place
    hidden = name.startswith(".") or any(
        folder.startswith((".", "__")) and folder != ".." for folder in folders
    )
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES and not hidden
