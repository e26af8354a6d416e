"""Augmentation of both sides: what T does to an image, who sees it, and how p follows the energy."""

import math

import pytest
import torch
from tiny import same
from torch import nn

from evolvent.augmentation import (
    AdaptiveAugmentation,
    Augmentation,
    augmentation,
    brightened,
    contrasted,
    cut,
    saturated,
    shifted,
)
from evolvent.conditional import Conditional
from evolvent.data import from_array
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, Cost, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.ggcn import GGCN
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.recipes.cifar10 import cifar10_ggcn
from evolvent.recipes.digits import digits, digits_adversarial
from evolvent.recipes.faces import faces64_ggcn
from evolvent.recipes.images import images as images_recipe
from evolvent.reference import Gaussian, Uniform
from evolvent.shapes import apart, carry
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer


def images(num=16, channels=3, size=16):
    return torch.rand(num, channels, size, size) * 1.8 - 0.9


def shares(num):
    return torch.rand(num, 1, 1, 1)


# What T does to an image


@pytest.mark.parametrize("channels", [1, 3])
def test_at_probability_zero_t_is_the_identity_to_the_bit(channels):
    x = images(channels=channels)
    assert torch.equal(Augmentation(0.0)(x, Noise()).view(torch.int32), x.view(torch.int32))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_and_second_derivatives_reach_x(channels):
    """Against finite differences in float64, of T and of a kinetic energy through it."""
    x = images(2, channels, 8).double().requires_grad_()
    transform = Augmentation(0.7)

    def at(x):
        torch.manual_seed(1)
        return transform(x, Noise()).sin()

    assert torch.autograd.gradcheck(at, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(at, x, fast_mode=True)


def test_each_image_has_a_transform_of_its_own():
    twice = images(1).expand(16, -1, -1, -1)
    assert len({tuple(image.flatten().tolist()) for image in Augmentation(1.0)(twice, Noise())}) == 16


def test_each_transform_takes_a_share_p_of_the_images():
    """Of grey images with two transforms (1 − p)² stay as they are; a shift by nothing is one of 25."""
    num, p = 4000, 0.3
    x = images(num, 1)
    kept = (Augmentation(p)(x, Noise()) == x).flatten(1).all(1).double().mean()
    expected = (1 - p) * (1 - p * 24 / 25)
    assert kept == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / num))  # 5 σ


def test_a_shift_moves_every_pixel_by_the_same_whole_number_up_to_an_eighth():
    x, seen = images(150, 1), set()
    for before, after in zip(x, shifted(x, shares(150), shares(150)), strict=True):
        moves = [
            (down, across)
            for down in range(-3, 4)
            for across in range(-3, 4)
            if torch.equal(before.roll((down, across), (1, 2))[:, 3:-3, 3:-3], after[:, 3:-3, 3:-3])
        ]
        assert len(moves) == 1
        seen |= set(moves)
    assert seen == {(down, across) for down in range(-2, 3) for across in range(-2, 3)}


def test_what_comes_in_at_the_border_is_the_image_in_a_mirror():
    row = torch.arange(16.0).expand(1, 1, 16, 16)
    right = shifted(row, torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.99))
    assert torch.equal(right[0, 0, 0, :4], torch.tensor([2.0, 1.0, 0.0, 1.0]))


def test_a_cut_is_one_grey_rectangle_within_a_square_of_half_the_size():
    x = images(300)
    after = cut(x, shares(300), shares(300))
    gone = after == 0
    for image in gone:
        rows, columns = image[0].any(1), image[0].any(0)
        assert 4 <= rows.sum() <= 8
        assert 4 <= columns.sum() <= 8
        assert torch.equal(image, (rows[:, None] & columns).expand_as(image))
    assert torch.equal(after[~gone], x[~gone])


