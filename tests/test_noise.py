import pytest
import torch

from evolvent.noise import ImageNoise, Noise, philox


def test_philox_gives_the_published_words():
    """Known answers of Philox4x32-10 from the Random123 distribution."""
    zeros = [torch.zeros(1, dtype=torch.int64)] * 4
    ones = [torch.full((1,), 0xFFFFFFFF)] * 4
    assert [int(w) for w in philox(zeros, (0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert [int(w) for w in philox(ones, (0xFFFFFFFF, 0xFFFFFFFF))] == [
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD,
    ]  # fmt: skip


def test_an_image_sees_the_same_stream_in_any_batch():
    alone, batch = ImageNoise(3, 17, 1), ImageNoise(3, 10, 20)
    for draw in ("normal", "uniform", "normal"):
        assert torch.equal(getattr(alone, draw)(1, 5, 7)[0], getattr(batch, draw)(20, 5, 7)[7])


@pytest.mark.parametrize("event", [(2,), (3, 5), (32,)])
def test_normals_drawn_at_once_are_those_drawn_one_after_the_other(event):
    """To the last bit of torch's generator; ImageNoise's logarithm may round differently in another place."""
    for make in (Noise, lambda: ImageNoise(0, 0, 8)):
        torch.manual_seed(0)
        noise = make()
        apart = torch.stack([noise.normal(8, *event) for _ in range(7)] + [noise.normal(8, *event)])
        torch.manual_seed(0)
        noise = make()
        together = torch.cat([noise.normals(7, 8, *event), noise.normal(8, *event)[None]])
        assert torch.equal(apart, together) if make is Noise else torch.allclose(apart, together, atol=1e-6)


def test_seeds_images_and_draws_give_different_streams():
    noise = ImageNoise(0, 0, 2)
    first, second = noise.normal(2, 64), noise.normal(2, 64)
    other = ImageNoise(1, 0, 2).normal(2, 64)
    for a, b in [(first[0], first[1]), (first, second), (first, other)]:
        assert (a != b).all()


def test_large_and_negative_seeds_are_seeds():
    a, b = ImageNoise(2**40 + 1, 0, 1).normal(1, 8), ImageNoise(1, 0, 1).normal(1, 8)
    assert (a != b).all()
    assert ImageNoise(-5, 0, 1).normal(1, 8).isfinite().all()


def test_normals_are_normal():
    """200,000 draws: the mean's error is 0.002, the variance's 0.003, the fourth moment's 0.02."""
    x = ImageNoise(7, 0, 200).normal(200, 1000)
    assert abs(x.mean()) < 0.01
    assert abs(x.var() - 1) < 0.015
    assert abs(x.pow(4).mean() - 3) < 0.1


def test_uniforms_stay_inside_the_open_interval():
    u = ImageNoise(7, 0, 200).uniform(200, 1000)
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
