"""The command that shows particles from birth to sample."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from evolvent.cli.main import main


def test_a_row_is_a_particle_and_a_column_a_moment(tmp_path, capsys):
    out = tmp_path / "evolution.png"
    words = ["evolve", "digits", "--num", "3", "--frames", "6", "--out", str(out)]
    assert main([*words, "--num-steps.hidden", "4", "--label", "7"]) == 0
    assert "4 steps of hidden, 2 steps of image" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.width / image.height == pytest.approx(2, rel=0.02)


def test_a_short_evolution_shows_all_of_its_moments(tmp_path):
    words = ["evolve", "digits", "--num", "1", "--dynamics", "hidden", "--num-steps", "3", "--label", "7"]
    assert main([*words, "--out", str(tmp_path / "x.png")]) == 0
    with Image.open(tmp_path / "x.png") as image:
        assert image.width / image.height == pytest.approx(4, rel=0.02)


def frames_of(path):
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB"), dtype=int) for frame in ImageSequence.Iterator(image)]


def test_an_animation_shows_all_particles_at_each_moment(tmp_path):
    words = ["evolve", "digits", "--num", "4", "--num-steps.hidden", "4", "--label", "7", "--frames", "3"]
    assert main([*words, "--out", str(tmp_path / "x.gif")]) == 0
    frames = frames_of(tmp_path / "x.gif")
    assert len(frames) == 3
    assert len({frame.shape for frame in frames}) == 1
    assert np.abs(frames[0] - frames[2]).max() > 50
    with Image.open(tmp_path / "x.gif") as image:
        assert image.info["loop"] == 0


def test_points_of_the_plane_evolve_over_one_picture_of_their_energy(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "toy-ring", "--num-steps", "1", "--out", run, "--threads", "1"]) == 0
    words = ["evolve", run, "--num", "50", "--frames", "3", "--num-steps", "20"]
    assert main([*words, "--out", str(tmp_path / "x.gif")]) == 0
    first, *others = frames_of(tmp_path / "x.gif")
    assert all((frame != first).any(-1).mean() < 0.05 for frame in others)  # particles move, and nothing else
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "x.png")]) == 2
    assert "draws points of [2]: an evolution is drawn as a .gif of those" in capsys.readouterr().err
