"""What a training step and a Langevin step of CIFAR-10's recipe cost on a GPU, as a share of its convolution peak.

    python benchmarks/bench_gpu.py                                    a minute or two
    python benchmarks/bench_gpu.py --device cpu --small --rounds 1    rehearses it

Time is the clock's, with the device waited for at both ends, the median over rounds. Operations are those that torch's
own formulas tell of one step; the peak is the rate of a bfloat16 3 × 3 convolution over 128 channels of 256 images of
32 px. Pictures are random bytes, which cost what others do.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from eager import by_hand
from machine import describe, header, row
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import evolvent as ev
from evolvent.data import from_array
from evolvent.machine import autocast
from evolvent.recipes import RECIPES
from evolvent.training.schedule import Experiment

SMALL = {"batch_size": 8, "width": 8, "mapping_width": 8}
CALLS, WARM_UP = 10, 5
"""Calls a round, and before the first: a captured step is recorded at its fourth."""


def seconds(call: Callable[[], object], device: str, rounds: int) -> float:
    """Of one call."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(rounds):
        wait()
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        wait()
        times.append((time.perf_counter() - begun) / CALLS)
    return statistics.median(times)


class Operations(TorchDispatchMode):
    """Counts those of products and convolutions. (Torch's own mode fails on a gradient of a leaf.)"""

    num = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        value = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function.overloadpacket):
            self.num += count(*args, **(kwargs or {}), out_val=value)
        return value


def operations(call: Callable[[], object]) -> int:
    with Operations() as counter:
        call()
    return counter.num


def peak(device: str, rounds: int, num: int) -> float:
    """Operations a second of the convolution."""
    x = torch.randn(num, 128, 32, 32, device=device, dtype=torch.bfloat16)
    conv = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False, device=device, dtype=torch.bfloat16)
    x, conv = (each.to(memory_format=torch.channels_last) for each in (x, conv))
    with torch.no_grad():
        return 2 * 9 * 128**2 * 32**2 * num / seconds(lambda: conv(x), device, rounds)


def training(experiment: Experiment, device: str, *, captured: bool, precision: str) -> Callable[[], object]:
    """A step of the recipe's trainer, on random pictures."""
    schedule = replace(experiment.schedule, captured=captured, precision=precision)
    pixels = np.random.RandomState(0).randint(0, 256, (5000, 32, 32, 3), dtype=np.uint8)
    return ev.Trainer(experiment.learner, from_array(pixels), schedule, device=device).advance


def chains(energy: ev.Energy, x: torch.Tensor, num_steps: int) -> dict[str, Callable[[], object]]:
    """Ours, and the loop that anybody would write."""
    step_size = 0.01
    chain, noise = ev.Langevin(step_size, num_steps), ev.Noise(x.device)
    ours = {
        name: lambda chain=one: chain.evolve(energy, x, noise)
        for name, one in (("evolvent", chain), ("evolvent, compiled", replace(chain, compiled=True)))
    }
    return {"by hand": lambda: by_hand(energy, x, num_steps, step_size)} | ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="nets and batches of a rehearsal")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of a chain")
    asked = parser.parse_args()
    device, rounds, sizes = asked.device, asked.rounds, SMALL if asked.small else {}
    print(describe("median of wall time"), "\n")
    if device == "cuda":
        print(f"{torch.cuda.get_device_name()}\n")
    most = peak(device, rounds, 4 if asked.small else 256)
    print(f"peak of a bfloat16 convolution: {most / 1e12:.3g} TFLOP/s\n")
    header("training step", "ms", "images / s", "GFLOP", "of the peak")
    for precision in ("bfloat16", "float32"):
        plain = RECIPES["cifar10-amortized"](**sizes)
        work = operations(training(plain, device, captured=False, precision=precision))
        for captured in (True, False):
            experiment = RECIPES["cifar10-amortized"](**sizes)
            step = training(experiment, device, captured=captured, precision=precision)
            taken, num = seconds(step, device, rounds), experiment.schedule.batch_size
            name = f"{precision}, {'captured' if captured else 'launched from Python'}"
            row(
                name,
                f"{1e3 * taken:.2f}",
                f"{num / taken:,.0f}",
                f"{work / 1e9:.1f}",
                f"{work / taken / most:.0%}",
            )
    header(f"chain of {asked.steps}", "µs a step", "points · steps / s", "times by hand")
    energy = RECIPES["cifar10-amortized"](**sizes).learner.energy.requires_grad_(False).to(device)
    x = torch.rand(num, 3, 32, 32, device=device) * 2 - 1
    for precision in ("bfloat16", "float32"):
        beside = math.nan
        for name, chain in chains(energy, x, asked.steps).items():
            with autocast(precision, device):
                taken = seconds(chain, device, rounds) / asked.steps
            beside = taken if name == "by hand" else beside
            row(f"{name}, {precision}", f"{1e6 * taken:.1f}", f"{num / taken:,.0f}", f"{beside / taken:.2f}")


if __name__ == "__main__":
    main()
