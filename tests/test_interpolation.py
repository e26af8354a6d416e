"""What lies between two samples, along a great circle of hidden space."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from evolvent.cli.main import main
from evolvent.data import digits, to_particles
from evolvent.interpolation import between, interpolate
from evolvent.learners.gcn import GCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.pretrained import from_pretrained
from evolvent.sampling import draw

DIGITS = from_pretrained("digits").learner


def codes(num=5, num_dims=16):
    return torch.randn(2 * num, num_dims, generator=torch.Generator().manual_seed(0)).double().chunk(2)


def angles(a, b):
    return torch.nn.functional.cosine_similarity(a, b).acos()


def test_the_way_is_a_great_circle_at_even_pace():
    a, b = codes()
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    assert torch.allclose(between(a, b, 0.0), a) and torch.allclose(between(a, b, 1.0), b)
    for share in (0.2, 0.5, 0.9):
        z = between(a, b, share)
        assert torch.allclose(z.norm(dim=1), torch.ones(5, dtype=torch.float64))
        assert torch.allclose(angles(a, z), share * angles(a, b)) and torch.allclose(
            angles(z, b), (1 - share) * angles(a, b)
        )


def test_between_two_draws_of_a_normal_law_codes_keep_its_length():
    """On the straight line they would be shorter by 1 / √2 half way."""
    a, b = codes(num=500, num_dims=128)
    half = between(a, b, 0.5).norm(dim=1).mean() / math.sqrt(128)
    assert abs(half - 1) < 0.02 < abs(((a + b) / 2).norm(dim=1).mean() / math.sqrt(128) - 1)


@pytest.mark.parametrize("other", [2.0, -1.0])
def test_where_there_is_no_circle_the_way_is_straight(other):
    a, _ = codes()
    assert torch.allclose(between(a, other * a, 0.25), (0.75 + 0.25 * other) * a)


def test_the_ends_are_what_the_same_draws_come_to():
    hidden = {"hidden": DIGITS.stages["hidden"]}
    for stages in ({}, hidden):
        paths = interpolate(DIGITS, 4, 3, seed=5, stages=stages, classes=[3, 8])
        samples = draw(DIGITS, 8, seed=5, stages=stages, classes=[3, 8], batch_size=8)
        assert paths.shape == (4, 3, 1, 32, 32)
        assert torch.allclose(paths[:, 0], samples[:4], atol=1e-3)
        assert torch.allclose(paths[:, -1], samples[4:], atol=1e-3)


def test_of_its_own_stages_a_learner_runs_those_of_hidden_space():
    own = interpolate(DIGITS, 2, 2, seed=1)
    assert torch.equal(own, interpolate(DIGITS, 2, 2, seed=1, stages={"hidden": DIGITS.stages["hidden"]}))
    assert not torch.equal(own, interpolate(DIGITS, 2, 2, seed=1, stages={}))


def test_births_change_little_by_little_and_stay_in_their_class():
    """The nearest real digit is of that class half way too, for most."""
    paths = interpolate(DIGITS, 20, 9, stages={})
    steps = (paths[:, 1:] - paths[:, :-1]).flatten(2).norm(dim=2)
    ends = (paths[:, 0] - paths[:, -1]).flatten(1).norm(dim=1)
    assert (steps.max(1).values < ends).all()
    real = digits(32)
    nearest = torch.cdist(paths[:, 4].flatten(1), to_particles(real.pixels).flatten(1)).argmin(1)
    assert (real.labels[nearest] == torch.arange(20) % 10).float().mean() >= 0.75


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"num": 0}, "1 path of 2 births is the least, not 0 of 3"),
        ({"num_points": 1}, "1 path of 2 births is the least, not 2 of 1"),
        ({"classes": [10]}, "there is no class 10"),
        ({"stages": {"image": DIGITS.stages["image"]}}, 'no dynamics "image" here'),
    ],
)
def test_a_path_that_does_not_exist_is_one_sentence(words, says):
    with pytest.raises(ValueError, match=says):
        interpolate(DIGITS, **({"num": 2, "num_points": 3} | words))


@pytest.mark.parametrize("learner", [GCN, MultiGrid])
def test_a_learner_without_one_hidden_space_has_nothing_between_samples(learner):
    with pytest.raises(ValueError, match=f"{learner.__name__} has no hidden space"):
        interpolate(learner.__new__(learner), 2, 3)


def test_the_command_draws_a_row_a_pair(tmp_path, capsys):
    words = ["interpolate", "digits", "--num", "3", "--frames", "6", "--num-steps", "2", "--label", "7"]
    assert main([*words, "--out", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"3 paths of 6 births of digits (step 4000): {tmp_path / 'x.png'}\n"
    with Image.open(tmp_path / "x.png") as image:
        assert image.width / image.height == pytest.approx(2, rel=0.02)
    assert main([*words, "--out", str(tmp_path / "x.gif")]) == 0
    with Image.open(tmp_path / "x.gif") as image:
        frames = [np.asarray(frame.convert("RGB"), dtype=int) for frame in ImageSequence.Iterator(image)]
    assert len(frames) == 6 and np.abs(frames[0] - frames[-1]).max() > 50
