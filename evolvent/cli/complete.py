"""The command `complete`: what a part of an image may be that is hidden, as a model sees it."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from evolvent import pictures
from evolvent.cli.drawing import Device, Sampling, as_seen, check_at_once, classes_named, opened, title_of
from evolvent.cli.given import images_of
from evolvent.data.images import Images, evenly
from evolvent.data.pixels import to_particles, to_pixels
from evolvent.observed import complete as complete_rows
from evolvent.observed import stages_to_complete
from evolvent.pretrained import Saved
from evolvent.sampling import classes_of
from evolvent.shapes import Labels, Pixels
from evolvent.storage.files import check_place, open_whole
from evolvent.views import Coarse, Grey, Masked

Part = Literal["left", "right", "top", "bottom", "middle", "colour", "detail"]
COARSER = 4
"""An image whose details are hidden is seen as one so many times smaller shows it."""


class Asked(NamedTuple):
    """Images of which a part is hidden, each as often as it is completed, with labels if the model knows classes."""

    pixels: Pixels
    view: nn.Module
    hidden_share: float
    labels: Labels | None


def complete(
    source: str,
    *,
    data: str | None = None,
    hide: Part = "right",
    num: int = 8,
    tries: int = 6,
    out: str = "completed.png",
    overwrite: bool = False,
    label: str | None = None,
    sigma: float = 0.5,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Hide a part of images and draw what it may be, under the energy that a model has learned.

    Args:
        source: a run, a checkpoint, a model.safetensors, shipped weights (digits, fashion-mnist, cifar10), or
            owner/name on the hub.
        data: images as `evolvent.data.load` names them, of those their test part (default: the recipe's held-out data).
        hide: left, right, top, bottom, middle, colour, or detail: all but what an image of a quarter of the size shows.
        num: how many images.
        tries: completions of each.
        out: a .png (a row: what is seen, completions, the image) or .npz (images uint8 [num, tries, H, W, C]).
        overwrite: replace a file that exists.
        label: of a model with labels, the class to look for, or several in turns (default: the images' own).
        sigma: how far off a seen pixel may lie, of a range from -1 to 1.
        device: auto, cpu or cuda.
    """
    if Path(out).suffix not in (".png", ".npz"):
        raise ValueError(f"completions are written as .png or .npz, not as {out}")
    check_place(Path(out), overwrite=overwrite)
    saved = opened(source, device, of_images="only images are completed")
    at_once = sampling.at_once(saved)
    asked = _asked(saved, data, hide, num, tries, label)
    stages = sampling.stages(stages_to_complete(saved.learner))
    seen = to_particles(asked.pixels.to(saved.device))
    completed = complete_rows(
        sampling.weighed(saved.learner), seen, asked.view, sigma=sigma, seed=sampling.seed, stages=stages,
        labels=asked.labels, batch_size=at_once, precision=sampling.computed_in(saved),
    )  # fmt: skip
    _write(as_seen(completed), asked, tries, Path(out))
    off = ((completed - seen.cpu()).square().mean() / asked.hidden_share).sqrt()
    print(
        f"{num} images completed {tries} times each by {title_of(source, saved)}: {out}"
        f" (what is hidden is off by {float(off):.3f}, root mean square, of a range from -1 to 1)"
    )


def _asked(saved: Saved, data: str | None, hide: Part, num: int, tries: int, label: str | None) -> Asked:
    if num < 1 or tries < 1:
        raise ValueError(f"at least 1 image is completed at least once, not {num} images {tries} times")
    _, images = images_of(saved, data, None)
    if num > len(images):
        raise ValueError(f"there are {len(images)} images, and --num asks for {num}")
    check_at_once(saved, num * tries, way_out="give fewer --tries")
    rows = torch.from_numpy(evenly(len(images), num)).repeat_interleave(tries)
    view, share = hiding(hide, saved.event_shape)
    return Asked(images.pixels[rows], view, share, _labels(saved, images, rows, label))


def _labels(saved: Saved, images: Images, rows: torch.Tensor, label: str | None) -> Labels | None:
    """The class of every row: those named in turns, or the images' own; None where the model knows no classes."""
    classes = classes_of(saved.learner, classes_named(label))
    if not classes:
        return None
    if label is not None:
        return torch.tensor(classes)[torch.arange(len(rows)) % len(classes)]
    if images.labels is None or not set(images.labels.tolist()) <= set(classes):
        raise ValueError(
            f"this model knows the classes 0 to {classes[-1]}, and these images have no such labels: give --label 3, or"
            " several in turns, such as --label 0,1,2"
        )
    return images.labels[rows]


def hiding(part: Part, shape: tuple[int, ...]) -> tuple[nn.Module, float]:
    """What is seen of images [C, H, W] when a part is hidden, and the share of their dimensions that is hidden.

    A half of the image, or the square of half its side in the middle; its colours; its details. ValueError where images
    are too small, not square, or grey, and have none.
    """
    channels, height, width = shape
    if part == "colour":
        if channels == 1:
            raise ValueError("images of one channel have no colour to hide")
        return Grey(), 1 - 1 / channels
    if part == "detail":
        if height != width or height < COARSER:
            raise ValueError(
                f"details are hidden of square images of {COARSER} px and more, not of {width} × {height} px"
            )
        num = height // COARSER
        return Coarse(height, num), 1 - (num / height) ** 2
    parts = {
        "left": (slice(None), slice(0, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "top": (slice(0, height // 2), slice(None)),
        "bottom": (slice(height // 2, None), slice(None)),
        "middle": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }
    mask = torch.ones(shape)
    mask[:, *parts[part]] = 0
    if not 0 < mask.mean() < 1:
        raise ValueError(f"images of {width} × {height} px have no {part} beside something that is seen")
    return Masked(mask), float(1 - mask.mean())


def _write(completed: Pixels, asked: Asked, tries: int, out: Path) -> None:
    """A grid with a row an image, or the completions alone."""
    rows = completed.unflatten(0, (-1, tries))
    if out.suffix == ".npz":
        with open_whole(out) as file:
            np.savez_compressed(file, images=rows.permute(0, 1, 3, 4, 2).numpy())
        return
    truth = asked.pixels.cpu()[::tries, None]
    seen = to_pixels(asked.view(to_particles(truth[:, 0])))[:, None]
    pictures.save_image(
        pictures.grid(torch.cat([seen, rows, truth], 1).flatten(0, 1), columns=tries + 2), out
    )
