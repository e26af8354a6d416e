"""Processes go on, stop and fail together: the same decisions, one voice, and nobody waits for the dead."""

import math
import os
import pickle
import signal
import time
from functools import partial

import numpy as np
import pytest
import torch
from forked import begin, command, needs_fork, together
from tiny import Heard, create
from tiny import trainer as tiny_trainer

from evolvent.cli.main import main
from evolvent.data.toys import Ring
from evolvent.processes.ranks import ALONE, RankLost, here
from evolvent.storage.reading import read_lines
from evolvent.storage.runs import Run, Shadow
from evolvent.training.guard import Guard
from evolvent.training.session import train
from evolvent.training.trainer import Diverged, Trainer

TOLERANCE = 1e-5
"""As in tests/test_ranks.py."""

pytestmark = needs_fork


def sit(path, scene, ranks, minutes=None):
    """One sitting of the tiny run: what was said, and the error or the status."""
    heard = Heard()
    first = (lambda: Run.open(path)) if (path / "run.json").exists() else (lambda: create(path))
    with first() if ranks.first else Shadow(path, {}) as run:
        try:
            trainer = tiny_trainer(ranks=ranks, **scene)
            return heard.sentences, train(run, trainer, show=heard, max_minutes=minutes).status, trainer.step
        except (Diverged, RankLost) as error:
            return heard.sentences, str(error), trainer.step


CALM = {"num_steps": 24, "log_every": 4, "checkpoint_every": 4}


def assert_same_log(path, other):
    """Logs agree, the spread (of each rank's own) and the force on an eighth of 8 data aside."""
    for line, mine in zip(read_lines(path / "log.jsonl"), read_lines(other / "log.jsonl"), strict=True):
        assert line.keys() == mine.keys()
        for name in line.keys() - {"seconds"}:
            if not name.startswith(("gap_spread", "data_force_norm")):
                assert mine[name] == pytest.approx(line[name], rel=TOLERANCE, abs=TOLERANCE), name


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("evolvent.training.session.save_picture", lambda *_: None)
    monkeypatch.setattr("evolvent.training.session.show_samples", lambda *_: None)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert sit(whole, CALM, ALONE)[1] == "finished"

    def until(step, ranks):
        monkeypatch.setattr(Trainer, "finished", property(lambda t: t.step >= step))
        return sit(parts, CALM, ranks)

    until(8, ALONE)
    assert [end[2] for end in together(tmp_path, partial(until, 16))] == [16, 16]
    assert [end[2] for end in together(tmp_path, partial(until, 20), num=4)] == [20] * 4
    until(24, ALONE)
    assert_same_log(whole, parts)
    with Run.open(whole) as a, Run.open(parts) as b:
        first, second = (run.load_checkpoint()[0]["trainer"] for run in (a, b))
    for name, tensor in first["learner"].items():
        assert torch.allclose(tensor.float(), second["learner"][name].float(), atol=TOLERANCE), name


def test_the_guard_decides_alike_everywhere_and_as_in_one_process(tmp_path):
    scene = {**CALM, "num_steps": 30, "lr": 10.0, "guard": Guard(warm_up=2, max_gap=1e3, shrink=1e-3)}
    scene["log_every"] = scene["checkpoint_every"] = 2
    alone = sit(tmp_path / "alone", scene, ALONE)
    first, second = together(tmp_path, partial(sit, tmp_path / "both", scene))
    assert first == second
    assert first[1:] == alone[1:] == ("finished", 30)
    assert [s.split(":")[0] for s in first[0]] == [s.split(":")[0] for s in alone[0]]
    assert sum("Back to step" in sentence for sentence in first[0]) >= 1


