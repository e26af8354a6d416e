"""`evolvent evaluate` on images of any program: what is read, what it is held to, and every mistake in a sentence."""

import json

import numpy as np
import pytest
from hostile import DETECTOR as CORNERS
from hostile import refused
from PIL import Image

from evolvent.cli.main import main
from evolvent.learners.gcn import GCN
from evolvent.storage.reading import read_lines

DETECTOR = (
    CORNERS
    + """

def nameless():
    return nn.Flatten()


def nothing():
    return None
"""
)

RECIPE = """
import torch
from torch import nn

from evolvent import GCN, GGCN, KL, Adam, Energy, Experiment, Gaussian, Images, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring
from evolvent.learners.amortized import Adversarial
from evolvent.metrics.scores import judge_images, judge_points


def experiment(shape, data, judge):
    size = torch.Size(shape).numel()
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian(shape))
    learner = GCN(energy, Persistent(energy.reference, 16), Langevin(0.01, 2))
    return Experiment(learner, lambda: data, Schedule(2, 8, {"energy": Adam(1e-2)}), lambda: data, judge)


def images(judged: bool = True) -> Experiment:
    pixels = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    return experiment((1, 8, 8), Images(pixels), judge_images if judged else None)


class Blots(nn.Module):
    event_shape = (1, 8, 8)

    def draw(self, num):
        return torch.rand(num, 1, 8, 8) * 2 - 1


def blots() -> Experiment:
    return experiment((1, 8, 8), Blots(), judge_images)


def points() -> Experiment:
    return experiment((2,), Ring(), judge_points)


def codes() -> Experiment:
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    mapping = nn.Linear(2, 2)
    mapping.num_hidden = 2
    stages = {"training": {}, "sampling": {"hidden": Langevin(0.1, 2)}}
    learner = GGCN(Energy(net, Gaussian((2,))), mapping, flow=KL(), mapping_loss=Adversarial(), **stages)
    adam = {"energy": Adam(1e-2), "mapping": Adam(1e-2)}
    return Experiment(learner, Ring, Schedule(2, 8, adam), Ring, judge_points)
"""


def arrays(n, *, seed=0, channels=1, size=8):
    return np.random.RandomState(seed).randint(256, size=(n, size, size, channels)).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluating")
    (folder / "mine.py").write_text(DETECTOR)
    (folder / "recipe.py").write_text(RECIPE)
    np.savez(folder / "samples.npz", images=arrays(30))
    np.savez(folder / "data.npz", train_x=arrays(50, seed=1), test_x=arrays(40, seed=2))
    np.savez(folder / "few.npz", train_x=arrays(10, seed=1), test_x=arrays(40, seed=2))
    np.savez(folder / "forty.npz", images=arrays(40))
    np.savez(folder / "one.npz", images=arrays(70, seed=1))
    np.savez(folder / "large.npz", images=arrays(30, size=16))
    np.savez(folder / "colour.npz", images=arrays(30, channels=3))
    np.savez(folder / "floats.npz", images=arrays(30) / 255)
    for i, image in enumerate(arrays(30)):
        file = folder / "pictures" / f"{i:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(file)
    (folder / "mixed").mkdir()
    for size in (8, 9):
        Image.fromarray(arrays(1, size=size)[0, ..., 0]).save(folder / "mixed" / f"{size}.png")
    for name in ("images", "blots", "points", "codes"):
        assert main(["train", f"{folder}/recipe.py:{name}", "--out", f"{folder}/{name}"]) == 0
    return folder


def words(place, source, *more):
    return [
        "evaluate", f"{place}/{source}", "--against", f"{place}/data.npz", "--cache", "none",
        "--detector", f"{place}/mine.py:corners", *more,
    ]  # fmt: skip


