"""Images as a source: a stack of pixels that lives on the module's device and is drawn from there.

A source is an `nn.Module` with

    event_shape    the shape of one point, here (C, H, W)
    draw(num)      [num, C, H, W] float32 in [-1, 1], from torch's global generator, on the module's device

and that is all a learner asks for. `.to(device)` moves the pixels once; a draw then copies nothing from the
host, and the host waits for nothing. Pixels are no part of `state_dict`: a checkpoint holds no data set.

A source that knows labels has also `with_labels(num_classes)`: the same source, whose draws carry their labels
(`shapes.carry`), one channel more than `event_shape` says.
"""

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn

from evolvent.data.pixels import to_particles
from evolvent.shapes import Pixels, Points, carry


class Images(nn.Module):
    """Pixels [N, C, H, W], 0..255, with their labels [N] if they have any.

    `draw` picks rows uniformly with replacement, mirrors each left to right with probability 1/2 if `flip`,
    and dequantises. Buffers: `pixels` (uint8) and `labels` (int64, or None). `labelled`: draws carry their labels.
    """

    def __init__(
        self,
        pixels_uint8: Pixels,
        labels: Integer[Tensor, " batch"] | None = None,
        *,
        flip: bool = False,
        labelled: bool = False,
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
        self.flip, self.labelled = flip, labelled
        self.register_buffer("pixels", pixels_uint8, persistent=False)
        self.register_buffer("labels", None if labels is None else labels.long(), persistent=False)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.pixels.shape[1:])

    def draw(self, num: int) -> Points:
        """`num` images [num, C, H, W] in [-1, 1], dequantised, from torch's global generator; `labelled` or not."""
        row = torch.randint(len(self), (num,), device=self.pixels.device)
        pixels = self.pixels[row]
        images = to_particles(mirror_half(pixels) if self.flip else pixels, dequantise=True)
        return carry(images, self.labels[row]) if self.labelled else images

    def with_labels(self, num_classes: int) -> "Images":
        """The same images, whose draws carry their labels. ValueError unless those are 0 … num_classes − 1, all."""
        check_labels(self.labels, num_classes)
        return Images(self.pixels, self.labels, flip=self.flip, labelled=True)

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
        return Images(self.pixels[rows], labels, flip=flip, labelled=self.labelled)


def check_labels(labels: Tensor | None, num_classes: int) -> None:
    """ValueError unless every class from 0 to num_classes − 1 is there, and no other."""
    if labels is None:
        raise ValueError(
            "these data have no labels to learn from: leave --labels out, or give data that have them (a folder with a"
            " subfolder for each class, an .npz with train_y beside train_x)"
        )
    there = labels.unique().tolist()
    if there == list(range(num_classes)):
        return
    if there == list(range(len(there))):
        raise ValueError(
            f"these data have {len(there)} classes, and the nets would know {num_classes}: give --num-classes"
            f" {len(there)}, where the recipe has it, as images has"
        )
    raise ValueError(
        f"these data have {len(there)} labels from {there[0]} to {there[-1]}, and classes are counted from 0 to"
        f" {num_classes - 1} without a gap: number them so"
    )


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
