"""named.py: what the hub sends is checked, and what it cannot send is told in one sentence.

A package of the name `datasets`, made here, stands for the real one.
"""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent.data import digits, load, named
from evolvent.data.named import NAMED, Named, checksum
from evolvent.data.readers import splits_of

PAGE = Path(__file__).parent.parent.parent / "docs/data.md"

STUB = """
class config:
    HF_HUB_OFFLINE = False

class Image:
    def __init__(self, decode):
        assert decode is False

class Rows:
    def __init__(self, columns):
        self.columns = columns
    def __len__(self):
        return len(next(iter(self.columns.values())))
    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: column[key] for name, column in self.columns.items()}
    def select_columns(self, names):
        return Rows({name: self.columns[name] for name in names})
    def cast_column(self, name, feature):
        return self

HELD = {}

def load_dataset(hub, split):
    if (hub, split) not in HELD:
        raise ConnectionError(f"Couldn't reach '{hub}' on the Hub\\nand more")
    return Rows(HELD[hub, split])
"""

HUB_STUB = """
class constants:
    HF_HUB_OFFLINE = False
    ENDPOINT = "hub"
ASKED = []
"""

UTILS_STUB = """
from huggingface_hub import ASKED

class Session:
    def head(self, url, timeout):
        ASKED.append((url, timeout))
        if len(ASKED) > 1:
            raise OSError("no network")

def get_session():
    return Session()
"""

