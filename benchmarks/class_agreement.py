"""Do samples show the class that was asked for? Of digits drawn by a model with labels:

    evolvent train digits --labels --out runs/classes
    evolvent sample runs/classes --num 1000 --seed 1 --out samples.npz
    python benchmarks/class_agreement.py samples.npz

A sample agrees when most of its 5 nearest training digits, by Euclidean distance over pixels, are of its class. The
floor is the same of the held-out digits: what the vote itself gets right of real ones. Samples that are more alike than
real digits can exceed it.
"""

import sys

import numpy as np
import torch
from torch import Tensor

from evolvent.recipes.digits import NUM_CLASSES, held_out_digits, train_digits

NUM_NEAREST = 5


def agrees(pixels_uint8: Tensor, labels: Tensor) -> Tensor:
    """Whether most of the nearest training digits are of the class, for each image [n, 1, 32, 32]."""
    train = train_digits()
    distances = torch.cdist(pixels_uint8.flatten(1).float(), train.pixels.flatten(1).float())
    nearest = train.labels[distances.topk(NUM_NEAREST, largest=False).indices]
    return nearest.mode(1).values == labels


def main() -> None:
    with np.load(sys.argv[1]) as archive:
        pixels, labels = (torch.from_numpy(archive[name]) for name in ("images", "labels"))
    ours, real = agrees(pixels.permute(0, 3, 1, 2), labels), held_out_digits()
    usual = agrees(real.pixels, real.labels)
    by_class = " ".join(f"{float(ours[labels == k].float().mean()):.2f}" for k in range(NUM_CLASSES))
    print(
        f"class agreement {float(ours.float().mean()):.3f}, real {float(usual.float().mean()):.3f}; {by_class}"
    )


if __name__ == "__main__":
    main()
