"""Kill -9 at random moments: what is left can be gone on with, to the same bits and the same log."""

import os
import random
import signal
import time

import pytest
from tiny import create, same, timeless, trainer

from evolvent.storage.reading import read_lines, read_model
from evolvent.storage.runs import Run
from evolvent.training.guard import Guard
from evolvent.training.session import train

NUM_KILLS = 10
CALM = {"num_steps": 200, "log_every": 5, "checkpoint_every": 10}
EXPLOSIVE = CALM | {"lr": 10.0, "guard": Guard(warm_up=2, max_gap=1e3, shrink=1e-3)}

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork: a process takes seconds to start"),
    pytest.mark.usefixtures("no_pictures"),
]


def go_on(path, scene):
    """Take the run up, or begin it where it was killed before its record was there."""
    run = Run.open(path) if (path / "run.json").exists() else create(path)
    with run:
        if run.record["status"] != "finished":
            train(run, trainer(**scene))


def killed(path, scene, seconds):
    """Whether a child that goes on with the run was still at it after so many seconds, when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            go_on(path, scene)
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return os.WIFSIGNALED(status)


def assert_equal(whole, path):
    """The run in the folder is finished, and is the unbroken one bit by bit and line by line."""
    with Run.open(path) as run:
        assert run.record["status"] == "finished"
    for part in ("trainer", "health"):
        assert same(whole.load_checkpoint()[0][part], run.load_checkpoint()[0][part])
    assert same(read_model(whole.path)[0], read_model(run.path)[0])
    assert timeless(whole) == timeless(run)


@pytest.mark.parametrize("scene", [CALM, EXPLOSIVE], ids=["calm", "explosive"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_bits_of_one_that_was_not(tmp_path, scene):
    """A run that finishes before its turn to be killed is compared, and another takes its place."""
    chance, num_killed, num_runs = random.Random(0), 0, 1
    trainer(**scene).advance()  # imports what a first step imports
    begun = time.monotonic()
    with create(tmp_path / "whole") as whole:
        train(whole, trainer(**scene))
    seconds = time.monotonic() - begun
    while num_killed < NUM_KILLS:
        path = tmp_path / f"run-{num_runs}"
        if killed(path, scene, chance.uniform(0, 0.4) * seconds):
            num_killed += 1
            read_lines(path / "log.jsonl")
        else:
            assert_equal(whole, path)
            num_runs += 1
    go_on(path, scene)
    assert_equal(whole, path)
