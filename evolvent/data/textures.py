"""One picture as a data set: a texture is the law of its patches.

`Crops` is a source (see images.py) whose draws are random windows of one or several pictures; `split_texture`
cuts a picture in two, so that the windows that judge share no pixel with those that taught. `prepare` brings
a picture to the scale and the contrast at which small filters see its elements.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional

from evolvent.data.images import mirror_half
from evolvent.data.pixels import to_particles
from evolvent.shapes import Points

Texture = UInt8[Tensor, "_channel _height _width"]
"""One picture, 0..255. Two of them need not have the same shape."""


class Crops(nn.Module):
    """Windows of `size` × `size` px, every position in every picture equally likely.

    The pictures may differ in height and width but not in channels. `flip` mirrors half of the windows left
    to right. The pictures lie end to end in one buffer, so that a batch is one gather whatever their shapes.
    """

    def __init__(self, textures: Texture | Sequence[Texture], size: int, *, flip: bool = False) -> None:
        super().__init__()
        textures = [textures] if isinstance(textures, Tensor) else list(textures)
        _check(textures, size)
        self.size, self.flip = size, flip
        self.event_shape = (textures[0].shape[0], size, size)
        sides = [texture.shape[1:] for texture in textures]
        heights, widths = torch.tensor(sides, device=textures[0].device).T
        columns = widths - size + 1
        ends = (columns * (heights - size + 1)).cumsum(0)
        self.num_positions = int(ends[-1])
        self.register_buffer(
            "pixels", torch.cat([texture.flatten(1) for texture in textures], 1), persistent=False
        )
        # For each picture: where its positions end, where its pixels begin, its two widths.
        self.register_buffer("ends", ends, persistent=False)
        self.register_buffer("begins", (heights * widths).cumsum(0) - heights * widths, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("widths", widths, persistent=False)

    def draw(self, num: int) -> Points:
        """`num` windows [num, C, size, size] in [-1, 1], dequantised, from torch's global generator."""
        position = torch.randint(self.num_positions, (num,), device=self.ends.device)
        picture = torch.searchsorted(self.ends, position, right=True)
        from_end = self.ends[picture] - 1 - position
        top, left = from_end // self.columns[picture], from_end % self.columns[picture]
        corner = self.begins[picture] + top * self.widths[picture] + left
        reach = torch.arange(self.size, device=corner.device)
        index = corner[:, None, None] + self.widths[picture][:, None, None] * reach[:, None] + reach
        pixels = self.pixels[:, index].transpose(0, 1).contiguous()
        return to_particles(mirror_half(pixels) if self.flip else pixels, dequantise=True)


def prepare(texture: Texture, *, shrink: int = 1, contrast: float = 1.0, grain: float = 0.0) -> Texture:
    """The picture averaged over blocks of `shrink` × `shrink` px, its contrast stretched, grain added once.

    Each channel's mean moves to mid-grey, 0 in [-1, 1], and what lies around it is multiplied by `contrast`.
    `grain` is the deviation of white noise, in units of [-1, 1], the same in every call: a smooth picture lies
    on a surface where no density exists, so a score could rise without end. Rows and columns that do not fill
    a block are cut off, and what leaves 0..255 is black or white.
    """
    if not 1 <= shrink <= min(texture.shape[1:]):
        raise ValueError(
            f"a picture of {texture.shape[1]} × {texture.shape[2]} px has no blocks of {shrink} × {shrink} px;"
            " shrink it by 1 (not at all) or a little more"
        )
    small = functional.avg_pool2d(texture.float(), shrink)
    # NumPy promises that RandomState's stream never changes: the data set is the same everywhere.
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal(small.shape)).to(small)
    stretched = contrast * (small - small.mean((1, 2), keepdim=True)) + 128 * grain * noise
    return (127.5 + stretched).round().clamp(0, 255).to(torch.uint8)


def split_texture(texture: Texture, *, held_out: float = 0.25) -> tuple[Texture, Texture]:
    """(train, held_out): the left part of a picture, and the rightmost share `held_out` of its width."""
    width = texture.shape[2]
    cut = width - round(held_out * width)
    if not 0 < cut < width:
        raise ValueError(f"holding out {held_out} of {width} px of width leaves one part empty; try 0.25")
    return texture[:, :, :cut].contiguous(), texture[:, :, cut:].contiguous()


def _check(textures: list[Tensor], size: int) -> None:
    if not textures:
        raise ValueError("there is no picture to crop; give at least one")
    if len({texture.shape[0] for texture in textures}) > 1:
        raise ValueError(
            "some pictures are grey and some in colour; read all with channels=1 or all with channels=3"
        )
    smallest = min(min(texture.shape[1:]) for texture in textures)
    if not 0 < size <= smallest:
        raise ValueError(
            f"cannot crop {size} px from pictures whose shortest side is {smallest} px; take a smaller size"
        )
