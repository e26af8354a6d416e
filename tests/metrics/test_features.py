import pytest
import torch
from skimage import data
from torch import nn

from evolvent.metrics import EffLite0, extract, extract_pieces
from evolvent.metrics.efflite0 import pretrained, to_input


def pictures(n, *, channels=3, size=32, seed=0):
    return torch.randint(256, (n, channels, size, size), generator=torch.Generator().manual_seed(seed)).byte()


class Means(nn.Module):
    name = "means"

    def forward(self, pixels_uint8):
        return pixels_uint8.float().mean((2, 3))


@pytest.fixture(scope="module")
def detector():
    return EffLite0(64)


@pytest.mark.parametrize("size", [64, 75])
def test_the_folded_mirror_gives_the_features_of_the_plain_network(size):
    """Also at a side that does not halve evenly, where the padding is another. float32, 50 layers."""
    pixels = pictures(3)
    with torch.no_grad():
        plain = pretrained(size).extract_features(to_input(pixels, size)).mean((2, 3))
    features = EffLite0(size)(pixels)
    assert features.shape == (3, 1280) and features.dtype == torch.float32
    assert plain.std() > 0.1
    torch.testing.assert_close(features, plain, atol=1e-3, rtol=0)


def test_it_recognises_what_it_was_trained_on():
    """The classifier on top still knows a cat: weights, colours and scale are as published."""
    cat = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None, :, :300, 75:375]
    logits = pretrained(224)._fc(EffLite0(224)(cat))
    assert logits.argmax() in range(281, 286)


def test_grey_is_three_equal_colours(detector):
    grey = pictures(2, channels=1)
    torch.testing.assert_close(detector(grey), detector(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=0)


def test_batches_of_any_size_give_the_same_features(detector):
    """To float32 rounding: convolutions of other batch sizes add in another order."""
    pixels = pictures(5)
    whole, pieces = extract(detector, pixels), extract(detector, pixels, batch_size=2)
    torch.testing.assert_close(whole, pieces, atol=1e-4, rtol=0)


@torch.no_grad()
def test_half_precision_moves_the_features_by_a_squared_distance_of_005_at_most():
    """As on a GPU, on eight pictures of smooth noise: the mean squared distance bounds the Fréchet distance.

    (The Fréchet distance is W₂² between the normals of the same moments, and no coupling is cheaper than the best.)
    """
    coarse = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    pixels = (nn.functional.interpolate(coarse, 32, mode="bicubic").clamp(0, 1) * 255).byte()
    detector = EffLite0(96)
    with torch.autocast("cpu", torch.float16):
        half = detector.net(to_input(pixels.flip(2, 3), 96)).mean((2, 3), dtype=torch.float32)
    assert 0 < (half - detector(pixels)).square().sum(1).mean() <= 0.05


def test_its_classes_are_those_of_the_plain_network():
    pixels, detector = pictures(3), EffLite0(64)
    with torch.no_grad():
        plain = pretrained(64)(to_input(pixels, 64)).double()
    torch.testing.assert_close(detector.logits(detector(pixels)), plain, atol=1e-3, rtol=0)


def test_pictures_may_arrive_in_batches(detector):
    pixels = pictures(5)
    pieces = list(extract_pieces(detector, iter([pixels[:2], pixels[2:]])))
    assert [len(piece) for piece in pieces] == [2, 3]
    torch.testing.assert_close(torch.cat(pieces), extract(detector, pixels), atol=1e-4, rtol=0)


def test_a_callers_autocast_does_not_reach_the_features(detector):
    pixels = pictures(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = detector(pixels)
    assert torch.equal(inside, detector(pixels))


def test_training_mode_and_gradients_do_not_reach_the_features(detector):
    pixels = pictures(2)
    assert torch.equal(detector.train()(pixels), detector.eval()(pixels))
    assert not detector(pixels).requires_grad


def test_any_named_module_is_a_detector():
    pixels = pictures(4)
    assert torch.equal(extract(Means(), pixels, batch_size=3), pixels.float().mean((2, 3)))


def test_a_module_without_a_name_is_refused():
    with pytest.raises(ValueError, match="needs a name"):
        extract(nn.Flatten(), pictures(2))


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (torch.zeros(2, 3, 8, 8), "uint8"),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), "height, width"),
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), "1 or 3"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "empty"),
    ],
)
def test_what_is_not_a_picture_is_refused(pixels, sentence):
    with pytest.raises(ValueError, match=sentence):
        extract(Means(), pixels)


def test_pixels_of_0_to_1_cast_to_bytes_are_refused():
    with pytest.raises(ValueError, match="cast to bytes"):
        extract(Means(), pictures(2) // 128)


def test_features_that_are_not_finite_rows_are_refused():
    class Broken(Means):
        def forward(self, pixels_uint8):
            return super().forward(pixels_uint8).log().log()

    class Flat(Means):
        def forward(self, pixels_uint8):
            return pixels_uint8.float()

    black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="not finite"):
        extract(Broken(), black)
    with pytest.raises(ValueError, match=r"not \[n, d\]"):
        extract(Flat(), black)


def test_a_side_too_small_for_the_network_is_refused():
    with pytest.raises(ValueError, match="32 pixels and more"):
        EffLite0(16)
