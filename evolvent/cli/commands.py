"""The commands beside train: sample, recipes, export and average; the others have files of their own.

Each is a function whose docstring is its help and whose typed keywords are its options; those of a dataclass
among them, such as `Sampling`, are options too. To add a command, write such a function and add it to `COMMANDS`.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from evolvent import pictures
from evolvent.averaging import mean_of
from evolvent.cli.complete import complete
from evolvent.cli.data import data
from evolvent.cli.drawing import Device, Sampling, classes_named, draw_into, opened, title_of
from evolvent.cli.energy import energy
from evolvent.cli.evaluate import evaluate
from evolvent.cli.evolve import evolve
from evolvent.cli.interpolate import interpolate
from evolvent.cli.report import report
from evolvent.cli.terminal import print_table
from evolvent.cli.writing import check_disk, check_kind, write_folder, write_npz
from evolvent.pretrained import save_pretrained
from evolvent.processes.ranks import here
from evolvent.recipes import RECIPES
from evolvent.sampling import classes_of, one_energy
from evolvent.storage.files import check_new_folder, check_place, write_whole
from evolvent.storage.sealed import pack_weights


def sample(
    source: str,
    *,
    num: int = 64,
    out: str = "samples.png",
    overwrite: bool = False,
    label: str | None = None,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Draw samples from a run, a model.safetensors, or shipped weights; sample i depends on (seed, i) alone.

    Args:
        source: a run, a checkpoint, a model.safetensors, shipped weights (digits, fashion-mnist, cifar10), or
            owner/name on the hub.
        num: how many.
        out: a .png (one grid), a .npz (images uint8 [N, H, W, C], or points; labels) or a new folder of PNG files.
        overwrite: replace a file that exists.
        label: of a model with labels, the class to draw, or several such as 0,1,2, in turns (default: all).
        device: auto, cpu or cuda.
    """
    _check_out(Path(out), out, overwrite)
    saved = opened(source, device)
    check_kind(num, saved.event_shape, Path(out))
    classes = classes_of(saved.learner, classes_named(label))

    def write(chunks: Iterator[Tensor]) -> None:
        if Path(out).suffix == ".png":
            points, energy = torch.cat(list(chunks)), one_energy(saved.learner)
            pictures.save(points, out, energy=energy, num_classes=len(classes))
            return
        check_disk(num, saved.event_shape, Path(out))
        if Path(out).suffix == ".npz":
            write_npz(chunks, Path(out), num=num, shape=saved.event_shape, classes=classes)
        else:
            write_folder(chunks, Path(out))

    draw_into(write, saved, num, sampling, classes=classes or None, ranks=here())
    print(f"{num} samples of {title_of(source, saved)}: {out}")


def recipes() -> None:
    """List the recipes: what each shows, how long it takes, on what, and the score to expect."""
    cards = [(name, function.card) for name, function in RECIPES.items()]
    rows = [(name, card.shows, f"{card.minutes:g}", card.hardware, card.score) for name, card in cards]
    print_table("recipes", ("name", "shows", "minutes", "hardware", "score"), rows)


def _check_out(out: Path, typed: str, overwrite: bool) -> None:
    """Refuse a place that cannot be written before an hour is spent on sampling."""
    if out.suffix not in (".png", ".npz", "") and not typed.endswith("/"):
        raise ValueError(f"samples are written as .png, .npz or into a folder, not as {out.suffix} ({typed})")
    if out.suffix in (".png", ".npz") and typed.endswith("/"):
        raise ValueError(
            f"{typed} is named like a file and ends like a folder: leave off the / or the {out.suffix}"
        )
    if out.suffix in (".png", ".npz"):
        check_place(out, overwrite=overwrite)
    else:
        check_new_folder(out)


def export(source: str, *, out: str, half: bool = True) -> None:
    """Write weights, in half precision, and a model card into a folder that can be passed on.

    Args:
        source: a run folder, a checkpoint, or a file that `average` has written.
        out: a new folder.
        half: half precision; false keeps float32.
    """
    save_pretrained(source, out, half=half)
    print(f"weights and a model card to fill in: {out}")


def average(runs: list[str], *, out: str, overwrite: bool = False) -> None:
    """Average the weights of runs that began from the same weights: one model, often nearer to the data than each.

    Args:
        runs: of the same nets, each from `train --init-from` the same weights with a --seed of its own; checkpoints of
            such runs, and files, likewise. The mean has the recipe and the options of the first.
        out: a .safetensors, to be drawn from, judged, and begun from.
        overwrite: replace a file that exists.
    """
    if Path(out).suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, not as {out}")
    check_place(Path(out), overwrite=overwrite)
    write_whole(Path(out), pack_weights(*mean_of(runs)))
    print(f"the mean of {len(runs)}: {out}")


COMMANDS = {
    "sample": sample,
    "evolve": evolve,
    "interpolate": interpolate,
    "complete": complete,
    "evaluate": evaluate,
    "energy": energy,
    "report": report,
    "recipes": recipes,
    "data": data,
    "export": export,
    "average": average,
}
"""By the name that the command line knows them under."""
