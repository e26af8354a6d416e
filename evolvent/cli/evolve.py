"""The command `evolve`: particles from their birth to what they are drawn as, a row each, or moving."""

from pathlib import Path

import torch
from torch import Tensor

from evolvent.cli.drawing import Device, Sampling, check_at_once, classes_named, title_of
from evolvent.cli.rows import opened_for_rows, save_rows
from evolvent.dynamics import Dynamics
from evolvent.pretrained import Saved
from evolvent.sampling import check_counts, classes_of, draw_chunk, moments, most_moments

USUAL_FRAMES = 12
"""Moments that are shown where none are asked for."""


def evolve(
    source: str,
    *,
    num: int = 10,
    frames: int | None = None,
    out: str = "evolution.png",
    overwrite: bool = False,
    label: str | None = None,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Draw particles as they evolve: a row each, from birth on the left to the sample on the right, or as an animation.

    Args:
        source: a run, a checkpoint, a model.safetensors, shipped weights (digits, fashion-mnist, cifar10), or
            owner/name on the hub.
        num: how many particles.
        frames: moments of each, evenly from its birth to its end (default: 12, or all where there are fewer).
        out: a .png of images, or a .gif of images or of points of the plane, over their energy if it knows no classes.
        overwrite: replace a file that exists.
        label: of a model with labels, the class to draw, or several such as 0,1,2, in turns (default: all).
        device: auto, cpu or cuda.
    """
    saved = opened_for_rows(source, device, Path(out), what="an evolution", overwrite=overwrite)
    stages = sampling.stages(saved.learner.stages)
    frames = min(USUAL_FRAMES, most_moments(stages)) if frames is None else frames
    check_at_once(saved, num * frames, way_out="draw fewer particles, or fewer frames of them")
    classes = classes_of(saved.learner, classes_named(label))
    rows = _rows(saved, num, moments(stages, frames), sampling, classes)
    save_rows(rows, saved, Path(out), num_classes=len(classes))
    told = ", ".join(f"{stage.num_steps} steps of {name}" for name, stage in stages.items())
    print(f"{num} particles of {title_of(source, saved)}, {told}: {out}")


def _rows(
    saved: Saved, num: int, stages: list[dict[str, Dynamics]], sampling: Sampling, classes: list[int]
) -> Tensor:
    """Points [num, moments, *event]."""
    batch_size = num if sampling.batch_size is None else sampling.batch_size
    check_counts(num, batch_size)
    check_at_once(saved, batch_size)
    if num > batch_size:
        raise ValueError(
            f"all particles evolve together: give a --batch-size of at least {num}, or leave it out"
        )
    learner, precision = sampling.weighed(saved.learner), sampling.computed_in(saved)
    how = {"seed": sampling.seed, "classes": classes or None, "device": saved.device, "precision": precision}
    return torch.stack(
        [draw_chunk(learner, 0, stages=come, batch_size=batch_size, **how)[:num] for come in stages], 1
    )
