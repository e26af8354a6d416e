"""Does the JKO flow keep a run stable where the KL flow diverges?

    python benchmarks/stability.py --workers 2 --out stability.json

Trains `digits-gcn` and `digits-wgcn` (both ends of the action) from the same settings under several learning rates and
seeds, a thread each, and prints for every pair of method and learning rate: the share of runs that diverged, the
spread of the energy gap over the second half of a run (standard deviation; median over seeds, of runs that lived), and
the particles' root mean square (that of the data is about 0.9).

A run counts as diverged from the first step at which a vital sign is not finite, the energy gap exceeds 1000 in size,
or the particles' root mean square exceeds 2. Nothing is clipped or repaired.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import torch

from evolvent.recipes.digits import digits_gcn, digits_wgcn
from evolvent.trainer import Trainer

CHAIN = {
    "num_slots": 500,
    "rebirth": 0.1,
    "chain_steps": 20,
    "chain_step_size": 0.1,
    "noise": 0.003,
    "batch_size": 32,
}
METHODS = {
    "GCN": lambda **settings: digits_gcn(**settings),
    "w-GCN, path": lambda tau, **settings: digits_wgcn(tau=tau, ends="path", **settings),
    "w-GCN, data": lambda tau, **settings: digits_wgcn(tau=tau, ends="data", **settings),
}
MAX_GAP, MAX_RMS = 1000.0, 2.0


def train(method: str, lr: float, seed: int, num_steps: int, tau: float) -> dict:
    """One run: its energy gaps, the last root mean square, and the step at which it diverged, if it did."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    settings = CHAIN | {"num_steps": num_steps, "lr": lr} | ({} if method == "GCN" else {"tau": tau})
    experiment = METHODS[method](**settings)
    trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule, seed=seed)
    gaps, rms, diverged_at, begun = [], 0.0, None, time.monotonic()
    while not trainer.finished and diverged_at is None:
        update = trainer.advance()
        gaps.append(float(update.stats["energy_gap"]))
        rms = float(update.particles.square().mean().sqrt())
        if not (abs(gaps[-1]) <= MAX_GAP and rms <= MAX_RMS):
            diverged_at = trainer.step
    return {
        "method": method, "lr": lr, "seed": seed, "diverged_at": diverged_at, "rms": rms, "gaps": gaps,
        "seconds": time.monotonic() - begun,
    }  # fmt: skip


def row(runs: list[dict]) -> str:
    """The table's line for the runs of one method at one learning rate."""
    lived = [run for run in runs if run["diverged_at"] is None]
    diverged = len(runs) - len(lived)
    line = f"{runs[0]['method']:12s}  {runs[0]['lr']:8.1e}  {diverged}/{len(runs)} diverged"
    if not lived:
        return f"{line} (at step {min(run['diverged_at'] for run in runs)} at the earliest)"
    spread = statistics.median(statistics.stdev(run["gaps"][len(run["gaps"]) // 2 :]) for run in lived)
    rms = statistics.median(run["rms"] for run in lived)
    return f"{line}  gap spread {spread:9.3f}  particles' rms {rms:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=150)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--lrs", type=float, nargs="+", default=[1e-3, 4e-3, 1.6e-2])
    parser.add_argument("--out", default="stability.json")
    arguments = parser.parse_args()
    cases = list(product(METHODS, arguments.lrs, range(arguments.num_seeds)))
    with ProcessPoolExecutor(arguments.workers) as pool:
        futures = [pool.submit(train, *case, arguments.num_steps, arguments.tau) for case in cases]
        runs = [future.result() for future in futures]
    for method, lr in product(METHODS, arguments.lrs):
        print(row([run for run in runs if (run["method"], run["lr"]) == (method, lr)]))
    with open(arguments.out, "w") as file:
        json.dump({"settings": vars(arguments) | {"chain": CHAIN}, "runs": runs}, file)


if __name__ == "__main__":
    main()
