"""Faces at 64 px, for one GPU. `data` is a folder, a ZIP, an .npz or a named set of aligned faces.

`size` 16 or 32 shrinks them, which with narrow nets over patches runs on a CPU.
"""

from typing import Any

from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.recipes.card import NOT_RUN, recipe
from evolvent.recipes.chains import noisy_descent
from evolvent.recipes.mapped import mapped
from evolvent.training.schedule import Experiment

SIZE = 64


def of_faces(data: str, size: int, split: str) -> Images | Stream:
    """A tenth of the faces is held out; all are mirrored at random."""
    every = load(data, size=size, split="train", channels=3, flip=True)
    return every.split(len(every) // 10)[split == "test"]


@recipe(
    shows="GGCN on aligned faces of 64 px: hidden birth, evolution in image space",
    minutes=30,
    hardware="1 H100",
    score=NOT_RUN,
)
def faces64_ggcn(
    data: str = "celeba",
    size: int = SIZE,
    num_steps: int = 15000,
    batch_size: int = 128,
    tau: float = 0.1,
    beta: float = 3.0,
    hidden_step_size: float = 0.02,
    chain_steps: int = 2,
    chain_step_size: float = 0.02,
    noise: float = 0.001,
    **options: Any,
) -> Experiment:
    """`cifar10-ggcn` at 64 px; a tenth of the faces is held out.

    Args:
        tau: weight of the kinetic energy: a smaller one lets the energy grow sharper, and less stable.
        beta: weight of the energy in the hidden chain, at sampling.
        hidden_step_size: of that chain.
        chain_steps: of the evolution in image space, in training and at sampling.
        chain_step_size: of it.
        noise: of it, its standard deviation a step.
    """
    return mapped(
        data=data,
        size=size,
        num_steps=num_steps,
        batch_size=batch_size,
        tau=tau,
        beta=beta,
        hidden_step_size=hidden_step_size,
        training={"image": noisy_descent(chain_step_size, chain_steps, noise)},
        part=of_faces,
        channels=3,
        **options,
    )
