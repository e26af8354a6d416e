"""What `evaluate` is given: images that some program made, and the data that samples are held to.

The data come in three: what judges, other real images that show what real data would score, and whether a model
learned from those (only then can it have learned them by heart). `images_of` reads data for a model that looks at them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from evolvent.cli.drawing import as_seen
from evolvent.data.folders import PICTURE_SUFFIXES, sizes_in
from evolvent.data.images import Images, evenly
from evolvent.data.readers import from_file, load, splits_of
from evolvent.data.streams import Stream
from evolvent.metrics.scores import shuffled
from evolvent.pretrained import Saved
from evolvent.recipes.find import short_name
from evolvent.sampling import classes_of
from evolvent.shapes import Pixels, shows
from evolvent.storage.reading import MODEL

ARRAYS = (".npz", ".npy")
PACKED = (".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z")
OTHER_PART = {"test": "train", "train": "test"}
MOST_OF_STREAM = 50_000
"""Images that are taken of a source too large to hold."""


class Given(NamedTuple):
    """reference: what judges, images or a law. others: real images for the floor; `learned`: a model saw them."""

    reference: Any
    others: Tensor | None
    learned: bool
    name: str
    own: bool = False
    """Of the recipe itself."""
    note: str = ""
    """What a person should know about how they were cut, or of what kinds they are."""


def is_trained(source: str) -> bool:
    """Whether `source` is a run or a model, and not images."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() in (*PICTURE_SUFFIXES, *PACKED):
        raise ValueError(
            f"{source} is neither a model nor a set of images: put pictures in a folder or a ZIP, or arrays in an .npz"
        )
    images = path.suffix in (*ARRAYS, ".zip") or (path.is_dir() and not holds_run(path))
    return not images


def holds_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return (path / "run.json").is_file() or (path / MODEL).is_file()


def read_samples(source: str, num: int | None) -> Pixels:
    """The images of a folder, a ZIP, an .npz or an .npy at the one size that they have; `num` random ones of them."""
    path = Path(source)
    part = _main_part(source)
    if path.suffix in ARRAYS:
        pixels = from_file(path, split=part).pixels
    else:
        pixels = _pixels(load(source, _side(path), split=part))
    if num is None:
        return pixels
    if not 1 <= num <= len(pixels):
        raise ValueError(f"{source} holds {len(pixels)} images, and --num asks for {num}")
    return shuffled(pixels)[:num]


def own_data(saved: Saved, num: int) -> Given:
    """Held-out and training data of a run's recipe; a law whose density is known stands for both."""
    held_out = _held_out(saved, "say by --against what to hold samples to")
    if hasattr(held_out, "log_density"):
        return Given(held_out, None, True, "the exact law", own=True)
    data = saved.experiment.data()
    # Drawn under two seeds: one law may be both, and two equal sets of draws would be their own floor.
    pixels = _pixels(held_out, num), _pixels(data, num, seed=1)
    note = uneven(getattr(held_out, "labels", None), len(classes_of(saved.learner)))
    return Given(*pixels, _holds_images(data), "its held-out data", own=True, note=note)


def uneven(labels: Tensor | None, num_classes: int) -> str:
    """A sentence where a class has not half, or more than one and a half, of the equal share that is drawn of it."""
    if labels is None or not num_classes or not set(labels.tolist()) <= set(range(num_classes)):
        return ""
    counts = labels.bincount(minlength=num_classes)
    least, most, equal = int(counts.argmin()), int(counts.argmax()), len(labels) / num_classes
    if counts[least] >= equal / 2 and counts[most] <= 1.5 * equal:
        return ""
    return (
        f"classes are drawn in equal numbers, and the held-out data have {counts[most]} images of class {most} and"
        f" {counts[least]} of class {least}: every distance holds that against the samples"
    )


def given_by(against: str | None, split: str | None, shape: tuple[int, ...]) -> Given:
    """The data that `against` names, for samples of `shape`; ValueError where they cannot be compared."""
    if against is None:
        raise ValueError("images know no data: say by --against what to hold them to")
    if not shows(shape):
        raise ValueError(f"--against takes data of images, and the samples are points of shape {list(shape)}")
    if split is not None and split not in OTHER_PART:
        raise ValueError(f"the part that judges is test or train, not {split}")
    if split is None and not {"train", "test"} <= {*splits_of(against)}:
        return _halves(against, shape)
    split = split or "test"
    pixels = (_part(against, part, shape) for part in (split, OTHER_PART[split]))
    return Given(*pixels, split == "test", f"{against}, {split}")


