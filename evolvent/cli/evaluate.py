"""The command evaluate: samples of a run, or images of any program, against data; what is printed and kept of it.

judged      a run's samples, or images in a folder, a ZIP, an .npz or an .npy
held to     the run's own held-out data, or any data that `evolvent.data.load` knows
floor       other real images of those data in the samples' place
"""

import inspect
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from evolvent import pictures
from evolvent.cli.drawing import Device, Sampling, drawn, settle_device, title_of
from evolvent.cli.given import Given, given_by, is_trained, own_data, read_samples
from evolvent.cli.remembering import Remembered, cache_folder
from evolvent.cli.seeing import Together
from evolvent.cli.terminal import print_table
from evolvent.cost import Drawing, gradients_a_sample, parameters
from evolvent.dynamics import Dynamics
from evolvent.energy import scores_of
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.gauges import (
    IMAGE_MEASURES,
    KNOWN_OF_IMAGES,
    KNOWN_OF_POINTS,
    OF_MEMORY,
    POINT_MEASURES,
    check_measures,
)
from evolvent.metrics.inception import Inception
from evolvent.metrics.memory import nearest
from evolvent.metrics.scores import Score, judge_images, judge_points, shuffled, told_floor
from evolvent.pretrained import Saved, from_pretrained
from evolvent.processes.ranks import here
from evolvent.recipes.find import function_in, short_name
from evolvent.storage.circumstances import now
from evolvent.storage.files import check_place
from evolvent.storage.reading import MODEL
from evolvent.storage.runs import append_line

NUM_SAMPLES = 1000
"""Of a run, unless another number is asked for."""
NUM_SHOWN, NUM_NEAREST = 12, 5


class Case(NamedTuple):
    """What is judged: samples, where they come from (None: images of any program), and what they are held to."""

    samples: Tensor
    saved: Saved | None
    given: Given
    stages: Mapping[str, Dynamics] | None = None
    """That a run's samples went through."""
    cost: Drawing | None = None
    """Of samples that were drawn for it by a learner with an energy."""


class Sight(NamedTuple):
    """Which measures, seen by which detector; None: what suits the data."""

    measures: tuple[str, ...] | None
    detector: nn.Module | None
    see: Together
    remember: Remembered
    device: str


def evaluate(
    source: str,
    *,
    against: str | None = None,
    split: str | None = None,
    num: int | None = None,
    measures: str | None = None,
    detector: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    cache: str | None = None,
    sampling: Sampling,
    device: Device = "auto",
) -> None:
    """Score a run's samples, or images made by any program; a run's scores are added to its scores.jsonl.

    Args:
        source: a run, a checkpoint, a model.safetensors, or images: a folder, a .zip, an .npz or an .npy.
        against: data as `evolvent.data.load` names them (default: the run's own).
        split: the part of them that judges (default: test, or a random half of data in one part).
        num: how many samples are scored (default: 1000 of a run, all images that are given).
        measures: by name, such as frechet,kernel; any other word lists them all.
        detector: efflite0, efflite0-SIZE, inception, inception:WEIGHTS or my_file.py:function.
        out: a .png of 12 samples, each with the 5 nearest training images on its right.
        overwrite: replace a picture that exists.
        cache: the folder where features of data are kept, or none (default: in the user's cache folder).
        device: auto, cpu or cuda.
    """
    if out is not None:
        _check_picture(Path(out), overwrite=overwrite)
    trained = is_trained(source)
    if kept := trained and Path(source).is_dir():
        _check_kept(Path(source))
    sight = _sight(measures, detector, cache=cache, device=device)
    if trained:
        saved = from_pretrained(source, device=sight.device)
        case = _of_run(saved, num, sampling, against=against, split=split)
    else:
        case = _of_images(source, num, sampling, against=against, split=split)
    if out is not None and not isinstance(case.given.others, Tensor):
        raise ValueError("points have no nearest pictures: leave --out out")

    def conclude() -> None:
        scores = _scores(case, sight)
        _print(scores, case, source, sampling)
        if kept:
            part = f"{against}, train" if split == "train" else against
            _keep(scores, Path(source), case, sampling, against=part)
        if out is not None:
            pictures.save_image(_neighbours(case, sight), out)
            print(f"samples, each with its {NUM_NEAREST} nearest training images: {out}")

    sight.see.led(conclude)


