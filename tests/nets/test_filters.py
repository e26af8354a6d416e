"""FRAME's laws: what the given filters see, and that a score linear in its weights matches moments."""

import math

import pytest
import torch

from evolvent.nets.filters import BENDS, FilterScore, filter_bank, gabor_pairs, laplacian, opponents


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def learned(num_channels: int = 1) -> FilterScore:
    """A score whose weights are no longer zero, in double precision."""
    score = FilterScore(num_channels, filter_bank((3, 5, 9))).double()
    score.weights.data = noise(*score.weights.shape).double()
    return score


def grating(size: int, angle: float, wavelength: float, phase: float = 0.0) -> torch.Tensor:
    offsets = torch.arange(size) - (size - 1) / 2
    along = offsets[None, :] * math.cos(angle) + offsets[:, None] * math.sin(angle)
    return torch.cos(2 * math.pi * along / wavelength + phase)[None, None]


@pytest.mark.parametrize("kernels", filter_bank((3, 5, 9, 17)), ids=lambda k: f"size {k.shape[-1]}")
def test_filters_have_unit_norm_and_all_but_the_pixel_have_zero_mean(kernels):
    torch.testing.assert_close(kernels.flatten(1).norm(dim=1), torch.ones(len(kernels)))
    if kernels.shape[-1] > 1:
        assert kernels.sum((1, 2, 3)).abs().max() < 1e-5  # float32 rounding of up to 289 terms


@pytest.mark.parametrize("size", [3, 5, 9, 17])
def test_the_two_halves_of_a_quadrature_pair_are_orthogonal_and_even_and_odd(size):
    even, odd = gabor_pairs(size, num_orientations=8).chunk(2)
    assert (even * odd).sum((1, 2, 3)).abs().max() < 1e-6
    torch.testing.assert_close(even.flip(2, 3), even)
    torch.testing.assert_close(odd.flip(2, 3), -odd, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [5, 9, 17])
def test_a_gabor_pair_answers_most_to_the_grating_at_its_own_angle_whatever_the_phase(size):
    even, odd = gabor_pairs(size, num_orientations=6).chunk(2)
    for phase in (0.0, 1.0, 2.0):
        gratings = torch.cat([grating(size, math.pi * i / 6, size / 2, phase) for i in range(6)])
        amplitude = sum(torch.einsum("kchw,nchw->nk", half, gratings) ** 2 for half in (even, odd))
        assert amplitude.argmax(dim=1).tolist() == list(range(6))


def test_the_laplacian_answers_most_to_the_blob_of_its_own_width():
    offsets = torch.arange(13.0) - 6
    radius_squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
    deviations = (1.0, 2.0, 4.0)
    blobs = [torch.exp(-radius_squared / (2 * width**2)) for width in deviations]
    answers = torch.stack([(laplacian(13)[0, 0] * blob).sum() for blob in blobs])
    assert answers.argmax() == 1  # 13 / 6 is about 2
    assert answers[1] > 0


def test_the_default_bank_sees_every_wave_of_a_wavelength_from_2_to_16_pixels():
    power = sum(torch.fft.fft2(k[:, 0], s=(32, 32)).abs().square().sum(0) for k in filter_bank()[1:])
    seen = power[:17, :17].flatten()
    wavenumber = torch.cartesian_prod(torch.arange(17.0), torch.arange(17.0)).norm(dim=1)
    assert seen[wavenumber >= 2].min() > 5  # white noise would be seen with power 1 by one filter


def test_opponent_planes_are_orthonormal_and_grey_has_no_colour():
    torch.testing.assert_close(opponents(3) @ opponents(3).T, torch.eye(3))
    torch.testing.assert_close(opponents(3) @ torch.ones(3), torch.tensor([math.sqrt(3), 0.0, 0.0]))
    assert torch.equal(opponents(4), torch.eye(4))


@pytest.mark.parametrize("num_channels", [1, 3])
def test_a_new_score_is_zero_and_so_is_its_force(num_channels):
    x = noise(4, num_channels, 20, 24).requires_grad_()
    score = FilterScore(num_channels)(x)
    assert score.shape == (4,)
    assert torch.equal(score, torch.zeros(4))
    assert not torch.autograd.grad(score.sum(), x)[0].any()


def test_the_score_is_linear_in_its_weights():
    first, second, both = learned(), learned(), learned()
    second.weights.data = first.weights.data.flip(0, 1, 2)
    both.weights.data = 2 * first.weights.data - 3 * second.weights.data
    x = noise(3, 1, 16, 16).double()
    torch.testing.assert_close(both(x), 2 * first(x) - 3 * second(x))


