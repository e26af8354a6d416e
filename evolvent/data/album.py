"""An album: a set of pictures before it is loaded, its pixels read piece by piece.

Every reader (folders, arrays, idx, named) answers with an `Album`. What is small enough is collected into
`Images`, what lies in a file as it is wanted is drawn from there by a `Stream`, and `evolvent data` writes the
pieces of any album into such a file. No more than a piece is ever decoded at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from evolvent.data.decoding import decode_picture, is_grey, square

PIECE_BYTES = 2**24
PIECE_PICTURES = 256
"""A piece is so much of an array, or so many pictures decoded."""

MOST_THREADS = 8

SPLITS = ("train", "test", "valid")
"""The parts of a set: arrays of an .npz are named after them, or folders, beside which there are no others."""

Open = Callable[[int], Path | BytesIO]
"""Picture i, as a path or as the file's content."""


@dataclass(frozen=True)
class Rows:
    """`num` rows of uint8, each of `shape`, that lie one after the other in a file from byte `offset` on.

    They are read, not mapped: pages of a map would count as this process's memory, and a file that is cut off
    behind its back would kill it.
    """

    path: Path
    offset: int
    num: int
    shape: tuple[int, int, int]

    def read_into(self, out: np.ndarray, rows: np.ndarray) -> None:
        """Row rows[i] into out[i], contiguous uint8; a run of neighbours is read at once.

        ValueError if the file ends before.
        """
        num_bytes = int(np.prod(self.shape))
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]
        with self.path.open("rb", buffering=0) as file:
            for start, end in zip([0, *ends], ends, strict=False):
                file.seek(self.offset + int(rows[start]) * num_bytes)
                if file.readinto(memoryview(out[start:end]).cast("B")) != (end - start) * num_bytes:
                    raise ValueError(f"{self.path} ends within its images: it was cut off; write it again")


@dataclass(frozen=True)
class Album:
    """`num` pictures of `shape` (H, W, C) with their labels [num] if they have any; `name` is for errors.

    pieces(rows): the pixels of those rows, ascending, in order, in pieces uint8 [n, H, W, C].
    rows: where the pixels lie, if a file holds them as they are.
    """

    name: str
    shape: tuple[int, int, int]
    num: int
    labels: np.ndarray | None
    pieces: Callable[[np.ndarray], Iterator[np.ndarray]]
    rows: Rows | None = None

    @property
    def num_bytes(self) -> int:
        return self.num * int(np.prod(self.shape))

    def every_piece(self) -> Iterator[np.ndarray]:
        return self.pieces(np.arange(self.num))

    def at_most(self, num: int) -> "Album":
        """All of it, or `num` pictures picked at random, the same ones in every call, in their order."""
        if num < 1:
            raise ValueError(f"an album of {num} pictures is empty; ask for at least 1")
        if num >= self.num:
            return self
        # NumPy promises that RandomState's stream never changes.
        kept = np.sort(np.random.RandomState(0).permutation(self.num)[:num])
        labels = None if self.labels is None else self.labels[kept]
        return replace(self, num=num, labels=labels, pieces=lambda rows: self.pieces(kept[rows]), rows=None)


def album_of_files(
    opened: Callable[[], AbstractContextManager[Open]],
    names: Sequence[str],
    labels: np.ndarray | None,
    *,
    name: str,
    size: int,
    channels: int | None,
) -> Album:
    """Pictures in files, each its central square at `size` × `size` px, decoded by a few threads.

    `opened` gives access for as long as it is entered. `channels` None is 1 if every picture is grey, else 3.
    """
    if channels is None:
        with opened() as open_one:
            all_grey = all(is_grey(open_one(i), name) for i, name in enumerate(names))
        channels = 1 if all_grey else 3

    def pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
        def decoded(i: int) -> np.ndarray:
            return decode_picture(open_one(i), names[i], size=size, channels=channels)

        # Pillow decodes and resizes outside Python's lock.
        with opened() as open_one, ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            for start in range(0, len(rows), PIECE_PICTURES):
                yield np.stack(list(pool.map(decoded, rows[start : start + PIECE_PICTURES].tolist())))

    return Album(name, (size, size, channels), len(names), labels, pieces)


def shape_of(
    shape: tuple[int, ...], name: str, *, size: int | None, channels: int | None
) -> tuple[int, int, int]:
    """(H, W, C) of what an array [N, H, W] or [N, H, W, C] becomes. ValueError for one that is too small."""
    height, width = shape[1:3]
    if size is not None and min(height, width) < size:
        raise ValueError(f"{name} has images of {width} × {height} px, smaller than the asked size of {size}")
    own = shape[3] if len(shape) == 4 else 1
    return (size or height, size or width, channels or own)


def converted(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 [n, H, W] or [n, H, W, C] -> [n, *shape]: resized if the sides differ, then grey or colour."""
    array = array if array.ndim == 4 else array[..., None]
    if array.shape[1:3] != shape[:2]:
        sized = [np.asarray(square(_image(picture), shape[0])) for picture in array]
        array = np.stack(sized).reshape(len(array), *shape[:2], array.shape[3])
    return with_channels(array, shape[2])


def with_channels(pixels_uint8: np.ndarray, channels: int) -> np.ndarray:
    if pixels_uint8.shape[3] == channels:
        return pixels_uint8
    if channels == 3:
        return np.repeat(pixels_uint8, 3, axis=3)
    red, green, blue = np.moveaxis(pixels_uint8.astype(np.int32), 3, 0)
    luma = (299 * red + 587 * green + 114 * blue + 500) // 1000  # ITU-R BT.601
    return luma.astype(np.uint8)[..., None]


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
