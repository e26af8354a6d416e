"""Going on with a run: what it keeps, and what may lie elsewhere by now."""

import json

import numpy as np
import pytest
from hostile import make_run, refused, write_recipes

from evolvent.cli.main import main
from evolvent.pretrained import from_pretrained, save_pretrained
from evolvent.recipes.find import lasting, portable_arguments
from evolvent.storage.circumstances import SourceChanged
from evolvent.storage.reading import read_model, read_record

BRIEFLY = ("--max-minutes", "1e-9")
SMALL = [
    *("images", "--size", "8", "--channels", "1", "--width", "4", "--num-hidden", "4"),
    *("--batch-size", "4", "--num-steps", "2", "--threads", "1"),
]


pytestmark = pytest.mark.usefixtures("no_pictures")


NEW_KEYWORDS = """
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

Kind = Enum("Kind", "RING MOONS")


@dataclass
class Options:
    depth: int = 3
    rates: tuple[float, float] = (0.1, 1)


def more(width: int = 8, sizes: tuple[int, int] = (1, 2)):
    pass


def grown(num_steps: int = 6, lr: float = 1, bound: float = float("nan"){new}) -> Experiment:
    {call}
    return points(num_steps)
"""


def test_a_run_goes_on_when_its_recipe_has_got_keywords_of_any_kind(tmp_path, capsys):
    """They are at their defaults, in the form that run.json keeps; and NaN is not another NaN."""
    file, run = write_recipes(tmp_path), tmp_path / "run"
    old = file.read_text()
    file.write_text(old + NEW_KEYWORDS.format(new="", call="pass"))
    words = ["train", f"{file}:grown", "--out", str(run)]
    assert main([*words, *BRIEFLY]) == 124
    new = ", pair: tuple[float, float] = (0.1, 0.9), options: Options = Options(), kind: Kind = Kind.RING"
    new += ", place: Path | None = Path('x'), **others"
    file.write_text(old + NEW_KEYWORDS.format(new=new, call="more(**others)"))
    for option in ("--width 9", "--options.depth 4", "--lr 2", "--bound 1"):
        assert main([*words, "--resume", *option.split()]) == 2
        assert "a resumed run keeps its options: leave --" in capsys.readouterr().err
    with pytest.warns(SourceChanged):
        assert main([*words, "--resume", "--lr", "1", "--width", "8"]) == 0
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_a_run_holds_from_any_folder(tmp_path, monkeypatch, capsys):
    """The data that a path names where the run begins are its data wherever it goes on, and another's are not."""
    for name in ("w1", "w2"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "d.npy", np.full((40, 8, 8), 9 * (name == "w2"), np.uint8))
    monkeypatch.chdir(tmp_path / "w1")
    assert main(["train", *SMALL, "--data", "d.npy", "--out", "run", *BRIEFLY]) == 124
    place = str(tmp_path / "w1" / "d.npy")
    assert read_record(tmp_path / "w1" / "run")["arguments"]["data"] == place
    monkeypatch.chdir(tmp_path / "w2")
    assert (from_pretrained("../w1/run").experiment.data().pixels == 0).all()
    assert main(["train", "--resume", "--out", "../w1/run", "--data", "../w1/d.npy", *BRIEFLY]) == 0
    save_pretrained("../w1/run", "model")
    assert json.loads(read_model(tmp_path / "w2" / "model")[1]["arguments"])["data"] == "d.npy"
    assert not [file for file in (tmp_path / "w2" / "model").iterdir() if place.encode() in file.read_bytes()]


