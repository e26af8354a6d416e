"""Does the JKO flow keep a run stable where the KL flow diverges, and what does the guard make of it?

    python benchmarks/stability.py ring --workers 2 --out ring.json
    python benchmarks/stability.py digits --workers 2 --out digits.json
    python benchmarks/stability.py digits --methods "w-GCN, data" --taus 0.2 0.5 4 --lrs 0.032 --out taus.json

Trains GCN, w-GCN (both ends of the action) and, on digits, GGCN from the same settings under several learning rates
and seeds, without and with the guard, a thread each. It prints for every triple: the share of runs that diverged, the
spread of the energy gap over the second half of a run (standard deviation; median over seeds, of runs that lived), how
often the guard took a run back, and the score (median of runs that lived; digits: Fréchet distance over efflite0-64 of
256 particles, of the bank where there is one, against 1,000 held-out digits; ring: mean log density of 1,024 samples).

A run counts as diverged when a number is not finite, when the guard gives up, or when it ends with an energy gap
beyond 1000 or a particle ten times as far out as the data: a run that finds its way back has lived.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import torch

from evolvent.data.pixels import to_pixels
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.scores import judge_images
from evolvent.recipes.digits import digits, digits_gcn, digits_wgcn
from evolvent.recipes.toys import toy_ring, toy_ring_gcn
from evolvent.sampling import draw
from evolvent.storage.runs import Run
from evolvent.training.guard import Guard
from evolvent.training.schedule import Experiment
from evolvent.training.session import Session, Watcher
from evolvent.training.trainer import Diverged, Trainer

MAX_GAP, MAX_REACH = 1000.0, 10.0
Build = Callable[..., Experiment]


@dataclass(frozen=True)
class Scene:
    """What is trained, and how long."""

    methods: dict[str, Build]
    settings: dict[str, dict]
    lrs: tuple[float, ...]
    num_steps: int
    looks: int = 5
    """Steps between two looks."""


def wgcn(recipe: Build, tau: float, ends: str) -> Build:
    return lambda **settings: recipe(**{"tau": tau, "ends": ends} | settings)


# tau is the length of the chain, num_steps · step_size = 10 · 0.4: its natural start.
CHAINS = {"batch_size": 32, "chain_step_size": 0.4}
SCENES = {
    "ring": Scene(
        {
            "GCN": toy_ring_gcn,
            "w-GCN, path": wgcn(toy_ring, 0.005, "path"),
            "w-GCN, data": wgcn(toy_ring, 0.005, "data"),
        },
        {},
        (5e-4, 1e-3, 3e-3, 6e-3),
        1000,
        20,
    ),
    "digits": Scene(
        {
            "GCN": digits_gcn,
            "w-GCN, path": wgcn(digits_wgcn, 4.0, "path"),
            "w-GCN, data": wgcn(digits_wgcn, 4.0, "data"),
            "GGCN": digits,
        },
        {"GCN": CHAINS, "w-GCN, path": CHAINS, "w-GCN, data": CHAINS, "GGCN": {"batch_size": 32}},
        (8e-3, 1.6e-2, 2.4e-2, 3.2e-2),
        100,
    ),
}


@dataclass
class Gaps(Watcher):
    """Keeps the energy gap of every look, and whether the last was sane."""

    farthest: float
    gaps: list[float] = field(default_factory=list)
    sane: bool = True

    def line(self, line: dict[str, float]) -> None:
        self.gaps.append(line["energy_gap"])
        reach = max(-line["particle_min"], line["particle_max"])
        self.sane = abs(line["energy_gap"]) <= MAX_GAP and reach <= self.farthest


@dataclass(frozen=True)
class Case:
    """tau None is the scene's own."""

    method: str
    lr: float
    tau: float | None

    @property
    def words(self) -> str:
        return self.method if self.tau is None else f"{self.method}, τ = {self.tau:g}"

    def experiment(self, scene: Scene) -> Experiment:
        settings = scene.settings.get(self.method, {}) | ({} if self.tau is None else {"tau": self.tau})
        return scene.methods[self.method](lr=self.lr, num_steps=scene.num_steps, **settings)


