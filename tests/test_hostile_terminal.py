"""Terminals, pipes and signals, which only a process of its own meets."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import evolvent

ROOT = Path(evolvent.__file__).parent.parent
COMMAND = [sys.executable, "-m", "evolvent"]


def started(words, *, stdout=subprocess.PIPE, **environment):
    known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=stdout, stderr=subprocess.PIPE, env=known | environment
    )


RECIPE = """
from torch import nn
from evolvent import Adam, Energy, Experiment, Gaussian, GCN, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring


def x(num_steps: int = 10**6) -> Experiment:
    energy = Energy(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), Gaussian((2,)))
    learner = GCN(energy, Persistent(energy.reference, 16), Langevin(0.01, 2.5 if num_steps == 1 else 2))
    clocks = {"log_every": 1, "checkpoint_every": 9}
    return Experiment(learner, Ring, Schedule(num_steps, 8, {"energy": Adam(1e-5)}, **clocks))
"""


def test_processes_of_their_own(tmp_path):
    """All at once, as each takes seconds to start."""
    (tmp_path / "x.py").write_text(RECIPE)
    closed, writing = os.pipe()
    os.close(closed)
    with open("/dev/full", "w") as full:
        ascii_only = started(["recipes"], PYTHONIOENCODING="ascii", LC_ALL="C")
        no_reader = started(["recipes"], stdout=writing)
        no_space = started(["recipes"], stdout=full)
        words = ["train", b"\xff\xfe".decode(errors="surrogateescape")]
        no_utf8 = started(words, PYTHONIOENCODING="ascii")
        no_whole = started(["train", f"{tmp_path}/x.py:x", "--num-steps", 1, "--out", tmp_path / "y"])
        ended = started(["train", f"{tmp_path}/x.py:x", "--out", tmp_path / "run"])
    os.close(writing)
    try:
        _terminate_when_training(ended, tmp_path / "run" / "log.jsonl")
        out, told = ascii_only.communicate(timeout=60)
        assert (ascii_only.returncode, told) == (0, b"") and out.isascii() and b"digits" in out
        assert (no_reader.communicate(timeout=60)[1], no_reader.returncode) == (b"", 1)
        told = no_space.communicate(timeout=60)[1]
        assert (told, no_space.returncode) == (b"evolvent: [Errno 28] No space left on device\n", 2)
        told = no_utf8.communicate(timeout=60)[1]
        assert no_utf8.returncode == 2 and b"udcff" in told and told.count(b"\n") == 1
        told = no_whole.communicate(timeout=60)[1].decode()
        assert (no_whole.returncode, told.count("\n")) == (2, 1) and not (tmp_path / "y").exists()
        assert "a chain needs at least 1 step, and a whole number of them, not 2.5" in told
        out, told = ended.communicate(timeout=60)
        assert (ended.returncode, told) == (143, b"") and b"stopped by a signal at step" in out
    finally:
        for process in (ascii_only, no_reader, no_space, no_utf8, no_whole, ended):
            process.kill()
            process.communicate()


def _terminate_when_training(process, log):
    for _ in range(600):
        if log.exists() and log.read_text().count("\n") > 2:
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
