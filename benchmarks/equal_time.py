"""All models on digits at equal time.

    python benchmarks/equal_time.py --minutes 5 --workers 2 --out equal_time
    python benchmarks/equal_time.py --recipes digits --precisions float32 bfloat16 --seeds 0 1 2

Gives every digits recipe the same training time on one thread: its first steps are timed, the schedule (so also the
decay of the learning rates) is set to what fits, and the run starts anew. Time is that of the processor: on an idle
machine the clock's, on a busy one what the clock would have shown. Each is then judged as `evolvent evaluate` judges
it: 1,000 samples of the averaged weights, drawn by the recipe's own stages, against 1,000 held-out digits. Pictures of
the samples and a table with the real-against-real floor are written to the folder.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args

import torch

from evolvent import pictures
from evolvent.data.pixels import to_pixels
from evolvent.machine import Precision, keep_freed_memory
from evolvent.recipes import RECIPES
from evolvent.sampling import draw
from evolvent.training.schedule import Experiment
from evolvent.training.trainer import Trainer

NUM_TIMED, NUM_SAMPLES = 20, 1000


@dataclass(frozen=True)
class Cell:
    """One training run."""

    recipe: str
    precision: Precision
    seed: int

    def build(self, num_steps: int | None = None) -> tuple[Trainer, Experiment]:
        torch.manual_seed(self.seed)
        experiment = RECIPES[self.recipe](precision=self.precision)
        if num_steps:
            experiment.schedule = replace(experiment.schedule, num_steps=num_steps)
        trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule, seed=self.seed)
        return trainer, experiment


def steps_that_fit(cell: Cell, seconds: float) -> int:
    trainer, _ = cell.build()
    trainer.advance()
    begun = time.process_time()
    for _ in range(NUM_TIMED):
        trainer.advance()
    return max(NUM_TIMED, round(seconds / (time.process_time() - begun) * NUM_TIMED))


def run(cell: Cell, seconds: float, out: Path) -> dict:
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line does
    trainer, experiment = cell.build(steps_that_fit(cell, seconds))
    begun = time.process_time()
    while not trainer.finished:
        trainer.advance()
    trained = time.process_time() - begun
    begun = time.process_time()
    samples = to_pixels(draw(trainer.averaged, NUM_SAMPLES, precision=cell.precision))
    drawn = time.process_time() - begun
    pictures.save(samples[:64], out / f"{cell.recipe}-{cell.precision}-{cell.seed}.png")
    scores = experiment.judge(samples, experiment.held_out().pixels, experiment.data().pixels)
    return asdict(cell) | {
        "num_steps": trainer.step, "seconds": trained, "sampling_seconds": drawn,
        "scores": [score.as_dict() for score in scores],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("equal_time"))
    parser.add_argument(
        "--recipes", nargs="+", default=[name for name in RECIPES if name.startswith("digits")]
    )
    parser.add_argument("--precisions", nargs="+", choices=get_args(Precision), default=["float32"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    cells = [Cell(*cell) for cell in product(arguments.recipes, arguments.precisions, arguments.seeds)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.workers) as pool:
        futures = [pool.submit(run, cell, 60 * arguments.minutes, arguments.out) for cell in cells]
        results = [future.result() for future in futures]
    (arguments.out / "equal_time.json").write_text(json.dumps(results, indent=1))
    measures = [score["measure"] for score in results[0]["scores"]]
    print("recipe", "precision", "seed", "steps", "seconds", "s per 1k samples", *measures, sep=" | ")
    for result in results:
        values = [f"{score['value']:.4g}" for score in result["scores"]]
        counts = (result["num_steps"], f"{result['seconds']:.0f}", f"{result['sampling_seconds']:.0f}")
        print(result["recipe"], result["precision"], result["seed"], *counts, *values, sep=" | ")
    print(
        "floor", "", "", "", "", "", *(f"{score['floor']:.4g}" for score in results[0]["scores"]), sep=" | "
    )


if __name__ == "__main__":
    main()
