"""recipes/faces.py at a rehearsal's width."""

import numpy as np
import torch

from evolvent.recipes.faces import faces64_ggcn
from evolvent.training.trainer import Trainer


def test_it_learns_from_nine_tenths_of_what_it_is_given(tmp_path):
    np.save(tmp_path / "faces.npy", np.random.RandomState(0).randint(0, 256, (20, 64, 64, 3), np.uint8))
    small = {"num_steps": 2, "batch_size": 2, "width": 4, "mapping_width": 4, "num_hidden": 4}
    torch.manual_seed(0)
    experiment = faces64_ggcn(data=f"{tmp_path}/faces.npy", **small)
    trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule)
    while not trainer.finished:
        update = trainer.advance()
    assert update.particles.shape == (2, 3, 64, 64) and update.particles.isfinite().all()
    assert (len(trainer.data), len(experiment.held_out())) == (18, 2)


def test_a_cpu_takes_them_smaller_and_in_patches(tmp_path):
    np.save(tmp_path / "faces.npy", np.zeros((20, 64, 64, 3), np.uint8))
    small = {"size": 32, "width": 4, "mapping_width": 4, "num_hidden": 4, "depth": 1, "patch": 2}
    experiment = faces64_ggcn(data=f"{tmp_path}/faces.npy", **small)
    assert experiment.learner.energy.net.stem.in_channels == 3 * 2**2
    assert len(experiment.learner.energy.net.stages) == 3  # 16, 8, 4 px
    assert experiment.data().event_shape == (3, 32, 32)
