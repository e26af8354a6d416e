"""Does augmentation of both sides help where images are few?

    python benchmarks/bench_augmentation.py --minutes 3 --workers 2 --out augmentation

Trains the recipe on the first 500 and on 4,000 digits without augmentation, at p = 0.3 and with an adaptive p, a thread
and the same number of steps each: as many as fit into the minutes of processor time at the dearest, unless given. Each
is judged by 1,000 births of the averaged weights against 1,000 held-out digits; the floor puts training digits of the
4,000 in their place. Memory is judged among as many training as held-out digits.

    to train, to held-out     mean Φ(births) − mean Φ(digits) of the averaged energy, in nats: one that overfits tells
                              births from the digits that it learned from better than from others
    told apart                mean sign(Φ(held-out) − Φ(train)) over all pairs: 0 unless it overfits
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import torch
from machine import describe, header, row

from evolvent import pictures
from evolvent.data.images import Images
from evolvent.data.pixels import to_particles, to_pixels
from evolvent.metrics.features import extract
from evolvent.metrics.scores import judge_images
from evolvent.recipes import RECIPES
from evolvent.sampling import draw
from evolvent.training.trainer import Trainer

NUM_TIMED, NUM_SAMPLES = 20, 1000
OPTIONS = ("0", "0.3", "adaptive")
FAR, NEAR = ("frechet", "kernel"), ("memorisation",)
FEATURES: dict[tuple, torch.Tensor] = {}


def build(recipe: str, augment: str, num_images: int, num_steps: int | None = None) -> Trainer:
    torch.manual_seed(0)
    length = {"num_steps": num_steps} if num_steps else {}
    experiment = RECIPES[recipe](augment=augment if augment == "adaptive" else float(augment), **length)
    return Trainer(experiment.learner, Images(experiment.data().pixels[:num_images]), experiment.schedule)


def steps_that_fit(recipe: str, seconds: float) -> int:
    torch.set_num_threads(1)
    trainer = build(recipe, "adaptive", 500)
    trainer.advance()
    begun = time.process_time()
    for _ in range(NUM_TIMED):
        trainer.advance()
    return max(NUM_TIMED, round(seconds / (time.process_time() - begun) * NUM_TIMED))


def run(cell: tuple[int, str], *, recipe: str, num_steps: int, out: Path) -> dict:
    torch.set_num_threads(1)
    num_images, augment = cell
    trainer, begun = build(recipe, augment, num_images, num_steps), time.process_time()
    while not trainer.finished:
        signs = trainer.advance().stats
    found = {"images": num_images, "augment": augment, "seconds": time.process_time() - begun}
    found["p"] = float(signs.get("augmentation", torch.zeros(())))
    samples = to_pixels(draw(trainer.averaged, NUM_SAMPLES, stages={}))
    pictures.save(samples[:64], out / f"digits-{num_images}-{augment}.png")
    return found | judged(trainer, samples, recipe)


def judged(trainer: Trainer, samples: torch.Tensor, recipe: str) -> dict:
    experiment = RECIPES[recipe]()
    every, held_out, seen = experiment.data().pixels, experiment.held_out().pixels, trainer.data.pixels
    scores = judge_images(samples, held_out, every, measures=FAR, remember=remembered)
    scores += judge_images(samples, held_out, seen, measures=NEAR, remember=remembered)[-1:]  # the share
    at_samples, at_held_out, at_seen = (
        potentials(trainer, p) for p in (samples, held_out, seen[:NUM_SAMPLES])
    )
    return {
        "to train": float(at_samples.mean() - at_seen.mean()),
        "to held-out": float(at_samples.mean() - at_held_out.mean()),
        "told apart": float((at_held_out[:, None] - at_seen).sign().mean()),
        "scores": [score.as_dict() for score in scores],
    }


def remembered(detector: torch.nn.Module, pixels_uint8: torch.Tensor, *, device: str) -> torch.Tensor:
    """Features of digits, which all runs of a process are judged by."""
    digits = tuple(pixels_uint8.shape), int(pixels_uint8[:100].sum(dtype=torch.int64))
    if digits not in FEATURES:
        FEATURES[digits] = extract(detector, pixels_uint8, device=device)
    return FEATURES[digits]


@torch.no_grad()
def potentials(trainer: Trainer, pixels_uint8: torch.Tensor) -> torch.Tensor:
    parts = to_particles(pixels_uint8).split(250)
    return torch.cat([trainer.averaged.energy.potential(part) for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits-adversarial", choices=("digits", "digits-adversarial"))
    parser.add_argument("--num-images", type=int, nargs="+", default=[500, 4000])
    parser.add_argument("--augment", nargs="+", default=OPTIONS)
    parser.add_argument("--minutes", type=float, default=3, help="of training a run")
    parser.add_argument("--num-steps", type=int, help="in place of --minutes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("augmentation"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    steps = arguments.num_steps or steps_that_fit(arguments.recipe, 60 * arguments.minutes)
    print(f"{describe()}; {steps:,} steps each\n", flush=True)
    header(
        "digits",
        "augment",
        "p at the end",
        "s",
        *FAR,
        "memorised-share",
        "to train",
        "to held-out",
        "told apart",
    )
    cells, results = list(product(arguments.num_images, arguments.augment)), []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for found in pool.map(
            partial(run, recipe=arguments.recipe, num_steps=steps, out=arguments.out), cells
        ):
            values = [f"{score['value']:.4g}" for score in found["scores"]]
            gaps = [f"{found[name]:.3g}" for name in ("to train", "to held-out", "told apart")]
            counts = f"{found['images']:,}", found["augment"], f"{found['p']:.2f}"
            row(*counts, f"{found['seconds']:.0f}", *values, *gaps)
            results.append(found)
    row("*floor*", "", "", "", *(f"*{score['floor']:.4g}*" for score in results[0]["scores"]), "", "", "*0*")
    (arguments.out / "augmentation.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