RANDOM = np.random.default_rng(0)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stub of `datasets`, with nothing in it."""
    modules = ("datasets", "huggingface_hub", "huggingface_hub.utils")
    for name, text in zip(modules, (STUB, HUB_STUB, UTILS_STUB), strict=True):
        path = tmp_path.joinpath("site", *name.split("."), "__init__.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in list(sys.modules):
        if name.split(".")[0] in ("datasets", "huggingface_hub"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield __import__("datasets")
    for name in modules:
        sys.modules.pop(name, None)


def png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def give(hub, monkeypatch, name="mine", *, lossless=True, size=8, channels=3, num=6):
    """A named set of random pictures in the stub; its pixels and labels."""
    pixels = RANDOM.integers(256, size=(num, size, size, channels), dtype=np.uint8)
    labels = RANDOM.integers(10, size=num)
    sums = {"train": checksum(pixels, labels)} if lossless else {}
    about = Named(
        hub="me/mine",
        image="img",
        label="label" if lossless else None,
        num={"train": num},
        size=(size, size),
        channels=channels,
        licence="mine",
        local="a folder",
        checksums=sums,
    )
    monkeypatch.setitem(NAMED, name, about)
    columns = {"img": [png(picture) for picture in pixels], "label": labels.tolist(), "other": [None] * num}
    hub.HELD["me/mine", "train"] = columns
    return pixels, labels


def test_a_named_set_is_its_pictures_and_labels(hub, monkeypatch):
    pixels, labels = give(hub, monkeypatch)
    images = load("mine", 8, flip=True)
    assert torch.equal(images.pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2)) and images.flip
    assert images.labels.tolist() == labels.tolist()
    assert load("mine", 4, channels=1).event_shape == (1, 4, 4)


def test_a_set_in_jpeg_is_counted_and_has_no_labels(hub, monkeypatch):
    give(hub, monkeypatch, lossless=False)
    images = load("mine", 4)
    assert len(images) == 6 and images.labels is None
    hub.HELD["me/mine", "train"]["img"].pop()
    with pytest.raises(ValueError, match="mine, train, came with 5 pictures and has 6: remove it"):
        load("mine", 4)


def test_digits_by_name_are_framed_like_the_packaged_ones(hub, monkeypatch):
    pixels, _ = give(hub, monkeypatch, size=28, channels=1)
    assert torch.equal(load("mine", 28).pixels[:, 0], torch.from_numpy(pixels[..., 0]))
    framed = load("mine", 32).pixels[:, 0]
    assert torch.equal(framed[:, 2:30, 2:30], torch.from_numpy(pixels[..., 0])) and not framed[:, :2].any()


@pytest.mark.parametrize("spoil", ["a pixel", "a label", "two labels swapped"])
def test_one_wrong_pixel_or_label_is_found(hub, monkeypatch, spoil):
    pixels, _ = give(hub, monkeypatch)
    columns = hub.HELD["me/mine", "train"]
    columns["label"] = [0, 1, 2, 3, 4, 5]
    right = checksum(pixels, columns["label"])
    monkeypatch.setitem(NAMED["mine"].checksums, "train", right)
    assert len(load("mine", 8)) == 6
    if spoil == "a pixel":
        pixels[3, 5, 2, 1] ^= 1
        columns["img"][3] = png(pixels[3])
    elif spoil == "a label":
        columns["label"][2] += 1
    else:
        columns["label"][:2] = [1, 0]
    with pytest.raises(
        ValueError, match=rf"came with the checksum [0-9a-f]{{16}} and has {right}: remove it"
    ):
        load("mine", 8)


def test_the_checksum_does_not_depend_on_the_order_and_counts_copies():
    pixels = RANDOM.integers(256, size=(5, 4, 4, 3), dtype=np.uint8)
    order = [3, 1, 4, 0, 2]
    assert checksum(pixels, range(5)) == checksum(pixels[order], order)
    assert checksum(pixels[[0, 0, 1]], [0, 0, 1]) != checksum(pixels[[0, 1, 1]], [0, 1, 1])


def test_the_checksum_of_the_packaged_digits_is_what_it_was():
    """The formula written out: a change of it would refuse every set."""
    import hashlib

    images, total = digits(28), 0
    for picture, label in zip(images.pixels[:50, 0].numpy(), images.labels[:50].tolist(), strict=True):
        content = picture.tobytes() + bytes([label, 0, 0, 0, 0, 0, 0, 0])
        total += int(hashlib.blake2b(content, digest_size=8).digest()[::-1].hex(), 16)
    assert checksum(images.pixels[:50, 0].numpy(), images.labels[:50]) == f"{total % 2**64:016x}"


def test_every_named_set_says_whose_it_is_and_where_it_is_from():
    for name, about in NAMED.items():
        assert set(about.num) >= {"train", "test"} and splits_of(name) == list(about.num)
        assert "/" in about.hub and about.licence and about.local
        assert set(about.checksums) in (set(), set(about.num))
        assert (about.num_classes > 0) == (about.label is not None)
        assert all(len(value) == 16 for value in about.checksums.values())
    assert {name for name, about in NAMED.items() if not about.checksums} == {"celeba", "lsun-bedroom"}


def test_the_page_says_what_is_checked():
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\d,]+) \| ([\d,]+) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert [row[0] for row in rows] == list(NAMED)
    for name, train, test, size, checked in rows:
        about = NAMED[name]
        assert (train, test) == tuple(f"{about.num[split]:,}" for split in ("train", "test"))
        assert size == (f"{about.size[0]} × {about.size[1]}" if about.size else "any")
        assert checked == ("number, every pixel and label" if about.checksums else "number")


# out of reach


@pytest.mark.parametrize("name", NAMED)
def test_without_the_package_one_sentence_names_the_extra_and_the_local_forms(name, monkeypatch):
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        load(name)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} comes through Hugging Face datasets, which is not here: pip install")
    assert (
        "'evolvent[hub]'" in sentence
        and f"evolvent data {name}" in sentence
        and NAMED[name].local in sentence
    )
    assert "\n" not in sentence and ". " not in sentence


def test_a_folder_called_datasets_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    found = named.importlib.util.find_spec("datasets")
    if found.origin is not None:
        pytest.skip("the real package is installed")
    with pytest.raises(ValueError, match="which is not here"):
        load("cifar10")


def test_without_a_network_one_sentence_says_what_to_do_and_nothing_is_tried_for_long(hub):
    __import__("huggingface_hub").ASKED.append("before")  # from the second time on, nobody answers
    with pytest.raises(ValueError) as caught:
        load("cifar10")
    (said,) = re.findall(r"```text\n(.*)\n```", PAGE.read_text())
    assert str(caught.value) == said
    assert hub.config.HF_HUB_OFFLINE
    assert __import__("huggingface_hub").ASKED[1:] == [("hub", named.SECONDS_TO_ANSWER)]


def test_without_a_network_the_cache_is_used(hub, monkeypatch):
    __import__("huggingface_hub").ASKED.append("before")
    give(hub, monkeypatch)
    assert len(load("mine", 8)) == 6 and hub.config.HF_HUB_OFFLINE


def test_what_the_hub_refuses_is_passed_on_in_the_sentence(hub):
    with pytest.raises(
        ValueError, match=r"\(ConnectionError: Couldn't reach 'ylecun/mnist' on the Hub\): connect"
    ):
        load("mnist")
    assert not hub.config.HF_HUB_OFFLINE


def test_a_size_or_split_that_cannot_be_is_told_before_anything_is_fetched():
    with pytest.raises(ValueError, match="mnist has no 'valid' part; its parts are train, test"):
        load("mnist", split="valid")
    with pytest.raises(
        ValueError, match="the pictures of celeba are cropped and resized; say to what with --size"
    ):
        named.named_album("celeba", None)
