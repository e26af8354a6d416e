"""textures.py: windows of a picture, every position equally likely."""

import pytest
import torch

from evolvent.data import Crops, split_texture, texture, to_pixels
from evolvent.data.textures import prepare


def every_window(picture, size):
    """[positions, C, size, size], row by row."""
    windows = picture.unfold(1, size, 1).unfold(2, size, 1)
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, picture.shape[0], size, size)


def random_picture(channels, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (channels, height, width), dtype=torch.uint8, generator=generator)


def found_in(crops, windows):
    """[num, positions]: whether the crop is that window."""
    return (crops.flatten(1)[:, None] == windows.flatten(1)).all(-1)


def test_every_crop_of_a_texture_is_found_in_it():
    brick = texture("brick")[:, :60, :40].contiguous()
    crops = to_pixels(Crops(brick, 16).draw(64))
    assert crops.shape == (64, 1, 16, 16)
    assert found_in(crops, every_window(brick, 16)).any(1).all()


def test_every_crop_of_several_pictures_is_found_in_one_of_them():
    pictures = [random_picture(3, 9, 7), random_picture(3, 5, 12, 1), random_picture(3, 5, 5, 2)]
    windows = torch.cat([every_window(picture, 5) for picture in pictures])
    assert found_in(to_pixels(Crops(pictures, 5).draw(300)), windows).any(1).all()


def test_every_position_of_every_picture_is_equally_likely():
    torch.manual_seed(0)
    pictures = [random_picture(1, 6, 5), random_picture(1, 4, 8, 1), random_picture(1, 3, 3, 2)]
    windows = torch.cat([every_window(picture, 3) for picture in pictures])
    assert len(windows) == 4 * 3 + 2 * 6 + 1
    counts = found_in(to_pixels(Crops(pictures, 3).draw(25_000)), windows).sum(0)
    # A count has the spread √1000 = 32; five of them.
    assert counts.sum() == 25_000 and ((counts - 1000).abs() < 160).all()


def test_a_flip_mirrors_half_of_the_crops():
    torch.manual_seed(0)
    picture = random_picture(1, 8, 8)
    crops, windows = to_pixels(Crops(picture, 4, flip=True).draw(4000)), every_window(picture, 4)
    upright, mirrored = found_in(crops, windows).any(1), found_in(crops.flip(-1), windows).any(1)
    assert (upright ^ mirrored).all()
    # 4,000 coins: standard error 0.008; five of them.
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_a_crop_as_large_as_the_picture_is_the_picture():
    picture = random_picture(1, 6, 6)
    assert torch.equal(to_pixels(Crops(picture, 6).draw(1))[0], picture)


def test_draws_are_float32_in_range_and_repeat_with_the_seed():
    crops = Crops(random_picture(3, 20, 20), 8)
    torch.manual_seed(4)
    first = crops.draw(5)
    torch.manual_seed(4)
    assert torch.equal(first, crops.draw(5))
    assert first.shape == (5, *crops.event_shape) and first.dtype == torch.float32 and first.is_contiguous()
    assert first.min() >= -1 and first.max() <= 1
    assert not crops.state_dict()


def test_a_draw_reads_nothing_back_from_the_device():
    # A tensor on "meta" has no values, so whatever would wait for one raises.
    pictures = [random_picture(3, 9, 7), random_picture(3, 5, 12, 1)]
    assert Crops(pictures, 5, flip=True).to("meta").draw(4).shape == (4, 3, 5, 5)


def test_the_two_parts_of_a_texture_make_it_up_and_share_nothing():
    picture = random_picture(1, 8, 20)
    train, held_out = split_texture(picture)
    assert torch.equal(torch.cat([train, held_out], 2), picture) and held_out.shape == (1, 8, 5)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.2])
def test_no_part_of_a_texture_is_empty(share):
    with pytest.raises(ValueError, match="leaves one part empty"):
        split_texture(random_picture(1, 8, 20), held_out=share)


def test_shrinking_averages_over_blocks():
    """A picture made of constant blocks shrinks to its blocks, up to the move of its mean to mid-grey."""
    blocks = random_picture(3, 4, 5)
    blocks = (blocks // 4 + 96).to(torch.uint8)
    large = blocks.repeat_interleave(3, 1).repeat_interleave(3, 2)
    moved = prepare(blocks)
    assert torch.equal(prepare(torch.nn.functional.pad(large, (0, 2, 0, 1)), shrink=3), moved)
    shift = moved.float() - blocks
    # Rounding to grey levels moves a pixel by half a level, and two of them differ by one.
    assert (shift.flatten(1).max(1).values - shift.flatten(1).min(1).values <= 1).all()


def test_preparing_sets_the_mean_the_contrast_and_the_grain():
    brick = texture("brick")
    plain, stretched, grainy = prepare(brick), prepare(brick, contrast=1.5), prepare(brick, grain=0.05)
    for picture in (plain, stretched, grainy):
        # Rounding and the few pixels beyond black and white shift the mean by less than a grey level.
        assert picture.float().mean().item() == pytest.approx(127.5, abs=1)
    assert (stretched.float().std() / plain.float().std()).item() == pytest.approx(1.5, rel=0.02)
    # 0.05 of [-1, 1] are 6.4 grey levels; 262,144 pixels tell a deviation to 0.2 %.
    assert (grainy.float() - plain.float()).std().item() == pytest.approx(6.4, rel=0.02)
    assert torch.equal(grainy, prepare(brick, grain=0.05))


def test_a_picture_has_no_blocks_larger_than_itself():
    with pytest.raises(ValueError, match="6 × 8 px has no blocks of 7 × 7 px"):
        prepare(random_picture(1, 6, 8), shrink=7)


@pytest.mark.parametrize(
    ("pictures", "size", "message"),
    [
        ([], 4, "no picture to crop"),
        ([random_picture(1, 8, 8), random_picture(3, 8, 8)], 4, "some pictures are grey and some in colour"),
        ([random_picture(1, 8, 8), random_picture(1, 9, 5)], 6, "cannot crop 6 px .* shortest side is 5 px"),
        ([random_picture(1, 8, 8)], 0, "cannot crop 0 px"),
    ],
)
def test_impossible_crops_are_refused(pictures, size, message):
    with pytest.raises(ValueError, match=message):
        Crops(pictures, size)
