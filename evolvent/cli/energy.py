"""The command `energy`: how likely a model finds images, each by itself, and how well that parts them from others."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from evolvent import pictures
from evolvent.cli.annealing import check_way, tell_nearness
from evolvent.cli.drawing import Device, Sampling, is_class, opened, title_of
from evolvent.cli.given import images_of
from evolvent.cli.terminal import counted, print_table
from evolvent.data.images import Images
from evolvent.likelihood import Energies, energies
from evolvent.metrics.detection import auroc
from evolvent.metrics.scores import shuffled
from evolvent.pretrained import Saved
from evolvent.sampling import classes_of
from evolvent.shapes import Labels, PerPoint, Pixels
from evolvent.storage.files import check_place, open_whole, write_whole

OWN, FREE = "own", "free"
"""Of each image's class, and of none: what --label takes beside a number."""
QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
NUM_SHOWN = 12
"""Images in a row of the picture."""
NO_LABEL = -1


class Side(NamedTuple):
    """Images, where they stand in their data, the labels that they have there, and their energies."""

    name: str
    index: torch.Tensor
    pixels: Pixels
    labels: Labels | None
    found: Energies


def energy(
    source: str,
    *,
    data: str | None = None,
    split: str | None = None,
    against: str | None = None,
    against_split: str | None = None,
    num: int | None = None,
    label: str | None = None,
    anneal: int | None = None,
    out: str = "energies.npz",
    picture: str | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    device: Device = "auto",
) -> None:
    """Tell how likely a model finds images: the energy of each, and how well it parts them from others.

    Args:
        source: a run, a checkpoint, a model.safetensors, shipped weights (digits, fashion-mnist, cifar10), or
            owner/name on the hub.
        data: images as `evolvent.data.load` names them (default: the recipe's held-out data).
        split: the part of them to take (default: test, or all of data in one part).
        against: other images, which should have the higher energies.
        against_split: the part of these (default: likewise).
        num: at most so many of each, picked at random (default: all).
        label: of a model with labels: a class, own (each image's), or free (of none; the default with --against).
        anneal: so many particles on the way from births to the model: log Z, and by how many nats it is the nearer.
        out: a .npz or .csv of index, energy, potential, and label and against where there are any.
        picture: a .png, a row of the images of lowest energy and one of the highest, of each set.
        overwrite: replace files that exist.
        batch_size: looked at once, in place of the recipe's (64 images on a CPU).
        device: auto, cpu or cuda.
    """
    _check_places(Path(out), None if picture is None else Path(picture), overwrite)
    if num is not None and num < 1:
        raise ValueError(f"energies are told of at least 1 image, and --num asks for {num}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"images are looked at in batches of at least 1, not of {batch_size}")
    saved = opened(source, device, of_images="energies are told of images")
    at_once = Sampling(batch_size=batch_size).at_once(saved)
    given = [images_of(saved, data, split)]
    if against is not None:
        given.append(images_of(saved, against, against_split))
    elif against_split is not None:
        raise ValueError("--against-split is the part of the data that --against names: give both or none")
    label, law = _law(saved, [images for _, images in given], label)
    if anneal is not None:
        classes = _classes_of_way(saved, label)
        check_way(saved, anneal, classes)
    sides = [_side(saved, *one, num=num, label=label, at_once=at_once) for one in given]
    parting = _parting(*sides) if len(sides) > 1 else ""
    _write(sides, Path(out))
    _print(f"energies under {title_of(source, saved)}{law}", sides)
    if parting:
        print(parting)
    if anneal is not None:
        scores = {side.name: (-side.found.potential, side.labels if label == OWN else None) for side in sides}
        tell_nearness(saved, scores, anneal, classes=classes, at_once=at_once)
    if picture is not None:
        pictures.save_image(_extremes(sides), picture)
        print(f"of each set a row of the lowest energies and one of the highest: {picture}")
    print(f"energies: {out}")


def _check_places(out: Path, picture: Path | None, overwrite: bool) -> None:
    if out.suffix not in (".npz", ".csv"):
        raise ValueError(f"energies are written as .npz or .csv, not as {out}")
    if picture is not None and picture.suffix != ".png":
        raise ValueError(f"the picture of the likeliest images is a .png, not {picture}")
    for path in (out, picture):
        if path is not None:
            check_place(path, overwrite=overwrite)


def _law(saved: Saved, given: list[Images], label: str | None) -> tuple[str | None, str]:
    """Which energy it is: a class, own, free, or None where the model knows no classes; and its name over the table."""
    if label not in (None, OWN, FREE) and not is_class(label):
        raise ValueError(f'--label is a class by its number, such as 3, or own, or free, not "{label}"')
    if label is not None:
        classes_of(saved.learner, [int(label) if is_class(label) else 0])  # refuses a model without any
    known = classes_of(saved.learner)
    if not known:
        return None, ""
    labelled = all(one.labels is not None and set(one.labels.tolist()) <= {*known} for one in given)
    if label == OWN and not labelled:
        raise ValueError(
            f"this model knows the classes 0 to {known[-1]}, and not all of these images have such labels: give"
            " --label 3, or --label free"
        )
    if label is None:
        label = OWN if labelled and len(given) == 1 else FREE
    laws = {OWN: "each image's own class", FREE: f"no class, −log Σ exp(−U) over {len(known)}"}
    return label, f", of {laws.get(label, f'class {label}')}"


def _classes_of_way(saved: Saved, label: str | None) -> list[int] | None:
    """Those that particles are of on the way from births to the model, None where it knows none."""
    if label == FREE:
        raise ValueError("--anneal climbs class by class: give --label own, or a class such as 3")
    if label == OWN:
        return classes_of(saved.learner)
    return None if label is None else [int(label)]


def _side(
    saved: Saved, name: str, images: Images, *, num: int | None, label: str | None, at_once: int
) -> Side:
    """The energies of all the images, or of `num` at random, in their order."""
    index = shuffled(torch.arange(len(images)))[:num].sort().values
    pixels, labels = images.pixels[index], None if images.labels is None else images.labels[index]
    classes = _classes(label, labels, len(index))
    how = {"batch_size": at_once, "device": saved.device}
    found = [
        energies(saved.learner, pixels[rows], labels=None if classes is None else classes[rows], **how)
        for rows in counted(torch.arange(len(index)).split(at_once), len(index))
    ]
    return Side(name, index, pixels, labels, Energies(*map(torch.cat, zip(*found, strict=True))))


def _classes(label: str | None, own: Labels | None, num: int) -> Labels | None:
    """The class at which each of `num` images has its energy, None for no class."""
    if label in (None, FREE):
        return None
    return own if label == OWN else torch.full((num,), int(label))


def _write(sides: list[Side], path: Path) -> None:
    """A row an image: index in its data, energy U, potential Φ, label (−1: none), and whether it is of --against."""
    columns = {
        "index": torch.cat([side.index for side in sides]),
        "energy": torch.cat([side.found.energy for side in sides]),
        "potential": torch.cat([side.found.potential for side in sides]),
    }
    if any(side.labels is not None for side in sides):
        columns["label"] = torch.cat([_labels(side) for side in sides])
    if len(sides) > 1:
        columns["against"] = torch.cat([torch.full_like(side.index, i) for i, side in enumerate(sides)])
    if path.suffix == ".npz":
        with open_whole(path) as file:
            np.savez(file, **{name: column.numpy() for name, column in columns.items()})
        return
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    write_whole(path, "".join(f"{','.join(map(str, row))}\n" for row in (columns, *rows)))


def _labels(side: Side) -> Labels:
    return torch.full_like(side.index, NO_LABEL) if side.labels is None else side.labels


def _print(title: str, sides: list[Side]) -> None:
    rows = [
        (f"{sign} of {side.name}", f"{len(values):,}", *_summary(values))
        for side in sides
        for sign, values in zip(("U", "Φ"), side.found, strict=True)
    ]
    print_table(title, ("what", "images", "mean", "spread", *QUANTILES), rows)


def _summary(values: PerPoint) -> list[str]:
    """Mean, deviation and quantiles, to three digits of the deviation."""
    spread = float(values.std(correction=0))
    digits = min(9, max(0, 2 - math.floor(math.log10(spread)))) if spread > 0 else 3
    quantiles = values.quantile(values.new_tensor([*QUANTILES.values()])).tolist()
    return [f"{number:.{digits}f}" for number in (float(values.mean()), spread, *quantiles)]


def _parting(of_data: Side, of_others: Side) -> str:
    """How well U parts the two, in a sentence; ValueError where one has a single image."""
    value, error = auroc(of_data.found.energy, of_others.found.energy)
    known = "no standard error: they do not overlap, or are all equal"
    if error is not None:
        known = f"± {error:.4f}, the standard error of DeLong et al., 1988"
    return (
        f"AUROC {value:.4f} ({known}): the share of pairs in which an image of {of_others.name} has a higher U than one"
        f" of {of_data.name}, of {len(of_others.index):,} and {len(of_data.index):,} images"
    )


def _extremes(sides: list[Side]) -> Image.Image:
    """Two rows a side: its lowest energies, lowest first, and its highest, highest last."""
    columns = min(NUM_SHOWN, *(len(side.index) for side in sides))
    tiles = []
    for side in sides:
        order = side.found.energy.argsort(stable=True)
        tiles += [side.pixels[order[:columns]], side.pixels[order[-columns:]]]
    return pictures.grid(torch.cat(tiles), columns=columns)
