"""benchmarks/ablation.py at toy size: what it counts, how a cell goes on where it was cut, what the report holds."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.storage.runs import hold
from evolvent.training.trainer import Trainer

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import ablation
from ablating import cells, judging, tables, training

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
SIGHT = judging.Sight(num=20, num_reference=16, detector_size=32)


class Coarse(nn.Module):
    """Twelve features: the picture at 2 px. A distance over a detector's thousand takes seconds."""

    name = "coarse"

    def __init__(self, size):
        super().__init__()

    def forward(self, pixels_uint8):
        return adaptive_avg_pool2d(pixels_uint8.float() / 255, 2).flatten(1)

    def logits(self, features):
        return features


@pytest.fixture
def small(monkeypatch):
    scale = replace(
        cells.SCALES[16],
        score=partial(PlainScore, 16, 3, width=2),
        mapping=partial(PlainMapping, 16, 3, width=2),
        num_hidden=4,
        batch_size=8,
        num_slots=8,
        sampling_steps=3,
        clocks={"sampling_batch_size": 8},
    )
    monkeypatch.setitem(cells.SCALES, 16, scale)
    monkeypatch.setattr(judging, "EffLite0", Coarse)
    return scale


@pytest.fixture
def data(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (60, 16, 16, 3), np.uint8)
    labels = np.arange(30) % 10
    np.savez(tmp_path / "data.npz", train_x=pixels[:30], test_x=pixels[30:], train_y=labels, test_y=labels)
    return str(tmp_path / "data.npz")


def cell(name, data, folder, seconds=1e-3):
    return training.Cell(name, 0, 16, data, "cpu", seconds, folder)


def test_gradients_are_those_of_the_chain_of_what_is_learned_from_and_twice_those_of_the_action(small):
    # A force a move; the energy learns from a datum and a particle; an eighth of the data is watched.
    gcn = small.chain.num_steps + 2 + 1 / 8
    assert training.gradients_of_a_step("gcn", 16) == gcn
    # Each end of the action, on a quarter of the batch, takes a gradient and its derivative.
    assert training.gradients_of_a_step("wgcn", 16) == gcn + 2 * 2 / 4
    assert training.gradients_of_a_step("wgcn-path", 16) == gcn + 2 * 2 / 4


def test_a_fixed_mapping_stays_as_it_was_drawn(small, data):
    experiment = cells.experiment_of("fixed", 16, data)
    learner = experiment.learner
    before = {name: weight.clone() for name, weight in learner.named_parameters()}
    Trainer(learner, experiment.data(), experiment.schedule).advance()
    moved = {name for name, weight in learner.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.startswith("energy.")}


def test_a_cell_that_was_cut_short_goes_on_and_is_not_trained_again(small, data, tmp_path):
    long = cell("gcn", data, tmp_path, seconds=60)
    assert training.train(long, deadline=0) is None
    record = training.train(replace(long, seconds=1e-3), deadline=math.inf)
    assert record["steps"] == training.LOOK and not record["diverged"]
    # The clock had run out already: no step was added, and the record is read from its file.
    assert training.train(replace(long, seconds=60), deadline=math.inf) == record


def test_a_report_holds_each_sampling_with_its_floor_and_chunks_are_not_drawn_twice(small, data, tmp_path):
    found = cell("amortised", data, tmp_path / "out")
    training.train(found, deadline=math.inf)
    assert not judging.judge(found, SIGHT, deadline=0) and not judging.is_done(found)
    learner = training.trained(found)
    cost = judging.sample(found, learner, "hidden", SIGHT.num, math.inf)
    assert cost["gradients_per_sample"] == small.hidden.num_steps
    assert judging.sample(found, None, "hidden", SIGHT.num, math.inf) == cost, "drawn without a learner"
    assert judging.judge(found, SIGHT, deadline=math.inf) and judging.is_done(found)
    tables.report(tmp_path / "out", "A heading.")
    text = (tmp_path / "out/ablation.md").read_text()
    assert text.count("amortised: + hidden evolution at sampling |") == 1
    assert "*floor: real images*" in text and "A heading." in text
    scores = json.loads((found.folder / "births.json").read_text())
    assert {score["num_samples"] for score in scores["test"]} == {SIGHT.num}
    for picture in ("amortised-0-births.png", "amortised-0-hidden-nearest.png"):
        assert (tmp_path / "out" / picture).is_file() and picture in text


