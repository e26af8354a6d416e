"""Kill -9 a training run at random moments, as often as asked, and compare what comes out with a run left alone.

    python benchmarks/kill_test.py 100 --minutes 20 --out kills

Starts `evolvent train` on a small recipe, kills it after a random time, and goes on with `--resume`, until it finishes;
then model.safetensors must be the bytes of the unbroken run's, and the log its lines (but for the seconds). Then the
next run begins. Stops after so many kills or minutes and says how many there were, and where they fell.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

RECIPE = """
from evolvent import Adam, Energy, Experiment, Gaussian, GCN, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring
from evolvent.recipes.toys import PlaneScore


def killed(num_steps: int = 1500, lr: float = 1e-3) -> Experiment:
    energy = Energy(PlaneScore(), Gaussian((2,), std=2.0))
    learner = GCN(energy, Persistent(energy.reference, 256), Langevin(0.005, 5))
    schedule = Schedule(num_steps, 32, {"energy": Adam(lr)}, log_every=5, picture_every=500, checkpoint_every=10)
    return Experiment(learner, Ring, schedule)
"""


def start(out: Path, run: Path) -> subprocess.Popen:
    """Begin the run or go on with it. One that was killed before its record was there is begun again."""
    words = [sys.executable, "-m", "evolvent", "train"]
    words += ["--resume"] if (run / "run.json").exists() else [f"{out}/recipe.py:killed"]
    log = (out / "output.txt").open("a")
    return subprocess.Popen([*words, "--threads", "1", "--out", str(run)], stdout=log, stderr=log)


def result(run: Path) -> tuple[bytes, list[dict]]:
    lines = [json.loads(line) | {"seconds": 0} for line in (run / "log.jsonl").read_text().splitlines()]
    return (run / "model.safetensors").read_bytes(), lines


def where(run: Path) -> str:
    """How far a run was when it was killed."""
    if not (run / "run.json").exists():
        return "before the record"
    return "before step 1" if not (run / "log.jsonl").exists() else "in training"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("num_kills", type=int, nargs="?", default=100)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("kills"))
    arguments = parser.parse_args()
    out, chance, begun = arguments.out.resolve(), random.Random(arguments.seed), time.monotonic()
    out.mkdir(parents=True)
    (out / "recipe.py").write_text(RECIPE)
    assert start(out, out / "whole").wait() == 0, f"the run left alone failed: {out}/output.txt"
    seconds, whole = time.monotonic() - begun, result(out / "whole")
    num_runs, kills, wrong, run = 0, Counter(), 0, out / "run-0"
    while kills.total() < arguments.num_kills and time.monotonic() - begun < 60 * arguments.minutes:
        process = start(out, run)
        try:
            code = process.wait(timeout=chance.uniform(0, seconds / 3))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills[where(run)] += 1
            continue
        wrong += code != 0 or result(run) != whole
        num_runs += 1
        run = out / f"run-{num_runs}"
    wrong += start(out, run).wait() != 0 or result(run) != whole
    print(f"{kills.total()} kills ({', '.join(f'{n} {place}' for place, n in kills.items())})")
    print(f"{num_runs + 1} runs finished, {wrong} of them differ from the run left alone")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
