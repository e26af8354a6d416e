"""Langevin chains against two kept libraries and a hand-written loop: the same net, the same batch, the same steps.

    pip install -e '.[bench]' && python benchmarks/bench_langevin.py [plane] [images] [hidden] [--compiled]

plane:  a quadratic energy on the plane, batch 64: what is left is the framework, in µs a step.
images: `ResidualScore` at 32 px, batch 64 and 256, grey and colour: image-steps a second.
hidden: codes of a `PlainMapping` under the pulled-back energy of a `PlainScore`.

A chain on a CPU depends on a setting of its process, whether freed memory is kept, which our command line makes and
no peer does. In turns in one process all have it (--keep-memory) or none; --apart gives each a process, peers as they
are installed, ours as our command line runs.

Ours are counted with all that `evolve` does, its record too. Where the machine has instructions for bfloat16, images
and codes run in it as well, ours and the loop by hand: it would help all of them alike, so it is set apart.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from eager import by_hand
from ebm.samplers import LangevinDynamics as EbmkitLangevin
from machine import describe, header, median, ratio, row, take_turns, take_turns_apart
from torch import nn
from torchebm.core import BaseModel
from torchebm.samplers import LangevinDynamics as TorchebmLangevin

import evolvent as ev
from evolvent.machine import gains_from_bfloat16, keep_freed_memory
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore, ResidualScore

Start = tuple[ev.Energy, torch.Tensor]
"""An energy, and the points that chains start from."""


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
    if x.shape[1] != 2 and gains_from_bfloat16(x.device):
        runs["evolvent, bfloat16"] = rounded(runs["evolvent"])
        runs["by hand, bfloat16"] = rounded(runs["by hand"])
    return runs


def rounded(run: Callable) -> Callable:
    """The same run in bfloat16."""

    def in_bfloat16() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return run()

    return in_bfloat16


def compare(name: str, start: Callable, num_steps: int, options: argparse.Namespace) -> None:
    """One table: `start()` makes the energy and the points that the chains start from."""
    energy, x = start()
    runs = competitors(energy, x, num_steps, compiled=options.compiled)
    if options.apart:
        build = partial(alone, start, num_steps, options.compiled)
        times = take_turns_apart(build, runs, rounds=options.rounds)
    else:
        times = take_turns(runs, rounds=options.rounds)
    peers = [who for who in times if "evolvent" not in who and "bfloat16" not in who]
    best = min(peers, key=lambda peer: median(times[peer]))
    for who, each in times.items():
        seconds, wall = median(each), median(each, 1)
        figures = (
            f"{1e6 * seconds / num_steps:.1f}",
            f"{1e6 * wall / num_steps:.1f}",
            f"{len(x) * num_steps / seconds:,.0f}",
        )
        row(name, who, *figures, f"{ratio(times[best], each):.2f}")


def alone(start: Callable, num_steps: int, compiled: bool, who: str) -> Callable:
    """The run of one competitor in a process of its own, ours with the setting of our command line."""
    torch.set_num_threads(1)
    if "evolvent" in who:
        keep_freed_memory()
    return competitors(*start(), num_steps, compiled=compiled)[who]


def on_plane() -> Start:
    return ev.Energy(Quadratic(), ev.Uniform((2,))), torch.randn(64, 2)


def on_images(channels: int, width: int, batch: int) -> Start:
    torch.manual_seed(0)
    shape = (channels, 32, 32)
    return ev.Energy(ResidualScore(32, channels, width=width), ev.Uniform(shape)), torch.rand(batch, *shape)


def on_codes(batch: int) -> Start:
    torch.manual_seed(0)
    energy = ev.Energy(PlainScore(32), ev.Uniform((1, 32, 32)))
    return energy.pullback(PlainMapping(32).eval(), ev.Gaussian((64,))), torch.randn(batch, 64)


def plane(options: argparse.Namespace) -> None:
    options = argparse.Namespace(**vars(options) | {"compiled": True, "rounds": 7})
    for num_steps in (100, 1000):
        compare(f"plane, {num_steps} steps", on_plane, num_steps, options)


def images(options: argparse.Namespace) -> None:
    for case in product((1, 3), (32, 64), (64, 256)):
        channels, width, batch = case
        name = f"{channels}×32×32, width {width}, batch {batch}"
        if options.only in name:
            compare(name, partial(on_images, *case), options.steps, options)


def hidden(options: argparse.Namespace) -> None:
    for batch in (64, 256):
        compare(f"hidden, batch {batch}", partial(on_codes, batch), options.steps, options)


SCENES = {"plane": plane, "images": images, "hidden": hidden}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--compiled", action="store_true", help="compile deep nets as well: a minute each")
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument("--keep-memory", action="store_true", help="as our command line runs; helps them all")
    memory.add_argument(
        "--apart", action="store_true", help="a process each: peers as installed, ours as run"
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