def test_the_likelihood_gradient_is_the_difference_of_mean_rectified_responses():
    score = learned(num_channels=3)
    data, particles = noise(5, 3, 16, 16).double(), 0.3 * noise(7, 3, 16, 16).double()
    (gradient,) = torch.autograd.grad(score(data).mean() - score(particles).mean(), score.weights)
    difference = score.mean_responses(data).mean(0) - score.mean_responses(particles).mean(0)
    torch.testing.assert_close(gradient, difference * score.num_positions(data)[:, None])


def test_the_potential_of_a_filter_is_piecewise_linear_with_slopes_that_add_up_at_the_bends():
    score = FilterScore(1, [torch.ones(1, 1, 1, 1)]).double()
    score.weights.data = (10.0 ** torch.arange(8)).double()[None, None]
    x = torch.tensor([-1.5, -0.25, 0.25, 0.75, 2.5]).double().view(5, 1, 1, 1).requires_grad_()
    (slopes,) = torch.autograd.grad(score(x).sum(), x)
    assert slopes.flatten().tolist() == [-1110000.0, -10000.0, 1.0, 11.0, 1111.0]


def test_the_force_agrees_with_finite_differences():
    x = noise(1, 3, 9, 9).double().requires_grad_()
    assert torch.autograd.gradcheck(learned(num_channels=3), (x,), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("size", [3, 5, 9, 17])
def test_moving_a_texture_by_a_stride_moves_the_responses_by_one_away_from_the_border(size):
    score = FilterScore(1, filter_bank((size,))[1:])
    texture, stride = noise(1, 1, 64, 64), score.groups[0].stride
    here, there = score.responses(texture[..., :48, :48])[0], score.responses(texture[..., stride:, :48])[0]
    inside = slice(4, 7)  # 4 strides are at least half a filter
    torch.testing.assert_close(there[..., inside, inside], here[..., 5:8, inside], atol=1e-6, rtol=1e-5)


def test_a_texture_keeps_its_mean_responses_on_a_larger_canvas():
    score = FilterScore(1, filter_bank((3,)))
    small, large = noise(16, 1, 48, 48), noise(4, 1, 96, 96)
    # The mean over 37000 pixels is known to 0.005; the mirrored border is a share of 1/12 or 1/24.
    means = [score.mean_responses(images).mean(0) for images in (small, large)]
    assert (means[0] - means[1]).abs().max() < 0.03
    ratio = score.statistics(large).mean() / score.statistics(small).mean()
    torch.testing.assert_close(ratio, torch.tensor(4.0), rtol=0.02, atol=0)


@pytest.mark.parametrize("num_channels", [1, 3])
def test_calibration_gives_every_response_centre_0_and_deviation_1(num_channels):
    score, data = FilterScore(num_channels, filter_bank((3, 5))), 0.2 * noise(64, num_channels, 24, 24) - 0.4
    score.calibrate(data)
    mean = score.mean_responses(data).mean(0)
    above, below = mean[..., 0], mean[..., len(BENDS)]
    assert (above - below).abs().max() < 1e-3  # the mean of u is 0
    assert (above - 1 / math.sqrt(2 * math.pi)).abs().max() < 0.02  # E relu(u) of a normal u


def test_calibrating_a_learned_score_is_refused():
    with pytest.raises(ValueError, match="calibrate a new FilterScore"):
        learned().calibrate(noise(2, 1, 16, 16).double())


def test_calibrating_on_data_without_colour_is_refused():
    with pytest.raises(ValueError, match="28 of 42 filter responses do not vary"):
        FilterScore(3, filter_bank((3,))).calibrate(noise(4, 1, 8, 8).expand(4, 3, 8, 8))


def test_an_image_too_small_to_mirror_is_refused_with_the_way_out():
    assert FilterScore(1)(noise(2, 1, 9, 32)).shape == (2,)
    with pytest.raises(
        ValueError, match=r"17 pixels needs an image of at least 9, .* not of 8: give filter_bank"
    ):
        FilterScore(1)(noise(2, 1, 8, 32))


def test_an_even_filter_size_is_refused():
    with pytest.raises(ValueError, match=r"odd sizes of at least 3 instead of \[4, 1\]"):
        filter_bank((3, 4, 1))


def test_only_the_weights_are_learned_and_filters_and_units_are_saved():
    score = FilterScore(1)
    assert [name for name, _ in score.named_parameters()] == ["weights"]
    assert {"centres", "deviations", "opponents", "groups.4.kernels"} <= set(score.state_dict())
