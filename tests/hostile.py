"""What every bad input owes its user: one sentence on standard error, its exit code, in time, nothing touched.

The tables of bad inputs stand in tests/test_hostile_*.py, a dict each, and are named in that file's TABLES;
tests/test_hostile_count.py counts them.
"""

import os
import shlex
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch

from evolvent.cli.main import main

SECONDS = 30
"""A refusal takes a fraction of one; a hang is cut off here."""

RECIPES = '''
from typing import Literal

import torch
from torch import nn

from evolvent import Adam, Energy, Experiment, Gaussian, GCN, Images, Langevin, Persistent, Schedule
from evolvent.data.toys import Ring
from evolvent.metrics.scores import judge_images, judge_points


def experiment(shape, data, num_steps, lr, judge):
    size = torch.Size(shape).numel()
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian(shape))
    learner = GCN(energy, Persistent(energy.reference, 16), Langevin(0.01, 2))
    adam = {"energy": Adam(lr)}
    schedule = Schedule(num_steps, 8, adam, log_every=1, picture_every=99, checkpoint_every=1)
    return Experiment(learner, lambda: data, schedule, lambda: data, judge)


def points(num_steps: int = 3, lr: float = 1e-2, kind: Literal["ring", "moons"] = "ring", on: bool = True,
           name: str = "", shares: tuple[float, float] = (0.1, 0.9)) -> Experiment:
    """Points of the plane."""
    return experiment((2,), Ring(), num_steps, lr, judge_points)


def images(num_steps: int = 3, lr: float = 1e-2) -> Experiment:
    """Images of noise."""
    pixels = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    return experiment((1, 8, 8), Images(pixels), num_steps, lr, judge_images)
'''


DETECTOR = """
from torch import nn


class Corners(nn.Module):
    name = "corners"

    def forward(self, pixels_uint8):
        return pixels_uint8[:, 0, :2, :2].flatten(1).float()


def corners():
    return Corners()
"""


def write_recipes(folder: Path) -> Path:
    (folder / "my.py").write_text(RECIPES)
    return folder / "my.py"


def make_run(folder: Path, recipe: str, *, stopped: bool = False) -> Path:
    """A finished run of `points` or `images`, or one that was stopped after its first step."""
    run = folder / (f"{recipe}-stopped" if stopped else recipe)
    words = ["train", f"{write_recipes(folder)}:{recipe}", "--out", str(run)]
    assert main([*words, "--max-minutes", "1e-9"] if stopped else words) == (124 if stopped else 0)
    return run


def contents(folder: Path) -> dict[str, object]:
    """Every entry below a folder and what is in it, links not followed; a run's lock says nothing."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            if name not in (".lock", "__pycache__") and path.suffix != ".pyc":
                found[str(path)] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.is_file() else path.lstat().st_mode


def heard(words: list[str], capsys) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, as they are outside of pytest."""
    capsys.readouterr()
    with alarm(words), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        code = main(words)
    assert not caught, f"a warning is not a sentence: {caught[0].message}"
    return code, *capsys.readouterr()


def refused(words: list[str], says: str, capsys, *, watched: Path, code: int = 2) -> str:
    """The sentence with which a command was refused, after the contract was checked; `watched` has not changed."""
    before = contents(watched)
    found, _, told = heard(words, capsys)
    assert (found, told.count("\n")) == (code, 1), told
    assert told.startswith("evolvent: ") and "Traceback" not in told
    assert says in told
    assert len(told) < 2000, "a sentence is shorter"
    after = contents(watched)
    assert after.keys() == before.keys() and after == before
    return told


def refused_line(
    line: str, tables: tuple[dict, ...], words: dict, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A line of the tables is refused as they say, without a GPU; `words` are what its braces stand for."""
    says = next(table[line] for table in tables if line in table)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    refused(shlex.split(line.format(**words)), says, capsys, watched=words["place"])
    assert not list(tmp_path.iterdir())


@contextmanager
def alarm(what: object):
    """TimeoutError after `SECONDS`."""

    def ring(number, frame):
        raise AssertionError(f"{what} hangs")

    usual = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
