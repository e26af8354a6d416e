"""idx.py: MNIST's own files, gzipped or not, where Debian and torchvision put them."""

import gzip

import numpy as np
import pytest
import torch

from evolvent.data import digits, idx, load
from evolvent.data.readers import splits_of

DIGITS = digits(28)
NAMES = {"train": "train", "test": "t10k"}


def idx_bytes(array):
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    return head + array.tobytes()


def write(folder, split, rows, *, suffix="", dot="-"):
    pixels, labels = DIGITS.pixels[rows, 0].numpy(), DIGITS.labels[rows].numpy().astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in ((f"images{dot}idx3", pixels), (f"labels{dot}idx1", labels)):
        content = idx_bytes(array)
        path = folder / f"{NAMES[split]}-{kind}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize(("suffix", "dot"), [("", "-"), (".gz", "-"), ("", ".")])
@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
def test_the_folder_is_read_as_its_pictures_and_labels(tmp_path, place, suffix, dot):
    write(tmp_path / place, "train", slice(0, 5000, 100), suffix=suffix, dot=dot)
    write(tmp_path / place, "test", slice(50, 5000, 500), suffix=suffix, dot=dot)
    assert splits_of(str(tmp_path)) == ["train", "test"]
    train, test = load(str(tmp_path), 28), load(str(tmp_path), 28, split="test", flip=True)
    assert torch.equal(train.pixels, DIGITS.pixels[::100]) and torch.equal(train.labels, DIGITS.labels[::100])
    assert torch.equal(test.pixels, DIGITS.pixels[50::500]) and test.flip


@pytest.mark.parametrize("size", [32, 16])
def test_another_size_is_that_of_the_framed_digits(tmp_path, size):
    write(tmp_path, "train", slice(0, 5000, 100))
    assert torch.equal(load(str(tmp_path), size).pixels, digits(size).pixels[::100])


def test_a_split_that_is_not_there_is_named(tmp_path):
    write(tmp_path, "train", slice(0, 10))
    with pytest.raises(ValueError, match="has no 'test' images, it holds train"):
        load(str(tmp_path), split="test")


def test_labels_may_be_missing_and_must_fit(tmp_path):
    write(tmp_path, "train", slice(0, 10))
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(9, np.uint8)))
    with pytest.raises(ValueError, match=r"has 10 images, and its labels are uint8 of shape \[9\]"):
        load(str(tmp_path))
    labels.unlink()
    assert load(str(tmp_path)).labels is None


BROKEN = {
    "cut off": (lambda content: content[:-1], "does not hold the 7,840 values"),
    "too long": (lambda content: content + b"x", "does not hold the 7,840 values"),
    "another magic": (lambda content: b"\0\0\x0b" + content[3:], "no idx file of uint8 with 3 axes"),
    "empty": (lambda content: b"", "no idx file"),
    "a bomb": (lambda content: content[:4] + b"\x7f" * 12 + content[16:], "it claims .* bytes"),
    "not gzipped": (lambda content: content, "Not a gzipped file"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named(tmp_path, spoil, message):
    write(tmp_path, "train", slice(0, 10))
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    if message.startswith("Not"):
        path = path.rename(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match=rf"cannot read .*{path.name} \(.*{message}"):
        load(str(tmp_path))


def test_an_empty_set_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 28, 28), np.uint8)))
    with pytest.raises(ValueError, match="it is empty"):
        load(str(tmp_path))
    assert idx.splits_of_idx(tmp_path) == ["train"]
