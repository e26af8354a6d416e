"""What people look at: grids of images, particles over their energy in the plane, curves of a run.

Nothing here opens a window: a picture is returned as a PIL image and written whole by `save`. To show another
kind of point, add a function beside `grid` and `plane` and a line to `picture`.
"""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from evolvent.data.pixels import to_pixels
from evolvent.shapes import PerPoint, Pixels, Points
from evolvent.storage.files import write_whole

GAP = 2
"""White pixels between the tiles of a grid."""
MIN_WIDTH = 512
"""A grid is enlarged by a whole factor until it is at least so wide: an 8 px digit must be visible."""
MOST_COLUMNS = 20
"""Classes that a grid has a column for; where there are more, it is near-square."""
STROKES = ("-", "--", ":", "-.")
"""Of curves, in every colour."""
FRAME, LAST_FRAME = 160, 2000
"""Milliseconds that a picture of an animation stands."""
LONGEST_SIDE = 65535
"""Pixels: the format of a GIF counts no further."""
SIDE = 120
"""Points along one side of the lattice on which an energy is drawn."""


def grid(images: Pixels | Points, *, columns: int | None = None) -> Image.Image:
    """Images [n, C, H, W] as one picture, row by row, near-square unless `columns` are said; C is 1 or 3 (RGB).

    Takes uint8 pixels, or particles in [−1, 1]. Raises ValueError for any other shape and for no image.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(
            f"a grid shows images of shape [n, 1 or 3, H, W] with n ≥ 1, not {list(images.shape)}"
        )
    tiles = images if images.dtype == torch.uint8 else to_pixels(images)
    tiles = tiles.cpu().permute(0, 2, 3, 1).numpy()
    num, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(num)) if columns is None else columns
    rows = math.ceil(num / columns)
    scale = max(1, math.ceil(MIN_WIDTH / (columns * width)))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    high, wide = height * scale + GAP, width * scale + GAP
    canvas = np.full((rows * high + GAP, columns * wide + GAP, channels), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = GAP + i // columns * high, GAP + i % columns * wide
        canvas[top : top + high - GAP, left : left + wide - GAP] = tile
    return Image.fromarray(canvas.squeeze(2) if channels == 1 else canvas)


def tile(image_uint8: UInt8[Tensor, "channel height width"]) -> Image.Image:
    """One image at its own size, without a frame."""
    return Image.fromarray(image_uint8.cpu().permute(1, 2, 0).squeeze(2).numpy())


def plane(
    points: Points,
    *,
    energy: Callable[[Points], PerPoint] | None = None,
    data: Points | None = None,
    reach: float | None = None,
) -> Image.Image:
    """Particles [n, 2] (red) over the data (grey) and the levels of their energy; low energy is dark.

    reach: how far from 0 the picture goes in all directions, in units of the points; None for `reach_of` all of them.
    """
    points = points.detach().cpu()
    if reach is None:
        reach = reach_of(points if data is None else torch.cat([points, data.detach().cpu()]))
    figure, (axes,) = _figure(1, width=6, height=6)
    if energy is not None:
        _draw_levels(axes, energy, reach)
    if data is not None:
        axes.scatter(*data.detach().cpu().numpy().T, s=6, color="0.55", linewidths=0, label="data")
    axes.scatter(*points.numpy().T, s=6, color="tab:red", linewidths=0, label="particles")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.legend(loc="upper right")
    return _render(figure)


def reach_of(points: Points) -> float:
    """How far from 0 a picture of the plane goes in all directions that shows these points [..., 2], but the outermost.

    That is 1.2 times what 99 in 100 of their coordinates keep below, and 1 where all are 0.
    """
    # torch's quantile takes no more than 16 million.
    distances = points.detach().cpu().abs().flatten().sort().values
    return 1.2 * float(distances[int(0.99 * (len(distances) - 1))]) or 1.0


def curves(logs: Mapping[str, Sequence[Mapping[str, float]]], keys: Sequence[str]) -> Image.Image:
    """One panel a key over the steps of logs by name (lines with "step" and some of the keys), a colour each.

    Of more than ten the colours come again, dashed, then dotted.

    The band is from key@min to key@max, the extremes over the steps between two lines, where the log has them.
    """
    columns = min(3, len(keys))
    rows, rows_of_names = (math.ceil(num / columns) for num in (len(keys), len(logs)))
    height = 2.8 * rows + 0.25 * rows_of_names * (len(logs) > 1)
    figure, panels = _figure(len(keys), width=4.2 * columns, height=height)
    for axes, key in zip(panels, keys, strict=True):
        for number, lines in enumerate(logs.values()):
            _draw_curve(axes, lines, key, number)
        axes.set(title=_verbatim(key.replace("_", " ")), xlabel="step")
        axes.grid(alpha=0.3)
    if len(logs) > 1:
        figure.legend(panels[0].lines, [*map(_verbatim, logs)], loc="outside upper left", ncols=columns)
    return _render(figure)


def picture(
    particles: Points | Pixels,
    *,
    energy: Callable[[Points], PerPoint] | None = None,
    data: Points | None = None,
    num_classes: int = 0,
) -> Image.Image:
    """The picture that suits the event shape: a grid of images, or points of the plane.

    num_classes: that images take turns in; a class is then a column.
    """
    if particles.dim() == 4:
        return grid(particles, columns=num_classes if 1 < num_classes <= MOST_COLUMNS else None)
    if particles.dim() == 2 and particles.shape[1] == 2:
        return plane(particles, energy=energy, data=data)
    raise ValueError(f"there is no picture of points of shape {list(particles.shape[1:])}: save them as .npz")


def save(
    particles: Points | Pixels,
    path: Path | str,
    *,
    energy: Callable[[Points], PerPoint] | None = None,
    data: Points | None = None,
    num_classes: int = 0,
) -> None:
    """Write the picture of `particles` to `path` as a PNG, whole or not at all."""
    save_image(picture(particles, energy=energy, data=data, num_classes=num_classes), path)


def save_image(image: Image.Image, path: Path | str) -> None:
    """Write a PIL image as a PNG, whole or not at all."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_whole(Path(path), buffer.getvalue())


