"""The score reached after equal processor time: our learners and two kept libraries' contrastive divergence.

    pip install -e '.[bench]' && python benchmarks/bench_quality_per_second.py --minutes 5 --workers 2 --out quality

ring:    eight Gaussians on a circle, `PlaneScore` over N(0, 4 I), batch 256.
digits:  4,000 digits of 32 px, `PlainScore(32)`, batch 64, held to 1,000 others.

Every run has the same energy, batch, data and seconds on one thread (CPU time): its first steps are timed, the number
of steps is set to what fits, and it starts anew. Ours are the recipes as they are. A peer trains by its own sampler,
bank and loss, in every setting below at four learning rates, and the table has its best by the scene's measure: the
choice is in its favour. All alike have our averaged weights, our fall of the learning rate over the second half, and
the judge of `evolvent evaluate`. The peers' settings:

    ebmkit 0.16.0    ring    README: 60 steps of 0.01, noise √(2h)
                     digits  its docstrings (IGEBM): 60 steps of 10, noise 0.005, gradient cut at 0.01, pixels clamped
    TorchEBM 0.8.9   ring    README: 10 steps of 0.1, noise_scale 1
                     digits  it has no recipe: IGEBM, which its README follows, without the cut, which it lacks
    both             our chain: that of our GCN on the same data, with its bank
"""

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from equal_time import NUM_SAMPLES, NUM_TIMED
from machine import describe, header, row
from peers import Chain, Peer

from evolvent.cli.remembering import Remembered
from evolvent.data.pixels import to_pixels
from evolvent.machine import keep_freed_memory
from evolvent.recipes import RECIPES
from evolvent.sampling import draw
from evolvent.storage.files import write_whole
from evolvent.training.schedule import Experiment
from evolvent.training.trainer import Trainer

RATES = (1e-4, 3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Scene:
    """One set of data: our recipes, the one whose net and chain the peers take, and a peer's own settings."""

    recipes: tuple[str, ...]
    measured_by: str
    alike: str
    sampling_steps: int
    chains: dict[tuple[str, str], Chain]


COLD = Chain(10.0, 0.005, 60, 10_000, squared=1.0, clamp=(-1.0, 1.0), betas=(0.0, 0.999))
RING, DIGITS = Chain(0.005, 0.1, 20, 4096), Chain(0.2, 0.003, 10, 500, betas=(0.0, 0.95))
SCENES = {
    "ring": Scene(
        ("toy-ring", "toy-ring-gcn"), "energy-distance", "toy-ring-gcn", 1000,
        {
            ("ebmkit", "README"): Chain(0.01, 0.02**0.5, 60, 8192),
            ("TorchEBM", "README"): Chain(0.1, 0.2**0.5, 10, 8192, squared=0.001),
            ("ebmkit", "our chain"): RING,
            ("TorchEBM", "our chain"): RING,
        },
    ),
    "digits": Scene(
        ("digits", "digits-adversarial", "digits-cooperative", "digits-gcn", "digits-wgcn"), "frechet", "digits-gcn",
        600,
        {
            ("ebmkit", "IGEBM"): replace(COLD, cut=0.01),
            ("TorchEBM", "IGEBM"): COLD,
            ("ebmkit", "our chain"): DIGITS,
            ("TorchEBM", "our chain"): DIGITS,
        },
    ),
}  # fmt: skip


class Case(NamedTuple):
    """One run: a recipe of ours, or a peer with a setting and a learning rate."""

    scene: str
    who: str
    setting: str = "as it is"
    lr: float | None = None


class Ours:
    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule)
        self.advance = self.trainer.advance

    def sample(self, num: int, _: int) -> torch.Tensor:
        """By the recipe's own stages of sampling."""
        return draw(self.trainer.averaged, num, batch_size=self.experiment.schedule.sampling_batch_size)


def build(case: Case, num_steps: int) -> Ours | Peer:
    torch.manual_seed(0)
    scene = SCENES[case.scene]
    if case.lr is None:
        return Ours(RECIPES[case.who](num_steps=num_steps))
    chain = scene.chains[case.who, case.setting]
    return Peer(case.who, chain, RECIPES[scene.alike](num_steps=num_steps), lr=case.lr)


