"""Your own images: a folder or a ZIP of pictures, uint8 arrays in an .npz or .npy, or a named set."""

from functools import partial

from evolvent.augmentation import Augment, augmentation
from evolvent.data.images import Images
from evolvent.data.readers import load
from evolvent.data.streams import Stream
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.machine import Precision
from evolvent.metrics.scores import MIN_IMAGES, judge_images
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.recipes.card import recipe
from evolvent.recipes.labelled import USUAL_CLASSES, known_classes
from evolvent.recipes.mapped import adversarial_ggcn, paired_flow
from evolvent.reference import Uniform
from evolvent.training.trainer import Adam, Experiment, Schedule


@recipe(shows="amortised GGCN on your own folder of pictures or array", minutes=10)
def images(
    data: str,
    size: int = 32,
    channels: int = 3,
    flip: bool = False,
    num_steps: int = 5000,
    batch_size: int = 64,
    width: int = 32,
    growth: int = 2,
    num_hidden: int = 64,
    tau: float = 0.4,
    lr: float = 1e-3,
    mapping_lr: float = 5e-4,
    augment: Augment = 0.0,
    labels: bool = False,
    num_classes: int = USUAL_CLASSES,
    precision: Precision = "float32",
) -> Experiment:
    """The digits' method on what `data` names; a tenth of the images is held out for `evolvent evaluate`.

    Args:
        data: a folder or ZIP of pictures, an .npz or .npy of uint8 [N, H, W(, C)], or a name such as celeba.
        size: of the square images in px: 8, 16, 32, 64 or 128.
        channels: 1 for grey, 3 for RGB.
        flip: mirror half of the images left to right.
        augment: shift, cut and recolour what the energy compares, for few images: a probability, or "adaptive".
        labels: learn an energy and births of every class; `evolvent sample RUN --label 3` draws one.
        num_classes: in the labels of `data`.
        precision: bfloat16 is faster on a GPU, a CPU with AMX and AMD's with AVX512-BF16; other CPUs run float32.
    """
    learner = adversarial_ggcn(
        Energy(PlainScore(size, channels, width=width, growth=growth), Uniform((channels, size, size))),
        partial(PlainMapping, size, channels, width=width, growth=growth),
        num_hidden=num_hidden,
        num_classes=known_classes(labels, num_classes),
        flow=paired_flow(tau),
        training={},
        sampling={"hidden": Langevin(0.05, 50)},
        augmentation=augmentation(augment, num_steps * batch_size),
    )

    def part(which: int) -> Images | Stream:
        every = load(data, size, channels=channels, flip=flip)
        every = every.with_labels(num_classes) if labels else every
        if len(every) < 2 * MIN_IMAGES:
            raise ValueError(
                f"{data} has {len(every)} images, and at least {2 * MIN_IMAGES} are needed: {MIN_IMAGES} to learn from"
                f" and {MIN_IMAGES} to judge by"
            )
        return every.split(max(MIN_IMAGES, len(every) // 10))[which]

    adam = {"energy": Adam(lr), "mapping": Adam(mapping_lr)}
    schedule = Schedule(num_steps, batch_size, adam, precision=precision)
    return Experiment(learner, lambda: part(0), schedule, held_out=lambda: part(1), judge=judge_images)
