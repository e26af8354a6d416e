"""What the scores see of a picture: a row of features from a detector.

A detector is any `nn.Module` that maps pixels_uint8 [n, 1 or 3, height, width] to features [n, d] and has

    name            of the network and the size at which it looks; scores compare only under one name
    resize          how it brings a picture to that size, in words; left out by one that takes it as it is
    logits          of features [n, d], [n, classes]: only of one that classifies, for the class score

`EffLite0` (the default) and `Inception` are two. To score with another, write such a module and hand it to
`judge_images`, or return it from a function and give `evolvent evaluate --detector my_file.py:function`.
"""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "_num _features"]
"""One row of detector features for each picture. Two arguments of this type may differ in both sizes."""


def extract(
    detector: nn.Module, pixels_uint8: Tensor, *, batch_size: int = 256, device: str | torch.device = "cpu"
) -> Features:
    """The detector's features of all pictures, on `device`. Moves the detector there and sets it to evaluate.

    Raises ValueError for a detector without a name, for pixels that are not uint8 [n, 1 or 3, height, width]
    and for features that are not one finite row a picture.
    """
    check_pixels(pixels_uint8, "the pictures")
    return torch.cat(list(extract_pieces(detector, pixels_uint8.split(batch_size), device=device)))


def extract_pieces(
    detector: nn.Module, batches: Iterable[Tensor], *, device: str | torch.device = "cpu"
) -> Iterator[Features]:
    """The same for batches that arrive one by one, for more pictures than memory holds."""
    num_seen = 0
    for batch in batches:
        yield extract_piece(detector, batch, num_before=num_seen, device=device)
        num_seen += len(batch)


def extract_piece(
    detector: nn.Module, batch: Tensor, *, num_before: int = 0, device: str | torch.device = "cpu"
) -> Features:
    """Of one batch, before which there were so many pictures, as an error counts them."""
    if not isinstance(getattr(detector, "name", None), str):
        raise ValueError(
            f"{type(detector).__name__} needs a name to be a detector: scores are printed with it"
        )
    with torch.no_grad():
        features = detector.to(device).eval()(batch.to(device))
    _check_features(detector.name, features, len(batch), num_before)
    return features


def _check_features(name: str, features: Tensor, num: int, num_before: int) -> None:
    if features.ndim != 2 or len(features) != num:
        raise ValueError(f"{name} gave {list(features.shape)} for {num} pictures, not [n, d]")
    if not (finite := features.isfinite().all(1)).all():
        raise ValueError(
            f"{name} gave a feature that is not finite, first for picture {num_before + int(finite.int().argmin())}"
        )


def check_pixels(pixels_uint8: Tensor, who: str) -> None:
    """Raises ValueError unless there are pictures, uint8 [n, 1 or 3, height, width]."""
    if pixels_uint8.dtype != torch.uint8:
        raise ValueError(f"{who} must be uint8 pixels, 0..255, not {pixels_uint8.dtype}: round them yourself")
    if pixels_uint8.ndim != 4 or pixels_uint8.shape[1] not in (1, 3):
        raise ValueError(f"{who} must be [n, 1 or 3, height, width], not {list(pixels_uint8.shape)}")
    if 0 in pixels_uint8.shape:
        raise ValueError(f"{who} are empty: {list(pixels_uint8.shape)}")
    if pixels_uint8.max() == 1:
        raise ValueError(
            f"{who} have no value above 1 of 255: they are 0..1 cast to bytes; multiply by 255 first"
        )


def digest(net: nn.Module) -> str:
    """SHA-256 of a detector's weights and buffers."""
    found = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        found.update(name.encode() + str(tensor.dtype).encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
