"""The command line: what a run leaves, what samples depend on, and one sentence for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import refused
from PIL import Image

import evolvent
from evolvent.cli.commands import COMMANDS
from evolvent.cli.main import main
from evolvent.cli.options import Parser, parse
from evolvent.storage.reading import read_lines, read_model
from evolvent.storage.runs import Run

RECIPES = '''
from typing import Literal

import torch
from torch import nn

from evolvent import Adam, Energy, Experiment, Gaussian, GCN, Images, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring
from evolvent.metrics.scores import Score


def experiment(shape, data, num_steps, lr, judge=None):
    size = torch.Size(shape).numel()
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian(shape))
    learner = GCN(energy, Persistent(energy.reference, 16), Langevin(0.01, 2))
    schedule = Schedule(num_steps, 8, {"energy": Adam(lr)}, log_every=2, picture_every=4, checkpoint_every=4)
    return Experiment(learner, lambda: data, schedule, held_out=lambda: data, judge=judge)


def points(num_steps: int = 6, lr: float = 1e-2, kind: Literal["ring", "none"] = "ring") -> Experiment:
    """Points of the plane.

    Args:
        num_steps: how long it takes.
    """
    if kind == "none":
        raise FileNotFoundError(2, "No such file or directory", "points.npy")
    return experiment((2,), Ring(), num_steps, lr)


def images(num_steps: int = 8, *, lr: float = 1e-2) -> Experiment:
    """Images of noise."""
    def judge(samples, held_out, train, *, device):
        counts = len(samples), len(held_out)
        return [Score("brightness", float(samples.float().mean()), None, *counts, "pixels", 0.5, False)]

    pixels = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return experiment((1, 8, 8), Images(pixels.to(torch.uint8)), num_steps, lr, judge)


def handed_on(lr: float = 0.1, **more) -> Experiment:
    """Hands on what it does not know."""
    return images(lr=lr, **more)


def out(out: int = 3) -> Experiment:
    """Takes a name that is taken."""


def nothing() -> Experiment:
    """Returns nothing."""
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "my.py").write_text(RECIPES)
    (folder / "broken.py").write_text("x = 1\ny = nowhere\n")
    return folder


@pytest.fixture(scope="module")
def run(place):
    """A finished run of images."""
    assert main(["train", f"{place}/my.py:images", "--out", f"{place}/run", "--seed", "5"]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def stopped(place):
    """A run that ran out of time after its first step."""
    words = ["train", f"{place}/my.py:images", "--out", f"{place}/stopped", "--seed", "5"]
    assert main([*words, "--max-minutes", "1e-9"]) == 124
    return place / "stopped"


def images_of(path):
    with np.load(path) as archive:
        return archive["images"]


def test_a_run_of_a_recipe_in_a_file_leaves_all_its_files(run):
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["seed"]) == ("finished", 5)
    assert record["arguments"] == {"num_steps": 8, "lr": 0.01}
    assert {"samples.png", "model.safetensors", "log.jsonl"} <= {file.name for file in run.iterdir()}
    assert [file.name for file in sorted((run / "samples").iterdir())] == [
        "step-00000004.png",
        "step-00000008.png",
    ]
    assert [line["step"] for line in read_lines(run / "log.jsonl")] == [1, 2, 4, 6, 8]
    assert {"energy_gap", "force_norm", "energy_drop"} <= read_lines(run / "log.jsonl")[0].keys()


def test_time_running_out_is_told_with_the_way_to_go_on(place, capsys):
    words = ["train", f"{place}/my.py:images", "--out", f"{place}/brief", "--max-minutes", "1e-9"]
    assert main(words) == 124
    assert f"evolvent train --resume --out {place}/brief" in capsys.readouterr().out


def test_a_run_that_was_stopped_before_it_noted_its_guard_is_guarded_when_it_goes_on(place):
    run = f"{place}/early"
    assert main(["train", f"{place}/my.py:images", "--out", run, "--max-minutes", "1e-9"]) == 124
    record = json.loads(Path(run, "run.json").read_text())
    del record["guard"]
    Path(run, "run.json").write_text(json.dumps(record))
    assert main(["train", "--resume", "--out", run]) == 0
    assert json.loads(Path(run, "run.json").read_text())["guard"]


def test_a_keyword_that_a_recipe_hands_on_arrives_and_is_recorded(place):
    run = place / "handed-on"
    assert main(["train", f"{place}/my.py:handed_on", "--num-steps", "3", "--out", str(run)]) == 0
    record = json.loads((run / "run.json").read_text())
    assert (record["step"], record["arguments"]) == (3, {"lr": 0.1, "num_steps": 3})


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"evolvent {evolvent.__version__}, torch ")


def test_stopping_and_resuming_equals_going_straight_on_bitwise(run, stopped):
    assert main(["train", "--resume", "--out", str(stopped), "--lr", "0.01"]) == 0
    whole, parts = read_model(run)[0], read_model(stopped)[0]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    lines = [[line | {"seconds": 0} for line in read_lines(path / "log.jsonl")] for path in (run, stopped)]
    assert lines[0] == lines[1]
    assert (run / "samples.png").read_bytes() == (stopped / "samples.png").read_bytes()


def test_a_finished_run_has_nothing_left_to_resume(run, capsys):
    assert main(["train", "--resume", "--out", str(run)]) == 0
    assert "is finished" in capsys.readouterr().out


def test_sample_i_does_not_depend_on_how_many_are_drawn(run, tmp_path):
    for num in (3, 13):
        assert (
            main(["sample", str(run), "--num", str(num), "--seed", "7", "--out", f"{tmp_path}/{num}.npz"])
            == 0
        )
    few, many = images_of(tmp_path / "3.npz"), images_of(tmp_path / "13.npz")
    assert (few.dtype, few.shape, len(many)) == (np.uint8, (3, 8, 8, 1), 13)
    assert np.array_equal(few, many[:3])


def test_a_model_file_alone_gives_the_samples_of_its_run(run, tmp_path):
    (tmp_path / "alone.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert main(["sample", f"{tmp_path}/alone.safetensors", "--num", "4", "--out", f"{tmp_path}/a.npz"]) == 0
    assert main(["sample", str(run), "--num", "4", "--out", f"{tmp_path}/b.npz"]) == 0
    assert np.array_equal(images_of(tmp_path / "a.npz"), images_of(tmp_path / "b.npz"))


def test_a_folder_gets_one_picture_a_sample(run, tmp_path):
    assert main(["sample", str(run), "--num", "3", "--out", f"{tmp_path}/folder/"]) == 0
    assert main(["sample", str(run), "--num", "3", "--out", f"{tmp_path}/same.npz"]) == 0
    files = sorted((tmp_path / "folder").iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png"]
    shown = np.stack([np.array(Image.open(file)) for file in files])
    assert np.array_equal(shown[..., None], images_of(tmp_path / "same.npz"))


def test_dynamics_none_draws_births_and_numbers_replace_the_recipes(run, tmp_path):
    options = {"births": ["--dynamics", "none"], "recipe": [], "longer": ["--num-steps", "9"]}
    for name, words in options.items():
        assert main(["sample", str(run), "--num", "4", *words, "--out", f"{tmp_path}/{name}.npz"]) == 0
    drawn = [images_of(tmp_path / f"{name}.npz") for name in options]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])


def test_points_of_the_plane_are_drawn_and_kept(place, tmp_path):
    assert main(["train", f"{place}/my.py:points", "--out", f"{tmp_path}/run", "--num_steps=3"]) == 0
    assert main(["sample", f"{tmp_path}/run", "--num", "5", "--out", f"{tmp_path}/x.npz"]) == 0
    with np.load(tmp_path / "x.npz") as archive:
        assert (archive["points"].dtype, archive["points"].shape) == (np.float32, (5, 2))
    assert (tmp_path / "run" / "samples.png").is_file()


def test_scores_are_printed_with_counts_and_floor_and_added_to_the_run(run, capsys):
    assert main(["evaluate", str(run), "--num", "11"]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("brightness", "11", "20", "pixels", "0.5"))
    line = read_lines(run / "scores.jsonl")[-1]
    assert (line["measure"], line["num_samples"], line["step"]) == ("brightness", 11, 8)


def test_a_report_draws_the_curves_and_prints_the_last_numbers(run, capsys):
    assert main(["report", str(run)]) == 0
    assert "energy gap" in capsys.readouterr().out
    with Image.open(run / "report.png") as image:
        assert image.width > 500


def test_recipes_are_listed_with_what_they_show(capsys):
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("digits", "toy-ring", "minutes", "hardware"))


def test_help_shows_the_recipes_own_words_and_options_with_hyphens(place, capsys):
    assert main(["train", f"{place}/my.py:points", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(
        word in shown
        for word in ("Points of the plane.", "--num-steps", "how long it takes", "--max-minutes")
    )
    assert main([]) == 0
    usage = capsys.readouterr().out
    assert "usage: evolvent" in usage
    assert [f"  {name} " in usage for name in ("train", *COMMANDS)] == [True] * (1 + len(COMMANDS))


MISTAKES = {  # beside those in test_hostile_words.py
    "trian": 'there is no command "trian"',
    "train toy-rnig": "did you mean toy-ring?",
    "train {my}:points --num-stesp 3": "did you mean --num-steps?",
    "train {my}:points --num-steps": "--num-steps needs a value",
    "train {my}:points --num-steps 0": "num_steps must be at least 1, not 0",
    "train {my}:points --max-minutes 0": "--max-minutes must be above 0",
    "train {my}:points --threads 0": "--threads must lie between 1 and",
    "train toy-ring --batch-size 8 --num-slots 7 --out {place}/new": "a batch of 8 does not fit a bank of 7",
    "train digits --chain-step-size 0": "a step size above 0",
    "train digits --batch-size 99999999999999999999999": "too large",
    "train digits --threads 100000": "--threads must lie between 1 and",
    "train --resume=true --out {run}": "--resume takes no value",
    "train {my}:points --kind none": "points.npy: No such file or directory",
    "train {my}:points --out {run}": "already holds files",
    "train {my}:points --out {my}": "is a file",
    "train --lr 3 digits": '"digits" has no place here',
    "train {my}:ponits": "has no function ponits: it has experiment, points",
    "train {my}": "names no function",
    "train nowhere.py:points": "nowhere.py does not exist",
    "train {place}/broken.py:points": "line 2: NameError",
    "train {my}:out": "keyword out, which is an option of every run",
    "train {my}:nothing": "must return an evolvent.Experiment",
    "train --resume --out {place}/nowhere": "is not a run",
    "train --resume --out {run} --lr 3": "a resumed run keeps its options",
    "train --resume --out {run} --seed 6": "a resumed run keeps its options",
    "train digits --resume --out {run}": "leave the recipe out",
    "sample {place}/nowhere": "there is no such file",
    "sample {my}": "is not a safetensors file",
    "sample {run} --dynamics hidden": '"hidden" is not among the stages that this recipe samples with (image)',
    "sample {run} --dynamics hidden --num-steps 2 --step-size 0.1 --temperature 1": "this learner has image",
    "sample {run} --out x.jpg": "not as .jpg",
    "sample {run} --out {run}": "not an empty folder",
    "evaluate {place}/nowhere": "there is no such file",
    "report {place}": "is not a run",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(line, run, place, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = line.format(my=place / "my.py", run=run, place=place).split()
    refused(words, MISTAKES[line], capsys, watched=place)
    assert not list(tmp_path.iterdir())


def test_a_diverged_run_ends_with_exit_code_1_and_its_vital_signs(place, capsys):
    words = [
        "train",
        f"{place}/my.py:points",
        "--lr",
        "1e30",
        "--num-steps",
        "30",
        "--out",
        f"{place}/diverged",
    ]
    assert main(words) == 1
    assert "diverged at step" in capsys.readouterr().err
    assert json.loads((place / "diverged" / "run.json").read_text())["status"] == "diverged"


def test_a_folder_in_use_is_refused(run, capsys):
    with Run.open(run):
        record = json.loads((run / "run.json").read_text()) | {"status": "stopped"}
        (run / "run.json").write_text(json.dumps(record))
        assert main(["train", "--resume", "--out", str(run)]) == 2
    assert "in use by another process" in capsys.readouterr().err
    (run / "run.json").write_text(json.dumps(record | {"status": "finished"}))


def test_without_a_folder_runs_are_numbered(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["train", f"{place}/my.py:images", "--num-steps", "1"]) == 0
    assert sorted(entry.name for entry in (tmp_path / "runs").iterdir()) == ["images-1", "images-2"]


def function(rate: float | None = None, sizes: tuple[int, ...] = (1, 2), flip: bool = False):
    """Some options."""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--rate x", '--rate takes a number, not "x"'),
        ("--flip perhaps", '--flip takes true or false, not "perhaps"'),
        ("--sizes 3", '--sizes takes a tuple, not "3"'),
        ("--ra 3", "it has no option --ra"),
    ],
)
def test_a_wrong_value_is_named_with_what_the_option_takes(words, sentence):
    parser = Parser("it")
    parser.add_function_arguments(function)
    with pytest.raises(ValueError, match="^" + sentence):
        parse(parser, words.split())


def test_the_command_line_begins_without_what_few_commands_need():
    script = (
        "import sys, evolvent.cli.main; sys.exit(bool({'scipy', 'matplotlib', 'datasets'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
