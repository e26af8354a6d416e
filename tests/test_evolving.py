"""The command that shows particles from birth to sample."""

import pytest
from PIL import Image

from evolvent.cli.main import main


def test_a_row_is_a_particle_and_a_column_a_moment(tmp_path, capsys):
    out = tmp_path / "evolution.png"
    words = ["evolve", "digits", "--num", "3", "--frames", "6", "--out", str(out)]
    assert main([*words, "--num-steps.hidden", "4", "--label", "7"]) == 0
    assert "4 steps of hidden, 2 steps of image" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.width / image.height == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--frames", "1"], "at least 2 moments, not 1"),
        (["--out", "x.npz"], "an evolution is drawn as a .png, not as x.npz"),
        (["--num", "4", "--batch-size", "3"], "give a --batch-size of at least 4"),
        (["--num", "0"], "at least 1 sample"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evolve", "digits", *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
