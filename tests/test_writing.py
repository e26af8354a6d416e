"""Samples go to the disk as they are drawn: memory does not grow with their number, and no half file is left."""

import os
import resource
import signal
import time
import zipfile
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from forked import FORK, command, needs_fork
from hostile import RECIPES, make_run, refused
from PIL import Image
from torch import nn

from evolvent.cli.drawing import Sampling, draw_into
from evolvent.cli.main import main
from evolvent.cli.writing import check_kind, write_folder, write_npz
from evolvent.data.toys import Ring
from evolvent.pretrained import Saved, from_pretrained
from evolvent.sampling import draw
from evolvent.training.schedule import Experiment, Schedule

SIDE = 64
pytestmark = needs_fork


class Flat(nn.Module):
    """Draws grey pictures at once, which are 12 KiB each."""

    def __init__(self, pause=0.0):
        super().__init__()
        self.stages, self.pause = {}, pause

    def sample(self, num, noise, stages):
        time.sleep(self.pause)
        return torch.zeros(num, 3, SIDE, SIDE)


def saved(**flat):
    learner = Flat(**flat)
    return Saved(learner, Experiment(learner, Ring, Schedule(1, 1, {})), "flat", 0, "cpu")


def to_npz(path, num, **flat):
    write = partial(write_npz, path=path, num=num, shape=(3, SIDE, SIDE))
    draw_into(write, saved(**flat), num, Sampling(batch_size=16))


def to_folder(path, num, **flat):
    draw_into(partial(write_folder, path=path), saved(**flat), num, Sampling(batch_size=16))


def peak(function):
    """The greatest resident memory, in MiB, of a process of its own that calls the function."""

    def measured(pipe):
        function()
        pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        os._exit(0)

    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=measured, args=(theirs,))
    child.start()
    theirs.close()
    found = ours.recv()
    child.join()
    return found


@pytest.mark.parametrize("write", [to_npz, to_folder])
def test_four_times_as_many_samples_take_no_more_memory(tmp_path, monkeypatch, write):
    """256 and 1024 pictures, 3 and 12 MiB; for .npz eight times as many."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    few = 2048 if write is to_npz else 256
    first, second = (peak(partial(write, tmp_path / f"x{num}", num)) for num in (few, 4 * few))
    grown = 3 * few * 3 * SIDE**2 / 2**20
    assert second - first < grown / 3, (
        f"{grown:.0f} MiB more of samples grow the memory by {second - first:.1f}"
    )


def test_an_npz_in_chunks_is_the_one_that_numpy_writes(tmp_path):
    torch.manual_seed(0)
    points = torch.randn(10, 2, 3)
    write_npz(points.split(4), tmp_path / "a.npz", num=10, shape=(2, 3))
    np.savez_compressed(tmp_path / "b.npz", points=points.numpy())
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a.files == b.files and np.array_equal(a["points"], b["points"])
    with zipfile.ZipFile(tmp_path / "a.npz") as a, zipfile.ZipFile(tmp_path / "b.npz") as b:
        assert a.read("points.npy") == b.read("points.npy")
        assert a.infolist()[0].compress_type == b.infolist()[0].compress_type


@pytest.mark.parametrize("write", [to_npz, to_folder])
def test_a_process_that_is_killed_leaves_nothing_under_the_name(tmp_path, write):
    child = FORK.Process(target=write, args=(tmp_path / "x", 10**6), kwargs={"pause": 0.01})
    child.start()
    while not any(size > 100 for size in map(_size, tmp_path.rglob("*"))):
        assert child.is_alive()
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (tmp_path / "x").exists()
    assert all(path.name.startswith(".x.") for path in tmp_path.iterdir())


def _size(path):
    try:
        return path.lstat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("writing"), "images")


LATENTS = """

class Latents(nn.Module):
    event_shape = (4, 8, 8)

    def draw(self, num):
        return 3 * torch.randn(num, 4, 8, 8)


def latents() -> Experiment:
    return experiment((4, 8, 8), Latents(), 2, 1e-2, None)
