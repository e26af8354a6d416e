"""All models on digits at equal time.

    python benchmarks/equal_time.py --minutes 5 --workers 2 --out equal_time

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
from dataclasses import replace
from pathlib import Path

import torch

from evolvent import pictures
from evolvent.data.pixels import to_pixels
from evolvent.recipes import RECIPES
from evolvent.sampling import draw
from evolvent.trainer import Trainer

NUM_TIMED, NUM_SAMPLES = 20, 1000


def build(name: str, num_steps: int | None = None) -> tuple[Trainer, object]:
    torch.manual_seed(0)
    experiment = RECIPES[name]()
    if num_steps:
        experiment.schedule = replace(experiment.schedule, num_steps=num_steps)
    return Trainer(experiment.learner, experiment.data(), experiment.schedule), experiment


def steps_that_fit(name: str, seconds: float) -> int:
    trainer, _ = build(name)
    trainer.advance()
    begun = time.process_time()
    for _ in range(NUM_TIMED):
        trainer.advance()
    return max(NUM_TIMED, round(seconds / (time.process_time() - begun) * NUM_TIMED))


def run(name: str, seconds: float, out: Path) -> dict:
    torch.set_num_threads(1)
    trainer, experiment = build(name, steps_that_fit(name, seconds))
    begun = time.process_time()
    while not trainer.finished:
        trainer.advance()
    trained = time.process_time() - begun
    begun = time.process_time()
    samples = to_pixels(draw(trainer.averaged, NUM_SAMPLES))
    drawn = time.process_time() - begun
    pictures.save(samples[:64], out / f"{name}.png")
    scores = experiment.judge(samples, experiment.held_out().pixels, experiment.data().pixels)
    return {
        "recipe": name, "num_steps": trainer.step, "seconds": trained, "sampling_seconds": drawn,
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
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.workers) as pool:
        futures = [
            pool.submit(run, name, 60 * arguments.minutes, arguments.out) for name in arguments.recipes
        ]
        results = [future.result() for future in futures]
    (arguments.out / "equal_time.json").write_text(json.dumps(results, indent=1))
    measures = [score["measure"] for score in results[0]["scores"]]
    print("recipe", "steps", "seconds", "s per 1k samples", *measures, sep=" | ")
    for result in results:
        values = [f"{score['value']:.4g}" for score in result["scores"]]
        counts = (result["num_steps"], f"{result['seconds']:.0f}", f"{result['sampling_seconds']:.0f}")
        print(result["recipe"], *counts, *values, sep=" | ")
    print("floor", "", "", "", *(f"{score['floor']:.4g}" for score in results[0]["scores"]), sep=" | ")


if __name__ == "__main__":
    main()
