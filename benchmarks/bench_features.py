"""How fast are the features of EfficientNet-Lite0: the package's plain float32 module against `EffLite0`.

    python benchmarks/bench_features.py --threads 2 [--data cifar10.npz]

Both see the same images (of noise, or of `--data`) at 224, in turns of fifty, so that a busy machine slows both. It
prints images a second of each, the median over the turns of their ratio, and the largest difference between their
features.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from evolvent.data.readers import load
from evolvent.metrics.efflite0 import EffLite0, pretrained, to_input

TURN = 50


def timed(see: Callable[[Tensor], Tensor], pixels: Tensor) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    features = see(pixels)
    return features, time.perf_counter() - begun


def noise(num: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, 3, 32, 32), generator=generator, dtype=torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument(
        "--data", help="what `evolvent evaluate --against` takes; noise of 32 px unless given"
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4, help="of the plain module; 4 is its fastest")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network, ours = pretrained(arguments.size), EffLite0(arguments.size)

    @torch.no_grad()
    def plain(pixels: Tensor) -> Tensor:
        inputs = (to_input(some, arguments.size).contiguous() for some in pixels.split(arguments.batch))
        return torch.cat([network.extract_features(x).mean((2, 3)) for x in inputs])

    pixels = load(arguments.data).some(arguments.num) if arguments.data else noise(arguments.num)
    plain(pixels[:32]), ours(pixels[:32])
    seconds, worst = [], 0.0
    for some in pixels.split(TURN):
        (theirs, slow), (mine, fast) = timed(plain, some), timed(ours, some)
        worst = max(worst, float((theirs - mine).abs().max()))
        seconds.append((slow, fast))
    totals = [sum(column) for column in zip(*seconds, strict=True)]
    ratio = statistics.median(slow / fast for slow, fast in seconds)
    print(
        f"{len(pixels)} images of {pixels.shape[-1]} px at {arguments.size}, {arguments.threads} threads,"
        f" torch {torch.__version__}"
    )
    print(f"plain float32 module  {len(pixels) / totals[0]:6.1f} images/s")
    print(
        f"EffLite0              {len(pixels) / totals[1]:6.1f} images/s, {ratio:.2f} times as fast (median of turns)"
    )
    print(f"largest difference of a feature  {worst:.1e}")


if __name__ == "__main__":
    main()