def save_animation(images: Sequence[Image.Image], path: Path | str) -> None:
    """Write PIL images of one size as a GIF that begins again and again, whole or not at all.

    ValueError where they are larger than a GIF can be.
    """
    buffer, first = io.BytesIO(), images[0]
    if max(first.size) > LONGEST_SIDE:
        raise ValueError(
            f"a GIF has at most {LONGEST_SIDE} px a side, and these pictures have {max(first.size)}: show fewer"
        )
    durations = [FRAME] * (len(images) - 1) + [LAST_FRAME]
    first.save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    write_whole(Path(path), buffer.getvalue())


def _draw_curve(axes, lines: Sequence[Mapping[str, float]], key: str, number: int) -> None:
    look = {"color": f"C{number % 10}", "linestyle": STROKES[number // 10 % len(STROKES)]}
    known = [(line["step"], line[key]) for line in lines if key in line]
    axes.plot(*zip(*known, strict=True) if known else ([], []), linewidth=1.2, **look)
    low, high = f"{key}@min", f"{key}@max"
    ends = [(line["step"], line[low], line[high]) for line in lines if {low, high} <= line.keys()]
    if ends:
        axes.fill_between(*zip(*ends, strict=True), alpha=0.2, linewidth=0, color=look["color"])


def _verbatim(name: str) -> str:
    """A name that is shown as it is: to matplotlib two dollars hold a formula, and a leading _ leaves it out."""
    plain = name.encode(errors="backslashreplace").decode()  # a folder's name need not be Unicode
    return " " * plain.startswith("_") + plain.replace("$", r"\$")


def _draw_levels(axes, energy: Callable[[Points], PerPoint], reach: float) -> None:
    line = torch.linspace(-reach, reach, SIDE)
    x, y = torch.meshgrid(line, line, indexing="xy")
    points = torch.stack([x.flatten(), y.flatten()], dim=1)
    device = next((tensor.device for tensor in _tensors(energy)), "cpu")
    with torch.no_grad():
        levels = energy(points.to(device)).cpu().reshape(SIDE, SIDE)
    # Far from the data an energy climbs without bound: levels at quantiles keep the wells visible.
    heights = levels.flatten().quantile(torch.linspace(0, 0.9, 24)).unique()
    if len(heights) > 1:
        axes.contourf(x, y, levels, levels=heights, cmap="Blues_r", extend="max")


def _tensors(energy: Callable):
    """The tensors of an energy that is a module; none of a plain function."""
    if isinstance(energy, torch.nn.Module):
        yield from energy.parameters()
        yield from energy.buffers()


def _figure(num_panels: int, *, width: float, height: float):
    # Imported on first use: matplotlib takes half a second that most commands do not need. No pyplot: it
    # keeps every figure alive in a global list.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    columns = min(3, num_panels)
    rows = math.ceil(num_panels / columns)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(num_panels)]


def _render(figure) -> Image.Image:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name may have letters that the font lacks, which are boxes then.
        warnings.filterwarnings("ignore", message="Glyph |Matplotlib currently does not support")
        figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
