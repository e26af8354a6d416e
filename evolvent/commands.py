"""The commands that look at what was trained: sample, evaluate, report, recipes.

Each is a function whose docstring is its help and whose typed keywords are its options. To add a command,
write such a function and add it to `COMMANDS`.
"""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from evolvent import pictures
from evolvent.data.images import Images
from evolvent.data.pixels import to_pixels
from evolvent.dynamics import Dynamics
from evolvent.files import write_whole
from evolvent.metrics.scores import Score
from evolvent.recipes import RECIPES
from evolvent.recipes.find import Saved, load, short_name
from evolvent.runs import append_line, now, read_lines, read_record
from evolvent.sampling import choose_stages, draw_chunks
from evolvent.shapes import Pixels, Points
from evolvent.terminal import counted, open_console, table

Device = Literal["auto", "cpu", "cuda"]


def sample(
    source: str,
    *,
    num: int = 64,
    seed: int = 0,
    out: str = "samples.png",
    dynamics: str | None = None,
    num_steps: int | None = None,
    step_size: float | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    compiled: bool = False,
    device: Device = "auto",
) -> None:
    """Draw samples from a run folder or a model.safetensors; sample i depends on (seed, i) alone.

    Args:
        source: a run folder or a model.safetensors.
        num: how many.
        seed: of the samples; each has its own stream.
        out: a .png (one grid), a .npz (images uint8 [N, H, W, C], or points) or a new folder of PNG files.
        dynamics: the stages to run, such as hidden,image; none for births alone (default: the recipe's).
        num_steps: of every stage, in place of the recipe's.
        step_size: of every stage, in place of the recipe's.
        temperature: of every stage, in place of the recipe's.
        batch_size: drawn at once, in place of the recipe's; bitwise the same samples need the same.
        compiled: run the chains as machine code: the same up to rounding, worth its minute for toys and long chains.
        device: auto, cpu or cuda.
    """
    _check_out(Path(out), out)
    changes = {
        "num_steps": num_steps,
        "step_size": step_size,
        "temperature": temperature,
        "compiled": compiled,
    }
    saved = load(source, device=settle_device(device))
    points = _drawn(saved, num, seed, batch_size, choose_stages(saved.learner.stages, dynamics, **changes))
    _write_samples(points, Path(out), getattr(saved.learner, "energy", None))
    print(f"{num} samples of {short_name(saved.recipe)} at step {saved.step}: {out}")


def evaluate(
    source: str,
    *,
    num: int = 1000,
    seed: int = 0,
    dynamics: str | None = None,
    num_steps: int | None = None,
    step_size: float | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    device: Device = "auto",
) -> None:
    """Score a run's samples against held-out data; the scores are added to its scores.jsonl.

    Args:
        source: a run folder or a model.safetensors.
        num: how many samples are scored.
        seed: of the samples.
        dynamics: the stages to run, as for `evolvent sample`.
        num_steps: of every stage, in place of the recipe's.
        step_size: of every stage, in place of the recipe's.
        temperature: of every stage, in place of the recipe's.
        batch_size: drawn at once, in place of the recipe's.
        device: auto, cpu or cuda.
    """
    changes = {"num_steps": num_steps, "step_size": step_size, "temperature": temperature}
    saved = load(source, device=settle_device(device))
    name = short_name(saved.recipe)
    if saved.experiment.judge is None or saved.experiment.held_out is None:
        raise ValueError(f"the recipe {name} has no judge or no held-out data: there is nothing to evaluate")
    stages = choose_stages(saved.learner.stages, dynamics, **changes)
    scores = _judged(saved, _drawn(saved, num, seed, batch_size, stages))
    if Path(source).is_dir():
        facts = {"step": saved.step, "seed": seed, "stages": {k: asdict(v) for k, v in stages.items()}}
        for score in scores:
            append_line(Path(source) / "scores.jsonl", facts | {"time": now()} | score.as_dict())
    heads = ("measure", "value", "samples", "reference", "protocol", "floor")
    rows = [_score_row(score) for score in scores]
    open_console().print(table(f"{name} at step {saved.step}", heads, rows))


