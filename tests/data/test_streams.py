"""streams.py: a stream draws what Images would, from the file, in the memory of one batch."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from evolvent.cli.main import main
from evolvent.data import Images, Stream, load, readers
from evolvent.data.arrays import file_album
from evolvent.storage.reading import read_model
from evolvent.training.captured import check_drawn_there
from evolvent.training.trainer import reseed

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(256, size=(50, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(50) % 7


@pytest.fixture
def pair(tmp_path):
    """The same set in memory and in a file."""
    np.savez(tmp_path / "set.npz", train_x=PIXELS, train_y=LABELS)
    rows, labels = file_album(tmp_path / "set.npz").rows, torch.from_numpy(LABELS)
    images = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    return Images(images.contiguous(), labels, flip=True), Stream(rows, labels, flip=True)


def drawn(source, num=20, seed=3):
    torch.manual_seed(seed)
    return source.draw(num)


def test_a_stream_draws_bitwise_what_images_would(pair):
    images, stream = pair
    assert len(stream) == 50 and stream.event_shape == images.event_shape == (3, 8, 6)
    assert torch.equal(drawn(stream), drawn(images))
    images.flip = stream.flip = False
    assert torch.equal(drawn(stream), drawn(images))


def test_its_parts_are_the_parts_of_images(pair):
    images, stream = pair
    for part, same in zip(stream.split(9, seed=5), images.split(9, seed=5), strict=True):
        assert torch.equal(part.labels, same.labels) and part.flip == same.flip
        assert torch.equal(part.some(99), same.pixels) and torch.equal(drawn(part), drawn(same))
    train, _ = stream.split(9, seed=5)
    again = zip(train.split(4), images.split(9, seed=5)[0].split(4), strict=True)
    assert all(torch.equal(part.some(99), same.pixels) for part, same in again)
    with pytest.raises(ValueError, match="cannot hold out 50 of 50 images"):
        stream.split(50)


def test_labels_follow_their_images_out_of_the_file(pair):
    images, stream = pair
    images, stream = images.with_labels(7), stream.with_labels(7)
    for source, same in zip((stream, *stream.split(9)), (images, *images.split(9)), strict=True):
        assert drawn(source).shape[1] == 4 and torch.equal(drawn(source), drawn(same))
    with pytest.raises(ValueError, match="have 7 classes, and the nets would know 10: give --num-classes 7"):
        stream.with_labels(10)


@pytest.mark.parametrize("num", [1, 7, 50, 60])
def test_some_are_evenly_spaced_or_all(pair, num):
    images, stream = pair
    kept = images.some(num)
    assert torch.equal(stream.some(num), kept) and len(kept) == min(num, 50)
    rows = (kept[:, None] == images.pixels).flatten(2).all(2).float().argmax(1)
    assert rows.diff().max() - rows.diff().min() <= 1 if len(kept) > 1 else rows.item() == 0


def test_what_a_step_draws_depends_on_seed_and_step_alone(pair):
    """So a resumed run goes on with the very batches, whatever was drawn before."""
    _, stream = pair
    reseed(1, 17)
    straight = stream.draw(8)
    stream.draw(30)
    reseed(1, 17)
    assert torch.equal(stream.draw(8), straight)


def test_an_earlier_draw_is_not_overwritten_by_the_next(pair):
    _, stream = pair
    first = drawn(stream, seed=1)
    kept = first.clone()
    drawn(stream, seed=2)
    assert torch.equal(first, kept)


def test_a_checkpoint_holds_no_data(pair):
    assert not pair[1].state_dict()


def test_a_file_that_is_cut_off_behind_its_back_is_an_error_and_no_crash(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    stream = Stream(file_album(tmp_path / "x.npy").rows)
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"x.npy ends within its images: it was cut off; write it again"):
        stream.draw(200)


def test_labels_fit_the_images(pair):
    with pytest.raises(ValueError, match="50 images have 3 labels"):
        Stream(pair[1].rows, torch.zeros(3, dtype=torch.int64))


# which of the two


def test_a_large_file_is_streamed_and_a_small_one_is_not(tmp_path, monkeypatch):
    np.savez(tmp_path / "set.npz", train_x=PIXELS[:, :6], train_y=LABELS, test_x=PIXELS[:5, :6])
    spec = str(tmp_path / "set.npz")
    monkeypatch.setattr(readers, "MOST_IN_MEMORY", 50 * 6 * 6 * 3)
    images = load(spec, 6, flip=True)
    monkeypatch.setattr(readers, "MOST_IN_MEMORY", 50 * 6 * 6 * 3 - 1)
    stream = load(spec, 6, flip=True)
    assert isinstance(images, Images) and isinstance(stream, Stream) and stream.flip
    assert torch.equal(drawn(stream), drawn(images)) and torch.equal(stream.labels, images.labels)
    assert isinstance(load(spec, 6, split="test"), Images)
    assert isinstance(load(spec, 3), Images)


def test_what_is_large_and_not_as_it_is_wanted_is_told_to_be_written_first(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MOST_IN_MEMORY", 1000)
    np.savez(tmp_path / "plain.npz", PIXELS[:, :6])
    np.savez_compressed(tmp_path / "packed.npz", PIXELS[:, :6])
    for name, size, channels in (("packed.npz", 6, 3), ("plain.npz", 5, 3), ("plain.npz", 6, 1)):
        spec = str(tmp_path / name)
        with pytest.raises(
            ValueError, match=r"too many to hold in memory: write them once with `(.*)`, and"
        ) as told:
            load(spec, size, channels=channels)
        assert f"evolvent data {spec} --size {size} --channels {channels} --out x.npz" in str(told.value)


def test_a_run_on_a_stream_is_bitwise_the_run_on_images(tmp_path, monkeypatch):
    np.savez(tmp_path / "set.npz", train_x=RANDOM.integers(256, size=(40, 8, 8, 3), dtype=np.uint8))
    words = ["train", "images", "--data", str(tmp_path / "set.npz"), "--size", "8", "--num-steps", "4"]
    words += ["--batch-size", "4", "--width", "4", "--flip", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "images")]) == 0
    monkeypatch.setattr(readers, "MOST_IN_MEMORY", 1000)
    assert main([*words, str(tmp_path / "stream")]) == 0
    one, other = (read_model(tmp_path / name / "model.safetensors")[0] for name in ("images", "stream"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


SPARSE = """
import resource, sys, torch
from evolvent.data import load
stream = load(sys.argv[1], 64)
stream.draw(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(30):
    stream.draw(64)
print(type(stream).__name__, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="needs ru_maxrss")
def test_drawing_from_gigabytes_takes_the_memory_of_a_batch(tmp_path):
    """A file with a hole of 2.3 GiB takes no disk; 30 draws of 64 images of 12 KiB would map 23 MiB of it."""
    num = 200_000
    with (tmp_path / "large.npy").open("wb") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (num, 64, 64, 3)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + num * 64 * 64 * 3)
    command = [sys.executable, "-c", SPARSE, str(tmp_path / "large.npy")]
    kind, before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert kind == "Stream"
    # In KiB. One batch is 0.75 MiB, its points in float32 and their noise 3 MiB each.
    assert int(after) - int(before) < 10_000


def test_a_captured_run_refuses_a_stream_before_it_begins(pair):
    """Alone or within a source of one's own."""
    images, stream = pair
    check_drawn_there(images)
    for source in (stream, nn.ModuleList([stream])):
        with pytest.raises(ValueError, match=r"replay one batch for ever.*--captured false"):
            check_drawn_there(source)
