"""Pictures of which each has a row: what one particle goes through, from left to right, or moving."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from evolvent import pictures
from evolvent.cli.drawing import Device, as_seen, opened
from evolvent.pretrained import Saved
from evolvent.sampling import one_energy
from evolvent.shapes import shows
from evolvent.storage.files import check_place


def opened_for_rows(source: str, device: Device, out: Path, *, what: str, overwrite: bool) -> Saved:
    """The model, once it is known that rows of its points can be written to `out`; `what` they are, in a sentence."""
    if out.suffix not in (".png", ".gif"):
        raise ValueError(f"{what} is drawn as a .png or .gif, not as {out}: give --out x.gif")
    check_place(out, overwrite=overwrite)
    saved = opened(source, device)
    shape = saved.event_shape
    if not (shows(shape) or (is_moving(out) and shape == (2,))):
        way = "as a .gif of those of the plane" if shape == (2,) else "of images or points of the plane"
        raise ValueError(f"this model draws points of {list(shape)}: {what} is drawn {way}")
    return saved


def is_moving(out: Path) -> bool:
    return out.suffix == ".gif"


def save_rows(rows: Tensor, saved: Saved, out: Path, *, num_classes: int) -> None:
    """Points [num, moments, *event] on the CPU, as one grid or as a shot a moment. ValueError when not finite."""
    rows = as_seen(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
    if is_moving(out):
        pictures.save_animation(_shots(rows, saved, num_classes), out)
    else:
        pictures.save_image(pictures.grid(rows.flatten(0, 1), columns=rows.shape[1]), out)


def _shots(rows: Tensor, saved: Saved, num_classes: int) -> list[Image.Image]:
    """A picture of all particles at each moment; those of the plane all reach as far as the widest moment."""
    if shows(saved.event_shape):
        return [pictures.picture(moment, num_classes=num_classes) for moment in rows.unbind(1)]
    how = {"energy": one_energy(saved.learner), "reach": pictures.reach_of(rows)}
    return [pictures.plane(moment, **how) for moment in rows.unbind(1)]
