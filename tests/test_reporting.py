"""What the command report says of one run and of several: nothing that cannot be compared stands in one row."""

import json

import pytest
from PIL import Image
from rich.console import Console

from evolvent import pictures
from evolvent.cli import report as reporting
from evolvent.cli.main import main
from evolvent.cli.terminal import WHOLE, printable

SCORE = {
    "step": 2,
    "measure": "frechet",
    "num_samples": 9,
    "num_reference": 8,
    "protocol": "pixels",
    "lower_is_better": True,
    "against": None,
    "asked": None,
}


def write(path, *, scores=(), log=None, seed=0, recipe="digits", **arguments):
    path.mkdir()
    record = {"recipe": recipe, "arguments": arguments, "seed": seed, "device": "cpu", "status": "finished"}
    log = [{"step": step, "seconds": 0.5, "energy_gap": step / 4} for step in (1, 2)] if log is None else log
    (path / "run.json").write_text(json.dumps(record))
    for name, lines in (("log", log), ("scores", [SCORE | {"floor": 4.0} | score for score in scores])):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def told(capsys, *words):
    """The cells that were printed, a row each."""
    assert main(["report", *words]) == 0
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return [tuple(cell.strip() for cell in line) for line in lines]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_of_several_runs_the_options_that_differ_are_told_and_no_others(place, capsys):
    first = write(place / "a", tau=0.2, width=32)
    second = write(place / "b", tau=0.4, width=32, seed=3, recipe="digits-wgcn", ends="data")
    rows = told(capsys, first, second)
    assert ("--tau", "0.2", "0.4") in rows
    assert ("--ends", "-", "data") in rows
    assert ("--seed", "0", "3") in rows
    assert ("recipe", "digits", "digits-wgcn") in rows
    assert ("energy gap", "0.5", "0.5") in rows
    assert not any(row[0] == "--width" for row in rows)
    assert not any(row[0].startswith("--") for row in told(capsys, first))


def test_a_row_holds_the_newest_scores_that_were_measured_alike(place, capsys):
    first = write(place / "a", scores=[{"value": 9.0}, {"value": 7.0}])
    second = write(place / "b", scores=[{"value": 8.0}, {"value": 6.0, "num_samples": 50}])
    rows = [row for row in told(capsys, first, second) if row[0].startswith("frechet")]
    assert rows == [
        ("frechet ↓", "9", "8", "pixels", "7", "8", "4"),
        ("frechet ↓", "50", "8", "pixels", "-", "6", "4"),
    ]


def test_a_score_of_other_data_or_of_samples_drawn_otherwise_is_not_the_runs_own(place, capsys):
    births, others = {"value": 9.0, "asked": "--dynamics none"}, {"value": 8.0, "against": "x.npz"}
    first = write(place / "a", scores=[{"value": 7.0}, births, others])
    second = write(place / "b", scores=[{"value": 6.0, "step": 1}, births])
    rows = [row[3:6] for row in told(capsys, first, second) if row[0].startswith("frechet")]
    assert rows == [
        ("pixels", "7", "6 at step 1"),
        ("pixels, drawn with --dynamics none", "9", "9"),
        ("pixels, against x.npz", "8", "-"),
    ]


def test_runs_of_one_name_are_told_apart(place, capsys):
    (place / "x").mkdir(), (place / "y").mkdir()
    assert main(["report", write(place / "x" / "run"), write(place / "y" / "run")]) == 0
    heads = capsys.readouterr().out
    assert "x/run" in heads and "y/run" in heads


def test_a_run_that_is_named_twice_is_told_once(place, capsys):
    run = write(place / "a")
    (place / "link").symlink_to(place / "a")
    assert told(capsys, run, "a", "./a/", "link")[0] == ("recipe", "digits")
    assert (place / "a" / "report.png").is_file()


def test_runs_that_began_from_other_weights_are_told_apart(place, capsys):
    first, second = write(place / "a"), write(place / "b")
    record = json.loads((place / "b" / "run.json").read_text())
    record["init_from"] = {"source": "digits", "recipe": "digits", "step": 9}
    (place / "b" / "run.json").write_text(json.dumps(record))
    assert ("--init-from", "-", "digits") in told(capsys, first, second)


def test_a_pipe_folds_no_cell_of_many_runs(place, capsys):
    runs = [write(place / f"cifar10-amortized-{i}", augment="adaptive", tau=i) for i in range(20)]
    assert ("--tau", *map(str, range(20))) in told(capsys, *runs)


