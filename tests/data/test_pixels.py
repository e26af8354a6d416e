"""pixels.py: 256 bins of [-1, 1], there and back."""

import pytest
import torch

from evolvent.data import to_particles, to_pixels

EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


@pytest.mark.parametrize("dequantise", [False, True])
def test_there_and_back_is_exact(dequantise):
    pixels = EVERY_VALUE.repeat(2000, 1, 1, 1)
    assert torch.equal(to_pixels(to_particles(pixels, dequantise=dequantise)), pixels)


def test_even_the_largest_uniform_stays_in_its_bin(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, 1 - 2**-24, device=device))
    assert torch.equal(to_pixels(to_particles(EVERY_VALUE, dequantise=True)), EVERY_VALUE)


def test_particles_are_float32_in_minus_one_to_one_and_symmetric():
    particles = to_particles(EVERY_VALUE)
    assert particles.dtype == torch.float32
    assert particles.min() >= -1 and particles.max() < 1
    assert torch.equal(particles.flatten(), -particles.flatten().flip(0))


def test_dequantising_fills_the_bin_and_moves_no_mean():
    pixels = torch.full((1, 1, 200, 200), 77, dtype=torch.uint8)
    within = (to_particles(pixels, dequantise=True) + 1) * 128 - 77
    # 40,000 uniforms: the mean's standard error is 0.29/200; five of them.
    assert abs(within.mean() - 0.5) < 5 * 0.0015
    assert within.min() >= 0 and within.max() < 1
    assert within.histc(10, 0, 1).min() > 0.09 * within.numel()
    assert to_particles(pixels).mean() == (77.5 / 128) - 1


def test_dequantising_draws_from_the_global_generator():
    torch.manual_seed(3)
    first = to_particles(EVERY_VALUE, dequantise=True)
    torch.manual_seed(3)
    assert torch.equal(first, to_particles(EVERY_VALUE, dequantise=True))


def test_a_picture_cannot_show_more_than_white_and_less_than_black():
    particles = torch.tensor([-40.0, -1.0, 0.0, 1.0, 40.0]).view(1, 1, 1, 5)
    assert to_pixels(particles).flatten().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_shown_too(dtype):
    assert to_pixels(torch.full((1, 1, 1, 1), 0.5, dtype=dtype)).item() == 192


def test_a_diverged_run_is_not_shown_as_a_picture():
    particles = torch.zeros(2, 1, 3, 3)
    particles[0, 0, 0] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    with pytest.raises(ValueError, match="3 of 18 values are NaN or infinite"):
        to_pixels(particles)
