"""Features that are remembered are the features, and nothing else is ever trusted."""

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from evolvent.cli import remembering
from evolvent.cli.remembering import Remembered, cache_folder
from evolvent.metrics import extract


class Corners(nn.Module):
    """Counts how often it is asked."""

    def __init__(self, weight=1.0, name="corners"):
        super().__init__()
        self.weight, self.name, self.calls = nn.Parameter(torch.tensor(weight)), name, 0

    def forward(self, pixels_uint8):
        self.calls += 1
        return self.weight * pixels_uint8[:, 0, :2, :2].flatten(1).float()


def pictures(n=20, *, seed=0):
    return torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()


@pytest.fixture
def said():
    return []


@pytest.fixture
def remember(tmp_path, said):
    return Remembered(tmp_path, say=said.append)


def test_the_second_time_the_detector_is_not_asked(remember, said):
    detector, pixels = Corners(), pictures()
    first = remember(detector, pixels)
    calls = detector.calls
    assert torch.equal(remember(detector, pixels), first) and torch.equal(first, extract(detector, pixels))
    assert detector.calls == calls + 1  # that of extract
    assert said == []


@pytest.mark.parametrize("change", ["pixel", "weights", "name", "code", "shape"])
def test_whatever_the_features_depend_on_is_seen(remember, tmp_path, change):
    pixels = pictures()
    remember(Corners(), pixels)
    detector, other = Corners(2.0 if change == "weights" else 1.0), remember
    if change == "pixel":
        pixels[3, 0, 7, 7] ^= 1
    if change == "name":
        detector.name = "others"
    if change == "code":
        other = Remembered(tmp_path, code=b"x = 2")
    if change == "shape":
        pixels = pixels.reshape(20, 1, 4, 16)
    other(detector, pixels)
    assert detector.calls == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_a_damaged_file_is_computed_anew_with_a_sentence(remember, said, tmp_path, damage):
    detector, pixels = Corners(), pictures()
    whole = remember(detector, pixels)
    (file,) = tmp_path.glob("*.safetensors")
    content = file.read_bytes()
    if damage == "swap":
        remember(detector, pictures(seed=1))
        (other,) = (path for path in tmp_path.glob("*.safetensors") if path != file)
        content = other.read_bytes()
    else:
        content = {"flip": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-9], "empty": b""}[damage]
    file.write_bytes(content)
    assert torch.equal(remember(detector, pixels), whole)
    assert len(said) == 1 and str(file) in said[0] and "computed anew" in said[0]
    remember(detector, pixels)
    assert len(said) == 1


def test_a_full_disk_costs_the_memory_and_not_the_score(remember, said, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(remembering, "write_whole", full)
    detector, pixels = Corners(), pictures()
    assert torch.equal(remember(detector, pixels), extract(detector, pixels))
    assert "could not be kept" in said[0] and "No space left" in said[0]


def test_without_a_folder_nothing_is_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector = Corners()
    for _ in range(2):
        Remembered(None)(detector, pictures())
    assert detector.calls == 2 and not list(tmp_path.iterdir())


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "evolvent" / "features"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder(None) == Path.home() / ".cache" / "evolvent" / "features"
    assert cache_folder("here") == Path("here")
    assert cache_folder("none") is None
