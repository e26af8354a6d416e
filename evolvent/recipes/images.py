"""Your own images: a folder or a ZIP of pictures, uint8 arrays in an .npz or .npy, or a named set."""

from functools import partial
from typing import Any

from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.metrics.scores import MIN_IMAGES
from evolvent.recipes.card import recipe
from evolvent.recipes.mapped import mapped_on_cpu
from evolvent.training.schedule import Experiment

WORKED = 16
"""px on a side where the energy begins, over patches of larger images."""


def of_own(data: str, size: int, split: str, *, channels: int, flip: bool) -> Images | Stream:
    """A tenth of the images is held out."""
    every = load(data, size, channels=channels, flip=flip)
    if len(every) < 2 * MIN_IMAGES:
        raise ValueError(
            f"{data} has {len(every)} images, and at least {2 * MIN_IMAGES} are needed: {MIN_IMAGES} to learn from"
            f" and {MIN_IMAGES} to judge by"
        )
    return every.split(max(MIN_IMAGES, len(every) // 10))[split == "test"]


@recipe(shows="amortised GGCN on your own folder of pictures or array", minutes=30, hardware="1 CPU core")
def images(
    data: str,
    size: int = 32,
    channels: int = 3,
    flip: bool = False,
    num_steps: int = 5000,
    patch: int | None = None,
    averaging: float = 0.999,
    picture_every: int = 250,
    checkpoint_every: int = 500,
    captured: bool = False,
    **options: Any,
) -> Experiment:
    """`cifar10` on what `data` names; a tenth of the images is held out for `evolvent evaluate`.

    Args:
        data: a folder or ZIP of pictures, an .npz or .npy of uint8 [N, H, W(, C)], or a name such as celeba.
        size: of the square images in px: 8, 16, 32, 64 or 128.
        channels: 1 for grey, 3 for RGB.
        flip: mirror half of the images left to right.
        patch: side of the squares of pixels that the energy takes as one (default: such that 16 px are left).
        averaging: decay of the average of the weights, a step: 0.9995 goes back some 2,000 steps.
        picture_every: steps from one picture of particles to the next.
        checkpoint_every: steps from one checkpoint to the next, which are lost when the process is killed.
        captured: on a GPU, record a step once as a CUDA graph and replay it; false for data that stream.
    """
    return mapped_on_cpu(
        data=data,
        size=size,
        num_steps=num_steps,
        patch=max(1, size // WORKED) if patch is None else patch,
        averaging=averaging,
        picture_every=picture_every,
        checkpoint_every=checkpoint_every,
        captured=captured,
        part=partial(of_own, channels=channels, flip=flip),
        channels=channels,
        **options,
    )
