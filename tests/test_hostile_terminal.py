"""Terminals, pipes and signals, which only a process of its own meets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import evolvent

ROOT = Path(evolvent.__file__).parent.parent
DRIVER = """
import io, json, os, sys
from evolvent.cli.main import main

for case in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        for number, path in ((1, case["out"]), (2, case["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number) if isinstance(path, str) else os.dup2(path, number)
        sys.stdout, sys.stderr = (io.TextIOWrapper(open(number, "wb"), case["encoding"]) for number in (1, 2))
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        sys.exit(main([word.encode("latin1").decode("utf-8", "surrogateescape") for word in case["words"]]))
    print(child, flush=True)
for _ in json.loads(sys.argv[1]):
    print(*os.wait(), flush=True)
"""
"""Imports once, which takes seconds, and forks; each child is the command to Python's very end."""


def started(cases, *, pass_fds=()):
    """The driver that runs the cases, and their process numbers; then it prints "number status" as each ends."""
    known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    told = json.dumps([{"encoding": "utf-8", **case} for case in cases])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, told], stdout=subprocess.PIPE, env=known, pass_fds=pass_fds, text=True
    )
    return driver, [int(driver.stdout.readline()) for _ in cases]


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
    """All at once."""
    (tmp_path / "x.py").write_text(RECIPE)
    closed, writing = os.pipe()
    os.close(closed)
    train = ["train", f"{tmp_path}/x.py:x", "--out"]
    cases = {
        "ascii": {"words": ["recipes"], "encoding": "ascii"},
        "no reader": {"words": ["recipes"], "out": writing},
        "no reader of a line": {"words": ["--version"], "out": writing},
        "no space": {"words": ["recipes"], "out": "/dev/full"},
        "no utf8": {"words": ["train", "\xff\xfe"], "encoding": "ascii"},
        "no whole": {"words": [*train, f"{tmp_path}/y", "--num-steps", "1"]},
        "ended": {"words": [*train, f"{tmp_path}/run"]},
    }
    for name, case in cases.items():
        case |= {"out": case.get("out", f"{tmp_path}/{name}.out"), "err": f"{tmp_path}/{name}.err"}
    driver, numbers = started(cases.values(), pass_fds=[writing])
    os.close(writing)
    try:
        _terminate_when_training(numbers[-1], tmp_path / "run" / "log.jsonl")
        left = dict(map(int, line.split()) for line in driver.communicate(timeout=120)[0].splitlines())
    finally:
        driver.kill()
        driver.communicate()
    codes = {
        name: os.waitstatus_to_exitcode(left[number]) for name, number in zip(cases, numbers, strict=True)
    }
    expected = {"ascii": 0, "no reader": 141, "no reader of a line": 141, "no space": 2, "no utf8": 2}
    assert codes == expected | {"no whole": 2, "ended": 143}
    told = {name: (tmp_path / f"{name}.err").read_bytes() for name in cases}
    assert not (told["ascii"] + told["no reader"] + told["no reader of a line"] + told["ended"])
    out = (tmp_path / "ascii.out").read_bytes()
    assert out.isascii() and b"digits" in out
    assert told["no space"] == b"evolvent: [Errno 28] No space left on device\n"
    assert b"udcff" in told["no utf8"] and told["no utf8"].count(b"\n") == 1
    assert told["no whole"].count(b"\n") == 1 and not (tmp_path / "y").exists()
    assert b"a chain needs at least 1 step, and a whole number of them, not 2.5" in told["no whole"]
    assert b"stopped by a signal at step" in (tmp_path / "ended.out").read_bytes()


def _terminate_when_training(number, log):
    for _ in range(600):
        if log.exists() and log.read_text().count("\n") > 2:
            break
        time.sleep(0.1)
    os.kill(number, signal.SIGTERM)