"""


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    (folder / "own.py").write_text(RECIPES + LATENTS)
    assert main(["train", f"{folder}/own.py:latents", "--out", f"{folder}/run"]) == 0
    return folder / "run"


def test_a_run_of_points_without_a_picture_names_none(latents, tmp_path, capsys):
    again = ["train", f"{latents.parent}/own.py:latents", "--out", f"{tmp_path}/run"]
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert "samples.png" not in shown and "--seed 1 --out more.npz" in shown


def test_points_of_other_channels_than_a_picture_are_written_as_they_are(latents, tmp_path, capsys):
    assert (
        main(["sample", str(latents), "--num", "8", "--batch-size", "8", "--out", f"{tmp_path}/x.npz"]) == 0
    )
    drawn = draw(from_pretrained(latents).learner, 8, batch_size=8)
    with np.load(tmp_path / "x.npz") as file:
        assert file.files == ["points"] and np.array_equal(file["points"], drawn.numpy())
    assert drawn.abs().max() > 1
    for out, says in (
        ("x.png", "no picture of points of shape [4, 8, 8]"),
        ("x", "only images go into a folder"),
    ):
        refused(["sample", str(latents), "--out", f"{tmp_path}/{out}"], says, capsys, watched=tmp_path)


@contextmanager
def small_files():
    """No file may have more than 20 kB, the one that pytest writes to included: what a full disk says half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_half_way_is_one_sentence_and_leaves_nothing(run, tmp_path, capsys):
    words = ["sample", str(run), "--num", "2000", "--dynamics", "none", "--out", f"{tmp_path}/x.npz"]
    capsys.readouterr()
    with small_files():
        code = main(words)
    told = capsys.readouterr().err
    assert code == 2 and told == f"evolvent: {tmp_path}/x.npz: File too large\n"
    assert not list(tmp_path.iterdir())
    with small_files():
        codes, _, told = command(tmp_path, words)
    assert codes == [2, 2]
    assert told == f"evolvent: {tmp_path}/x.npz: File too large\n"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "err"}


def test_a_sigterm_in_the_middle_is_a_sentence_and_leaves_nothing_at_all(run, tmp_path):
    words = ["sample", str(run), "--num", "1000000", "--dynamics", "none", "--out", f"{tmp_path}/x.npz"]
    child = FORK.Process(target=lambda: os._exit(main(words)))
    child.start()
    while not any(map(_size, tmp_path.iterdir())):
        assert child.is_alive()
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGTERM)
    child.join()
    assert child.exitcode == 143
    assert not list(tmp_path.iterdir())


def test_two_processes_write_the_bytes_of_one(run, tmp_path):
    """Of an .npz and of a folder; 70 samples in chunks of 16 end in a turn that is not full."""
    for out in ("x.npz", "folder/"):
        words = ["sample", str(run), "--num", "70", "--batch-size", "16", "--out"]
        assert main([*words, f"{tmp_path}/one-{out}"]) == 0
        assert command(tmp_path, [*words, f"{tmp_path}/two-{out}"])[0] == [0, 0]
    assert (tmp_path / "one-x.npz").read_bytes() == (tmp_path / "two-x.npz").read_bytes()
    one, two = (sorted((tmp_path / f"{name}-folder").iterdir()) for name in ("one", "two"))
    assert [file.name for file in one] == [file.name for file in two] and len(one) == 70
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_what_a_picture_has_no_room_for_is_refused(tmp_path):
    """As many as a viewer opens without a warning of a bomb."""
    most = Image.MAX_IMAGE_PIXELS // 66**2
    check_kind(most, (3, 64, 64), tmp_path / "x.png")
    with pytest.raises(ValueError, match=f"which has room for {most}: give --out x.npz or a folder"):
        check_kind(most + 1, (3, 64, 64), tmp_path / "x.png")
    with pytest.raises(ValueError, match="has room for 1000000: give"):
        check_kind(10**6 + 1, (2,), tmp_path / "x.png")
