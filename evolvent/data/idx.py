"""MNIST's own files -> `Album`: idx, as MNIST, Fashion-MNIST, EMNIST and KMNIST are handed out, gzipped or not.

    train-images-idx3-ubyte.gz  train-labels-idx1-ubyte.gz  t10k-images-idx3-ubyte.gz  t10k-labels-idx1-ubyte.gz

An idx file is a magic number (0, 0, 8 for uint8, number of axes), the axes as big-endian int32, the values.
"""

import gzip
import math
from pathlib import Path

import numpy as np

from evolvent.data.album import Album
from evolvent.data.arrays import array_album
from evolvent.data.packaged import framed

STEMS = {"train": "train", "test": "t10k"}
"""What the files of a split begin with."""

PLACES = ("", "raw", "MNIST/raw", "FashionMNIST/raw")
"""Where in the given folder the files may lie; torchvision puts them deeper."""

MOST_BYTES = 2**31


def splits_of_idx(folder: Path) -> list[str]:
    return [split for split in STEMS if _found(folder, split, "images-idx3")]


def idx_album(
    folder: Path, *, split: str = "train", size: int | None = None, channels: int | None = None
) -> Album:
    """The split's images and labels; for another size than 28 px, in MNIST's frame of 32 (`framed`)."""
    images = _found(folder, split, "images-idx3")
    if images is None:
        held = ", ".join(splits_of_idx(folder))
        raise ValueError(f"{folder} has no {split!r} images, it holds {held}; cut some off with .split")
    pixels, labels = read_idx(images, 3), _found(folder, split, "labels-idx1")
    return array_album(
        framed(pixels, size),
        None if labels is None else read_idx(labels, 1),
        size=size,
        channels=channels,
        name=str(images),
    )


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """uint8 [N, …] of that many axes. ValueError for another file, and for one that was cut off or is longer."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if file.read(4) != bytes((0, 0, 8, num_axes)):
                raise ValueError(f"it is no idx file of uint8 with {num_axes} axes")
            shape = tuple(np.frombuffer(file.read(4 * num_axes), ">u4").tolist())
            num_bytes = math.prod(shape)
            if num_bytes > MOST_BYTES:
                raise ValueError(f"it claims {num_bytes:,} bytes")
            values = np.frombuffer(file.read(num_bytes), np.uint8)
            if len(values) < num_bytes or file.read(1):
                raise ValueError(f"it does not hold the {num_bytes:,} values that it claims")
            return values.reshape(shape)
    # A broken file raises whatever its bytes led to: EOFError, BadGzipFile, zlib.error, …
    except Exception as error:
        raise ValueError(f"cannot read {path} ({error}); download it again") from error


def _found(folder: Path, split: str, kind: str) -> Path | None:
    stem = f"{STEMS.get(split, split)}-{kind}-ubyte"
    for name in (stem, f"{stem}.gz", stem.replace("-idx", ".idx")):
        for place in PLACES:
            if (folder / place / name).is_file():
                return folder / place / name
    return None