@pytest.mark.parametrize("name", ["cifar10-amortized", "a-name-of-more-than-forty-letters" * 3])
def test_many_runs_on_a_narrow_terminal_have_rows_and_no_number_is_folded(place, capsys, monkeypatch, name):
    log = [{"step": 2, "seconds": 2.5} | {f"sign_{j}": -1.25e-10 for j in range(9)}]
    scores = [{"value": 1.25e-5, "asked": "--dynamics hidden,image --num-steps 100"}]
    runs = [write(place / f"{name}-{i:02}", log=log, tau=i, scores=scores) for i in range(12)]
    monkeypatch.setattr(reporting, "open_console", lambda: Console(width=80))
    rows = told(capsys, *runs)
    cells = [cell for row in rows for cell in row]
    assert [cells.count(cell) for cell in ("finished", "-1.25e-10", "1.25e-05")] == [12, 9 * 12, 12]
    if len(name) < WHOLE:
        assert (f"{name}-07", "digits", "finished", "7", "2") in rows
        assert ("real", "4") in rows
    else:
        assert any(cell.endswith("-07") for cell in cells)


def test_letters_that_no_font_has_are_boxes_and_no_warning():
    names = "🎲", "שלום", "a\tb", "no UTF-8: \udcff"
    image = pictures.curves({name: [{"step": 1, "gap": 1.0}] for name in names}, ["gap"])
    assert image.width > 400  # and a warning is an error here


def test_a_name_is_no_markup_no_formula_and_no_order_to_the_terminal(place, capsys):
    runs = [write(place / name) for name in ("[bold]", "_x", "$\\frac{$")]
    assert main(["report", *runs]) == 0
    heads = capsys.readouterr().out.splitlines()[2]
    assert all(name in heads for name in ("[bold]", "_x", "$\\frac{$"))
    assert printable("\x1b[31mü↓") == r"\x1b[31mü↓"


def test_one_run_has_its_picture_in_its_folder_and_several_have_theirs_here(place, capsys):
    first, second = (
        write(place / "a"),
        write(place / "b", log=[{"step": 1, "seconds": 1, "loss_energy": 2.0}]),
    )
    assert main(["report", first]) == main(["report", first]) == 0
    assert (place / "a" / "report.png").is_file() and not (place / "report.png").exists()
    assert main(["report", first, second]) == 0
    with Image.open("report.png") as image:
        assert image.width > 500
    assert main(["report", first, second]) == 2
    assert "report.png already exists" in capsys.readouterr().err
    assert main(["report", first, second, "--overwrite"]) == 0


def test_a_log_without_signs_is_named_and_one_end_of_a_band_draws_none(place, capsys):
    bare = write(place / "a", log=[{"step": 1, "seconds": 1}])
    assert main(["report", bare]) == 2
    assert "no vital sign was logged" in capsys.readouterr().err
    half = write(place / "b", log=[{"step": 1, "seconds": 1, "energy_gap": 1.0, "energy_gap@max": 2.0}])
    assert main(["report", half, bare]) == 0


def test_of_more_runs_than_there_are_colours_every_one_has_a_look_of_its_own(monkeypatch):
    seen = []
    monkeypatch.setattr(
        pictures, "_render", lambda figure: seen.append(figure) or pictures.Image.new("L", (1, 1))
    )
    pictures.curves({str(i): [{"step": 1, "gap": i}] for i in range(40)}, ["gap"])
    (figure,) = seen
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 40
    assert [text.get_text() for text in figure.legends[0].texts] == [str(i) for i in range(40)]


def test_each_run_has_a_colour():
    lines = [[{"step": step, "gap": height} for step in range(9)] for height in (0, 1)]
    alone, both = (
        pictures.curves(dict(zip("ab", chosen, strict=False)), ["gap"]) for chosen in (lines[:1], lines)
    )
    seen = [
        {c for n, c in image.getcolors(2**20) if n > 100 and max(c) - min(c) > 90} for image in (alone, both)
    ]
    assert seen[0] < seen[1]


@pytest.mark.parametrize("name", [*SCORE, "value", "floor"])
def test_a_line_that_is_no_score_is_named(place, capsys, name):
    odd = write(place / "a", scores=[{"value": 1.0}, {"value": 1.0, name: []}])
    assert main(["report", odd]) == 2
    assert f"scores.jsonl, line 2 is no score, by its {name}: remove that line" in capsys.readouterr().err
