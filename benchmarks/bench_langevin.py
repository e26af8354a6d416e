"""Langevin chains against two kept libraries and a hand-written loop: the same net, the same batch, the same steps.

    pip install -e '.[bench]' && python benchmarks/bench_langevin.py [plane] [images] [hidden] [--compiled]

plane:  a quadratic energy on the plane, batch 64: what is left is the framework, in µs a step.
images: `ResidualScore` at 32 px, batch 64 and 256, grey and colour: image-steps a second.
hidden: codes of a `PlainMapping` under the pulled-back energy of a `PlainScore`.

Ours are counted with all that `evolve` does, its record too. Where the machine has instructions for bfloat16, images
and codes run in it as well, ours and the loop by hand: it would help all of them alike, so it is set apart.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from ebm.samplers import LangevinDynamics as EbmkitLangevin
from machine import describe, header, median, ratio, row, take_turns
from torch import nn
from torchebm.core import BaseModel
from torchebm.samplers import LangevinDynamics as TorchebmLangevin

import evolvent as ev
from evolvent.machine import computes_bfloat16, keep_freed_memory
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore, ResidualScore


class Quadratic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -0.5 * x.square().sum(1)


class AsModel(BaseModel):
    """An energy as TorchEBM wants it."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.energy(x)


def by_hand(energy: nn.Module, x: torch.Tensor, num_steps: int, step_size: float) -> torch.Tensor:
    noise = math.sqrt(2 * step_size)
    for _ in range(num_steps):
        x = x.detach().requires_grad_()
        (force,) = torch.autograd.grad(energy(x).sum(), x)
        x = x.detach() - step_size * force + noise * torch.randn_like(x)
    return x


def competitors(energy: ev.Energy, x: torch.Tensor, num_steps: int, *, compiled: bool) -> dict[str, Callable]:
    """Runs of the same chain, h = 1e-4, by name."""
    step_size, noise = 1e-4, ev.Noise()
    chain = ev.Langevin(step_size, num_steps)
    torchebm = TorchebmLangevin(AsModel(energy), step_size=step_size)
    ebmkit = EbmkitLangevin(step_size=step_size, steps=num_steps)
    runs = {
        "TorchEBM 0.8.9": lambda: torchebm.sample(x=x, n_steps=num_steps),
        "ebmkit 0.16.0": lambda: ebmkit.sample(energy, x),
        "by hand": lambda: by_hand(energy, x, num_steps, step_size),
        "evolvent": lambda: chain.evolve(energy, x, noise),
    }
    if compiled:
        fast = replace(chain, compiled=True)
        runs["evolvent, compiled"] = lambda: fast.evolve(energy, x, noise)
    if x.shape[1] != 2 and computes_bfloat16(x.device):
        runs["evolvent, bfloat16"] = rounded(runs["evolvent"])
        runs["by hand, bfloat16"] = rounded(runs["by hand"])
    return runs


def rounded(run: Callable) -> Callable:
    """The same run in bfloat16."""

    def in_bfloat16() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return run()

    return in_bfloat16


def compare(
    name: str, energy: ev.Energy, x: torch.Tensor, num_steps: int, *, compiled: bool, rounds: int
) -> None:
    times = take_turns(competitors(energy, x, num_steps, compiled=compiled), rounds=rounds)
    peers = [who for who in times if "evolvent" not in who and "bfloat16" not in who]
    best = min(peers, key=lambda peer: median(times[peer]))
    for who, each in times.items():
        seconds, wall = median(each), median(each, 1)
        speed = len(x) * num_steps / seconds
        figures = (f"{1e6 * seconds / num_steps:.1f}", f"{1e6 * wall / num_steps:.1f}", f"{speed:,.0f}")
        row(name, who, *figures, f"{ratio(times[best], each):.2f}")


def plane(arguments: argparse.Namespace) -> None:
    energy = ev.Energy(Quadratic(), ev.Uniform((2,)))
    for num_steps in (100, 1000):
        compare(f"plane, {num_steps} steps", energy, torch.randn(64, 2), num_steps, compiled=True, rounds=7)


def images(arguments: argparse.Namespace) -> None:
    for channels, width in ((1, 32), (3, 32), (3, 64)):
        for batch in (64, 256):
            torch.manual_seed(0)
            shape = (channels, 32, 32)
            energy = ev.Energy(ResidualScore(32, channels, width=width), ev.Uniform(shape))
            name = f"{channels}×32×32, width {width}, batch {batch}"
            if arguments.only not in name:
                continue
            steps, rounds = arguments.steps, arguments.rounds
            compare(
                name, energy, torch.rand(batch, *shape), steps, compiled=arguments.compiled, rounds=rounds
            )


def hidden(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    energy = ev.Energy(PlainScore(32), ev.Uniform((1, 32, 32)))
    pulled_back = energy.pullback(PlainMapping(32).eval(), ev.Gaussian((64,)))
    for batch in (64, 256):
        x = torch.randn(batch, 64)
        steps, rounds = arguments.steps, arguments.rounds
        compare(f"hidden, batch {batch}", pulled_back, x, steps, compiled=arguments.compiled, rounds=rounds)


SCENES = {"plane": plane, "images": images, "hidden": hidden}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--compiled", action="store_true", help="compile deep nets as well: a minute each")
    parser.add_argument(
        "--keep-memory", action="store_true", help="as our command line runs; helps all of them"
    )
    parser.add_argument("--only", default="", help="of the images, those whose name holds this")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.keep_memory:
        keep_freed_memory()
    print(describe(), "\n")
    header("energy", "who", "µs a step", "wall µs", "points · steps / s", "times the best peer")
    for scene in arguments.scenes:
        SCENES[scene](arguments)


if __name__ == "__main__":
    main()