def compare(name: str, case: Case, seed: int) -> list[dict]:
    """With the guard and without. A guard that took nothing back changes no bit: then the runs are one."""
    on = train(name, case, seed, guarded=True)
    same = not (on["rollbacks"] or on["diverged"])
    return [on, on | {"guarded": False} if same else train(name, case, seed, guarded=False)]


def train(name: str, case: Case, seed: int, *, guarded: bool) -> dict:
    """One run: its energy gaps, the guard's rollbacks, its score, and whether it diverged."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    scene, begun = SCENES[name], time.process_time()
    experiment = case.experiment(scene)
    clocks = {"log_every": scene.looks, "checkpoint_every": 50, "picture_every": 10**9}
    schedule = replace(experiment.schedule, guard=Guard() if guarded else None, **clocks)
    trainer = Trainer(experiment.learner, experiment.data(), schedule, seed=seed)
    watcher = Gaps(MAX_REACH * float(trainer.data.draw(256).abs().max()))
    with tempfile.TemporaryDirectory() as folder, Run.create(folder, recipe=name, arguments={}) as run:
        session = Session(run, trainer, watcher)
        try:
            session.begin()
            session.advance(None, [])
            diverged = not watcher.sane
        except Diverged:
            diverged = True
    return {
        "method": case.words, "lr": case.lr, "guarded": guarded, "seed": seed, "diverged": diverged,
        "step": trainer.step, "rollbacks": len(session.health.rollbacks), "gaps": watcher.gaps,
        "score": None if diverged else score(name, trainer, experiment), "seconds": time.process_time() - begun,
    }  # fmt: skip


def score(name: str, trainer: Trainer, experiment: Experiment) -> float:
    if name == "ring":
        return float(trainer.data.log_density(draw(trainer.averaged, 1024)).mean())
    bank = getattr(trainer.learner, "particles", None)
    samples = to_pixels(draw(trainer.averaged, 256) if bank is None else bank.bank[:256])
    held_out, learned = experiment.held_out().pixels, experiment.data().pixels
    (found,) = judge_images(samples, held_out, learned, detector=EffLite0(64), measures=["frechet"])
    return found.value


def row(runs: list[dict]) -> str:
    """The table's line for the runs of one method at one learning rate, with or without the guard."""
    first, lived = runs[0], [run for run in runs if not run["diverged"]]
    head = f"| {first['method']} | {first['lr']:.2g} | {'on' if first['guarded'] else 'off'} "
    line = f"{head}| {len(runs) - len(lived)}/{len(runs)} | {sum(run['rollbacks'] for run in runs)} "
    if not lived:
        return f"{line}| | |"
    spread = statistics.median(statistics.stdev(run["gaps"][len(run["gaps"]) // 2 :]) for run in lived)
    return f"{line}| {spread:.3g} | {statistics.median(run['score'] for run in lived):.4g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", help="all unless given")
    parser.add_argument("--lrs", type=float, nargs="+", help="those of the scene unless given")
    parser.add_argument("--taus", type=float, nargs="+", help="those of the scene unless given")
    parser.add_argument("--out", default="stability.json")
    arguments = parser.parse_args()
    scene = SCENES[arguments.scene]
    methods, taus = arguments.methods or scene.methods, arguments.taus or [None]
    if unknown := [name for name in methods if name not in scene.methods]:
        known = ", ".join(f'"{name}"' for name in scene.methods)
        parser.error(f'{arguments.scene} has no method "{unknown[0]}": there are {known}')
    if arguments.taus and "GCN" in methods:
        parser.error('GCN has no tau: name others, such as --methods "w-GCN, data"')
    cases = [Case(*each) for each in product(methods, arguments.lrs or scene.lrs, taus)]
    runs = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        seeds = range(arguments.num_seeds)
        asked = [pool.submit(compare, arguments.scene, case, seed) for seed in seeds for case in cases]
        for done in as_completed(asked):
            runs += done.result()
            # Written as they come: a benchmark that is stopped leaves what it has found.
            Path(arguments.out).write_text(json.dumps({"scene": arguments.scene, "runs": runs}))
    print(
        "| method | lr | guard | diverged | rollbacks | gap spread | score |\n|---|---|---|---|---|---|---|"
    )
    for case, guarded in product(cases, (False, True)):
        cell = case.words, case.lr, guarded
        print(row([run for run in runs if (run["method"], run["lr"], run["guarded"]) == cell]))


if __name__ == "__main__":
    main()
