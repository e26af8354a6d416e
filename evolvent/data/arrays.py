"""Arrays -> `Album`: in memory, in an .npy, in an .npz (stored or compressed).

Of a file the heads are read first, then the pixels of the split that is asked, piece by piece. Nothing here
unpickles.
"""

import math
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from evolvent.data.album import PIECE_BYTES, SPLITS, Album, Rows, converted, shape_of

SPLIT_KEYS = (("{}_x", "{}_y"), ("x_{}", "y_{}"), ("{}_images", "{}_labels"))
"""How .npz files name the images and labels of a split: a set's own labels are looked for first, then the others."""

ONLY = "the array"
"""What the array of an .npy is called."""


@dataclass(frozen=True)
class Stored:
    """An array in a file: `member` is its name in a ZIP, or None if the file is an .npy.

    start: the byte of the file where its values begin; None if they are compressed or not in C order.
    """

    path: Path
    member: str | None
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int | None

    def load(self) -> np.ndarray:
        return np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *self.pieces()])

    def pieces(self) -> Iterator[np.ndarray]:
        """The array in order, in pieces; ValueError where it cannot be read."""
        try:
            with zipfile.ZipFile(self.path) if self.member else self.path.open("rb") as file:
                if self.member:
                    with file.open(self.member) as member:
                        yield from self._pieces(member)
                else:
                    yield from self._pieces(file)
        # A broken file raises whatever its bytes led to: EOFError, BadZipFile, zlib.error, MemoryError, …
        except Exception as error:
            raise unreadable(self.path, error) from error

    def _pieces(self, file: BufferedIOBase) -> Iterator[np.ndarray]:
        shape, fortran, dtype = _read_head(file)
        if fortran:
            yield np.frombuffer(file.read(), dtype).reshape(shape[::-1]).transpose()
            return
        step = max(1, PIECE_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))
        for start in range(0, shape[0], step):
            piece = np.empty((min(step, shape[0] - start), *shape[1:]), dtype)
            buffer, filled = memoryview(piece).cast("B"), 0
            while filled < len(buffer):
                num = file.readinto(buffer[filled:])
                if not num:
                    raise ValueError("it ends within its array")
                filled += num
            yield piece


def file_album(
    path: Path | str, *, split: str = "train", size: int | None = None, channels: int | None = None
) -> Album:
    """The images in an .npy or .npz.

    An .npz holds either splits (train_x, x_train or train_images, labels in train_y, y_train or train_labels;
    the same for test), of which `split` picks one, or a single array of images and at most one of labels, which
    is the training set unless its name is of another split.
    """
    arrays = stored_arrays(Path(path))
    images_key, labels_key = _split_keys(arrays, split) or _only_keys(arrays, split, path)
    stored, name = arrays[images_key], f"{images_key} in {path}"
    check_shape(stored.shape, name)
    if stored.dtype != np.uint8:
        check_dtype(next(stored.pieces()), name)
    shape = shape_of(stored.shape, name, size=size, channels=channels)
    labels = arrays[labels_key].load() if labels_key in arrays else None

    def pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
        start = 0
        for piece in stored.pieces():
            first, last = np.searchsorted(rows, (start, start + len(piece)))
            if last > first:
                yield converted(piece[rows[first:last] - start], shape)
            start += len(piece)

    num, own = stored.shape[0], (*stored.shape[1:3], stored.shape[3] if len(stored.shape) == 4 else 1)
    as_it_lies = stored.start is not None and own == shape
    rows = Rows(stored.path, stored.start, num, shape) if as_it_lies else None
    return Album(name, shape, num, checked_labels(labels, num, name), pieces, rows)


def array_album(
    array: np.ndarray,
    labels: np.ndarray | None,
    *,
    name: str,
    size: int | None = None,
    channels: int | None = None,
) -> Album:
    """uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, and integer labels [N]; ValueError for another array."""
    check_shape(array.shape, name)
    if array.dtype != np.uint8:
        check_dtype(array, name)
    labels = checked_labels(labels, len(array), name)
    shape = shape_of(array.shape, name, size=size, channels=channels)
    step = max(1, PIECE_BYTES // math.prod(array.shape[1:]))

    def pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), step):
            yield converted(array[rows[start : start + step]], shape)

    return Album(name, shape, len(array), labels, pieces)


def splits_of_file(path: Path) -> list[str]:
    """The splits that an .npz names; none where it holds one set or is an .npy."""
    arrays = stored_arrays(path)
    return [split for split in SPLITS if _split_keys(arrays, split)]


