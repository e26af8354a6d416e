"""Images that stay in their file: a source like `Images` for sets that no device should hold.

    row ~ uniform (CPU)  →  read [num, H, W, C] into one buffer, pinned for a GPU  →  device  →  mirror, dequantise

Memory is bounded by one batch. Rows come from torch's CPU generator, which the trainer reseeds at every step, so
a resumed run draws what the straight one would have; on the CPU a stream draws bitwise what `Images` would.
"""

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn

from evolvent.data.album import Rows
from evolvent.data.images import check_labels, evenly, mirror_half, order_to_split
from evolvent.data.pixels import to_particles
from evolvent.shapes import Pixels, Points, carry


class Stream(nn.Module):
    """The images that lie in a file as uint8 [N, H, W, C], or those of them that `order` names, with labels.

    `draw`, `with_labels`, `some`, `split` and `flip` are those of `Images`. A file that ends too early raises
    ValueError.
    """

    reads_as_it_draws = True
    """No CUDA graph can record a draw."""

    def __init__(
        self,
        rows: Rows,
        labels: Integer[Tensor, " batch"] | None = None,
        *,
        order: np.ndarray | None = None,
        flip: bool = False,
        labelled: bool = False,
    ) -> None:
        super().__init__()
        self.rows, self.flip, self.labelled = rows, flip, labelled
        self.order = np.arange(rows.num) if order is None else order
        if labels is not None and len(labels) != len(self.order):
            raise ValueError(f"{len(self.order)} images have {len(labels)} labels; give one to each, or none")
        self.register_buffer("labels", None if labels is None else labels.long(), persistent=False)
        self.register_buffer("here", torch.empty(0), persistent=False)  # it moves with .to(device)
        self._buffer, self._copied = None, None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        height, width, channels = self.rows.shape
        return (channels, height, width)

    def draw(self, num: int) -> Points:
        """`num` images [num, C, H, W] in [-1, 1], dequantised, on the module's device; `labelled` or not."""
        index = torch.randint(len(self), (num,), pin_memory=self.here.is_cuda)
        pixels = self._on_device(index.numpy())
        images = to_particles(mirror_half(pixels) if self.flip else pixels, dequantise=True)
        if not self.labelled:
            return images
        return carry(images, self.labels[index.to(self.here.device, non_blocking=True)])

    def with_labels(self, num_classes: int) -> "Stream":
        """The same images, whose draws carry their labels; ValueError as of `Images`."""
        check_labels(self.labels, num_classes)
        return Stream(self.rows, self.labels, order=self.order, flip=self.flip, labelled=True)

    def some(self, num: int) -> Pixels:
        """`num` images as they are, evenly spaced, or all if there are no more; on the CPU."""
        index = evenly(len(self), num)
        pixels = torch.empty(len(index), *self.rows.shape, dtype=torch.uint8)
        self.rows.read_into(pixels.numpy(), self.order[index])
        return pixels.permute(0, 3, 1, 2).contiguous()

    def split(self, num_held_out: int, *, seed: int = 0) -> tuple["Stream", "Stream"]:
        """(train, held_out): the same cut as of `Images`; held-out images are never mirrored."""
        order = order_to_split(len(self), num_held_out, seed)
        return self._part(order[num_held_out:], flip=self.flip), self._part(order[:num_held_out], flip=False)

    def _part(self, index: np.ndarray, *, flip: bool) -> "Stream":
        labels = None if self.labels is None else self.labels[torch.from_numpy(index).to(self.labels.device)]
        return Stream(self.rows, labels, order=self.order[index], flip=flip, labelled=self.labelled)

    def _on_device(self, index: np.ndarray) -> Pixels:
        """The pixels of these images [n, C, H, W] on the module's device."""
        buffer = self._free_buffer(len(index))
        self.rows.read_into(buffer.numpy(), self.order[index])
        # On the CPU the buffer itself is handed on: dequantising copies it before the next draw.
        pixels = buffer.to(self.here.device, non_blocking=True)
        if self.here.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(self.here.device))
        return pixels.permute(0, 3, 1, 2)

    def _free_buffer(self, num: int) -> Tensor:
        """Host memory for `num` images, pinned for a GPU, that no copy is still reading."""
        if self._copied is not None:
            self._copied.synchronize()
        if self._buffer is None or len(self._buffer) != num or self._buffer.is_pinned() != self.here.is_cuda:
            self._buffer = torch.empty(num, *self.rows.shape, dtype=torch.uint8, pin_memory=self.here.is_cuda)
        return self._buffer
