"""Faces at 64 px, for one GPU. `data` is a folder, a ZIP, an .npz or a named set of aligned faces.

`size` 16 or 32 shrinks them, which with narrow nets over patches runs on a CPU.
"""

from evolvent.augmentation import Augment, augmentation
from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.metrics.scores import judge_images
from evolvent.recipes.card import recipe
from evolvent.recipes.chains import noisy_descent
from evolvent.recipes.cifar10 import NOT_RUN, ggcn, in_hidden_space, mapped_flow, nets_of, schedule
from evolvent.training.trainer import Adam, Experiment

SIZE = 64


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
    width: int = 64,
    mapping_width: int = 128,
    num_hidden: int = 128,
    depth: int = 2,
    patch: int = 1,
    tau: float = 0.1,
    beta: float = 3.0,
    selection_steps: int = 30,
    hidden_steps: int = 25,
    hidden_step_size: float = 0.02,
    lr: float = 4e-4,
    mapping_lr: float = 1.5e-4,
    chain_steps: int = 2,
    chain_step_size: float = 0.02,
    noise: float = 0.001,
    augment: Augment = 0.0,
    captured: bool = True,
) -> Experiment:
    """`cifar10-ggcn` at 64 px; a tenth of the faces is held out.

    Args:
        depth: residual blocks of the energy at every resolution.
        patch: side of the squares of pixels that the energy takes as one: 2 costs it a quarter, for a CPU.
        beta: weight of the energy in the hidden chain, at sampling.
        selection_steps: births that a code may go over to before that chain, as the energy says; 0 for none.
        hidden_steps: of the chain.
        hidden_step_size: of the chain.
        augment: shift, cut and recolour what the energy compares, for few images: a probability, or "adaptive".
    """
    image = noisy_descent(chain_step_size, chain_steps, noise)
    nets = nets_of(size, width, mapping_width, num_hidden, depth=depth, patch=patch, num_classes=None)
    learner = ggcn(
        *nets,
        flow=mapped_flow(tau),
        beta=beta,
        hidden=in_hidden_space(selection_steps, hidden_steps, hidden_step_size),
        training={"image": image},
        augmentation=augmentation(augment, num_steps * batch_size),
    )

    def part(which: int) -> Images | Stream:
        every = load(data, size=size, channels=3, flip=True)
        return every.split(len(every) // 10)[which]

    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    clocks = schedule(num_steps, batch_size, adam, captured=captured)
    return Experiment(learner, lambda: part(0), clocks, held_out=lambda: part(1), judge=judge_images)