def test_colours_change_what_they_are_called_after():
    x, one, two = images(), shares(16), shares(16)
    grey = x.mean(1, keepdim=True)
    assert torch.allclose((brightened(x, one, two) - x), (one - 0.5).expand_as(x), atol=1e-6)
    assert torch.allclose(saturated(x, one, two).mean(1, keepdim=True), grey, atol=1e-6)
    assert torch.allclose(saturated(x, torch.zeros_like(one), two), grey.expand_as(x), atol=1e-6)
    assert torch.allclose(contrasted(x, one, two).mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6)
    spread = contrasted(x, one, two).std((1, 2, 3)) / x.std((1, 2, 3))
    assert torch.allclose(spread, 0.5 + one.flatten(), atol=1e-5)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_shifts_at_the_greatest_adaptive_p_can_be_undone(size):
    """In a mirror a shift by ±k has the eigenvalues cos(π j k / (size − 1)): p times their mean stays above p − 1."""
    shift = torch.arange(-(size // 8), size // 8 + 1)
    wave = torch.cos(math.pi * torch.arange(size)[:, None] * shift / (size - 1)).mean(1)
    p = AdaptiveAugmentation.most
    assert (1 - p + p * torch.outer(wave, wave)).min() > 0.05


# Who sees it


class Spy(nn.Module):
    """A score that notes what it is asked about; images here are constant, so a cut shows."""

    def __init__(self):
        super().__init__()
        self.slope, self.seen = nn.Parameter(torch.tensor(-1.0)), []

    def forward(self, x):
        self.seen.append((x == 0).flatten(1).any(1))
        return self.slope * x.flatten(1).mean(1)


class Constant(nn.Module):
    """Births, one grey value above that of the data."""

    num_hidden = 2

    def __init__(self, value=0.9):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, hidden):
        return self.value.expand(len(hidden), 1, 8, 8)


def spied(transform, flow=None, **training):
    return GGCN(
        Energy(Spy(), Uniform((1, 8, 8))),
        Constant(),
        flow=flow or KL(),
        mapping_loss=Adversarial(logistic),
        training=training,
        sampling=training,
        augmentation=transform,
    )


DATA = torch.full((16, 1, 8, 8), 0.5)


def test_data_particles_and_births_are_augmented_in_the_losses_and_nothing_is_elsewhere():
    def seen_by(transform):
        learner = spied(transform, JKO(tau=0.1, ends="data"), image=Langevin(1e-6, 3, temperature=0.0))
        learner(DATA)
        return learner.energy.net.seen

    plain, augmented = seen_by(None), seen_by(Augmentation(1.0))
    # Once more: the energy that is dissipated is that of the particles as they are.
    assert sorted([16, *map(len, plain)]) == sorted(map(len, augmented))
    assert not any(cuts.any() for cuts in plain)
    # The flow and its kinetic energy see data and particles at once, the mapping's loss births.
    sizes = [len(cuts) for cuts in augmented if cuts.all()]
    assert sizes == [32, 32, 16]
    assert all(cuts.all() or not cuts.any() for cuts in augmented)


def test_the_gap_between_two_sides_of_one_law_stays_zero_in_the_mean():
    """Were one side augmented and the other not, the brightness of the cut would open a gap of 0.08."""
    learner = spied(Augmentation(0.5))
    energy, noise = learner.energy, Noise()
    both = learner.augmentation.over(energy, noise).potential(DATA.repeat(400, 1, 1, 1)).detach()
    data, particles = both.chunk(2)
    error = both.std() * math.sqrt(2 / len(data))
    assert abs(particles.mean() - data.mean()) < 5 * error < 0.02
    assert abs(both.mean() - energy.potential(DATA)[0]) > 0.04


def small(transform, seed=0):
    torch.manual_seed(seed)
    learner = GGCN(
        Energy(PlainScore(8, width=4), Uniform((1, 8, 8))),
        PlainMapping(8, num_hidden=4, width=4),
        flow=JKO(contrast=logistic, tau=0.1, ends="data", share=0.5),
        mapping_loss=Adversarial(logistic),
        training={"image": Langevin(0.01, 2, temperature=0.01)},
        sampling={},
        augmentation=transform,
    )
    data = from_array(torch.randint(0, 256, (64, 8, 8), dtype=torch.uint8).numpy())
    adam = {"energy": Adam(1e-2), "mapping": Adam(1e-3)}
    return Trainer(learner, data, Schedule(12, 16, adam))


def weights_after(trainer, num_steps):
    for _ in range(num_steps):
        trainer.advance()
    return [p.detach() for p in trainer.learner.parameters()]


def aiming(target, num_images=64):
    transform = AdaptiveAugmentation(num_images)
    transform.target = target
    return transform


@pytest.mark.parametrize("transform", [Augmentation(0.0), aiming(1.0)])
def test_a_run_at_probability_zero_is_the_plain_run_to_the_bit(transform):
    assert same(weights_after(small(transform), 6), weights_after(small(None), 6))


def test_a_recipe_without_augmentation_keeps_nothing_of_it():
    assert digits(width=4).learner.augmentation is None
    assert not [name for name in digits(width=4).learner.state_dict() if "augmentation" in name]
    assert float(digits_adversarial(width=4, augment=0.25).learner.augmentation.probability) == 0.25


# How p follows the energy


def told(separation):
    return Cost(torch.zeros(()), torch.zeros(1), torch.tensor([float(separation)]), torch.zeros(()))


def test_p_rises_to_its_most_under_a_perfect_energy_and_falls_to_zero_under_a_blind_one():
    transform, seen = AdaptiveAugmentation(num_images=1600), []
    for separation in [1.0] * 90 + [0.0] * 90:
        seen.append(float(transform.follow(told(separation), 16)["augmentation"]))
    assert min(seen) == 0
    assert max(seen) == seen[89] == pytest.approx(0.7)
    assert seen[-1] == 0
    assert seen[40] - seen[20] == pytest.approx(20 * 16 / 1600, abs=1e-6)  # 1,600 images from 0 to 1


def test_the_separation_is_that_of_the_pairs():
    """Births 0.9 against data 0.5 under Φ = mean x: every particle lies above its datum, until the slope turns."""
    learner = spied(AdaptiveAugmentation(num_images=160))
    for _ in range(20):
        stats = learner(DATA).stats
    assert stats["separation"] == pytest.approx(1, abs=0.2)  # a smoothed share of pairs; cuts exchange a few
    assert stats["augmentation"] == pytest.approx(0.7)
    learner.energy.net.slope.data.neg_()
    for _ in range(40):
        stats = learner(DATA).stats
    assert stats["augmentation"] == 0
    assert stats["separation"] < 0


def test_stopped_and_resumed_it_goes_on_bitwise():
    def make():
        return small(aiming(0.1))

    straight, first, second = make(), make(), make()
    weights_after(straight, 10)
    weights_after(first, 5)
    second.load_state_dict(first.state_dict())
    weights_after(second, 5)
    assert float(straight.learner.augmentation.probability) > 0
    assert same(straight.state_dict(), second.state_dict())


@pytest.mark.parametrize("recipe", [digits, digits_adversarial, images_recipe, cifar10_ggcn, faces64_ggcn])
def test_p_can_go_all_the_way_in_a_quarter_of_a_run_however_short(recipe):
    data = {"data": ""} if recipe is images_recipe else {}
    experiment = recipe(num_steps=100, batch_size=16, width=4, num_hidden=4, augment="adaptive", **data)
    transform = experiment.learner.augmentation
    transform.separation.fill_(1)
    for _ in range(25):
        p = transform.follow(told(1.0), 16)["augmentation"]
    assert p == pytest.approx(AdaptiveAugmentation.most)


def test_in_a_long_run_p_takes_its_time():
    assert augmentation("adaptive", 10**9).num_images == 500_000
    assert augmentation("adaptive", 3).num_images == 1


# What is refused


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_a_probability_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match="probability from 0 to 1, not"):
        augmentation(p, 100)