def steps_that_fit(case: Case, seconds: float) -> int:
    runner = build(case, 10**6)
    for _ in range(3):  # the first fill a bank
        runner.advance()
    begun, num_timed = time.process_time(), 0
    while num_timed < NUM_TIMED and time.process_time() - begun < seconds / 4:
        runner.advance()
        num_timed += 1
    return max(1, round(seconds / (time.process_time() - begun) * num_timed))


def run(case: Case, seconds: float, num: int, out: Path) -> dict:
    """Train, draw, judge; what came out is kept in a file, and a second call takes it from there."""
    file = out / f"{'-'.join(str(part) for part in case if part is not None).replace(' ', '-')}.json"
    asked = {"case": case._asdict(), "seconds": seconds, "num": num}
    if file.exists() and (kept := json.loads(file.read_text()))["asked"] == asked:
        return kept
    torch.set_num_threads(1)
    keep_freed_memory()
    runner = build(case, steps_that_fit(case, seconds))
    num_steps, begun = runner.experiment.schedule.num_steps, time.process_time()
    for _ in range(num_steps):
        runner.advance()
    trained, begun = time.process_time() - begun, time.process_time()
    samples = runner.sample(num, SCENES[case.scene].sampling_steps)
    clocks = {"seconds": trained, "sampling_seconds": time.process_time() - begun}
    scores = judge(runner.experiment, samples, Remembered(out / "features"))
    result = {"asked": asked, "num_steps": num_steps} | clocks | {"scores": scores}
    write_whole(file, json.dumps(result, indent=1))
    return result


def judge(experiment: Experiment, samples: torch.Tensor, remember: Remembered) -> dict | None:
    """Value and floor by measure; None for samples that are not finite."""
    if not samples.isfinite().all():
        return None
    if len(experiment.learner.energy.reference.event_shape) == 1:
        scores = experiment.judge(samples, experiment.held_out())
    else:
        held_out, train = (source().pixels for source in (experiment.held_out, experiment.data))
        scores = experiment.judge(to_pixels(samples), held_out, train, remember=remember)
    return {score.measure: (score.value, score.floor) for score in scores}


def best(results: list[dict], measure: str) -> list[dict]:
    """Of every contestant the run with the lowest measure; one that is not finite comes last."""
    falling = sorted(results, key=lambda r: -r["scores"][measure][0] if r["scores"] else -math.inf)
    lowest = {result["asked"]["case"]["who"]: result for result in falling}
    return [result for result in reversed(falling) if result in lowest.values()]


def tell(name: str, results: list[dict]) -> None:
    measures = next(list(result["scores"]) for result in results if result["scores"])
    print(f"\n## {name}\n")
    header("who", "setting", "lr", "steps", "s, training", "s, sampling", *measures)
    for result in best(results, SCENES[name].measured_by):
        case, scores = result["asked"]["case"], result["scores"]
        values = [f"{scores[measure][0]:.4g}" if scores else "not finite" for measure in measures]
        clocks = f"{result['seconds']:.0f}", f"{result['sampling_seconds']:.0f}"
        row(case["who"], case["setting"], case["lr"] or "its own", result["num_steps"], *clocks, *values)
    floors = next(result["scores"] for result in results if result["scores"])
    row("real data", *[""] * 5, *(f"{floors[measure][1]:.4g}" for measure in measures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--num", type=int, default=NUM_SAMPLES, help="of samples that are judged")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="the peers' learning rates")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(describe())
    for name in arguments.scenes:
        scene = SCENES[name]
        cases = [Case(name, recipe) for recipe in scene.recipes]
        cases += [Case(name, *who, lr) for who, lr in product(scene.chains, arguments.rates)]
        with ProcessPoolExecutor(arguments.workers) as pool:
            futures = [
                pool.submit(run, case, 60 * arguments.minutes, arguments.num, arguments.out) for case in cases
            ]
            results = [future.result() for future in futures]
        tell(name, results)


if __name__ == "__main__":
    main()
