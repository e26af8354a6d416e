"""The energies of points that are given."""

import pytest
import torch
from torch import nn

from evolvent.conditional import Conditional
from evolvent.data import to_particles
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.learners.conditional import ConditionalGCN
from evolvent.learners.gcn import GCN
from evolvent.likelihood import energies
from evolvent.nets.classes import Projection
from evolvent.nets.score import PlainScore
from evolvent.particles import Fresh, PersistentByClass
from evolvent.reference import Gaussian

SHAPE = (1, 8, 8)


def learner():
    torch.manual_seed(0)
    reference = Gaussian(SHAPE, std=0.5)
    return GCN(Energy(PlainScore(8, width=8), reference), Fresh(reference), Langevin(0.1, 2))


def learner_of_classes():
    torch.manual_seed(0)
    net, reference = Projection(PlainScore(8, width=8), 3), Gaussian(SHAPE)
    nn.init.normal_(net.directions)
    return ConditionalGCN(Conditional(net, reference), PersistentByClass(reference, 3, 3), Langevin(0.1, 2))


def pixels(num, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num, *SHAPE), generator=generator, dtype=torch.uint8)


def test_they_are_those_of_the_learner_at_the_centres_of_the_bins():
    """Φ = −f, and U is higher by −log q of N(0, σ² I), which torch knows as well."""
    model, images = learner(), pixels(10)
    x = to_particles(images)
    found = energies(model, images, batch_size=4)
    by_hand = model.energy.potential(x).detach().double()
    of_q = torch.distributions.Normal(0.0, 0.5).log_prob(x.double()).flatten(1).sum(1)
    assert torch.allclose(found.potential, by_hand, rtol=1e-5)
    assert torch.allclose(found.energy, by_hand - of_q, rtol=1e-5)
    assert torch.equal(energies(model, x, batch_size=4).energy, found.energy)


def test_an_energy_depends_on_its_own_image_alone():
    model, images = learner(), pixels(10)
    every = energies(model, images, batch_size=4).energy
    assert torch.equal(energies(model, images[:7], batch_size=4).energy, every[:7])
    others = torch.cat([images[:4], pixels(6, seed=2)])
    assert torch.equal(energies(model, others, batch_size=4).energy[:4], every[:4])


def test_dropout_and_batches_have_no_part_in_it_and_training_goes_on_as_before():
    model = learner()
    model.energy.net = nn.Sequential(nn.Dropout(0.5), model.energy.net)
    model.train()
    first, again = (energies(model, pixels(5)).energy for _ in range(2))
    assert torch.equal(first, again) and model.energy.net[0].training


def test_a_label_picks_its_class_and_none_is_the_sum_over_all():
    model, images = learner_of_classes(), pixels(9)
    x, labels = to_particles(images), torch.arange(9) % 3
    at_labels = energies(model, images, labels=labels, batch_size=4).potential
    assert torch.allclose(at_labels, model.energy.given(labels).potential(x).detach().double(), rtol=1e-5)
    each = torch.stack([energies(model, images, labels=torch.full((9,), k)).potential for k in range(3)])
    free = energies(model, images, batch_size=4).potential
    assert torch.allclose(free, -(-each).exp().sum(0).log(), rtol=1e-5)


class Grids(nn.Module):
    """A learner of several energies."""


def broken():
    model = learner()
    model.energy.net.read_out.weight.data.fill_(float("nan"))
    return model


@pytest.mark.parametrize(
    ("model", "x", "labels", "says"),
    [
        (
            learner,
            pixels(2)[:, :, 1:],
            None,
            r"the model's points are \[1, 8, 8\], and these are \[1, 7, 8\]",
        ),
        (learner, pixels(0), None, "no points have no energies"),
        (learner, pixels(2), torch.tensor([0, 1]), "trained without labels"),
        (learner_of_classes, pixels(2), torch.tensor([0, 3]), "there is no class 3: this model knows 0 to 2"),
        (learner_of_classes, pixels(2), torch.tensor([0]), "2 points have 1 labels"),
        (Grids, pixels(2), None, "Grids has several energies"),
        (broken, pixels(2), None, "the energies of 2 of 2 points are NaN or infinite: the run has diverged"),
    ],
)
def test_what_has_no_energy_is_refused(model, x, labels, says):
    with pytest.raises(ValueError, match=says):
        energies(model(), x, labels=labels)
