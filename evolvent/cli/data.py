"""The command `data`: any set of pictures -> one uncompressed .npz of uint8, its figures, and a sheet to look at.

Pictures pass through piece by piece, so a set may be larger than memory. What is written, train_x and train_y
[N, H, W, C] (and test_x, test_y), is what `evolvent.data.load` reads, and streams if it is large.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evolvent import pictures
from evolvent.cli.terminal import counted, print_table
from evolvent.cli.writing import write_array
from evolvent.data.album import Album
from evolvent.data.arrays import file_album
from evolvent.data.named import NAMED
from evolvent.data.pixels import to_particles
from evolvent.data.readers import open_album, splits_of
from evolvent.storage.files import check_place, open_whole

ON_SHEET = 64
"""So many pictures are on the sheet, picked at random."""


@dataclass(frozen=True)
class Figures:
    """levels [C, 256]: how often each channel takes each value. labels: how often each comes, or None."""

    shape: tuple[int, ...]
    levels: np.ndarray
    labels: dict[int, int] | None


def data(
    source: str,
    *,
    size: int | None = None,
    split: str | None = None,
    num: int | None = None,
    channels: int | None = None,
    out: str = "data.npz",
    sheet: str | None = None,
    overwrite: bool = False,
) -> None:
    """Prepare a set of pictures: write it as one .npz, print its figures, draw a sheet of 64.

    Args:
        source: cifar10, cifar100, mnist, fashion-mnist, celeba, lsun-bedroom, digits, a folder, a ZIP, .npz or .npy.
        size: of the square images in px, centre-cropped and resized once (default: as they are).
        split: train, test or valid (default: train and test, those that there are).
        num: at most so many of each split, picked at random (default: all).
        channels: 1 for grey, 3 for RGB (default: as they are).
        out: the .npz to write.
        sheet: the picture to draw (default: beside the .npz).
        overwrite: replace files that exist.
    """
    target = Path(out)
    drawn = target.with_suffix(".png") if sheet is None else Path(sheet)
    _check_places(target, drawn, overwrite)
    there = splits_of(source)
    splits = [name for name in ("train", "test") if name in there] if split is None else [split]
    if not splits:
        raise ValueError(f"{source} has no train or test part; pick one with --split")
    albums = {name: open_album(source, size, split=name, channels=channels) for name in splits}
    if num is not None:
        albums = {name: album.at_most(num) for name, album in albums.items()}
    figures = write_albums(albums, target)
    first = next(iter(albums))
    pictures.save(torch.from_numpy(_some(target, first)).permute(0, 3, 1, 2), drawn)
    _report(source, figures)
    print(f"images:  {target} ({target.stat().st_size / 2**20:.1f} MiB)")
    print(f"sheet:   {drawn} ({min(ON_SHEET, albums[first].num)} at random of {first})")
    if source in NAMED:
        print(f"source:  {NAMED[source].licence}")


def write_albums(albums: dict[str, Album], path: Path) -> dict[str, Figures]:
    """Write every split's pictures and labels to the .npz `path`, whole or not at all."""
    with open_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        return {split: _write(archive, split, album) for split, album in albums.items()}


def _write(archive: zipfile.ZipFile, split: str, album: Album) -> Figures:
    shape = (album.num, *album.shape)
    levels = np.zeros((album.shape[2], 256), np.int64)
    pieces = counted(album.every_piece(), album.num)
    write_array(archive, f"{split}_x", shape, _tallied(pieces, levels))
    if album.labels is None:
        return Figures(shape, levels, None)
    labels = album.labels.astype("<i8")
    write_array(archive, f"{split}_y", labels.shape, [labels])
    kinds, counts = np.unique(labels, return_counts=True)
    return Figures(shape, levels, dict(zip(kinds.tolist(), counts.tolist(), strict=True)))


def _tallied(pieces: Iterable[np.ndarray], levels: np.ndarray) -> Iterator[np.ndarray]:
    for piece in pieces:
        for channel, count in enumerate(levels):
            count += np.bincount(piece[..., channel].ravel(), minlength=256)
        yield piece


def _some(path: Path, split: str) -> np.ndarray:
    rows = file_album(path, split=split).at_most(ON_SHEET)
    return np.concatenate(list(rows.every_piece()))


def _report(source: str, figures: dict[str, Figures]) -> None:
    rows = [
        row
        for split, one in figures.items()
        for row in ((f"{split}: {what}", value) for what, value in described(one))
    ]
    print_table(source, ("what", "value"), rows)


def described(figures: Figures) -> list[tuple[str, str]]:
    """Counts, range, and per channel mean ± deviation of the values 0..255 and of [-1, 1]."""
    num, height, width, channels = figures.shape
    seen = np.flatnonzero(figures.levels.sum(0))
    points = to_particles(torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)).flatten().double().numpy()
    rows = [
        ("images", f"{num:,} of {width} × {height} px, {'grey' if channels == 1 else 'RGB'}"),
        ("range", f"{seen[0]}..{seen[-1]}"),
        ("mean ± deviation, 0..255", _moments(figures.levels, np.arange(256.0), 2)),
        ("mean ± deviation, -1..1", _moments(figures.levels, points, 4)),
    ]
    if figures.labels is not None:
        rows.append(("labels", _counts(figures.labels)))
    return rows


def _moments(levels: np.ndarray, values: np.ndarray, digits: int) -> str:
    mean = levels @ values / levels.sum(1)
    deviation = np.sqrt(levels @ values**2 / levels.sum(1) - mean**2)
    return "  ".join(f"{m:.{digits}f} ± {d:.{digits}f}" for m, d in zip(mean, deviation, strict=True))


def _counts(labels: dict[int, int]) -> str:
    if len(labels) <= 20:
        return "  ".join(f"{label}: {count}" for label, count in labels.items())
    fewest, most = min(labels.values()), max(labels.values())
    each = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{len(labels)}, with {each} images each"


def _check_places(target: Path, drawn: Path, overwrite: bool) -> None:
    if target.suffix != ".npz":
        raise ValueError(f"a set is written as an .npz, not as {target.name}: give --out x.npz")
    if drawn.suffix != ".png":
        raise ValueError(f"a sheet is drawn as a .png, not as {drawn.name}: give --sheet x.png")
    for path in (target, drawn):
        check_place(path, overwrite=overwrite)
