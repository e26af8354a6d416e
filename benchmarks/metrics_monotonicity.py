"""Does each measure move when the images are spoilt in the way that it should see?

    python benchmarks/metrics_monotonicity.py cifar10.npz

Takes real images in the samples' place (training images that no model is said to have learned from), spoils them,
and judges each set against as many held-out images: noise and blur in three strengths, one class of ten left out, a
tenth of the images ten times each, and copies of the training images that the memorisation check knows. Prints a table
and, for each harm, whether the measures that should see it moved, and by how many times what clean sets differ by.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from evolvent.cli.remembering import Remembered
from evolvent.data.readers import from_file
from evolvent.metrics import EffLite0, judge_images
from evolvent.metrics.gauges import IMAGE_MEASURES
from evolvent.metrics.scores import Score, shuffled

MEASURES = (*IMAGE_MEASURES, "class-score")
NOISE, BLUR = (8, 16, 32), (0.5, 1.0, 2.0)
"""Standard deviations: in 255ths of the range, and in pixels."""
SEEN_BY = {
    "noise": ("frechet", "kernel", "recall", "coverage", "class-score"),
    "blur": ("frechet", "kernel", "recall", "class-score"),
    "a class dropped": ("frechet", "kernel"),
    "a tenth, ten times": ("frechet", "kernel", "recall", "coverage", "sliced-wasserstein"),
    "half memorised": ("memorisation-ratio", "memorised-share"),
}
"""Which measures must see which harm; noise and blur also the more the stronger."""


def noisy(pixels: Tensor, std: float) -> Tensor:
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    return (pixels + std * noise).round().clamp(0, 255).byte()


def blurred(pixels: Tensor, std: float) -> Tensor:
    reach = round(4 * std)
    line = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * std**2))
    line = (line / line.sum()).expand(3, 1, 1, -1)
    x = pad(pixels.float(), [reach] * 4, mode="reflect")
    return conv2d(conv2d(x, line, groups=3), line.mT, groups=3).round().clamp(0, 255).byte()


def harms(given: Tensor, labels: Tensor, learned: Tensor, num: int) -> dict[str, Tensor]:
    """`num` images of each kind, from images and labels that are neither held out nor among the `learned`."""
    clean = given[:num]
    sets = {"clean": clean, "clean, others": given[num : 2 * num]}
    sets |= {f"noise {std}": noisy(clean, std) for std in NOISE}
    sets |= {f"blur {std}": blurred(clean, std) for std in BLUR}
    sets["a class dropped"] = given[labels != 0][:num]
    sets["a tenth, ten times"] = clean[: num // 10].repeat(10, 1, 1, 1)
    sets["half memorised"] = torch.cat([clean[: num // 2], learned[: num - num // 2]])
    return sets


def moves(table: dict[str, dict[str, Score]], harm: str, measure: str) -> str:
    """By how many times the difference between clean sets, and whether more harm is seen the more."""
    clean, others = (table[name][measure] for name in ("clean", "clean, others"))
    usual = max(
        abs(clean.value - others.value), abs(clean.value - clean.floor), abs(others.value - clean.floor)
    )
    sign = 1 if clean.lower_is_better else -1
    steps = [
        sign * (scores[measure].value - clean.value)
        for name, scores in table.items()
        if name.startswith(harm)
    ]
    verdict = "seen" if steps == sorted(steps) and steps[-1] > 4 * usual else "NOT SEEN"
    return f"{measure}: {verdict}, " + ", ".join(f"{step / usual:.1f}" for step in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="an .npz with train_x, train_y and test_x")
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    num, begun = arguments.num, time.monotonic()
    torch.set_num_threads(1)
    train, held_out = from_file(arguments.data), from_file(arguments.data, split="test")
    pixels, labels = shuffled(train.pixels), shuffled(train.labels)
    learned, reference = pixels[:num], shuffled(held_out.pixels)[:num]
    sets = harms(pixels[num : 4 * num], labels[num : 4 * num], learned, num)
    detector, table = EffLite0(arguments.size), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in sets.items():
            scores = judge_images(
                samples, reference, learned, detector=detector, measures=MEASURES,
                remember=Remembered(Path(folder)),
            )  # fmt: skip
            table[name] = {score.measure: score for score in scores}
    names = list(table["clean"])
    print(
        f"{num} images against {num}, {detector.name} ({detector.resize}), {time.monotonic() - begun:.0f} s\n"
    )
    print("|", " | ".join(["", *names]), "|")
    print("|---" * (1 + len(names)), "|", sep="")
    for name, scores in table.items():
        print("|", " | ".join([name, *(f"{scores[measure].value:.4g}" for measure in names)]), "|")
    print(
        "|", " | ".join(["*floor*", *(f"*{table['clean'][measure].floor:.4g}*" for measure in names)]), "|\n"
    )
    for harm, measures in SEEN_BY.items():
        for measure in measures:
            print(f"{harm}: {moves(table, harm, measure)}")


if __name__ == "__main__":
    main()
