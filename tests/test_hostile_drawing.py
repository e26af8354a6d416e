"""Lines for the commands that draw pictures of what a model does, each wrong in its own way."""

# ruff: noqa: E501 (one case a line)

import pytest
from hostile import make_run, refused_line

COMPLETE = {
    "complete": "the source is missing (`evolvent complete --help` says what it is)",
    "complete nowhere": "nowhere holds no weights: there is no such file",
    "complete digits --hide corner": "--hide takes one of 'left', 'right', 'top', 'bottom', 'middle', 'colour', 'detail', not",
    "complete digits --hide colour": "images of one channel have no colour to hide",
    "complete digits --num 0": "at least 1 image is completed at least once, not 0 images 6 times",
    "complete digits --tries -1": "at least 1 image is completed at least once, not 8 images -1 times",
    "complete digits --num 100000": "there are 1000 images, and --num asks for 100000",
    "complete digits --tries 100000000000": "do not fit the",
    "complete digits --batch-size 0": "in batches of at least 1 can be drawn, not 48 in 0",
    "complete digits --batch-size 100000000000": "this machine: give a smaller --batch-size",
    "complete digits --sigma 0": "sigma, how far off a seen value may lie, is at least 1e-06 and finite, not 0.0",
    "complete digits --sigma 1e-200": "sigma, how far off a seen value may lie, is at least 1e-06 and finite, not",
    "complete digits --sigma nan": '--sigma takes a number, not "nan',
    "complete digits --out x.txt": "completions are written as .png or .npz, not as x.txt",
    "complete digits --label 10": "there is no class 10: this model knows 0 to 9",
    "complete digits --data {place}/nowhere": "there is no",
    "complete digits --dynamics none --num-steps 3": "num_steps belong to a stage, and no stage was chosen",
    "complete {points}": "only images are completed, and this model draws points of [2]",
}

EVOLVE = {
    "evolve": "the source is missing (`evolvent evolve --help` says what it is)",
    "evolve nowhere": "nowhere holds no weights: there is no such file",
    "evolve digits --num 0": "at least 1 sample in batches of at least 1 can be drawn, not 0 in 0",
    "evolve digits --num 100000000000": "this machine: draw fewer particles, or fewer frames of them",
    "evolve digits --frames 100000000000": "this machine: draw fewer particles, or fewer frames of them",
    "evolve digits --batch-size 0": "in batches of at least 1 can be drawn, not 10 in 0",
    "evolve digits --num 4 --batch-size 3": "give a --batch-size of at least 4, or leave it out",
    "evolve digits --frames 1": "an evolution has its birth and its end, at least 2 moments, not 1",
    "evolve digits --frames 100000": "moments, its birth among them, and 100000 are asked for",
    "evolve digits --dynamics none": "an evolution has its birth and its end, at least 2 moments, not 1",
    "evolve digits --label 10": "there is no class 10: this model knows 0 to 9",
    "evolve digits --out x.npz": "an evolution is drawn as a .png or .gif, not as x.npz: give --out x.gif",
    "evolve digits --out .gif": "an evolution is drawn as a .png or .gif, not as .gif: give --out x.gif",
    "evolve {points}": "this model draws points of [2]: an evolution is drawn as a .gif of those of the plane",
    "evolve {points} --out x.gif --label 1": "this model was trained without labels, and has no classes",
    "evolve {points} --out x.gif --frames 3 --step-size 1e30": "samples are not finite: try a smaller step size",
}

INTERPOLATE = {
    "interpolate": "the source is missing (`evolvent interpolate --help` says what it is)",
    "interpolate nowhere": "nowhere holds no weights: there is no such file",
    "interpolate digits --num 0": "paths have two ends: 1 path of 2 births is the least, not 0 of 12",
    "interpolate digits --frames 1": "paths have two ends: 1 path of 2 births is the least, not 10 of 1",
    "interpolate digits --frames -3": "paths have two ends: 1 path of 2 births is the least, not 10 of -3",
    "interpolate digits --num 100000000000": "this machine: draw fewer pairs, or fewer frames of them",
    "interpolate digits --batch-size 4": "the births of a path are drawn together: leave --batch-size out",
    "interpolate digits --dynamics image": '"image" is not among the stages that this recipe samples with (hidden)',
    "interpolate digits --dynamics image --num-steps 2 --step-size 1 --temperature 0": 'no dynamics "image" here',
    "interpolate digits --label 10": "there is no class 10: this model knows 0 to 9",
    "interpolate digits --out x.npz": "a path between samples is drawn as a .png or .gif, not as x.npz",
    "interpolate {points}": "draws points of [2]: a path between samples is drawn as a .gif of those of the plane",
    "interpolate {points} --out x.gif": "GCN has no hidden space: samples of it have nothing between them",
}

TABLES = (COMPLETE, EVOLVE, INTERPOLATE)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """What the braces in the tables stand for."""
    place = tmp_path_factory.mktemp("words")
    return {"place": place, "points": make_run(place, "points")}


@pytest.mark.parametrize("line", [line for table in TABLES for line in table])
def test_a_line_that_is_wrong(line, words, tmp_path, monkeypatch, capsys):
    refused_line(line, TABLES, words, tmp_path, monkeypatch, capsys)
