"""What a step of a chain costs against batch, image size, number of steps and width, as a share of the machine's peak.

    python benchmarks/bench_scaling.py

The peak is measured in the same run on the same thread: a matrix product of 1024 × 1024, and the 3 × 3 convolution
over 64 channels of a 32 px image that does most of a score net's work. Operations are counted by torch's own counter
over one energy, doubled for its force; the share is that of the convolution's rate.
"""

import argparse

import torch
from machine import describe, header, median, row, take_turns
from torch.utils.flop_counter import FlopCounterMode

import evolvent as ev
from evolvent.nets.score import PlainScore, ResidualScore

NETS = {"plain": PlainScore, "residual": ResidualScore}


def peaks(rounds: int) -> tuple[float, float]:
    """Operations a second of a matrix product and of a convolution."""
    matrix = torch.randn(1024, 1024)
    conv = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(16, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        times = take_turns({"product": lambda: matrix @ matrix, "conv": lambda: conv(x)}, rounds=rounds)
    return 2 * 1024**3 / median(times["product"]), 2 * 9 * 64**2 * 32**2 * 16 / median(times["conv"])


def measure(case: dict, rounds: int, peak: float) -> None:
    torch.manual_seed(0)
    shape = (case["channels"], case["size"], case["size"])
    energy = ev.Energy(NETS[case["net"]](case["size"], shape[0], width=case["width"]), ev.Uniform(shape))
    x, noise = torch.rand(case["batch"], *shape), ev.Noise()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        energy(x[:1])
    # The way back to the points costs what the way forth does; no gradient of a weight is taken.
    operations = 2 * counter.get_total_flops()
    chain = ev.Langevin(1e-4, case["steps"])
    seconds = median(take_turns({"": lambda: chain.evolve(energy, x, noise)}, rounds=rounds)[""])
    a_force = seconds / case["steps"] / case["batch"]
    speed = case["batch"] * case["steps"] / seconds
    rows = energy.load(x).rows or case["batch"]
    share = f"{operations / a_force / peak:.0%}"
    row(*case.values(), rows, f"{1e6 * a_force:.0f}", f"{speed:,.0f}", f"{operations / 1e6:.0f}", share)


def cases() -> list[dict]:
    """One quantity at a time, from a middle."""
    middle = {"net": "residual", "batch": 64, "size": 32, "channels": 3, "width": 32, "steps": 2}
    lines = [middle | {"batch": batch} for batch in (1, 4, 16, 64, 256)]
    lines += [middle | {"size": size, "batch": 64 * 32**2 // size**2} for size in (16, 64, 128)]
    lines += [middle | {"steps": steps, "batch": 16} for steps in (1, 8, 32)]
    lines += [middle | {"channels": 1}, middle | {"width": 64}]
    return lines + [middle | {"net": "plain", "channels": 1, "batch": batch} for batch in (16, 64, 256)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(), "\n")
    product, conv = peaks(4 * arguments.rounds)
    print(f"peak of one thread: product {product / 1e9:.0f}, convolution {conv / 1e9:.0f} GFLOP/s\n")
    measured = ("at once", "µs a force and point", "points · steps / s", "MFLOP a force", "of the peak")
    header(*cases()[0], *measured)
    for case in cases():
        measure(case, arguments.rounds, conv)


if __name__ == "__main__":
    main()
