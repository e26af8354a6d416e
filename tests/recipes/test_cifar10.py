"""recipes/cifar10.py at a rehearsal's size: every model learns on a CPU, on images as small as it is told."""

import numpy as np
import pytest
import torch

from evolvent.recipes import cifar10
from evolvent.recipes.faces import faces64_ggcn
from evolvent.training.trainer import Trainer

SMALL = {"size": 8, "num_steps": 2, "batch_size": 4, "width": 4}
MAPPED = {"mapping_width": 4, "num_hidden": 4}
CHAINS = {"num_slots": 8, "chain_steps": 2}
LABELS = {"labels": True, "num_classes": 2}
RECIPES = [
    (cifar10.cifar10_amortized, MAPPED),
    (cifar10.cifar10_amortized, MAPPED | LABELS),
    (cifar10.cifar10_ggcn, MAPPED | {"tau_end": 0.01}),
    (cifar10.cifar10_gcn, CHAINS),
    (cifar10.cifar10_gcn, CHAINS | LABELS),
    (cifar10.cifar10_wgcn, CHAINS | LABELS),
    (cifar10.cifar10_wgcn, CHAINS),
    (cifar10.cifar10_multigrid, MAPPED),
]


@pytest.mark.parametrize("recipe", [cifar10.cifar10_amortized, cifar10.cifar10_ggcn, faces64_ggcn])
def test_selection_is_a_stage_of_sampling_where_it_has_steps_and_never_of_training(recipe):
    small = {"size": 8, "width": 4} | MAPPED
    without, with_steps = (recipe(**small, selection_steps=steps).learner for steps in (0, 3))
    assert with_steps.stages["selection"].num_steps == 3
    assert with_steps.stages.keys() - without.stages.keys() == {"selection"}
    assert "selection" not in with_steps.evolution_in_training


def named(part):
    """The recipe's name, or those of its options."""
    return ",".join(part) if isinstance(part, dict) else part.__name__


@pytest.mark.parametrize(("recipe", "options"), RECIPES, ids=named)
def test_a_recipe_learns_at_the_size_that_it_is_told(recipe, options, tmp_path):
    data = tmp_path / "data.npz"
    pixels = np.random.RandomState(0).randint(0, 256, (6, 32, 32, 3), np.uint8)
    sets = {"train_x": pixels, "test_x": pixels[:2, ..., 0]}  # grey is a colour, too
    np.savez(data, **sets, train_y=np.arange(6) % 2, test_y=np.arange(2))
    torch.manual_seed(0)
    experiment = recipe(data=str(data), **SMALL, **options)
    trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule)
    while not trainer.finished:
        update = trainer.advance()
    assert update.particles.shape == (4, 3, 8, 8) == (4, *experiment.held_out().event_shape)
    assert update.particles.isfinite().all()