class NaNInOne(Ring):
    """A rank whose own rows are not finite from some step on."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.left = rank, 10

    def draw(self, num):
        x, self.left = super().draw(num), self.left - 1
        if self.left < 0:
            x[self.rank] = math.nan
        return x


def test_a_number_that_is_not_finite_in_one_process_stops_all(tmp_path):
    ends = together(tmp_path, lambda ranks: sit(tmp_path / "run", {**CALM, "data": NaNInOne(1)}, ranks))
    assert ends[0] == ends[1]
    assert "the data of step" in ends[0][1]


class Killed(Ring):
    """Sends its own process a signal while data are drawn for the given step, in one rank alone."""

    def __init__(self, step, number, rank):
        super().__init__()
        self.left, self.number, self.rank = step, number, rank

    def draw(self, num):
        self.left -= 1
        if self.left == 0 and here().rank == self.rank:
            os.kill(os.getpid(), self.number)
        return super().draw(num)


@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_others_with_a_sentence(tmp_path, dying):
    scene = {**CALM, "data": Killed(10, signal.SIGKILL, dying)}
    begun = time.monotonic()
    started = begin(tmp_path, partial(sit, tmp_path / "run", scene))
    _, pipe = started[1 - dying]
    assert pipe.poll(15), "the survivor hangs"
    assert "another process of this run is gone" in pickle.loads(pipe.recv_bytes())[1]
    assert time.monotonic() - begun < 15
    for process, _ in started:
        process.join()
    with Run.open(tmp_path / "run") as run:
        assert run.load_checkpoint()[0]["trainer"]["step"] == 8


class Hanging(Ring):
    """One rank sleeps."""

    def draw(self, num):
        if here().rank == 1:
            time.sleep(30)
        return super().draw(num)


def test_a_process_that_hangs_ends_the_others_when_their_patience_is_over(tmp_path):
    scene = {**CALM, "data": Hanging()}
    (_, waiting), (hanging, _) = begin(tmp_path, partial(sit, tmp_path / "run", scene), patience=2)
    assert waiting.poll(15), "the other one hangs, too"
    assert "silent for too long" in pickle.loads(waiting.recv_bytes())[1]
    hanging.kill()
    hanging.join()


def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path):
    scene = {**CALM, "data": Killed(10, signal.SIGTERM, 1)}
    ends = together(tmp_path, partial(sit, tmp_path / "run", scene))
    assert [end[1:] for end in ends] == [("stopped", 10)] * 2


def test_time_is_over_for_all_at_the_same_step(tmp_path):
    scene = {**CALM, "num_steps": 10**6, "log_every": 10**6, "checkpoint_every": 10**6}
    ends = together(tmp_path, lambda ranks: sit(tmp_path / "run", scene, ranks, 0.01 if ranks.first else 1))
    assert ends[0][1:] == ends[1][1:]
    assert ends[0][1] == "stopped"


TOY = ["train", "toy-ring", "--num-steps", "6", "--batch-size", "8", "--num-slots", "32", "--threads", "1"]
FEW = ["--num", "70", "--batch-size", "16", "--num-steps", "3"]


def test_the_command_line_under_torchrun(tmp_path, monkeypatch):
    """One run folder, one voice, one sentence for a mistake, and the samples of one process to the last bit."""
    monkeypatch.chdir(tmp_path)
    codes, out, err = command(tmp_path, TOY)
    assert (codes, err) == ([0, 0], "")
    assert out.count("into runs/toy-ring-1 on cpu, 2 processes") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy-ring-1"]

    codes, _, err = command(tmp_path, [*TOY, "--out", "runs/toy-ring-1"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("already holds files") == 1
    codes, _, err = command(tmp_path, [*TOY, "--batch-size", "9"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("cannot be split evenly over 2 processes") == 1
    codes, _, err = command(tmp_path, [*TOY, "--out", "new"], extra=["--num-slots", "0"])
    assert codes == [3, 2]
    assert "the bank needs at least 1 slot" in err.splitlines()[0]
    assert "another process of this run is gone" in err.splitlines()[1]
    assert not (tmp_path / "new").exists()
    with Run.open("runs/toy-ring-1"):
        codes, _, err = command(tmp_path, [*TOY, "--out", "runs/toy-ring-1"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("in use by another process") == 1

    assert main(["sample", "runs/toy-ring-1", "--out", "one.npz", *FEW]) == 0
    codes, out, err = command(tmp_path, ["sample", "runs/toy-ring-1", "--out", "two.npz", *FEW], num=3)
    assert (codes, err) == ([0, 0, 0], "")
    one, two = (np.load(name)["points"] for name in ("one.npz", "two.npz"))
    assert one.shape == (70, 2)
    assert np.array_equal(one, two)

    for evaluate in (main, partial(command, tmp_path)):
        evaluate(["evaluate", "runs/toy-ring-1", *FEW])
    lines = read_lines(tmp_path / "runs/toy-ring-1/scores.jsonl")
    assert len(lines) % 2 == 0
    for mine, other in zip(lines[: len(lines) // 2], lines[len(lines) // 2 :], strict=True):
        assert mine | {"time": "", "cost": {}} == other | {"time": "", "cost": {}}
