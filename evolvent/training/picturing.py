"""The pictures of a run: its particles over time, and at the end what its averaged learner draws."""

from pathlib import Path

from torch import nn

from evolvent import pictures
from evolvent.sampling import classes_of, draw, num_at_once, one_energy
from evolvent.shapes import Points, shows
from evolvent.training.trainer import Trainer

MAX_TILES = 64
"""How many images a picture shows at most."""
NUM_POINTS = 1024
"""How many points of the plane the last picture shows."""


def show_samples(trainer: Trainer, path: Path) -> None:
    """What the averaged learner draws under the run's seed."""
    shape, device = trainer.data.event_shape, trainer.device
    at_once = num_at_once(trainer.schedule.sampling_batch_size, shape, device)
    num = min(MAX_TILES, at_once) if len(shape) == 3 else NUM_POINTS
    precision, seed = trainer.schedule.precision, trainer.seed
    points = draw(trainer.averaged, num, seed=seed, batch_size=at_once, device=device, precision=precision)
    num_classes = len(classes_of(trainer.averaged))
    save_picture(points, trainer, trainer.averaged, path, num_classes=num_classes)


def save_picture(
    points: Points, trainer: Trainer, learner: nn.Module, path: Path, *, num_classes: int = 0
) -> None:
    """Points of other shapes than images and the plane have no picture, and a run goes on without."""
    if shows(points.shape[1:]):
        pictures.save(points[:MAX_TILES], path, num_classes=num_classes)
    elif points.shape[1:] == (2,):
        # The draw disturbs nothing: the trainer reseeds the generator before every step.
        data = trainer.data.draw(len(points))[:, :2]  # without labels
        pictures.save(points, path, energy=one_energy(learner), data=data)