def report(source: str) -> None:
    """Draw a run's curves into RUN/report.png and print its last numbers.

    Args:
        source: a run folder.
    """
    path = Path(source)
    record = read_record(path)
    lines = [line for line in read_lines(path / "log.jsonl") if "warning" not in line]
    if not lines:
        raise ValueError(f"{path} has logged nothing yet")
    keys = [name for name in lines[-1] if name not in ("step", "seconds") and "@" not in name]
    pictures.save_image(pictures.curves(lines, keys), path / "report.png")
    last = [(name.replace("_", " "), f"{lines[-1][name]:.4g}") for name in ("step", "seconds", *keys)]
    open_console().print(
        table(f"{short_name(record['recipe'])}: {record['status']}", ("sign", "last value"), last)
    )
    print(f"curves:  {path / 'report.png'}")


def recipes() -> None:
    """List the recipes: what each shows, how long it takes, on what, and the score to expect."""
    cards = [(name, function.card) for name, function in RECIPES.items()]
    rows = [(name, card.shows, f"{card.minutes:g}", card.hardware, card.score) for name, card in cards]
    open_console().print(table("recipes", ("name", "shows", "minutes", "hardware", "score"), rows))


def _drawn(
    saved: Saved, num: int, seed: int, batch_size: int | None, stages: dict[str, Dynamics]
) -> Points | Pixels:
    """Images as uint8, which is a quarter of the memory; other points as they are."""
    batch_size = saved.experiment.schedule.sampling_batch_size if batch_size is None else batch_size
    chunks = draw_chunks(
        saved.learner, num, seed=seed, stages=stages, batch_size=batch_size, device=saved.device
    )
    return torch.cat([_as_seen(chunk) for chunk in counted(chunks, num, open_console())])


def _judged(saved: Saved, samples: Tensor) -> list[Score]:
    """The scores of a recipe's judge.

    judge(samples, held_out, train, device=…) compares tensors; where the law itself is known, judge(samples, law).
    """
    judge, held_out = saved.experiment.judge, saved.experiment.held_out()
    if hasattr(held_out, "log_density"):
        return judge(samples, held_out)
    given = (_given(source, len(samples)) for source in (held_out, saved.experiment.data()))
    return judge(samples, *given, device=saved.device)


def _given(source: nn.Module, num: int) -> Tensor:
    """All the images of a finite source; `num` draws, the same in every call, of one that is not."""
    if isinstance(source, Images):
        return source.pixels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _as_seen(source.draw(num))


def _as_seen(points: Points) -> Tensor:
    """Images as pixels, other points as they are. ValueError when some are not finite."""
    if points.dim() == 4:
        return to_pixels(points)
    if num_lost := int((~points.isfinite()).flatten(1).any(1).sum()):
        raise ValueError(f"{num_lost} of {len(points)} samples are not finite: try a smaller step size")
    return points


def _score_row(score: Score) -> tuple[str, ...]:
    arrow = "↓" if score.lower_is_better else "↑"
    error = "" if score.error is None else f" ± {score.error:.2g}"
    floor = "-" if score.floor is None else f"{score.floor:.4g}"
    counts = str(score.num_samples), str(score.num_reference)
    return f"{score.measure} {arrow}", f"{score.value:.4g}{error}", *counts, score.protocol, floor


def _check_out(out: Path, typed: str) -> None:
    """Refuse a place that cannot be written before an hour is spent on sampling."""
    if out.suffix not in (".png", ".npz", "") and not typed.endswith("/"):
        raise ValueError(f"samples are written as .png, .npz or into a folder, not as {out.suffix} ({typed})")
    if out.suffix in (".png", ".npz"):
        if out.is_dir():
            raise ValueError(f"{typed} is a folder: give a file name that is free")
    elif out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{typed} already exists and is not an empty folder: choose another --out")


def _write_samples(points: Tensor, out: Path, energy: nn.Module | None) -> None:
    if out.suffix == ".png":
        pictures.save(points, out, energy=energy)
    elif out.suffix == ".npz":
        named = {"images": points.permute(0, 2, 3, 1)} if points.dim() == 4 else {"points": points}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array.numpy() for name, array in named.items()})
        write_whole(out, buffer.getvalue())
    elif points.dim() == 4:
        for i, image in enumerate(points):
            pictures.save_image(pictures.tile(image), out / f"{i:06d}.png")
    else:
        raise ValueError("only images go into a folder of PNG files: save points as .npz or .png")


def settle_device(asked: str) -> str:
    """The device that "auto" stands for. ValueError for a GPU that is not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that torch can use: leave --device out, or give --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


COMMANDS = {"sample": sample, "evaluate": evaluate, "report": report, "recipes": recipes}
"""By the name that the command line knows them under."""