def _check_picture(out: Path, *, overwrite: bool) -> None:
    if out.suffix != ".png":
        raise ValueError(f"the picture of nearest images is a .png, not {out}")
    check_place(out, overwrite=overwrite)


def _sight(measures: str | None, detector: str | None, *, cache: str | None, device: Device) -> Sight:
    """Measures, detector, cache and device; ValueError for those that are not known."""
    asked = None if measures is None else tuple(dict.fromkeys(measures.split(",")))
    if asked is not None:
        check_measures(asked, dict.fromkeys((*KNOWN_OF_IMAGES, *KNOWN_OF_POINTS)))
    module, code = (None, b"") if detector is None else find_detector(detector)
    settled = settle_device(device)
    see = Together(here(), lambda: EffLite0() if module is None else module, settled)
    return Sight(asked, module, see, Remembered(cache_folder(cache), see=see, code=code), settled)


def _of_images(
    source: str, num: int | None, sampling: Sampling, *, against: str | None, split: str | None
) -> Case:
    if sampling != Sampling():
        raise ValueError(f"{source} holds images: how samples are drawn can be said of a run alone")
    samples = read_samples(source, num)
    return Case(samples, None, given_by(against, split, tuple(samples.shape[1:])))


def _of_run(
    saved: Saved, num: int | None, sampling: Sampling, *, against: str | None, split: str | None
) -> Case:
    """Samples of a run. The data come first, as an hour of drawing must not end at a mistake."""
    num = NUM_SAMPLES if num is None else num
    if against is not None:
        given = given_by(against, split, saved.event_shape)
    elif split is not None:
        raise ValueError("--split is the part of the data that --against names: give both or none")
    else:
        given = own_data(saved, num)
    stages, begun = sampling.stages(saved.learner.stages), time.monotonic()
    samples = drawn(saved, num, sampling, here())
    seconds = (time.monotonic() - begun) / num
    if not scores_of(saved.learner):  # nothing whose gradients could be counted
        return Case(samples, saved, given, stages)
    gradients = gradients_a_sample(saved.learner, stages, device=saved.device)
    return Case(samples, saved, given, stages, Drawing(gradients, seconds))


def _scores(case: Case, sight: Sight) -> list[Score]:
    """By the recipe's own judge where nothing else is asked for, else by the measures of images or of points."""
    samples, (reference, others, learned, *_) = case.samples, case.given
    judge = _own_judge(case, sight)
    if hasattr(reference, "log_density"):
        if sight.detector is not None:
            raise ValueError("points are judged as they are: leave --detector out")
        if judge is not None:
            return judge(samples, reference)
        energy = getattr(case.saved.learner.cpu(), "energy", None)
        return judge_points(samples, reference, measures=sight.measures or POINT_MEASURES, energy=energy)
    if judge is not None:
        return judge(samples, reference, others, device=sight.device)
    measures = sight.measures or [name for name in IMAGE_MEASURES if learned or name != OF_MEMORY]
    if OF_MEMORY in measures and not learned:
        anew = "these data are drawn anew each time: " if case.given.own else ""
        raise ValueError(
            f"{OF_MEMORY} compares what was learned from with what was held out: {anew}give data with a train and a"
            " test part by --against and leave --split out"
        )
    return judge_images(
        samples, reference, others, detector=sight.detector, device=sight.device, measures=measures,
        see=sight.see, remember=sight.remember,
    )  # fmt: skip


def _own_judge(case: Case, sight: Sight) -> Callable[..., list[Score]] | None:
    """The recipe's, where the data are its own and nothing else is asked for, unless it is `judge_images`."""
    if case.saved is None or not case.given.own or sight.measures or sight.detector:
        return None
    judge = case.saved.experiment.judge
    if judge is None:
        name = short_name(case.saved.recipe)
        raise ValueError(f"the recipe {name} has no judge: name --measures, such as frechet,kernel")
    return None if judge is judge_images else judge


