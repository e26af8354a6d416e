"""The front door: whatever the images come in -> `Images`, or a `Stream` of a file too large for a device.

    load("digits")    load("cifar10")    load("photos/")    load("faces.zip")    load("faces64.npz", 64)

`open_album` finds the reader of a word, a folder or a file, `load` collects what it answers. All readers give
uint8 images or raise ValueError with the name of what they could not read and the way out. To add a kind, write
a function that returns an `Album` and give it a line in `open_album` and `splits_of`.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from evolvent.data.album import Album
from evolvent.data.arrays import array_album, file_album, splits_of_file
from evolvent.data.decoding import check_channels
from evolvent.data.folders import folder_album, splits_of_folder, splits_of_zip, zip_album
from evolvent.data.idx import idx_album, splits_of_idx
from evolvent.data.images import Images, check_labels
from evolvent.data.named import NAMED, named_album
from evolvent.data.packaged import digits
from evolvent.data.streams import Stream

MOST_IN_MEMORY = 2**31
"""Bytes of pixels. A larger set is not loaded onto the device: it streams from its file."""

NUM_CLASSES = {"digits": 10} | {name: about.num_classes for name, about in NAMED.items() if about.num_classes}
"""Of the words whose sets have labels: they are not loaded to be counted."""


def load(
    spec: str, size: int = 32, *, split: str = "train", channels: int | None = None, flip: bool = False
) -> Images | Stream:
    """The images that `spec` names, `size` × `size` px: a word, a folder, a ZIP, an .npz or an .npy.

    The words are "digits" and those of `named.NAMED`; a folder that happens to be called so is "./digits".
    `split` picks one where there are several, and is refused where there is none. `channels` is 1 for grey, 3
    for RGB, None for what the pictures are. More than `MOST_IN_MEMORY` bytes are streamed, which asks for a file
    that holds them as they are wanted: what `evolvent data` writes.
    """
    album = open_album(spec, size, split=split, channels=channels)
    if album.num_bytes <= MOST_IN_MEMORY:
        return collected(album, flip=flip)
    if album.rows is None:
        raise ValueError(
            f"{spec} has {album.num} images of {album.num_bytes / 2**30:.1f} GiB, too many to hold in memory: write "
            f"them once with `evolvent data {spec} --size {size} --channels {album.shape[2]} --out x.npz`, and "
            "x.npz is read as it is drawn from"
        )
    labels = None if album.labels is None else torch.from_numpy(album.labels)
    return Stream(album.rows, labels, flip=flip)


def open_album(spec: str, size: int | None, *, split: str = "train", channels: int | None = None) -> Album:
    """The images that `spec` names, before any is loaded. `size` None keeps that of an array."""
    check_channels(channels)
    if size is not None and not 1 <= size < 2**16:
        raise ValueError(
            f"a picture of {size} px a side has no pixels, or too many; ask for a size of at least 1"
        )
    path = Path(spec)
    if spec in NAMED:
        return named_album(spec, size, split=split, channels=channels)
    if spec == "digits":
        return _digits_album(size, split=split, channels=channels)
    if path.is_dir() and splits_of_idx(path):
        return idx_album(path, split=split, size=size, channels=channels)
    if path.suffix.lower() in (".npz", ".npy"):
        return file_album(path, split=split, size=size, channels=channels)
    if not spec.strip() or (not path.is_dir() and path.suffix.lower() != ".zip"):
        raise _nothing(spec)
    if size is None:
        raise ValueError(f"the pictures of {spec} may be of any size; say which it shall be with --size 64")
    if path.is_dir():
        return folder_album(path, size, split=split, channels=channels)
    return zip_album(path, size, split=split, channels=channels)


def count_classes(spec: str, size: int) -> int:
    """How many classes the labels of what is learned from have; no picture is decoded.

    ValueError for labels that are not numbered from 0 without a gap, and for none.
    """
    if spec in NUM_CLASSES:
        return NUM_CLASSES[spec]
    # Where the number of channels is open, every picture would be looked at.
    found = None if spec in NAMED else open_album(spec, size, channels=3).labels
    labels = None if found is None else torch.from_numpy(found)
    num_classes = 0 if labels is None else len(labels.unique())
    check_labels(labels, num_classes)
    return num_classes


def splits_of(spec: str) -> list[str]:
    """The splits that `spec` names; ["train"] where it is one set."""
    path = Path(spec)
    found: list[str] = []
    if spec in NAMED:
        found = list(NAMED[spec].num)
    elif spec != "digits" and path.is_dir():
        found = splits_of_idx(path) or splits_of_folder(path)
    elif path.suffix.lower() == ".zip":
        found = splits_of_zip(path)
    elif path.suffix.lower() == ".npz":
        found = splits_of_file(path)
    return found or ["train"]


def from_folder(path: Path | str, size: int, *, channels: int | None = None, flip: bool = False) -> Images:
    """All pictures under `path`, each its central square at `size` × `size` px, in the order of their names.

    If they lie in subfolders, label k is the k-th subfolder by name. `channels` None is 1 if every picture is
    grey, else 3. Hidden files and files that are no pictures are passed over; a picture that cannot be read
    raises ValueError, and so does one smaller than `size`.
    """
    return collected(folder_album(path, size, channels=channels), flip=flip)


def from_file(
    path: Path | str, *, split: str = "train", size: int | None = None, flip: bool = False
) -> Images:
    """The images of an .npy or .npz (`arrays.file_album`), uint8 as in `from_array`."""
    return collected(file_album(path, split=split, size=size), flip=flip)


def from_array(
    array: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    size: int | None = None,
    flip: bool = False,
    name: str = "the array",
) -> Images:
    """uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, and integer labels [N], as `Images`; tensors and lists as well.

    `size` takes the central squares and resizes them. `name` is what an error calls the array.
    """
    labels = None if labels is None else np.asarray(labels)
    return collected(array_album(np.asarray(array), labels, size=size, name=name), flip=flip)


def collected(album: Album, *, flip: bool = False) -> Images:
    """The album's pictures in memory, channels first."""
    height, width, channels = album.shape
    pixels, start = torch.empty(album.num, channels, height, width, dtype=torch.uint8), 0
    for piece in album.every_piece():
        pixels[start : start + len(piece)] = torch.from_numpy(piece).permute(0, 3, 1, 2)
        start += len(piece)
    return Images(pixels, None if album.labels is None else torch.from_numpy(album.labels), flip=flip)


def _digits_album(size: int | None, *, split: str, channels: int | None) -> Album:
    if split != "train":
        raise ValueError(f"digits has no {split!r} part; load all of it and cut one off with .split")
    images = digits(28 if size is None else size)
    return array_album(images.pixels[:, 0].numpy(), images.labels.numpy(), channels=channels, name="digits")


def _nothing(spec: str) -> ValueError:
    words = ", ".join(f'"{word}"' for word in ("digits", *NAMED))
    if spec.strip() and Path(spec).exists():
        return ValueError(
            f"{spec} is one file; put pictures in a folder or a ZIP, or arrays in an .npz or .npy"
        )
    return ValueError(f"there is no {spec!r}; give {words}, a folder of pictures, a ZIP, an .npz or an .npy")
