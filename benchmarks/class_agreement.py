"""Do samples show the class that was asked for? Of what a model with labels has drawn into an .npz:

    evolvent train digits --labels --out runs/classes
    evolvent sample runs/classes --num 1000 --seed 1 --out samples.npz
    python benchmarks/class_agreement.py samples.npz                        digits, over pixels
    python benchmarks/class_agreement.py samples.npz --data cifar10.npz     over EfficientNet-Lite0's features

A sample agrees when most of its 5 nearest training images, by Euclidean distance, are of its class. The floor is the
same of held-out images: what the neighbours say of real ones. Samples more alike than real images can exceed it.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from evolvent.data import load
from evolvent.data.images import Images
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import extract
from evolvent.metrics.memory import nearest
from evolvent.recipes.digits import of_digits

NUM_NEAREST = 5


def over_pixels(pixels_uint8: Tensor) -> Tensor:
    return pixels_uint8.flatten(1).float()


def over_features(pixels_uint8: Tensor) -> Tensor:
    return extract(EffLite0(), pixels_uint8)


def some(images: Images, num: int) -> Images:
    """`num` of them at random, or all."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:num]
    return Images(images.pixels[order], images.labels[order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="an .npz with images and labels")
    parser.add_argument("--data", help="that the model learned from, with labels (default: the digits)")
    parser.add_argument("--num", type=int, default=5000, help="training images, at most; held out a fifth")
    arguments = parser.parse_args()
    parts = (
        [load(arguments.data, split=split) for split in ("train", "test")]
        if arguments.data
        else [of_digits(split) for split in ("train", "test")]
    )
    train, held_out = some(parts[0], arguments.num), some(parts[1], arguments.num // 5)
    see = over_features if arguments.data else over_pixels
    with np.load(arguments.samples) as archive:
        images, labels = (torch.from_numpy(archive[name]) for name in ("images", "labels"))
    known = see(train.pixels)

    def agrees(pixels_uint8: Tensor, classes: Tensor) -> Tensor:
        rows = nearest(see(pixels_uint8), known, k=NUM_NEAREST)
        return ((train.labels[rows] == classes[:, None]).sum(1) > NUM_NEAREST // 2).float()

    ours = agrees(images.permute(0, 3, 1, 2), labels)
    usual = agrees(held_out.pixels, held_out.labels)
    by_class = " ".join(f"{float(ours[labels == k].mean()):.2f}" for k in labels.unique())
    print(f"class agreement {float(ours.mean()):.3f}, real {float(usual.mean()):.3f}; {by_class}")


if __name__ == "__main__":
    main()