def stored_arrays(path: Path) -> dict[str, Stored]:
    """The arrays of an .npz by their names; that of an .npy is "the array". Heads are read, and no values."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                return {ONLY: _stored(file, path)}
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename.removesuffix(".npy"): _stored_member(archive, info, path) for info in infos}
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: Exception) -> ValueError:
    if isinstance(error, ValueError) and str(error).startswith("cannot read"):
        return error
    return ValueError(f"cannot read {path} ({error}); save uint8 images with np.save or np.savez")


def _stored(file: BufferedIOBase, path: Path) -> Stored:
    shape, fortran, dtype = _read_head(file)
    start = file.tell()
    _check_length(path.stat().st_size - start, shape, dtype)
    return Stored(path, None, shape, dtype, None if fortran else start)


def _stored_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Stored:
    with archive.open(info) as member:
        shape, fortran, dtype = _read_head(member)
        head = member.tell()
    _check_length(info.file_size - head, shape, dtype)
    if fortran or info.compress_type != zipfile.ZIP_STORED:
        return Stored(path, info.filename, shape, dtype, None)
    with path.open("rb") as file:
        # The member's own head repeats its name, and may have other extra fields than the directory's.
        file.seek(info.header_offset + 26)
        len_name, len_extra = struct.unpack("<HH", file.read(4))
    return Stored(path, info.filename, shape, dtype, info.header_offset + 30 + len_name + len_extra + head)


def _read_head(file: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"its .npy version {version} is for arrays of records")
    if not shape:
        raise ValueError("it holds a single number")
    if min(shape) < 0:
        raise ValueError(f"its shape {list(shape)} is impossible")
    if dtype.hasobject:
        raise ValueError("its objects are pickles, which may run code: allow_pickle=False")
    return shape, fortran and len(shape) > 1, dtype


def _check_length(num_bytes: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if num_bytes < math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it holds {num_bytes:,} bytes of an array of {math.prod(shape) * dtype.itemsize:,}")


def _split_keys(arrays: dict[str, Stored], split: str) -> tuple[str, str] | None:
    for images, own in SPLIT_KEYS:
        if images.format(split) in arrays:
            # A label of another way of naming is borrowed unless it has images of its own.
            others = [key for image, key in SPLIT_KEYS if image.format(split) not in arrays]
            labels = [key.format(split) for key in (own, *others)]
            return images.format(split), next((key for key in labels if key in arrays), "")
    return None


def _only_keys(arrays: dict[str, Stored], split: str, path: Path | str) -> tuple[str, str]:
    held = ", ".join(arrays) or "nothing"
    if split != "train":
        raise ValueError(f"{path} has no {split!r} images, it holds {held}; cut some off with .split")
    if any(_split_keys(arrays, other) for other in SPLITS):
        raise ValueError(
            f"{path} has no 'train' images, it holds {held}; save what shall be learned from as train_x, or ask for"
            " the part that there is"
        )
    labels = [key for key, array in arrays.items() if len(array.shape) == 1]
    images = [key for key in arrays if key not in labels]
    if len(images) != 1 or len(labels) > 1:
        raise ValueError(
            f"which arrays of {path} are images is not clear, it holds {held}; save train_x and train_y, or leave no"
            " other than one of images and one of labels"
        )
    return images[0], labels[0] if labels else ""


def checked_labels(labels: np.ndarray | None, num: int, name: str) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape not in ((num,), (num, 1)) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has {num} images, and its labels are {labels.dtype} of shape {list(labels.shape)}; "
            f"give integers of shape [{num}]"
        )
    if labels.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has labels up to {labels.max()}; number its classes from 0, without a gap")
    return labels.reshape(num).astype(np.int64)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    num_axes, size = len(shape), math.prod(shape)
    grey, colour = num_axes == 3 and shape[2] > 4, num_axes == 4 and shape[3] in (1, 3)
    if (grey or colour) and size:
        return
    if not size:
        way = "it is empty"
    elif num_axes == 4 and shape[1] in (1, 3):
        way = "put the channels last with .transpose(0, 2, 3, 1)"
    elif num_axes == 4 and shape[3] == 4:
        way = "drop the transparency with [..., :3]"
    elif num_axes == 3:
        way = "if it is one picture, it is a texture: save it as a picture and crop it"
    else:
        way = "reshape it"
    raise ValueError(
        f"{name} has shape {list(shape)}, and images are [N, H, W], [N, H, W, 1] or [N, H, W, 3]; {way}"
    )


def check_dtype(array: np.ndarray, name: str) -> None:
    """ValueError that says how an array that is not uint8 becomes it."""
    kind = array.dtype.kind
    if kind == "f" and not np.isfinite(array).all():
        way = (
            f"{int((~np.isfinite(array)).sum())} of its values are NaN or infinite: mend those, then rescale"
        )
    elif kind in "fiu":
        way = _rescaling(float(array.min()), float(array.max()), kind)
    else:
        way = "convert it, a mask by .astype(np.uint8) * 255"
    raise ValueError(f"{name} is {array.dtype}, and images are uint8, 0..255; {way}")


def _rescaling(low: float, high: float, kind: str) -> str:
    values = f"its values are in {low:g}..{high:g}:"
    if kind == "f" and low >= 0 and high <= 1:
        return f"{values} convert 0..1 by (255 * array).round().astype(np.uint8)"
    if kind == "f" and low >= -1 and high <= 1:
        return f"{values} convert -1..1 by (127.5 * (array + 1)).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{values} convert by .round().astype(np.uint8)"
    return f"{values} rescale to 0..255, then .round().astype(np.uint8)"
