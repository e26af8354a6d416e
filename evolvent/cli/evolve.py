"""The command `evolve`: particles from their birth to what they are drawn as, a row each."""

from pathlib import Path

import torch

from evolvent import pictures
from evolvent.cli.drawing import Device, Sampling, as_seen, classes_named, settle_device
from evolvent.pretrained import from_pretrained
from evolvent.recipes.find import short_name
from evolvent.sampling import check_counts, classes_of, draw_chunk, moments
from evolvent.shapes import shows
from evolvent.storage.files import check_place


def evolve(
    source: str,
    *,
    num: int = 10,
    frames: int = 12,
    out: str = "evolution.png",
    overwrite: bool = False,
    label: str | None = None,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Draw particles as they evolve, a row each, from birth on the left to the sample on the right.

    Args:
        source: a run folder, a model.safetensors, shipped weights (digits, cifar10), or owner/name on the hub.
        num: how many particles.
        frames: moments of each, evenly over the steps of all stages.
        out: a .png.
        overwrite: replace a file that exists.
        label: of a model with labels, the class to draw, or several such as 0,1,2, in turns (default: all).
        device: auto, cpu or cuda.
    """
    if Path(out).suffix != ".png":
        raise ValueError(f"an evolution is drawn as a .png, not as {out}")
    check_place(Path(out), overwrite=overwrite)
    saved = from_pretrained(source, device=settle_device(device))
    if not shows(saved.event_shape):
        raise ValueError(
            f"an evolution is drawn of images, and this model draws points of {list(saved.event_shape)}"
        )
    batch_size = sampling.batch_size or num
    check_counts(num, batch_size)
    if num > batch_size:
        raise ValueError(
            f"all particles evolve together: give a --batch-size of at least {num}, or leave it out"
        )
    classes = classes_of(saved.learner, classes_named(label)) or None
    learner, precision = sampling.weighed(saved.learner), sampling.computed_in(saved)
    stages = sampling.stages(saved.learner.stages)
    columns = [
        as_seen(
            draw_chunk(
                learner, 0, seed=sampling.seed, stages=come, batch_size=batch_size, device=saved.device,
                classes=classes, precision=precision,
            )[:num]
        )
        for come in moments(stages, frames)
    ]  # fmt: skip
    pictures.save_image(pictures.grid(torch.stack(columns, 1).flatten(0, 1), columns=frames), Path(out))
    told = ", ".join(f"{stage.num_steps} steps of {name}" for name, stage in stages.items()) or "births alone"
    print(f"{num} particles of {short_name(saved.recipe)} at step {saved.step}, {told}: {out}")
