"""Real pictures that come inside installed packages: digits and textures with nothing to download.

To add a texture, add the package and the file's place in it to `TEXTURES`.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from evolvent.data.album import converted
from evolvent.data.decoding import read_picture
from evolvent.data.images import Images

TEXTURES = {
    "brick": ("skimage", "data/brick.png"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "coins": ("skimage", "data/coins.png"),
    "page": ("skimage", "data/page.png"),
    "moon": ("skimage", "data/moon.png"),
    "camera": ("skimage", "data/camera.png"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
"""name -> (package, file in it). The first seven are grey. brick, grass and gravel are CC0, 512 × 512 px."""

DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "mlxtend": "mlxtend"}


def texture(name: str, *, channels: int | None = None) -> UInt8[Tensor, "channel height width"]:
    """The picture called `name` in `TEXTURES`, or else the picture file at that path, [C, H, W], 0..255.

    `channels`: 1 for grey, 3 for RGB, None for what the file is.
    """
    if name in TEXTURES:
        path = packaged_file(*TEXTURES[name])
    elif Path(name).is_file():
        path = Path(name)
    else:
        raise ValueError(f"there is no texture and no file {name!r}; the textures are {', '.join(TEXTURES)}")
    return torch.from_numpy(read_picture(path, channels=channels)).permute(2, 0, 1).contiguous()


def digits(size: int = 32) -> Images:
    """5,000 handwritten digits of MNIST (LeCun et al., 1998), 500 of each, with labels: grey, white on black.

    28 px is MNIST itself and 32 px pads it with black; another size is the 32 px image resized, antialiased.
    They come in the order of their labels; `.split` shuffles.
    """
    if size < 4:
        raise ValueError(f"a digit of {size} px cannot be read; ask for 28, 32 or another size from 4 up")
    table = np.loadtxt(packaged_file("mlxtend", "data/data/mnist_5k.csv.gz"), delimiter=",", dtype=np.uint8)
    pixels, labels = framed(table[:, :-1].reshape(-1, 28, 28), size), table[:, -1]
    pixels = np.ascontiguousarray(converted(pixels, (size, size, 1))[..., 0])
    return Images(torch.from_numpy(pixels)[:, None], torch.from_numpy(labels.copy()))


def framed(
    pixels_uint8: UInt8[np.ndarray, "num h w"], size: int | None
) -> UInt8[np.ndarray, "num height width"]:
    """28 px pictures with two pixels of black around, unless 28 px (or None) are asked: 32 halves five times."""
    if size in (None, 28) or pixels_uint8.shape[1:] != (28, 28):
        return pixels_uint8
    return np.pad(pixels_uint8, ((0, 0), (2, 2), (2, 2)))


def packaged_file(package: str, file: str) -> Path:
    """Where `file` of an installed package lies, found without the second that importing it would take."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / file if spec else None
    if path is None or not path.is_file():
        distribution = DISTRIBUTIONS[package]
        raise ValueError(f"{file} comes with {distribution}, which is not here: pip install {distribution}")
    return path
