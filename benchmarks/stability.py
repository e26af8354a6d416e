"""Does the JKO flow keep a run stable where the KL flow diverges?

    python benchmarks/stability.py ring --workers 2 --out ring.json
    python benchmarks/stability.py digits --workers 2 --out digits.json

Trains GCN and w-GCN (both ends of the action) from the same settings under several learning rates and seeds, a thread
each, and prints for every pair of method and learning rate: the share of runs that diverged, the spread of the energy
gap over the second half of a run (standard deviation; median over seeds, of runs that lived), and the particles' root
mean square.

A run counts as diverged from the first step at which a vital sign is not finite, the energy gap exceeds 1000 in size,
or the particles' root mean square exceeds three times that of the data. Nothing is clipped or repaired.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product

import torch

from evolvent.recipes.digits import digits_gcn, digits_wgcn
from evolvent.recipes.toys import toy_ring, toy_ring_gcn
from evolvent.trainer import Experiment, Trainer

MAX_GAP, MAX_RMS = 1000.0, 3.0


@dataclass(frozen=True)
class Scene:
    """What is trained, and how long."""

    gcn: Callable[..., Experiment]
    wgcn: Callable[..., Experiment]
    settings: dict
    tau: float
    lrs: tuple[float, ...]
    num_steps: int


SCENES = {
    "ring": Scene(toy_ring_gcn, toy_ring, {}, 0.005, (5e-4, 1e-3, 3e-3), 1000),
    "digits": Scene(digits_gcn, digits_wgcn, {"batch_size": 32}, 0.5, (1e-3, 2e-3, 4e-3), 300),
}
METHODS = ("GCN", "w-GCN, path", "w-GCN, data")


def build(scene: Scene, method: str, **settings: float) -> Experiment:
    if method == "GCN":
        return scene.gcn(**scene.settings, **settings)
    return scene.wgcn(**scene.settings, **settings, tau=scene.tau, ends=method.removeprefix("w-GCN, "))


def train(name: str, method: str, lr: float, seed: int) -> dict:
    """One run: its energy gaps, the last root mean square, and the step at which it diverged, if it did."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    experiment = build(SCENES[name], method, lr=lr, num_steps=SCENES[name].num_steps)
    trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule, seed=seed)
    rms_of_data = root_mean_square(trainer.data.draw(256))
    gaps, rms, diverged_at, begun = [], 0.0, None, time.monotonic()
    while not trainer.finished and diverged_at is None:
        update = trainer.advance()
        gaps.append(float(update.stats["energy_gap"]))
        rms = root_mean_square(update.particles) / rms_of_data
        if not (abs(gaps[-1]) <= MAX_GAP and rms <= MAX_RMS):
            diverged_at = trainer.step
    return {
        "method": method, "lr": lr, "seed": seed, "diverged_at": diverged_at, "rms": rms, "gaps": gaps,
        "seconds": time.monotonic() - begun,
    }  # fmt: skip


def root_mean_square(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def row(runs: list[dict]) -> str:
    """The table's line for the runs of one method at one learning rate."""
    lived = [run for run in runs if run["diverged_at"] is None]
    diverged = len(runs) - len(lived)
    line = f"{runs[0]['method']:12s}  {runs[0]['lr']:8.1e}  {diverged}/{len(runs)} diverged"
    if not lived:
        return f"{line}, the first at step {min(run['diverged_at'] for run in runs)}"
    spread = statistics.median(statistics.stdev(run["gaps"][len(run["gaps"]) // 2 :]) for run in lived)
    rms = statistics.median(run["rms"] for run in lived)
    return f"{line}  gap spread {spread:9.3f}  particles' rms {rms:.2f} of the data's"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--out", default="stability.json")
    arguments = parser.parse_args()
    scene = SCENES[arguments.scene]
    cases = list(product(METHODS, scene.lrs, range(arguments.num_seeds)))
    with ProcessPoolExecutor(arguments.workers) as pool:
        futures = [pool.submit(train, arguments.scene, *case) for case in cases]
        runs = [future.result() for future in futures]
    for method, lr in product(METHODS, scene.lrs):
        print(row([run for run in runs if (run["method"], run["lr"]) == (method, lr)]))
    settings = {name: value for name, value in asdict(scene).items() if not callable(value)}
    with open(arguments.out, "w") as file:
        json.dump({"scene": arguments.scene, "settings": settings, "runs": runs}, file)


if __name__ == "__main__":
    main()
