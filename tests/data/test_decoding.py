"""decoding.py: whatever a picture file is, its pixels come out upright, in 8 bits, grey or RGB."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from evolvent.data.decoding import read_picture, square

RAMP = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)


def saved(tmp_path, image, name="picture.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_grey_and_colour_come_out_as_they_are(tmp_path):
    assert np.array_equal(read_picture(saved(tmp_path, Image.fromarray(RAMP))), RAMP[..., None])
    assert np.array_equal(read_picture(saved(tmp_path, Image.fromarray(COLOUR))), COLOUR)


def test_channels_on_demand(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP))
    assert np.array_equal(read_picture(path, channels=3), np.repeat(RAMP[..., None], 3, 2))
    assert read_picture(saved(tmp_path, Image.fromarray(COLOUR)), channels=1).shape == (10, 12, 1)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photo_taken_sideways_stands_upright(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(COLOUR), exif=exif)
    assert np.array_equal(read_picture(path), np.rot90(COLOUR, turns))


def test_transparency_is_laid_on_white(tmp_path):
    alpha = np.zeros((10, 12), np.uint8)
    alpha[:, :6] = 255
    expected = COLOUR.copy()
    expected[:, 6:] = 255
    path = saved(tmp_path, Image.fromarray(np.concatenate([COLOUR, alpha[..., None]], -1)))
    assert np.array_equal(read_picture(path), expected)


def test_grey_with_transparency_stays_grey(tmp_path):
    image = Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (12, 10), 0)])
    assert np.array_equal(read_picture(saved(tmp_path, image)), np.full((10, 12, 1), 255))


def test_a_palette_is_looked_up(tmp_path):
    colours = np.zeros((10, 12, 3), np.uint8)
    colours[:5] = (200, 30, 7)
    image = Image.fromarray(colours).quantize(4)
    assert image.mode == "P"
    assert np.array_equal(read_picture(saved(tmp_path, image)), colours)


def test_a_transparent_palette_entry_is_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    assert (read_picture(saved(tmp_path, image, transparency=1)) == 255).all()


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "ink.tif")
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_keep_their_scale(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257), name)
    assert np.array_equal(read_picture(path), RAMP[..., None])


def test_one_bit_is_black_and_white(tmp_path):
    assert set(np.unique(read_picture(saved(tmp_path, Image.fromarray(RAMP > 100))))) == {0, 255}


def test_the_first_frame_of_an_animation_is_the_picture(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    path = saved(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert (read_picture(path) == 10).all()


def test_the_crop_is_central():
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = 255
    assert (np.asarray(square(Image.fromarray(wide), 4)) == 255).all()
    assert (np.asarray(square(Image.fromarray(wide.T), 4)) == 255).all()


def test_the_resize_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    # A picture that is merely subsampled shows stripes (or one flat wrong grey); an antialiased one the mean.
    assert np.abs(np.asarray(square(Image.fromarray(stripes), 10)).astype(int) - 127.5).max() < 12


def test_a_truncated_jpeg_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), "half.jpg")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cannot read the picture .*half.jpg \(.*truncated"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_file_that_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "letter.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the picture .*letter.png .*replace it or remove it"):
        read_picture(tmp_path / "letter.png")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_giant_is_refused_before_it_is_unpacked(tmp_path, side):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=r"cannot read the picture .*bomb.png"):
        read_picture(tmp_path / "bomb.png")


def test_float_pixels_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "float.tif")
    with pytest.raises(ValueError, match=r"float.tif .*pixels are floats"):
        read_picture(path)


def test_more_than_sixteen_bits_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.int32) * 1000), "deep.tif")
    with pytest.raises(ValueError, match=r"pixels are in 0..238000, beyond 16 bits"):
        read_picture(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no picture .*nowhere.png"):
        read_picture(tmp_path / "nowhere.png")


def test_a_picture_is_never_enlarged(tmp_path):
    with pytest.raises(ValueError, match=r"is 12 × 10 px, smaller than the asked size of 11"):
        read_picture(saved(tmp_path, Image.fromarray(RAMP)), size=11)


def test_impossible_requests_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP))
    with pytest.raises(ValueError, match="4 channels cannot be read"):
        read_picture(path, channels=4)
    with pytest.raises(ValueError, match="of 0 px a side"):
        read_picture(path, size=0)
