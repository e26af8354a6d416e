"""Images as a source: a stack of pixels that lives on the module's device and is drawn from there.

A source is an `nn.Module` with

    event_shape    the shape of one point, here (C, H, W)
    draw(num)      [num, C, H, W] float32 in [-1, 1], from torch's global generator, on the module's device

and that is all a learner asks for. `.to(device)` moves the pixels once; a draw then copies nothing from the
host, and the host waits for nothing. Pixels are no part of `state_dict`: a checkpoint holds no data set.
"""

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn

from evolvent.data.pixels import to_particles
from evolvent.shapes import Pixels, Points


class Images(nn.Module):
    """Pixels [N, C, H, W], 0..255, with their labels [N] if they have any.

    `draw` picks rows uniformly with replacement, mirrors each left to right with probability 1/2 if `flip`,
    and dequantises. Buffers: `pixels` (uint8) and `labels` (int64, or None).
    """

    def __init__(
        self, pixels_uint8: Pixels, labels: Integer[Tensor, " batch"] | None = None, *, flip: bool = False
    ) -> None:
        super().__init__()
        if pixels_uint8.dtype != torch.uint8 or pixels_uint8.ndim != 4 or not pixels_uint8.numel():
            raise ValueError(
                f"images are a uint8 tensor of shape [N, C, H, W], not {pixels_uint8.dtype} of shape "
                f"{list(pixels_uint8.shape)}; evolvent.data.from_array reads other layouts"
            )
        if labels is not None and len(labels) != len(pixels_uint8):
            raise ValueError(
                f"{len(pixels_uint8)} images have {len(labels)} labels; give one to each, or none"
            )
        self.flip = flip
        self.register_buffer("pixels", pixels_uint8, persistent=False)
        self.register_buffer("labels", None if labels is None else labels.long(), persistent=False)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.pixels.shape[1:])

    def draw(self, num: int) -> Points:
        """`num` images [num, C, H, W] in [-1, 1], dequantised, from torch's global generator."""
        row = torch.randint(len(self), (num,), device=self.pixels.device)
        pixels = self.pixels[row]
        return to_particles(mirror_half(pixels) if self.flip else pixels, dequantise=True)

    def some(self, num: int) -> Pixels:
        """`num` images as they are, evenly spaced, or all if there are no more: what a measure compares with."""
        return self.pixels[torch.from_numpy(evenly(len(self), num)).to(self.pixels.device)]

    def split(self, num_held_out: int, *, seed: int = 0) -> tuple["Images", "Images"]:
        """(train, held_out): a shuffled cut into N − num_held_out and num_held_out images with their labels.

        The cut depends on `seed` and N alone. Held-out images are never mirrored: they are what judges.
        """
        order = torch.from_numpy(order_to_split(len(self), num_held_out, seed)).to(self.pixels.device)
        return self._rows(order[num_held_out:], flip=self.flip), self._rows(order[:num_held_out], flip=False)

    def _rows(self, rows: Tensor, *, flip: bool) -> "Images":
        labels = None if self.labels is None else self.labels[rows]
        return Images(self.pixels[rows], labels, flip=flip)


def mirror_half(pixels_uint8: Pixels) -> Pixels:
    """Each image mirrored left to right with probability 1/2, from torch's global generator."""
    coin = torch.rand(len(pixels_uint8), 1, 1, 1, device=pixels_uint8.device) < 0.5
    return torch.where(coin, pixels_uint8.flip(-1), pixels_uint8)


def order_to_split(num: int, num_held_out: int, seed: int) -> np.ndarray:
    """A permutation of `num` rows, of which the first num_held_out are held out."""
    if not 0 < num_held_out < num:
        raise ValueError(f"cannot hold out {num_held_out} of {num} images; choose between 1 and {num - 1}")
    # NumPy promises that RandomState's stream never changes; torch promises no such thing of randperm.
    return np.random.RandomState(seed).permutation(num)


def evenly(num: int, num_kept: int) -> np.ndarray:
    """Rows of `num`, ascending and evenly spaced: `num_kept` of them, or all."""
    num_kept = min(num, num_kept)
    return np.arange(num_kept) * num // max(1, num_kept)
