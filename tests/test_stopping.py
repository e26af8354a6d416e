"""Signals, terminals and pipes that end: one sentence and its code, and a run that can be gone on with."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from tiny import RECIPE, same

from evolvent.cli.main import main
from evolvent.storage.reading import read_model
from evolvent.training import session

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_before_training_begins_is_a_sentence_and_its_code(toy, tmp_path, capsys, number, code):
    first = f"os.kill(os.getpid(), signal.{number})"
    (tmp_path / "toy.py").write_text(RECIPE.format(keyword="lr", first=first))
    before = signal.getsignal(signal.SIGTERM)
    # A shell starts what it puts in the background with Ctrl-C ignored, nohup with SIGHUP.
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    usual = {which: signal.signal(which, handler) for which, handler in heard.items()}
    try:
        assert main(toy) == code
    finally:
        for which, handler in usual.items():
            signal.signal(which, handler)
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_while_a_run_is_taken_up_leaves_it_stopped_and_whole(toy, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(session.Session, "begin", lambda self: os.kill(os.getpid(), signal.SIGTERM))
        assert main(toy) == 143
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert main(["train", "--resume", *toy[2:]]) == 0
    assert main([*toy[:3], f"{tmp_path}/whole"]) == 0
    assert same(read_model(tmp_path / "run")[0], read_model(tmp_path / "whole")[0])


IN_ITS_OWN_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if os.isatty(1):
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "evolvent", *sys.argv[1:]])
"""


@pytest.mark.parametrize(("left", "code"), [("terminal", 129), ("pipe", 141)])
def test_a_run_whose_output_nobody_reads_any_more_stops_with_a_checkpoint(tmp_path, left, code):
    """A terminal that is closed; a pipe whose reader has ended, as `head` does."""
    reading, writing = pty.openpty() if left == "terminal" else os.pipe()
    words = ["train", "toy-ring", "--num-steps", "5000", "--threads", "1", "--out", f"{tmp_path}/run"]
    run = subprocess.Popen(
        [sys.executable, "-c", IN_ITS_OWN_TERMINAL, *words],
        cwd=tmp_path, stdout=writing, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(writing)
    while b"gap" not in os.read(reading, 4096):
        pass
    os.close(reading)
    assert run.wait(60) == code
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["error"]) == ("stopped", None)
    assert 0 < record["step"] < 5000
    assert (tmp_path / "run" / "checkpoints" / f"step-{record['step']:08d}.pt").exists()


def test_a_signal_while_the_last_picture_is_drawn_ends_the_run_and_a_resumed_one_draws_it(
    tmp_path, monkeypatch
):
    """All is saved by then: nobody waits for a picture that takes minutes."""
    words = ["train", "digits", "--num-steps", "1", "--batch-size", "4", "--width", "4", "--threads", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(session, "show_samples", lambda trainer, path: os.kill(os.getpid(), signal.SIGTERM))
        assert main([*words, "--out", str(tmp_path / "run")]) == 143
    drawn = []
    monkeypatch.setattr(session, "show_samples", lambda trainer, path: drawn.append(trainer.step))
    assert main(["train", "--resume", "--out", str(tmp_path / "run"), "--threads", "1"]) == 0
    assert drawn == [1]
