"""CIFAR-10 at 32 px, for one GPU. `data` is an .npz of uint8 images with train_x and test_x, or a folder."""

from evolvent.data.readers import load
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.ggcn import GGCN
from evolvent.metrics.scores import judge_images
from evolvent.nets.mapping import ResidualMapping
from evolvent.nets.score import ResidualScore
from evolvent.recipes.card import recipe
from evolvent.reference import Uniform
from evolvent.trainer import Adam, Experiment, Schedule


@recipe(
    shows="amortised GGCN on CIFAR-10: no chain in training",
    minutes=15,
    hardware="1 H100",
    score="not yet run to its end",
)
def cifar10_amortized(
    data: str = "cifar10.npz",
    num_steps: int = 20000,
    batch_size: int = 256,
    width: int = 64,
    mapping_width: int = 128,
    widest: int = 512,
    depth: int = 2,
    mapping_depth: int = 1,
    num_hidden: int = 128,
    tau: float = 0.04,
    share: float = 0.25,
    lr: float = 4e-4,
    mapping_lr: float = 1.5e-4,
    averaging: float = 0.9995,
    decay_from: float = 0.5,
    captured: bool = True,
) -> Experiment:
    """Adversarial amortisation in bfloat16, the forward and backward passes captured as one CUDA graph."""
    learner = GGCN(
        Energy(ResidualScore(32, 3, width=width, growth=2, widest=widest, depth=depth), Uniform((3, 32, 32))),
        ResidualMapping(
            32, 3, num_hidden=num_hidden, width=mapping_width, growth=2, widest=widest, depth=mapping_depth
        ),
        flow=JKO(contrast=logistic, tau=tau, ends="data", share=share),
        mapping_loss=Adversarial(logistic),
        training={},
        sampling={"hidden": Langevin(0.05, 100)},
        beta=2.0,
    )
    schedule = Schedule(
        num_steps,
        batch_size,
        {"energy": Adam(lr), "mapping": Adam(mapping_lr)},
        averaging=averaging,
        decay_from=decay_from,
        precision="bfloat16",
        captured=captured,
        sampling_batch_size=500,
        log_every=100,
        picture_every=2000,
        checkpoint_every=5000,
    )
    return Experiment(
        learner,
        lambda: load(data, size=32, split="train", flip=True),
        schedule,
        held_out=lambda: load(data, size=32, split="test"),
        judge=judge_images,
    )
