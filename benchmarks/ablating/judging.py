"""Samples of a trained cell, drawn in chunks that are kept as they come, and what they score."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ablating.cells import CELLS, SCALES, experiment_of
from ablating.training import Cell, is_over, trained
from evolvent import pictures
from evolvent.cli.remembering import Remembered
from evolvent.cost import Tally
from evolvent.data.pixels import to_pixels
from evolvent.dynamics import Dynamics
from evolvent.energy import scores_of
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import extract
from evolvent.metrics.memory import nearest
from evolvent.metrics.scores import judge_images, shuffled
from evolvent.sampling import draw_chunk
from evolvent.storage.files import open_whole, write_whole

AGAINST_TEST = ("frechet", "kernel", "recall", "coverage", "memorisation", "class-score")
AGAINST_TRAIN = ("frechet", "kernel")
NUM_SHOWN, NUM_NEAREST = 8, 5


@dataclass(frozen=True)
class Sight:
    """How many samples are judged, against how many images of each part at most, by features at which size."""

    num: int
    num_reference: int
    detector_size: int


def judge(cell: Cell, sight: Sight, deadline: float) -> bool:
    """Samples, pictures and scores of every sampling of the trained cell; False where `deadline` cut it short."""
    left = [name for name in CELLS[cell.name].samplings if not scores_file(cell, name).is_file()]
    if not left:
        return True
    learner, experiment = trained(cell), experiment_of(cell.name, cell.size, cell.data)
    train, test = (source.pixels for source in (experiment.data(), experiment.held_out()))
    for name in left:
        cost = sample(cell, learner, name, sight.num, deadline)
        if cost is None or is_over(deadline):
            return False
        samples = torch.from_numpy(np.load(cell.folder / f"{name}.npz")["samples"]).permute(0, 3, 1, 2)
        scores = _scores(cell, sight, samples, train=train, test=test)
        pictures.save(samples[:64], cell.out / f"{cell.folder.name}-{name}.png")
        near = cell.out / f"{cell.folder.name}-{name}-nearest.png"
        pictures.save_image(_neighbours(cell, sight, samples, train), near)
        record = {"cell": cell.name, "seed": cell.seed, "sampling": name} | cost | scores
        write_whole(scores_file(cell, name), json.dumps(record, indent=1))
    return True


def is_done(cell: Cell) -> bool:
    """Whether the cell is trained and every sampling is judged, or it has diverged."""
    file = cell.folder / "training.json"
    if not file.is_file():
        return False
    diverged = json.loads(file.read_text())["diverged"]
    return bool(diverged) or all(scores_file(cell, name).is_file() for name in CELLS[cell.name].samplings)


def scores_file(cell: Cell, sampling: str) -> Path:
    return cell.folder / f"{sampling}.json"


def stages_of(learner: nn.Module, sampling: str) -> Mapping[str, Dynamics]:
    return {} if sampling == "births" else {name: learner.stages[name] for name in sampling.split("+")}


def sample(cell: Cell, learner: nn.Module, sampling: str, num: int, deadline: float) -> dict | None:
    """Draw `num` samples to an .npz, chunk by chunk; what they cost, or None where `deadline` passed before the end.

    A chunk is what `evolvent.sampling.draw` draws at once, in the precision of training: sample i depends on the seed
    and on i alone.
    """
    size, chunks = SCALES[cell.size].clocks.get("sampling_batch_size", 64), []
    for first in range(0, num, size):
        file = cell.folder / "chunks" / f"{sampling}-{first:06}.npz"
        if not file.is_file():
            if is_over(deadline):
                return None
            _draw(cell, learner, sampling, file, range(first, first + size))
        chunks.append(dict(np.load(file)))
    with open_whole(cell.folder / f"{sampling}.npz") as whole:
        np.savez(whole, samples=np.concatenate([chunk["samples"] for chunk in chunks])[:num])
    drawn = size * len(chunks)
    return {
        "seconds_per_1000": 1000 / drawn * sum(float(chunk["seconds"]) for chunk in chunks),
        "gradients_per_sample": sum(int(chunk["gradients"]) for chunk in chunks) / drawn,
    }


def _draw(cell: Cell, learner: nn.Module, sampling: str, file: Path, rows: range) -> None:
    precision = SCALES[cell.size].clocks.get("precision", "float32")
    with Tally(scores_of(learner)) as tally:
        begun = cell.clock()
        points = draw_chunk(
            learner, rows.start, seed=cell.seed, stages=stages_of(learner, sampling), batch_size=len(rows),
            device=cell.device, precision=precision,
        )  # fmt: skip
        seconds = cell.clock() - begun
    samples = to_pixels(points).permute(0, 2, 3, 1).cpu().numpy()
    with open_whole(file) as whole:
        np.savez(whole, samples=samples, seconds=seconds, gradients=tally.num)


def _scores(cell: Cell, sight: Sight, samples: Tensor, *, train: Tensor, test: Tensor) -> dict:
    """Against test images (floor: training images in the samples' place) and against training images (floor: test)."""
    see = _see(cell, sight)
    some_test, some_train = (shuffled(pixels)[: sight.num_reference] for pixels in (test, train))
    found = {
        "test": judge_images(samples, some_test, train, measures=AGAINST_TEST, **see),
        "train": judge_images(samples, some_train, test, measures=AGAINST_TRAIN, **see),
    }
    return {part: [score.as_dict() for score in scores] for part, scores in found.items()}


def _neighbours(cell: Cell, sight: Sight, samples: Tensor, train: Tensor) -> Image.Image:
    """Some samples, each with the nearest on its right of the training images that it was judged by."""
    see, shown, train = _see(cell, sight), samples[:NUM_SHOWN], shuffled(train)[: sight.num_reference]
    seen = see["remember"](see["detector"], train, device=cell.device)
    rows = nearest(extract(see["detector"], shown, device=cell.device), seen, k=NUM_NEAREST).cpu()
    return pictures.grid(torch.cat([shown[:, None], train[rows]], 1).flatten(0, 1), columns=1 + NUM_NEAREST)


def _see(cell: Cell, sight: Sight) -> dict:
    remember = Remembered(cell.out / "features", say=lambda _: None)
    return {"detector": EffLite0(sight.detector_size), "device": cell.device, "remember": remember}
