"""preparing.py: what `evolvent data` writes is what was asked, whole or not at all, and so are its figures."""

import zipfile

import numpy as np
import pytest
import torch
from hostile import refused
from PIL import Image

from evolvent.cli import data as preparing
from evolvent.cli.main import main
from evolvent.data import digits, from_folder, load
from evolvent.data.pixels import to_particles

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(256, size=(30, 9, 9, 3), dtype=np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_pictures(folder):
    for i, picture in enumerate(PIXELS):
        path = folder / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def test_a_folder_becomes_an_npz_of_the_same_images(place):
    write_pictures(place / "photos")
    assert main(["data", "photos", "--size", "8", "--out", "x.npz"]) == 0
    written, read = load("x.npz", 8), from_folder("photos", 8)
    assert torch.equal(written.pixels, read.pixels) and torch.equal(written.labels, read.labels)
    with np.load("x.npz") as arrays:
        assert set(arrays) == {"train_x", "train_y"} and arrays["train_x"].shape == (30, 8, 8, 3)
    with zipfile.ZipFile("x.npz") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_both_splits_are_written_and_a_compressed_file_comes_out_plain(place):
    np.savez_compressed("packed.npz", x_train=PIXELS, y_train=np.arange(30), x_test=PIXELS[:4])
    assert main(["data", "packed.npz", "--out", "plain.npz"]) == 0
    with np.load("plain.npz") as arrays:
        assert np.array_equal(arrays["train_x"], PIXELS) and np.array_equal(arrays["train_y"], np.arange(30))
        assert np.array_equal(arrays["test_x"], PIXELS[:4]) and "test_y" not in arrays
    assert main(["data", "packed.npz", "--split", "test", "--out", "test.npz"]) == 0
    assert len(load("test.npz", 9, split="test")) == 4


def test_what_was_prepared_is_prepared_again_bit_for_bit(place):
    np.savez("a.npz", train_x=PIXELS)
    assert main(["data", "a.npz", "--out", "b.npz"]) == 0
    assert main(["data", "b.npz", "--out", "c.npz"]) == 0
    with np.load("b.npz") as b, np.load("c.npz") as c:
        assert np.array_equal(b["train_x"], PIXELS) and np.array_equal(c["train_x"], PIXELS)


def test_the_figures_are_those_of_the_pixels(place, capsys):
    np.savez("a.npz", train_x=PIXELS, train_y=np.arange(30) % 3)
    assert main(["data", "a.npz", "--out", "b.npz"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    levels = PIXELS.reshape(-1, 3).astype(float)
    points = to_particles(torch.from_numpy(PIXELS).permute(0, 3, 1, 2)).double().transpose(0, 1).flatten(1)
    pairs = zip(levels.mean(0), levels.std(0), strict=True)
    assert " ".join(f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in pairs) in said
    pairs = zip(points.mean(1).tolist(), points.std(1, correction=0).tolist(), strict=True)
    assert " ".join(f"{mean:.4f} ± {deviation:.4f}" for mean, deviation in pairs) in said
    assert "30 of 9 × 9 px, RGB" in said and f"{PIXELS.min()}..{PIXELS.max()}" in said
    assert "0: 10 1: 10 2: 10" in said


def test_many_labels_are_summed_up(place, capsys):
    np.savez("a.npz", train_x=PIXELS, train_y=np.array([5, *range(29)]))
    assert main(["data", "a.npz", "--out", "b.npz"]) == 0
    assert "29, with 1 to 2 images each" in capsys.readouterr().out
    np.savez("a.npz", train_x=PIXELS, train_y=np.arange(-9, 21) * 10**15)
    assert main(["data", "a.npz", "--out", "b.npz", "--overwrite"]) == 0
    assert "30, with 1 images each" in capsys.readouterr().out


def test_the_sheet_shows_64_of_the_images(place, capsys):
    assert main(["data", "digits", "--size", "16", "--out", "d.npz", "--sheet", "sheets/s.png"]) == 0
    sheet = np.asarray(Image.open("sheets/s.png"))
    first = sheet[2:66:4, 2:66:4]  # enlarged four times, within a frame of 2 px
    shown = (torch.from_numpy(first.copy()) == digits(16).pixels[:, 0]).flatten(1).all(1)
    assert shown.any() and "64 at random of train" in capsys.readouterr().out


def test_num_takes_so_many_with_their_labels(place):
    assert main(["data", "digits", "--num", "100", "--channels", "3", "--out", "d.npz"]) == 0
    few, every = load("d.npz", 28), digits(28)
    found = (few.pixels[:, None, 0] == every.pixels[:, 0]).flatten(2).all(2).float().argmax(1)
    assert few.event_shape == (3, 28, 28) and torch.equal(every.labels[found], few.labels)
    assert len(few.labels.unique()) == 10


def test_nothing_is_overwritten_unless_it_is_asked(place, capsys):
    np.savez("a.npz", train_x=PIXELS)
    assert main(["data", "a.npz", "--out", "b.npz"]) == 0
    for out, sheet in (("b.npz", "c.png"), ("c.npz", "b.png"), ("a.npz", "c.png")):
        assert main(["data", "a.npz", "--out", out, "--sheet", sheet]) == 2
        assert "already exists: give another name, or --overwrite" in capsys.readouterr().err
    assert main(["data", "a.npz", "--out", "b.npz", "--num", "3", "--overwrite"]) == 0
    assert main(["data", "a.npz", "--out", "a.npz", "--overwrite"]) == 0
    assert len(load("b.npz", 9)) == 3 and len(load("a.npz", 9)) == 30


def test_a_picture_that_cannot_be_read_leaves_nothing_behind(place, capsys):
    write_pictures(place / "photos")
    (place / "photos/c/29.png").write_bytes(b"broken")
    (place / "x.npz").write_bytes(b"what was there")
    assert main(["data", "photos", "--size", "8", "--channels", "3", "--out", "x.npz", "--overwrite"]) == 2
    assert "29.png" in capsys.readouterr().err
    assert {path.name for path in place.iterdir()} == {"photos", "x.npz"}
    assert (place / "x.npz").read_bytes() == b"what was there"


def test_a_full_disk_leaves_nothing_behind(place, monkeypatch, capsys):
    np.savez("a.npz", train_x=PIXELS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparing.np.lib.format, "write_array_header_1_0", full)
    assert main(["data", "a.npz", "--out", "b.npz"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["a.npz"]


MISTAKES = {
    "a.npz --out x.npy": "a set is written as an .npz, not as x.npy",
    "a.npz --sheet x.jpg": "a sheet is drawn as a .png, not as x.jpg",
    "folder": "the pictures of folder may be of any size; say which it shall be with --size 64",
    "a.npz --num 0": "ask for at least 1",
    "a.npz --size 10": "9 × 9 px, smaller than the asked size of 10",
    "a.npz --split test": "a.npz has no 'test' images",
    "nowhere": "there is no 'nowhere'",
    "valid.npz": "valid.npz has no train or test part; pick one with --split",
    "celeba": "the pictures of celeba are cropped and resized; say to what with --size 64",
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.items(), ids=MISTAKES.keys())
def test_a_mistake_is_one_sentence(place, capsys, words, message):
    np.savez("a.npz", train_x=PIXELS)
    np.savez("valid.npz", valid_x=PIXELS)
    write_pictures(place / "folder")
    refused(["data", *words.split()], message, capsys, watched=place)