def _main_part(source: str) -> str:
    """The part to take where none is asked for: train, or the first of those that there are."""
    parts = splits_of(source)
    return "train" if "train" in parts else parts[0]


def images_of(saved: Saved, data: str | None, split: str | None) -> tuple[str, Images]:
    """Images of the model's size that `data` names, or its recipe's held-out ones, and what they are called.

    Their test part is taken if they have one, unless `split` says another; ValueError where they do not fit the model.
    """
    if data is None and split is not None:
        raise ValueError("--split is the part of the data that --data names: give both or none")
    if data is None:
        images = _held_out(saved, "name images by --data")
        if not _holds_images(images):
            raise ValueError("the recipe's data are drawn anew each time: name images by --data")
        return "its held-out data", _in_memory(images)
    split = split or ("test" if "test" in splits_of(data) else _main_part(data))
    images, wanted = _read(data, split, saved.event_shape), saved.event_shape
    if images.event_shape != wanted:
        raise ValueError(
            f"the model's images are {_told(wanted)} channels and those of {data} {_told(images.event_shape)}: bring"
            f" them to that by `evolvent data {data} --size {max(wanted[1:])} --channels {wanted[0]} --out x.npz`"
        )
    return f"{data}, {split}", _in_memory(images)


def _held_out(saved: Saved, way_out: str) -> nn.Module:
    """The recipe's own source of held-out data, a law or images. ValueError where it has none."""
    if saved.experiment.held_out is None:
        raise ValueError(f"the recipe {short_name(saved.recipe)} has no held-out data: {way_out}")
    return saved.experiment.held_out()


def _part(against: str, split: str, shape: tuple[int, ...]) -> Pixels:
    """One part of the data at the samples' size; ValueError for arrays of another."""
    pixels = _in_memory(_read(against, split, shape)).pixels
    if tuple(pixels.shape[1:]) != shape:
        grey = against if pixels.shape[1] == 1 else "SAMPLES"
        to_rgb = (
            f"write the grey ones as RGB by `evolvent data {grey} --size {shape[2]} --channels 3 --out x.npz`"
        )
        way = to_rgb if tuple(pixels.shape[2:]) == shape[1:] else "prepare one to the size of the other"
        raise ValueError(
            f"the samples are {_told(shape)} channels and the images of {against} {_told(pixels.shape[1:])}: {way}"
        )
    return pixels


def _read(data: str, split: str, shape: tuple[int, ...]) -> Images | Stream:
    """One part of the data: arrays as they are, pictures cropped and resized to images of `shape`."""
    channels, height, width = shape
    if Path(data).suffix in ARRAYS:
        return from_file(data, split=split)
    return load(data, max(height, width), split=split, channels=channels)


def _told(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{width} × {height} px with {channels}"


def _in_memory(source: Images | Stream) -> Images:
    """A source that holds its images, or of one that streams `some`."""
    if isinstance(source, Images):
        return source
    rows = torch.from_numpy(evenly(len(source), MOST_OF_STREAM))
    return Images(source.some(MOST_OF_STREAM), None if source.labels is None else source.labels[rows])


def _halves(against: str, shape: tuple[int, ...]) -> Given:
    """Of data in one part: a random half judges, the other gives the floor."""
    part = _main_part(against)
    pixels = shuffled(_part(against, part, shape))
    half = len(pixels) // 2
    lacks = f"{against} has no {OTHER_PART.get(part, 'train')} part"
    note = f"{lacks}: a random {half} of its {len(pixels)} images judge, the others give the floor"
    return Given(pixels[:half], pixels[half:], False, f"half of {against}", note=note)


def _pixels(source: nn.Module, num: int = MOST_OF_STREAM, *, seed: int = 0) -> Tensor:
    """All the images of a source that holds them, or `some` of one that streams; else `num` draws, always the same."""
    if _holds_images(source):
        return _in_memory(source).pixels
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return as_seen(source.draw(num))


def _holds_images(source: nn.Module) -> bool:
    """Whether a model meets the same images again and again, which draws of a law are not."""
    return hasattr(source, "some")


def _side(path: Path) -> int:
    """The side of the square pictures in a folder or a ZIP, read from their heads; 1 where there are none."""
    sizes = sizes_in(path) if path.exists() else set()
    if len(sizes) > 1 or any(width != height for width, height in sizes):
        named = ", ".join(f"{width} × {height} px" for width, height in sorted(sizes)[:3])
        raise ValueError(
            f"{path} holds pictures of {named}: samples are judged as they are, square and of one size, which `evolvent"
            f" data {path} --size {min(map(min, sizes))} --out x.npz` brings them to"
        )
    return min(sizes)[0] if sizes else 1
