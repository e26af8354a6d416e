"""What people look at: near-square grids that enlarge small images, particles over the levels of their energy."""

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent import pictures
from evolvent.storage.files import write_whole

PIXELS = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 8, 8) * 50


def test_a_grid_of_five_images_has_three_columns_and_two_rows_and_is_enlarged_to_be_seen():
    image = pictures.grid(PIXELS)
    scale = -(-pictures.MIN_WIDTH // 24)
    assert image.size == (3 * (8 * scale + 2) + 2, 2 * (8 * scale + 2) + 2)
    assert image.width >= 512


def test_every_tile_of_a_grid_shows_its_image_row_by_row():
    image = np.array(pictures.grid(PIXELS))
    tile = (image.shape[1] - 2) // 3
    shown = [
        image[2 + tile // 2 + row * tile, 2 + tile // 2 + column * tile]
        for row in (0, 1)
        for column in range(3)
    ]
    assert shown == [0, 50, 100, 150, 200, 255]


def test_particles_are_shown_as_the_pixels_that_they_stand_for():
    particles = (PIXELS.float() + 0.5) / 128 - 1
    assert np.array_equal(pictures.grid(particles), pictures.grid(PIXELS))


def test_colour_stays_colour():
    assert pictures.grid(PIXELS.expand(5, 3, 8, 8)).mode == "RGB"


def test_large_images_are_not_enlarged():
    assert pictures.grid(torch.zeros(1, 1, 600, 600, dtype=torch.uint8)).size == (604, 604)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (4, 2, 8, 8), (4, 8)])
def test_what_is_no_stack_of_images_has_no_grid(shape):
    with pytest.raises(ValueError, match="a grid shows images of shape"):
        pictures.grid(torch.zeros(shape))


def test_a_diverged_particle_is_never_shown_as_a_grey_one():
    with pytest.raises(ValueError, match="NaN or infinite"):
        pictures.grid(torch.full((4, 1, 8, 8), torch.nan))


def test_the_plane_is_dark_where_the_energy_is_low():
    image = pictures.plane(torch.tensor([[2.0, 2.0], [-2.0, -2.0]]), energy=lambda x: x.square().sum(1))
    levels = np.array(image.convert("L")).astype(int)
    height, width = levels.shape
    assert levels[height // 2, width // 2] < levels[height // 2, width // 5]


def test_points_that_are_neither_images_nor_of_the_plane_have_no_picture():
    with pytest.raises(ValueError, match=r"save them as \.npz"):
        pictures.picture(torch.zeros(4, 3))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "samples.png"
    write_whole(file, b"old")
    with pytest.raises(TypeError):
        write_whole(file, 3)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_gif_that_its_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 65535 px a side, and these pictures have 65536"):
        pictures.save_animation([Image.new("L", (65536, 1))] * 2, tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


def test_a_picture_of_the_plane_reaches_beyond_nearly_all_of_its_points():
    points = torch.linspace(-1, 1, 1001)[:, None].repeat(1, 2)
    assert pictures.reach_of(points) == pytest.approx(1.2 * 0.99, rel=1e-2)
    assert pictures.reach_of(torch.zeros(3, 2)) == 1.0
    outlier = torch.cat([points, torch.full((1, 2), 1e6)])
    assert pictures.reach_of(outlier) < 1.3