def rows(shown):
    """The cells of the printed table by measure."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    return {row[0].split()[0]: row[1:] for row in cells}


def test_images_of_any_program_are_judged_with_counts_detector_and_floor(place, capsys):
    assert main(words(place, "samples.npz")) == 0
    shown = rows(capsys.readouterr().out)
    assert list(shown) == [
        "frechet", "kernel", "precision", "recall", "density", "coverage", "memorisation-ratio", "memorised-share",
        "sliced-wasserstein",
    ]  # fmt: skip
    assert all(row[1:3] == ["30", "40"] and row[-1] != "-" for row in shown.values())
    assert shown["recall"][3] == "corners, k=3"


def test_a_folder_of_the_same_pictures_scores_the_same(place, capsys):
    main(words(place, "samples.npz", "--measures", "frechet,mmd"))
    array = rows(capsys.readouterr().out)
    main(words(place, "pictures", "--measures", "frechet,mmd"))
    assert rows(capsys.readouterr().out) == array


def test_a_random_part_is_judged_and_a_floor_of_fewer_real_images_is_told(place, capsys):
    assert main(words(place, "samples.npz", "--num", "12", "--measures", "frechet,frechet")) == 0
    shown = capsys.readouterr().out
    assert rows(shown)["frechet"][1] == "12" and shown.count("frechet") == 1, (
        "a measure asked for twice is taken once"
    )
    few = ["evaluate", f"{place}/samples.npz", "--against", f"{place}/few.npz", "--cache", "none"]
    assert main([*few, "--measures", "sliced-wasserstein"]) == 0
    shown = capsys.readouterr().out
    assert rows(shown)["sliced-wasserstein"][-1].endswith(" of 10")
    assert (
        "floor: of all 10 other real images, as they are fewer than 30 samples; --num 10 has one of" in shown
    )
    assert main([*few, "--measures", "memorisation", "--detector", f"{place}/mine.py:corners"]) == 0
    assert "floor: of all" not in capsys.readouterr().out, "its floor is of held-out images"
    pairs = ["evaluate", f"{place}/forty.npz", "--against", f"{place}/few.npz", "--cache", "none"]
    assert main([*pairs, "--measures", "wasserstein"]) == 0
    shown = capsys.readouterr().out
    assert rows(shown)["wasserstein"][-1] == "-" and "floor: of all" not in shown, "an exact pairing has none"


def test_data_in_one_part_are_cut_in_half_and_say_so(place, capsys):
    line = ["evaluate", f"{place}/samples.npz", "--against", f"{place}/one.npz", "--cache", "none"]
    assert main([*line, "--detector", f"{place}/mine.py:corners"]) == 0
    shown = capsys.readouterr().out
    assert "a random 35 of its 70 images judge" in shown
    assert "memorisation-ratio" not in shown and rows(shown)["frechet"][2] == "35"


def test_data_that_are_a_test_part_alone_are_data_in_one_part(place, tmp_path, capsys):
    np.savez(tmp_path / "held.npz", test_x=arrays(70, seed=1))
    scores = []
    for data in (f"{place}/one.npz", f"{tmp_path}/held.npz"):
        line = ["evaluate", f"{place}/samples.npz", "--against", data, "--cache", "none"]
        assert main([*line, "--measures", "mmd"]) == 0
        shown = capsys.readouterr().out
        scores.append(rows(shown)["mmd"])
    assert scores[0] == scores[1], "the same images, cut in the same halves"
    assert "held.npz has no train part: a random 35 of its 70 images judge" in shown
    assert main(["evaluate", data, *line[2:], "--measures", "mmd"]) == 0, "and are samples too"


def test_the_training_part_can_judge_too(place, capsys):
    assert main(words(place, "samples.npz", "--split", "train")) == 0
    shown = rows(capsys.readouterr().out)
    assert shown["frechet"][2] == "50" and "memorisation-ratio" not in shown


def test_the_picture_shows_samples_and_their_nearest_training_images(place, tmp_path):
    data = arrays(50, seed=1)
    np.savez(tmp_path / "copies.npz", images=data[:20])
    line = words(place, "samples.npz", "--measures", "frechet", "--out", f"{tmp_path}/near.png")
    line[1] = f"{tmp_path}/copies.npz"
    assert main(line) == 0
    with Image.open(tmp_path / "near.png") as picture:
        shown = np.array(picture)
    scale = (shown.shape[1] - 2) // 6 - 2
    assert shown.shape[0] == 12 * (scale + 2) + 2
    first, nearest = shown[2 : 2 + scale, 2 : 2 + scale], shown[2 : 2 + scale, scale + 4 : 2 * scale + 4]
    assert np.array_equal(first, nearest)


def test_features_of_the_data_are_kept_for_the_next_time(place, tmp_path, capsys):
    line = words(place, "samples.npz", "--measures", "frechet")
    line[line.index("none")] = f"{tmp_path}/cache"
    assert main(line) == 0
    first, files = capsys.readouterr().out, sorted((tmp_path / "cache").iterdir())
    assert len(files) == 2
    files[0].write_bytes(b"damaged")
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "computed anew" in shown and rows(shown) == rows(first)


def test_a_run_is_judged_by_any_measure_against_its_own_or_other_data(place, capsys):
    options = ["--num", "20", "--cache", "none", "--detector", f"{place}/mine.py:corners"]
    assert main(["evaluate", f"{place}/images", *options, "--measures", "kernel"]) == 0
    assert (
        main(
            [
                "evaluate",
                f"{place}/images",
                *options,
                "--measures",
                "recall",
                "--against",
                f"{place}/data.npz",
            ]
        )
        == 0
    )
    lines = read_lines(place / "images" / "scores.jsonl")[-2:]
    assert [(line["measure"], line["num_reference"]) for line in lines] == [("kernel", 40), ("recall", 40)]
    assert [line["against"] for line in lines] == [None, f"{place}/data.npz"]
    assert all(line["floor"] is not None and "corners" in line["protocol"] for line in lines)
    assert json.dumps(lines[0]["stages"])


def test_the_training_parts_scores_are_kept_apart_from_the_test_parts(place):
    line = ["evaluate", f"{place}/images", "--num", "9", "--measures", "mmd", "--cache", "none"]
    for split in ("train", "test"):
        assert main([*line, "--against", f"{place}/data.npz", "--split", split]) == 0
    assert main([*line, "--against", f"{place}/data.npz"]) == 0
    trained, tested, default = read_lines(place / "images" / "scores.jsonl")[-3:]
    assert trained["against"] == f"{place}/data.npz, train"
    assert tested["against"] == default["against"] == f"{place}/data.npz"


def test_two_draws_of_one_law_differ_and_have_nothing_to_memorise(place, capsys):
    line = [
        "evaluate",
        f"{place}/blots",
        "--num",
        "20",
        "--cache",
        "none",
        "--detector",
        f"{place}/mine.py:corners",
    ]
    assert main(line) == 0
    shown = rows(capsys.readouterr().out)
    assert float(shown["frechet"][-1]) > 1, "a floor of two sets, not of one with itself"
    assert "memorisation-ratio" not in shown


def test_points_are_judged_by_measures_of_points(place, capsys):
    assert (
        main(["evaluate", f"{place}/points", "--num", "20", "--measures", "wasserstein,log-density,kl"]) == 0
    )
    shown = rows(capsys.readouterr().out)
    assert list(shown) == ["wasserstein", "log-density", "kl"]
    assert shown["kl"][-1] == "0" and float(shown["kl"][0]) > 0


def test_a_table_says_what_was_asked_of_the_sampling_and_nothing_where_nothing_was(
    place, capsys, monkeypatch
):
    monkeypatch.chdir(place)
    line = ["evaluate", "codes", "--num", "20", "--measures", "kl"]
    titles = {}
    for asked in ("", "--beta 4", "--num-steps 3 --beta 0"):
        capsys.readouterr()
        assert main([*line, *asked.split()]) == 0
        titles[asked] = " ".join(capsys.readouterr().out.partition("┏")[0].split())
    assert titles == {
        "": "codes (step 2) against the exact law",
        "--beta 4": "codes (step 2), drawn with --beta 4.0, against the exact law",
        "--num-steps 3 --beta 0": "codes (step 2), drawn with --num-steps 3 --beta 0.0, against the exact law",
    }
    assert main([*line, "--seed", "3", "--batch-size", "7"]) == 0
    kept = [line["asked"] for line in read_lines(place / "codes" / "scores.jsonl")[-4:]]
    assert read_lines(place / "codes" / "scores.jsonl")[-1]["precision"] == "float32"
    assert kept == [None, "--beta 4.0", "--num-steps 3 --beta 0.0", None]


def test_a_command_draws_one_birth_to_learn_the_shape_of_a_point(place, tmp_path, monkeypatch):
    sample, births = GCN.sample, []

    def counted(learner, num, noise, stages=None):
        births.extend([num] if stages == {} else [])
        return sample(learner, num, noise, stages)

    monkeypatch.setattr(GCN, "sample", counted)
    measured = ["--num", "20", "--measures", "sliced-wasserstein"]
    for line in (
        ["sample", f"{place}/images", "--out", f"{tmp_path}/x.npz"],
        words(place, "images", *measured),
    ):
        births.clear()
        assert main(line) == 0
        assert births == [1]


MISTAKES = {
    "{p}/samples.npz": "say by --against what to hold them to",
    "{p}/samples.npz --against {p}/data.npz --measures fid": 'no measure "fid" here: there are frechet',
    "{p}/samples.npz --against {p}/data.npz --detector resnet": 'no detector "resnet"',
    "{p}/samples.npz --against {p}/data.npz --detector {p}/mine.py:nameless": "needs a name to be a detector",
    "{p}/samples.npz --against {p}/data.npz --detector {p}/mine.py:nothing": "must return a torch.nn.Module",
    "{p}/samples.npz --against {p}/data.npz --detector {p}/mine.py:resnet": "has no function resnet",
    "{p}/samples.npz --against {p}/data.npz --seed 3": "can be said of a run alone",
    "{p}/samples.npz --against {p}/data.npz --num 31": "holds 30 images, and --num asks for 31",
    "{p}/samples.npz --against {p}/data.npz --split valid": "test or train, not valid",
    "{p}/samples.npz --against {p}/data.npz --out x.jpg": "is a .png",
    "{p}/samples.npz --against {p}/nowhere": "nowhere",
    "{p}/samples.npz --against {p}/one.npz --measures memorisation": "give data with a train and a test part",
    "{p}/large.npz --against {p}/data.npz": "16 × 16 px with 1 channels and the images of",
    "{p}/floats.npz --against {p}/data.npz": "convert 0..1 by",
    "{p}/colour.npz --against {p}/data.npz": "with 1: write the grey ones as RGB by `evolvent data {p}/data.npz",
    "{p}/samples.npz --against {p}/colour.npz": "evolvent data SAMPLES --size 8 --channels 3 --out x.npz`",
    "{p}/pictures/00.png --against {p}/data.npz": "00.png is neither a model nor a set of images: put pictures in",
    "{p}/mixed --against {p}/data.npz": "which `evolvent data {p}/mixed --size 8 --out x.npz` brings them to",
    "{p}/images --split train": "--split is the part of the data that --against names",
    "{p}/points --against {p}/data.npz": "the samples are points",
    "{p}/points --detector efflite0-32": "points are judged as they are",
    "{p}/blots --measures memorisation": "these data are drawn anew each time: give data with",
    "{p}/points --measures frechet": 'no measure "frechet" here: there are sliced',
}


@pytest.mark.parametrize("line", MISTAKES)
def test_every_mistake_is_one_sentence(place, capsys, line):
    words = ["evaluate", *line.format(p=place).split(), "--cache", "none"]
    refused(words, MISTAKES[line].format(p=place), capsys, watched=place)