@pytest.mark.parametrize("name", ["gcn-labels", "amortised-labels"])
def test_a_cell_with_labels_stands_beside_the_one_without(small, data, tmp_path, name):
    for which in (name, name.removesuffix("-labels")):
        found = cell(which, data, tmp_path / "out")
        record = training.train(found, deadline=math.inf)
        assert record["gradients_per_image"] == training.gradients_of_a_step(name, 16)
        assert judging.judge(found, SIGHT, deadline=math.inf)
    tables.report(tmp_path / "out", "A heading.")
    section = (tmp_path / "out/ablation.md").read_text().partition("## With labels")[2].partition("##")[0]
    rows = [line.split(" |")[0] for line in section.splitlines() if line.startswith("| ")]
    assert sum(row.endswith("by class") for row in rows) == len(cells.CELLS[name].samplings)
    assert len(rows) == 2 + 2 * len(cells.CELLS[name].samplings) + 1  # heads, both cells, the floor


def said(monkeypatch, capsys, *words):
    """The exit code of the benchmark's command line and the last line that it says."""
    monkeypatch.setattr(sys, "argv", ["ablation.py", "--size", "16", *words])
    try:
        code = ablation.main()
    except SystemExit as leave:
        code = leave.code
    return code, capsys.readouterr().err.strip().splitlines()[-1:]


def test_a_folder_is_gone_on_with_as_it_was_begun_and_by_one_call_at_a_time(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(ablation, "compare", lambda *_: 0)
    out = str(tmp_path / "out")
    assert said(monkeypatch, capsys, "--data", data, "--out", out) == (0, [])
    other = str(Path(data).rename(tmp_path / "other.npz"))
    code, (line,) = said(monkeypatch, capsys, "--data", other, "--out", out)
    assert code == 2 and f"was begun with --data {data}" in line
    with hold(tmp_path / "out"):
        code, (line,) = said(monkeypatch, capsys, "--data", other, "--out", out)
    assert code == 2 and "is in use by another process" in line
    code, (line,) = said(monkeypatch, capsys, "--data", other, "--out", other)
    assert code == 2 and line.startswith("ablation.py: ") and "exists" in line
    code, (line,) = said(monkeypatch, capsys, "--data", other, "--seeds", "0,x")
    assert code == 2 and '"0,x" are no whole numbers' in line
    assert ablation.each_once("0,1,0", int) == [0, 1]


def after_ctrl_c(line, file, seconds=0.0, **more):
    """The exit code and what is said where Ctrl-C is pressed so long after a file has appeared."""
    ours = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background would inherit deafness
    try:
        command = subprocess.Popen(line, start_new_session=True, stderr=subprocess.PIPE, text=True, **more)
    finally:
        signal.signal(signal.SIGINT, ours)
    try:
        while not file.exists() and command.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        os.killpg(command.pid, signal.SIGINT)
        said = command.communicate(timeout=60)[1]
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
    return command.returncode, said


INTERRUPTED = 130, "ablation.py: interrupted; the same command goes on from the last checkpoints\n"


def test_ctrl_c_is_one_sentence_and_leaves_nobody_at_work(data, tmp_path):
    """While the workers still import: none of them says a word, and the pipe closes when the last has gone."""
    out = tmp_path / "out"
    words = ["--size", "16", "--num", "20", "--num-reference", "20", "--workers", "2", "--data"]
    line = [sys.executable, ablation.__file__, *words, data, "--out", str(out)]
    assert after_ctrl_c(line, out / "settings.json", seconds=1) == INTERRUPTED


def test_ctrl_c_is_one_sentence_while_it_imports(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('imports').touch()\ntime.sleep(60)\n"
    )
    line = [sys.executable, ablation.__file__]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert after_ctrl_c(line, tmp_path / "imports", env=environment) == INTERRUPTED


def test_grey_images_are_compared_in_colour(small, tmp_path):
    grey = np.zeros((20, 16, 16), np.uint8)
    np.savez(tmp_path / "grey.npz", train_x=grey, test_x=grey)
    experiment = cells.experiment_of("gcn", 16, str(tmp_path / "grey.npz"))
    assert experiment.data().event_shape == experiment.held_out().event_shape == (3, 16, 16)


def test_numbers_that_have_run_away_are_told():
    line = {"step": 20, "energy_gap": 1.0, "particle_min@min": -1.0, "particle_max@max": 1.0}
    assert training.diverged(line) is None
    assert "not finite" in training.diverged(line | {"kinetic": math.nan})
    assert "energy gap 2e+03" in training.diverged(line | {"energy_gap": 2000.0})
    assert "out to 11" in training.diverged(line | {"particle_min@min": -11.0})