def find_detector(name: str) -> tuple[nn.Module, bytes]:
    """The detector of that name and the code that it comes from, if that is the user's own file."""
    if size := re.fullmatch(r"efflite0(?:-(\d+))?", name):
        return EffLite0(int(size[1] or 224)), b""
    if name == "inception" or name.startswith("inception:"):
        return Inception(name.partition(":")[2] or None), b""
    if ":" not in name:
        raise ValueError(
            f'there is no detector "{name}": there are efflite0, efflite0-SIZE, inception, inception:WEIGHTS'
            " and my_file.py:function"
        )
    function = function_in(name)
    if inspect.signature(function).parameters:
        raise ValueError(f"{name} takes arguments, and the function of a detector is called without any")
    module = function()
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} must return a torch.nn.Module, not {type(module).__name__}")
    if not isinstance(getattr(module, "name", None), str):
        raise ValueError(f"the module of {name} needs a name to be a detector: scores are printed with it")
    return module, Path(name.rpartition(":")[0]).read_bytes()


def _check_kept(run: Path) -> None:
    """Refuse a run that no score can be added to."""
    file = run / "scores.jsonl"
    if not os.access(file if file.exists() else run, os.W_OK):
        raise ValueError(
            f"{file} cannot be written, and scores of the run are kept there: evaluate {run / MODEL}, of which they are"
            " printed alone"
        )


def _keep(scores: list[Score], run: Path, case: Case, sampling: Sampling, *, against: str | None) -> None:
    """One line a score in the run's scores.jsonl."""
    saved = case.saved
    stages = {name: asdict(stage) for name, stage in case.stages.items()}
    beta = getattr(sampling.weighed(saved.learner), "beta", None)
    asked = replace(sampling, seed=Sampling.seed, batch_size=Sampling.batch_size).asked()
    drawn = {"seed": sampling.seed, "stages": stages, "beta": beta, "asked": asked or None}
    drawn |= {"precision": sampling.computed_in(saved), "cost": case.cost and case.cost._asdict()}
    facts = {"step": saved.step, **drawn, "against": against, "time": now()}
    for score in scores:
        append_line(run / "scores.jsonl", facts | score.as_dict())


def _print(scores: list[Score], case: Case, source: str, sampling: Sampling) -> None:
    title = title_of(source, case.saved) if case.saved else source
    if asked := sampling.asked():
        title = f"{title}, drawn with {asked},"
    heads = ("measure", "value", "samples", "reference", "protocol", "resize", "floor")
    print_table(f"{title} against {case.given.name}", heads, map(_row, scores))
    if case.cost:
        print(_told_cost(case))
    if case.given.note:
        print(case.given.note)
    if few := [score for score in scores if score.num_real is not None and score.floor is not None]:
        n = few[0].num_real
        print(
            f"floor: of all {n} other real images, as they are fewer than {few[0].num_samples} samples; --num {n} has"
            " one of equal counts"
        )


def _told_cost(case: Case) -> str:
    """A sentence of what a sample took, and of the model's size."""
    counts = parameters(case.saved.learner)
    whole = f"{sum(counts.values()):,} parameters"
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    taken = ", ".join(f"{value} {name}" for name, value in case.cost.told().items())
    return f"cost: {taken}; {whole}" + (f" ({parts})" if len(counts) > 1 else "")


def _row(score: Score) -> tuple[str, ...]:
    arrow = "↓" if score.lower_is_better else "↑"
    error = "" if score.error is None else f" ± {score.error:.2g}"
    counts = str(score.num_samples), str(score.num_reference)
    seen, floor = (score.protocol, score.resize or "-"), told_floor(score.floor, score.num_real)
    return f"{score.measure} {arrow}", f"{score.value:.4g}{error}", *counts, *seen, floor


def _neighbours(case: Case, sight: Sight) -> Image.Image:
    """Rows of a sample and its nearest training images, among those that the memorisation check compares."""
    samples, (reference, others, *_) = case.samples, case.given
    detector = EffLite0() if sight.detector is None else sight.detector
    train = shuffled(others)[: max(len(samples), len(reference))]
    seen = sight.remember(detector, train, device=sight.device)
    shown = samples[:NUM_SHOWN]
    rows = nearest(sight.see(detector, shown, device=sight.device), seen, k=NUM_NEAREST).cpu()
    tiles = torch.cat([shown[:, None], train.cpu()[rows]], 1).flatten(0, 1)
    return pictures.grid(tiles, columns=1 + NUM_NEAREST)
