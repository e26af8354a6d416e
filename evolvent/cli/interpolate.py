"""The command `interpolate`: what lies between two samples, a row each, or moving."""

from pathlib import Path

from evolvent.cli.drawing import Device, Sampling, check_at_once, classes_named, title_of
from evolvent.cli.rows import opened_for_rows, save_rows
from evolvent.interpolation import interpolate as interpolated
from evolvent.interpolation import own_stages
from evolvent.sampling import classes_of


def interpolate(
    source: str,
    *,
    num: int = 10,
    frames: int = 12,
    out: str = "between.png",
    overwrite: bool = False,
    label: str | None = None,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Draw what lies between two samples, along a great circle of hidden space: a row a pair, or as an animation.

    Args:
        source: a run, a checkpoint, a model.safetensors, shipped weights (digits, fashion-mnist, cifar10), or
            owner/name on the hub.
        num: how many pairs; both of a pair are of one class.
        frames: pictures of each, both ends among them.
        out: a .png of images, or a .gif of images or of points of the plane.
        overwrite: replace a file that exists.
        label: of a model with labels, the class to draw, or several such as 0,1,2, in turns (default: all).
        device: auto, cpu or cuda.
    """
    saved = opened_for_rows(source, device, Path(out), what="a path between samples", overwrite=overwrite)
    stages = sampling.stages(own_stages(saved.learner))
    if sampling.batch_size is not None:
        raise ValueError("the births of a path are drawn together: leave --batch-size out")
    check_at_once(saved, num * frames, way_out="draw fewer pairs, or fewer frames of them")
    classes = classes_of(saved.learner, classes_named(label))
    how = {"seed": sampling.seed, "classes": classes or None, "precision": sampling.computed_in(saved)}
    learner = sampling.weighed(saved.learner)
    rows = interpolated(learner, num, frames, stages=stages, device=saved.device, **how)
    save_rows(rows, saved, Path(out), num_classes=len(classes))
    print(f"{num} paths of {frames} births of {title_of(source, saved)}: {out}")
