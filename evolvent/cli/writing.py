"""Samples as files: an .npz or a folder of PNGs, whole or not at all, and what fits in a file.

Chunks pass through one by one, so there may be more samples than memory holds.
"""

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from evolvent import pictures
from evolvent.cli.drawing import bytes_of, check_fits
from evolvent.shapes import shows
from evolvent.storage.files import folder_above, folder_whole, open_whole

MOST_POINTS = 1_000_000
"""In a picture of the plane; more are a red sheet, an hour later."""


def write_npz(
    chunks: Iterable[Tensor], path: Path, *, num: int, shape: tuple[int, ...], classes: Sequence[int] = ()
) -> None:
    """images uint8 [N, H, W, C], or points [N, …], of event shape `shape`; labels [N] where classes take turns."""
    name = "points"
    if shows(shape):
        name, shape = "images", (*shape[1:], shape[0])
        chunks = (chunk.permute(0, 2, 3, 1) for chunk in chunks)
    with open_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        write_array(archive, name, (num, *shape), (chunk.numpy() for chunk in chunks))
        if classes:
            write_array(archive, "labels", (num,), [np.array(classes)[np.arange(num) % len(classes)]])


def write_folder(chunks: Iterable[Tensor], path: Path) -> None:
    """One PNG an image, by its number."""
    with folder_whole(path) as folder:
        for i, image in enumerate(image for chunk in chunks for image in chunk):
            pictures.save_image(pictures.tile(image), folder / f"{i:06d}.png")


def write_array(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray]
) -> None:
    """One array as np.savez would write it, from pieces that make it up in order."""
    num = 0
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        for piece in pieces:
            if not num:
                descr = np.lib.format.dtype_to_descr(piece.dtype)
                head = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, head)
            member.write(np.ascontiguousarray(piece))
            num += len(piece)
    assert num == shape[0], f"{name} has {num} of {shape[0]} rows"


def check_kind(num: int, shape: tuple[int, ...], path: Path) -> None:
    """Refuse a kind of file that cannot hold `num` points of that shape."""
    if not shows(shape) and path.suffix not in (".png", ".npz"):
        raise ValueError("only images go into a folder of PNG files: save points as .npz or .png")
    if not shows(shape) and shape != (2,) and path.suffix == ".png":
        raise ValueError(f"there is no picture of points of shape {list(shape)}: save them as .npz")
    if path.suffix != ".png":
        return
    most = MOST_POINTS
    if shows(shape):
        most = Image.MAX_IMAGE_PIXELS // ((shape[1] + pictures.GAP) * (shape[2] + pictures.GAP))
    if num > most:
        raise ValueError(
            f"{num} samples do not fit one picture that can be looked at, which has room for {most}: give --out x.npz"
            + (" or a folder, --out folder/" if shows(shape) else "")
        )


def check_disk(num: int, shape: tuple[int, ...], path: Path) -> None:
    """Refuse more than the disk has room for; what compresses well is not reckoned with."""
    free = shutil.disk_usage(folder_above(path)).free
    whose = f"disk that are free for {path}: draw fewer at a time, with another --seed each"
    check_fits(num, bytes_of(shape), free, whose)