def test_an_adaptive_augmentation_that_cannot_move_is_refused():
    with pytest.raises(ValueError, match="at least 1 image to move in, not 0"):
        AdaptiveAugmentation(0)


def test_labels_are_none_of_its_business():
    """Labelled images are moved as the plain ones are, and keep their class."""
    x, labels, seen = images(), torch.arange(16) % 3, []
    energy = Conditional(nn.Module(), Uniform((3, 16, 16)))
    energy.potential = lambda x: seen.append(x) or x.flatten(1).sum(1)
    torch.manual_seed(0)
    Augmentation(0.9).over(energy, Noise()).potential(carry(x, labels))
    torch.manual_seed(0)
    points, kept = apart(seen[0])
    assert torch.equal(points, Augmentation(0.9)(x, Noise())) and torch.equal(kept, labels)
    assert not torch.equal(points, x)


def test_the_whole_energy_of_labelled_points_is_that_of_the_energy_below():
    """At p = 0; the reference weighs no label."""
    energy = Conditional(nn.Module(), Gaussian((3, 16, 16)))
    energy.potential = lambda x: x.flatten(1).sum(1)
    x = carry(images(), torch.arange(16) % 3)
    assert torch.equal(Augmentation(0.0).over(energy, Noise())(x), energy(x))
