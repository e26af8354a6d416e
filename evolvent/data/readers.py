"""Whatever the images come in -> `Images`: a folder, an array, a file, a word.

    load("digits")    load("photos/")    load("cifar10.npz", split="test")

`load` is the front door; each `from_…` is one kind of guest. All of them answer with uint8 images or raise
ValueError with the name of what they could not read and the way out. Nothing here unpickles.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evolvent.data.decoding import check_channels, read_picture, square
from evolvent.data.images import Images
from evolvent.data.packaged import digits

PICTURE_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
}

SPLIT_KEYS = (("{}_x", "{}_y"), ("x_{}", "y_{}"), ("{}_images", "{}_labels"))
"""How .npz files name the images and labels of a split."""


def load(
    spec: str, size: int = 32, *, split: str = "train", channels: int | None = None, flip: bool = False
) -> Images:
    """The images that `spec` names, `size` × `size` px: "digits", a folder of pictures, an .npz or an .npy.

    `split` picks one where a file holds several, and is refused where there is none. `channels` is
    1 for grey, 3 for RGB, None for what the pictures are. A folder that happens to be called digits is
    "./digits".
    """
    check_channels(channels)
    path = Path(spec)
    if split != "train" and (spec == "digits" or path.is_dir()):
        raise ValueError(f"{spec} has no {split!r} part; load all of it and cut one off with .split")
    if spec == "digits":
        images = digits(size)
    elif path.is_dir():
        images = from_folder(path, size, channels=channels)
    elif path.suffix in (".npz", ".npy"):
        images = from_file(path, split=split, size=size)
    elif path.exists():
        raise ValueError(f"{spec} is one file; put pictures in a folder, or arrays in an .npz or .npy")
    else:
        raise ValueError(f'there is no {spec!r}; give "digits", a folder of pictures, an .npz or an .npy')
    return Images(_with_channels(images.pixels, channels), images.labels, flip=flip)


def from_folder(path: Path | str, size: int, *, channels: int | None = None, flip: bool = False) -> Images:
    """All pictures under `path`, each its central square at `size` × `size` px, in the order of their names.

    If they lie in subfolders, label k is the k-th subfolder by name. `channels` None is 1 if every picture is
    grey, else 3. Hidden files and files that are no pictures are passed over; a picture that cannot be read
    raises ValueError, and so does one smaller than `size`.
    """
    groups = _groups(Path(path))
    files = [file for group in groups for file in group]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside Python's lock
        pictures = list(pool.map(lambda file: read_picture(file, size=size, channels=channels), files))
    num_channels = max(picture.shape[2] for picture in pictures)
    pixels = np.stack([np.broadcast_to(picture, (size, size, num_channels)) for picture in pictures])
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return _images(pixels, labels if len(groups) > 1 else None, flip=flip)


def from_file(
    path: Path | str, *, split: str = "train", size: int | None = None, flip: bool = False
) -> Images:
    """The images in an .npy or .npz, uint8 as in `from_array`.

    An .npz holds either splits (train_x and train_y, x_train and y_train, or train_images and train_labels;
    the same for test), of which `split` picks one, or a single array of images and at most one of labels.
    """
    arrays = _read_arrays(Path(path))
    images_key, labels_key = _split_keys(arrays, split) or _only_keys(arrays, split, path)
    labels = arrays.get(labels_key)
    return from_array(arrays[images_key], labels, size=size, flip=flip, name=f"{images_key} in {path}")


def from_array(
    array: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    size: int | None = None,
    flip: bool = False,
    name: str = "the array",
) -> Images:
    """uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, and integer labels [N], as `Images`.

    `size` takes the central squares and resizes them. `name` is what an error calls the array.
    """
    _check_shape(array, name)
    _check_dtype(array, name)
    if size is not None and array.shape[1:3] != (size, size):
        height, width = array.shape[1:3]
        if min(height, width) < size:
            raise ValueError(
                f"{name} has images of {width} × {height} px, smaller than the asked size of {size}"
            )
        array = np.stack([np.asarray(square(_picture(image), size)) for image in array])
    return _images(
        array if array.ndim == 4 else array[..., None], _checked_labels(labels, len(array), name), flip=flip
    )


def _images(pixels: np.ndarray, labels: np.ndarray | None, *, flip: bool) -> Images:
    """Channel last to channel first; the copy also owns its memory and is writable, as torch asks."""
    pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    return Images(pixels, None if labels is None else torch.from_numpy(labels.astype(np.int64)), flip=flip)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _with_channels(pixels_uint8: Tensor, channels: int | None) -> Tensor:
    if channels in (None, pixels_uint8.shape[1]):
        return pixels_uint8
    if channels == 3:
        return pixels_uint8.repeat(1, 3, 1, 1)
    red, green, blue = pixels_uint8.int().split(1, 1)
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).to(torch.uint8)  # luma of ITU-R BT.601


def _groups(folder: Path) -> list[list[Path]]:
    """The picture files of each label: of each subfolder that has any, or of the folder itself."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    loose = [file for file in sorted(folder.iterdir()) if _is_picture(file)]
    subfolders = [
        sub for sub in sorted(folder.iterdir()) if sub.is_dir() and not sub.name.startswith((".", "__"))
    ]
    grouped = [[file for file in sorted(sub.rglob("*")) if _is_picture(file)] for sub in subfolders]
    grouped = [group for group in grouped if group]
    if loose and grouped:
        raise ValueError(
            f"{folder} has {len(loose)} pictures of its own and {sum(map(len, grouped))} in subfolders, so "
            "it is not clear what is a label; move the loose ones into a subfolder"
        )
    if not loose and not grouped:
        raise ValueError(f"{folder} has no pictures; known endings are {' '.join(sorted(PICTURE_SUFFIXES))}")
    return grouped or [loose]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names; that of an .npy is "the array"."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    # A broken file raises whatever its bytes led to: EOFError, BadZipFile, zlib.error, MemoryError, …
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)  # a pickle may run code
            return {"the array": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:
        raise ValueError(
            f"cannot read {path} ({error}); save uint8 images with np.save or np.savez"
        ) from error


def _split_keys(arrays: dict[str, np.ndarray], split: str) -> tuple[str, str] | None:
    for images, labels in SPLIT_KEYS:
        if images.format(split) in arrays:
            return images.format(split), labels.format(split)
    return None


def _only_keys(arrays: dict[str, np.ndarray], split: str, path: Path | str) -> tuple[str, str]:
    held = ", ".join(arrays) or "nothing"
    if split != "train":
        raise ValueError(f"{path} has no {split!r} images, it holds {held}; cut some off with .split")
    labels = [key for key, array in arrays.items() if array.ndim == 1]
    images = [key for key in arrays if key not in labels]
    if len(images) != 1 or len(labels) > 1:
        raise ValueError(
            f"which arrays of {path} are images is not clear, it holds {held}; save train_x and train_y"
        )
    return images[0], labels[0] if labels else ""


def _checked_labels(labels: np.ndarray | None, num: int, name: str) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape not in ((num,), (num, 1)) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has {num} images, and its labels are {labels.dtype} of shape {list(labels.shape)}; "
            f"give integers of shape [{num}]"
        )
    return labels.reshape(num)


def _check_shape(array: np.ndarray, name: str) -> None:
    shape, num_axes = array.shape, array.ndim
    grey, colour = num_axes == 3 and shape[2] > 4, num_axes == 4 and shape[3] in (1, 3)
    if (grey or colour) and array.size:
        return
    if not array.size:
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


def _check_dtype(array: np.ndarray, name: str) -> None:
    if array.dtype == np.uint8:
        return
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
