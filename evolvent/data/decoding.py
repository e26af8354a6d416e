"""One picture file -> uint8 pixels, upright, grey or colour, at a given size.

Every file that anyone took with anything arrives here, so this is where its oddities end: EXIF rotation is
undone, transparency is laid on white, palettes, CMYK and 16-bit greys become 8 bits. What cannot be read
raises ValueError with the file's name.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Picture = UInt8[np.ndarray, "height width channel"]
"""One decoded picture; 1 channel is grey, 3 are RGB."""

MOST_PIXELS = 2**26
"""Larger pictures are refused before they are decoded: a few kilobytes of PNG can unpack to gigabytes."""

GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_picture(path: Path | str, *, size: int | None = None, channels: int | None = None) -> Picture:
    """The picture at `path`; `size` takes its central square and resizes it to size × size.

    `channels`: 1 for grey, 3 for RGB, None for what the file is. An unreadable file, one of more than 2²⁶
    pixels, and one smaller than `size` raise ValueError: enlarging would teach the blur of the resize.
    """
    return decode_picture(Path(path), str(path), size=size, channels=channels)


def decode_picture(
    file: Path | BytesIO, name: str, *, size: int | None = None, channels: int | None = None
) -> Picture:
    """`read_picture` of a path or of a file in memory, which an error calls `name`.

    A picture whose central square has `size` px a side comes back bit-equal.
    """
    check_channels(channels)
    image = _decode(file, name)
    if size is not None:
        if min(image.size) < size:
            raise ValueError(
                f"{name} is {image.width} × {image.height} px, smaller than the asked size of {size}; "
                "ask for a smaller size or remove it"
            )
        image = square(image, size)
    array = np.array(image if channels is None else image.convert({1: "L", 3: "RGB"}[channels]))
    return array if array.ndim == 3 else array[..., None]


def is_grey(file: Path | BytesIO, name: str) -> bool:
    """Whether the picture comes out with one channel; its head is read and no pixel."""
    try:
        with Image.open(file) as image:
            return image.mode in GREY_MODES or image.mode in DEEP_MODES
    except Exception as error:
        raise _unreadable(name, error) from error


def square(image: Image.Image, size: int) -> Image.Image:
    """The central square, resized to size × size px, antialiased."""
    if size < 1:
        raise ValueError(f"a picture of {size} px a side has no pixels; ask for a size of at least 1")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    # Pillow widens the bicubic kernel by the scale, which is what antialiases
    # (Parmar, Zhang & Zhu, *On aliased resizing*, 2022).
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def check_channels(channels: int | None) -> None:
    """Raise ValueError unless `channels` is 1, 3 or None."""
    if channels not in (None, 1, 3):
        raise ValueError(f"{channels} channels cannot be read; ask for 1 (grey) or 3 (RGB), or leave it out")


def _decode(file: Path | BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"{image.width} × {image.height} px are more than {MOST_PIXELS:,}: downscale it"
                )
            return _eight_bit(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise ValueError(f"there is no picture {name}") from None
    # A decoder raises whatever a broken byte led it to: OSError, SyntaxError, struct.error, IndexError, …
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"cannot read the picture {name} ({error}); replace it or remove it")


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture as "L" if it is grey, else as "RGB"; transparent parts are laid on white."""
    if image.mode in DEEP_MODES:
        return _from_sixteen_bit(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose white is anybody's guess: save it with 8 or 16 bits")
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("L" if grey else "RGB")


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    deep = np.asarray(image).astype(np.int64)
    if deep.min() < 0 or deep.max() > 65535:
        raise ValueError(
            f"its pixels are in {deep.min()}..{deep.max()}, beyond 16 bits: save it with 8 or 16 bits"
        )
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
