"""images.py: rows of a stack of pixels, uniformly, on the device."""

import jaxtyping
import pytest
import torch

from evolvent.data import Images, to_pixels
from evolvent.shapes import apart


def numbered(num, *, flip=False):
    """Images that carry their row in the left column and 255 − row in the right."""
    pixels = torch.zeros(num, 1, 2, 3, dtype=torch.uint8)
    row = torch.arange(num, dtype=torch.uint8)[:, None, None]
    pixels[..., 0], pixels[..., 2] = row, 255 - row
    return Images(pixels, torch.arange(num), flip=flip)


def test_a_draw_is_float32_in_minus_one_to_one():
    x = numbered(10).draw(7)
    assert x.shape == (7, 1, 2, 3) and x.dtype == torch.float32
    assert x.min() >= -1 and x.max() <= 1


def test_a_draw_is_rows_of_the_data_and_nothing_else():
    images = numbered(20)
    pixels = to_pixels(images.draw(200))
    assert torch.equal(pixels, images.pixels[pixels[:, 0, 0, 0].long()])


def test_every_row_is_equally_likely():
    torch.manual_seed(0)
    rows = to_pixels(numbered(10).draw(20_000))[:, 0, 0, 0].long()
    # A count has the spread √(20000 · 0.1 · 0.9) = 42; five of them.
    assert ((rows.bincount(minlength=10) - 2000).abs() < 210).all()


def test_a_flip_mirrors_half_of_the_draws_whatever_the_row():
    torch.manual_seed(0)
    images = numbered(4, flip=True)
    pixels = to_pixels(images.draw(20_000))[:, 0, 0]
    mirrored = pixels[:, 0] > 127
    upright = torch.where(mirrored[:, None], pixels.flip(-1), pixels)
    rows = upright[:, 0].long()
    assert torch.equal(upright, images.pixels[rows, 0, 0])
    for row in range(4):
        # 5,000 coins: standard error 0.007; five of them.
        assert mirrored[rows == row].float().mean().item() == pytest.approx(0.5, abs=0.035)


def test_without_flip_nothing_is_mirrored():
    assert (to_pixels(numbered(4).draw(100))[:, 0, 0, 0] < 4).all()


def test_the_same_global_seed_draws_the_same():
    images = numbered(10, flip=True)
    torch.manual_seed(2)
    first = images.draw(50)
    torch.manual_seed(2)
    assert torch.equal(first, images.draw(50))
    assert not torch.equal(first, images.draw(50))


def test_a_split_is_a_partition_that_keeps_labels_with_their_images():
    train, held_out = numbered(50, flip=True).split(12)
    assert (len(train), len(held_out)) == (38, 12)
    for part in (train, held_out):
        assert torch.equal(part.pixels[:, 0, 0, 0].long(), part.labels)
    assert sorted(train.labels.tolist() + held_out.labels.tolist()) == list(range(50))


def test_what_judges_is_never_mirrored():
    train, held_out = numbered(50, flip=True).split(12)
    assert train.flip and not held_out.flip


def test_a_split_depends_on_its_seed_alone():
    images = numbered(50)
    torch.manual_seed(1)
    first = images.split(12)[1].labels
    torch.manual_seed(2)
    assert torch.equal(first, images.split(12)[1].labels)
    assert not torch.equal(first, images.split(12, seed=1)[1].labels)


def test_this_cut_has_always_been_the_cut():
    assert numbered(10).split(4)[1].labels.tolist() == [2, 8, 4, 9]


def test_a_checkpoint_holds_no_data():
    images = numbered(3)
    assert not images.state_dict()
    assert {name for name, _ in images.named_buffers()} == {"pixels", "labels"}


def test_a_draw_reads_nothing_back_from_the_device():
    # A tensor on "meta" has no values, so whatever would wait for one raises.
    assert numbered(10, flip=True).to("meta").draw(4).shape == (4, 1, 2, 3)


def test_images_need_no_labels():
    images = Images(numbered(5).pixels)
    assert images.labels is None and images.split(2)[0].labels is None and images.event_shape == (1, 2, 3)


@pytest.mark.parametrize("num", [0, 5, 6, -1])
def test_a_split_leaves_no_part_empty(num):
    with pytest.raises(ValueError, match=f"cannot hold out {num} of 5 images; choose between 1 and 4"):
        numbered(5).split(num)


def test_no_images_are_no_data():
    with pytest.raises(ValueError, match=r"not torch.uint8 of shape \[0, 1, 2, 2\]"):
        Images(torch.zeros(0, 1, 2, 2, dtype=torch.uint8))


def test_floats_are_refused_not_truncated():
    # Under test the shape checker speaks first, in a user's session the ValueError does.
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        Images(torch.rand(4, 1, 2, 2))


def test_labels_of_other_images_are_refused():
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        Images(numbered(5).pixels, torch.arange(4))


def shades(num_classes=4, **options):
    """Images whose grey says their class."""
    labels = torch.arange(20) % num_classes
    pixels = (labels * 50).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 6).contiguous()
    return Images(pixels, labels, **options)


def classes_seen(images):
    return ((images.flatten(1).mean(1) + 1) * 127.5 / 50).round().long()


@pytest.mark.parametrize("flip", [False, True])
def test_labels_are_drawn_with_their_images_under_one_index(flip):
    images = shades(flip=flip).with_labels(4)
    for source in (images, *images.split(8)):
        points, labels = apart(source.draw(50))
        assert torch.equal(classes_seen(points), labels) and labels.unique().numel() > 1


def test_images_are_drawn_alike_with_labels_and_without():
    torch.manual_seed(0)
    plain = shades(flip=True).draw(30)
    torch.manual_seed(0)
    points, _ = apart(shades(flip=True).with_labels(4).draw(30))
    assert torch.equal(points, plain)
    assert shades().with_labels(4).event_shape == (1, 4, 6)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (None, "these data have no labels to learn from: leave --labels out"),
        (torch.arange(20) % 3, "have 3 classes, and the nets would know 4: give --num-classes 3"),
        (torch.arange(20) % 5, "have 5 classes, and the nets would know 4: give --num-classes 5"),
        (1 + torch.arange(20) % 4, "4 labels from 1 to 4, and classes are counted from 0 to 3"),
        (torch.arange(20) % 3 * 2, "3 labels from 0 to 4, and classes are counted from 0 to 3"),
    ],
)
def test_labels_that_are_not_the_classes_are_refused(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        Images(shades().pixels, labels).with_labels(4)
