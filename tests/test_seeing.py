"""Pictures that several processes see together have the features that one finds alone, and so the same scores."""

from functools import partial

import pytest
import torch
from forked import command, needs_fork, together
from hostile import make_run
from torch import nn

from evolvent.cli.main import main
from evolvent.cli.seeing import BATCH_SIZE, Together
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import extract
from evolvent.storage.reading import read_lines

pytestmark = needs_fork

DETECTOR = """
import os
from torch import nn


class Small(nn.Module):
    name = "small"

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(1, 8, 4, 4)  # random, in every process anew

    def forward(self, pixels_uint8):
        return self.net(pixels_uint8 / 255).flatten(1)


class Broken(Small):
    def forward(self, pixels_uint8):
        features = super().forward(pixels_uint8)
        return features / 0 if os.environ.get("RANK") == self.where else features


class Raising(Broken):
    def forward(self, pixels_uint8):
        assert os.environ.get("RANK") != self.where
        return super().forward(pixels_uint8)


def small():
    return Small()
"""


class Patches(nn.Module):
    """Random projections, other ones in every object."""

    name = "patches"

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.SiLU(), nn.Flatten())

    def forward(self, pixels_uint8):
        return self.net(pixels_uint8 / 255)


def pictures(num, side=8):
    return torch.randint(256, (num, 1, side, side), generator=torch.Generator().manual_seed(3)).byte()


def seen(make, sets, ranks):
    """The features of each set and what a process alone finds with the same detector; nothing on the others."""
    found = []
    torch.manual_seed(10 * ranks.rank)
    together_ = Together(ranks, make)

    def function():
        for pixels in sets:
            detector = make()
            found.append((together_(detector, pixels), extract(detector, pixels)))

    together_.led(function)
    return found


@pytest.mark.parametrize("num", [2, 3])
def test_the_features_are_those_of_one_process_to_the_last_bit(tmp_path, num):
    """One thread each; a detector whose weights every process draws for itself, sets of less and more than a turn."""
    sets = [pictures(n) for n in (5, BATCH_SIZE * num, BATCH_SIZE * 3 + 7)]
    first, *others = together(tmp_path, partial(seen, Patches, sets), num=num)
    assert others == [[]] * (num - 1)
    for pixels, (shared, alone) in zip(sets, first, strict=True):
        assert len(shared) == len(pixels) and torch.equal(shared, alone)


def test_the_detector_that_scores_use_sees_the_same(tmp_path):
    ((shared, alone),), _ = together(
        tmp_path, partial(seen, partial(EffLite0, 32), [pictures(BATCH_SIZE + 30)])
    )
    assert torch.equal(shared, alone)


@pytest.mark.parametrize(("where", "first"), [("0", 0), ("1", BATCH_SIZE)])
def test_a_feature_that_is_not_finite_ends_all_and_is_counted_from_the_first_picture(tmp_path, where, first):
    class NaN(Patches):
        rank = None

        def forward(self, pixels_uint8):
            found = super().forward(pixels_uint8)
            return found / 0 if torch.distributed.get_rank() == int(where) else found

    ends = together(tmp_path, partial(seen, NaN, [pictures(600)]))
    assert [type(end) for end in ends] == [ValueError] * 2
    assert all(str(end).endswith(f"not finite, first for picture {first}") for end in ends)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "mine.py").write_text(
        DETECTOR
        + "".join(
            f"\n\ndef {kind.lower()}{rank}():\n    made = {kind}()\n    made.where = '{rank}'\n    return made\n"
            for kind in ("Broken", "Raising")
            for rank in (0, 1)
        )
    )
    return make_run(folder, "images").parent


def words(place, detector, *more):
    return [
        "evaluate",
        f"{place}/images",
        "--num",
        "300",
        "--cache",
        "none",
        "--detector",
        f"{place}/mine.py:{detector}",
        *more,
    ]


def test_scores_under_torchrun_are_those_of_one_process(place, tmp_path):
    """Of a detector with fixed weights: efflite0."""
    line = [
        "evaluate",
        f"{place}/images",
        "--num",
        "270",
        "--detector",
        "efflite0-32",
        "--measures",
        "kernel,precision",
    ]
    assert main([*line, "--cache", "none", "--out", f"{tmp_path}/one.png"]) == 0
    codes, out, told = command(
        tmp_path, [*line, "--cache", f"{tmp_path}/cache", "--out", f"{tmp_path}/two.png"]
    )
    assert (codes, told) == ([0, 0], "")
    assert out.count("kernel") == 1
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    lines = read_lines(place / "images" / "scores.jsonl")
    assert len(lines) == 4
    for mine, other in zip(lines[:2], lines[2:], strict=True):
        assert mine | {"time": "", "cost": {}} == other | {"time": "", "cost": {}}


@pytest.mark.parametrize(
    ("detector", "more", "says"),
    [
        ("small", ["--measures", "class-score"], "the detector small knows no classes"),
        ("small", ["--measures", "frechet", "--against", "nowhere"], "nowhere"),
        ("broken1", [], "gave a feature that is not finite, first for picture 256"),
        ("raising0", [], "AssertionError"),
        ("raising1", [], "AssertionError"),
    ],
)
def test_a_mistake_of_one_is_told_once_and_ends_all_with_one_code(place, tmp_path, detector, more, says):
    codes, _, told = command(tmp_path, words(place, detector, *more))
    assert codes == [2, 2]
    assert told.count("\n") == 1 and says in told
