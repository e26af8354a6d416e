import pytest
import torch

from evolvent.energy import Energy
from evolvent.flows import JKO, logistic
from evolvent.learners.amortized import Adversarial
from evolvent.learners.ggcn import GGCN
from evolvent.nets.mapping import PlainMapping, ResidualMapping, Upsampling
from evolvent.nets.score import PlainScore, ResidualScore, TextureScore
from evolvent.reference import Uniform
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

SCORES, MAPPINGS = [PlainScore, ResidualScore], [PlainMapping, ResidualMapping]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", [4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_score_is_awake_at_birth(score, size, channels):
    """The force on white noise of unit variance neither vanishes nor explodes, at any size. Asleep is 0.003, the
    norm under PyTorch's own initial law, from which learning was seen not to wake up."""
    torch.manual_seed(0)
    energy = Energy(score(size, channels, width=8), Uniform((channels, size, size)))
    force = energy.force(torch.randn(4, channels, size, size)).flatten(1).norm(dim=1)
    assert 0.02 < force.mean() < 50


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("size", [4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_mapping_makes_images_that_differ(mapping, size, channels):
    torch.manual_seed(0)
    images = mapping(size, channels, num_hidden=6, width=8)(torch.randn(4, 6))
    assert images.shape == (4, channels, size, size)
    assert images.abs().max() <= 1
    assert images.std(0).mean() > 0.1


@pytest.mark.parametrize("score", SCORES)
def test_no_point_of_a_batch_sees_another(score):
    x = torch.randn(5, 1, 16, 16)
    net = score(16, width=8)
    assert torch.allclose(net(x)[2:3], net(x[2:3]), atol=1e-5)


def test_a_texture_score_counts_patterns_and_not_places():
    """On a constant image every position has the same features, so four times the positions is four times f."""
    torch.manual_seed(0)
    net = TextureScore(width=8)
    small, large = net(torch.full((1, 1, 16, 16), 0.3)), net(torch.full((1, 1, 32, 32), 0.3))
    assert torch.allclose(large, 4 * small, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_texture_score_is_awake_at_every_pixel(channels):
    """At temperature 1 a pixel of deviation 0.4 is held by forces of order 1/0.4; none on the border lacks it."""
    torch.manual_seed(0)
    energy = Energy(TextureScore(channels), Uniform((channels, 32, 32)))
    force = energy.force(0.4 * torch.randn(16, channels, 32, 32)).square().mean((0, 1)).sqrt()
    assert 1 < force.mean() < 100
    assert force.min() > 0.2 * force.mean()


def test_widths_grow_and_shrink_in_mirror_image():
    score = ResidualScore(32, 3, width=8, growth=2, widest=16)
    mapping = ResidualMapping(32, 3, num_hidden=4, width=8, growth=2, widest=16)
    down = [stage[0].first.weight.shape[0] for stage in score.stages]
    up = [stage[0].first.weight.shape[0] for stage in mapping.stages]
    assert down == up[::-1] == [8, 16, 16, 16]


def test_an_upsampling_starts_from_the_image_below():
    """With its residual silenced it is the coarse image, interpolated and bounded."""
    torch.manual_seed(0)
    upsampling = Upsampling(16, 4, width=8)
    torch.nn.init.zeros_(upsampling.rise.convs[-1].weight)
    below = torch.randn(2, 2, 4, 4)
    fine = torch.nn.functional.interpolate(below[:, :1], scale_factor=4.0, mode="bilinear")
    assert torch.allclose(upsampling(below), torch.tanh(3 * fine))


@pytest.mark.parametrize("patch", [2, 4])
def test_a_score_over_patches_is_awake_and_starts_on_their_grid(patch):
    torch.manual_seed(0)
    net, seen = ResidualScore(32, 3, width=8, patch=patch), []
    net.stem.register_forward_hook(lambda module, taken, given: seen.append(given.shape[-1]))
    force = Energy(net, Uniform((3, 32, 32))).force(torch.randn(4, 3, 32, 32)).flatten(1).norm(dim=1)
    assert seen == [32 // patch]
    assert 0.02 < force.mean() < 50


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="not 28"):
        PlainScore(28)
    for patch in (0, 3, 16):
        with pytest.raises(ValueError, match=f"not {patch}"):
            ResidualScore(32, patch=patch)
    with pytest.raises(ValueError, match="not 12"):
        ResidualScore(12, patch=2)
    with pytest.raises(ValueError, match="cannot stand"):
        Upsampling(8, 16)


class Stripes(torch.nn.Module):
    """Images of vertical stripes at a random offset."""

    event_shape = (1, 8, 8)

    def draw(self, num):
        columns = torch.arange(8) + torch.randint(4, (num, 1))
        return torch.cos(columns * torch.pi / 2)[:, None, None, :].expand(num, 1, 8, 8)


@pytest.mark.parametrize(("score", "mapping"), list(zip(SCORES, MAPPINGS, strict=True)))
def test_the_energy_gap_leaves_zero_in_a_short_run(score, mapping):
    torch.manual_seed(0)
    learner = GGCN(
        Energy(score(8, width=8), Uniform((1, 8, 8))),
        mapping(8, num_hidden=4, width=8),
        flow=JKO(contrast=logistic, tau=0.1, ends="data"),
        mapping_loss=Adversarial(logistic),
        training={},
        sampling={},
    )
    trainer = Trainer(learner, Stripes(), Schedule(80, 16, {"energy": Adam(2e-3), "mapping": Adam(5e-4)}))
    gaps = [trainer.advance().stats["energy_gap"] for _ in range(80)]
    assert torch.stack(gaps[40:]).mean() > 0.2