def test_data_that_lie_elsewhere_now_are_named_and_told_of(tmp_path, capsys):
    data, run = tmp_path / "d.npy", tmp_path / "run"
    np.save(data, np.zeros((40, 8, 8), np.uint8))
    assert main(["train", *SMALL, "--data", str(data), "--out", str(run), *BRIEFLY]) == 124
    moved = data.rename(tmp_path / "moved.npy")
    go_on = ["train", "--resume", "--out", str(run)]
    assert main(go_on) == 2
    assert f"{data} is not there any more: say by --data where it lies now" in capsys.readouterr().err
    assert main([*go_on, "--data", str(moved), "--width", "8"]) == 2
    assert "leave --width out" in capsys.readouterr().err
    assert main([*go_on, "--data", "digits"]) == 2
    assert "leave --data out" in capsys.readouterr().err
    with pytest.warns(SourceChanged, match=f"--data {data} and goes on with {moved}"):
        assert main([*go_on, "--data", str(moved)]) == 0
    assert read_record(run)["arguments"]["data"] == str(moved)
    assert json.loads(read_model(run)[1]["arguments"])["data"] == str(moved)


def test_words_stay_words_though_a_folder_is_called_so(tmp_path, monkeypatch):
    for name in ("digits", "brick", "photos", "x.csv"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    words = {"data": "digits", "texture": "brick", "kind": ".", "gone": "gone/x.npz", "size": 3, "none": None}
    assert lasting(words) == words
    found = lasting({"data": ["photos", "./digits"], "of": {"table": "x.csv"}, "at": "../" + tmp_path.name})
    here = str(tmp_path)
    assert found == {
        "data": [f"{here}/photos", f"{here}/digits"],
        "of": {"table": f"{here}/x.csv"},
        "at": here,
    }
    assert portable_arguments(found) == {
        "data": ["photos", "digits"], "of": {"table": "x.csv"}, "at": tmp_path.name
    }  # fmt: skip


def test_a_recipe_whose_file_was_moved_is_named_where_it_lies_now(tmp_path, capsys):
    run, go_on = (
        make_run(tmp_path, "points", stopped=True),
        ["--resume", "--out", f"{tmp_path}/points-stopped"],
    )
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "my.py").rename(tmp_path / "elsewhere" / "mine.py")
    assert main(["train", *go_on]) == 2
    assert "my.py of the run's recipe does not exist any more: where it lies" in capsys.readouterr().err
    assert main(["sample", str(run), "--out", f"{tmp_path}/x.npz"]) == 2
    assert "does not exist: put the recipe's file there" in capsys.readouterr().err
    assert main(["train", f"{moved}:images", *go_on]) == 2
    assert "leave the recipe out" in capsys.readouterr().err
    before = moved.read_text()
    moved.write_text(before + "\n")
    with pytest.warns(SourceChanged, match=r"mine\.py has changed since"):
        assert main(["train", f"{moved}:points", *go_on, *BRIEFLY]) == 124
    moved.write_text(before)
    assert main(["train", *go_on]) == 0
    assert read_record(run)["recipe"] == f"{moved}:points"
    assert from_pretrained(run).recipe == f"{moved}:points"


BY_HAND = {
    "a seed that is not the checkpoint's": (lambda r: r.update(seed=9), "its seed is 0, and the run's is 9"),
    "a device by its number": (lambda r: r.update(device="cuda:0"), 'there is no device "cuda:0"'),
    "a machine that is a word": (lambda r: r.update(machine="laptop"), "odd machine"),
    "seconds that are a word": (lambda r: r.update(seconds="1"), "odd seconds"),
    "a number that is a word": (lambda r: r["arguments"].update(lr="fast"), "fast"),
}


@pytest.mark.parametrize(("change", "says"), BY_HAND.values(), ids=BY_HAND)
def test_a_record_that_was_changed_by_hand_is_refused(tmp_path, capsys, change, says):
    """In a sentence; and the seed is the checkpoint's, whatever run.json says."""
    run = make_run(tmp_path, "points", stopped=True)
    record = read_record(run)
    change(record)
    (run / "run.json").write_text(json.dumps(record))
    refused(["train", "--resume", "--out", str(run)], says, capsys, watched=run / "checkpoints")
