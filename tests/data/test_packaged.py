"""packaged.py: real pictures with nothing to download."""

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent.data import TEXTURES, digits, texture


@pytest.fixture(scope="module")
def mnist():
    return digits()


def test_there_are_500_of_each_digit(mnist):
    assert mnist.labels.bincount().tolist() == [500] * 10
    assert mnist.event_shape == (1, 32, 32)


def test_digits_of_32_px_are_those_of_28_in_a_black_frame(mnist):
    small = digits(28).pixels
    assert torch.equal(mnist.pixels[..., 2:-2, 2:-2], small)
    assert mnist.pixels.long().sum() == small.long().sum() > 0


@pytest.mark.parametrize("size", [16, 48])
def test_resized_digits_keep_their_ink(mnist, size):
    resized = digits(size).pixels
    assert resized.shape == (5000, 1, size, size)
    # Bicubic overshoot is clipped at black and at white: some 3 % of the mean.
    assert resized.float().mean().item() == pytest.approx(mnist.pixels.float().mean().item(), rel=0.05)


def test_ones_have_less_ink_than_zeros(mnist):
    ink = [mnist.pixels[mnist.labels == label].float().mean() for label in range(10)]
    assert ink[1] == min(ink) and ink[0] == max(ink)


def test_a_split_mixes_the_digits(mnist):
    train, held_out = mnist.split(1000)
    assert held_out.labels.bincount().min() > 70 and len(train) == 4000
    assert held_out.labels[:100].unique().numel() == 10


@pytest.mark.parametrize("name", TEXTURES)
def test_every_texture_is_here(name):
    picture = texture(name)
    assert picture.dtype == torch.uint8 and picture.shape[0] in (1, 3) and min(picture.shape[1:]) >= 128
    assert picture.float().std() > 10


def test_a_texture_is_grey_or_colour_on_demand(tmp_path):
    assert texture("china", channels=1).shape[0] == 1
    brick = texture("brick", channels=3)
    assert torch.equal(brick[0], brick[2])


def test_a_texture_may_be_any_picture_file(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(pixels).save(tmp_path / "wall.png")
    assert torch.equal(texture(str(tmp_path / "wall.png")), torch.from_numpy(pixels)[None])


def test_an_unknown_texture_is_told_the_known_ones():
    with pytest.raises(ValueError, match="no texture and no file 'velvet'; the textures are brick, grass"):
        texture("velvet")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(TEXTURES, "wool", ("skimage", "data/wool.png"))
    with pytest.raises(ValueError, match="pip install scikit-image"):
        texture("wool")


@pytest.mark.parametrize("size", [0, -8, 3])
def test_digits_too_small_to_read_are_refused(size):
    with pytest.raises(ValueError, match=f"a digit of {size} px cannot be read"):
        digits(size)
