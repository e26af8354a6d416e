"""readers.py: every kind of guest comes out as the same uint8 images, or is told why not."""

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent.data import digits, from_array, from_file, from_folder, load
from evolvent.data.readers import count_classes

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(256, size=(6, 8, 8), dtype=np.uint8)
COLOUR = RANDOM.integers(256, size=(6, 8, 8, 3), dtype=np.uint8)


def write(folder, name, array):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name)


# arrays


def test_grey_arrays_gain_a_channel():
    assert torch.equal(from_array(GREY).pixels, torch.from_numpy(GREY)[:, None])
    assert torch.equal(from_array(GREY[..., None]).pixels, from_array(GREY).pixels)


def test_colour_arrays_turn_channel_first_and_own_their_memory():
    array = COLOUR.copy()
    images = from_array(array, np.arange(6))
    array[:] = 0
    assert torch.equal(images.pixels, torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert images.pixels.is_contiguous() and images.labels.tolist() == list(range(6))


def test_a_read_only_array_is_read():
    array = GREY.copy()
    array.flags.writeable = False
    assert len(from_array(array)) == 6


@pytest.mark.parametrize("array", [GREY, GREY[..., None], COLOUR, COLOUR[:, :, :6]])
def test_arrays_are_resized_when_a_size_is_asked(array):
    images = from_array(array, size=4)
    assert images.event_shape == (3 if array.shape[-1] == 3 else 1, 4, 4)
    assert torch.equal(from_array(COLOUR, size=8).pixels, from_array(COLOUR).pixels)


UNSUITABLE = {
    "zero to one": (GREY / 255, r"float64, .* convert 0..1 by \(255 \* array\)"),
    "minus one to one": (GREY / 127.5 - 1, r"convert -1..1 by \(127.5 \* \(array \+ 1\)\)"),
    "floats to 255": (GREY.astype(np.float32), r"in .*255: convert by .round\(\)"),
    "any floats": (GREY * 7.0, "rescale to 0..255"),
    "NaN": (np.where(GREY > 250, np.nan, GREY), r"\d+ of its values are NaN or infinite"),
    "integers": (GREY.astype(np.int64), r"int64, .*convert by .round\(\).astype\(np.uint8\)"),
    "sixteen bits": (GREY.astype(np.uint16) * 257, "uint16, .*rescale to 0..255"),
    "a mask": (GREY > 9, "bool, .*a mask by"),
    "words": (GREY.astype(str), "<U3, .*convert it"),
    "channels first": (COLOUR.transpose(0, 3, 1, 2), r"\[6, 3, 8, 8\].*\.transpose\(0, 2, 3, 1\)"),
    "transparency": (np.zeros((2, 8, 8, 4), np.uint8), r"drop the transparency with \[..., :3\]"),
    "one picture": (COLOUR[0], r"\[8, 8, 3\].*if it is one picture"),
    "flat rows": (GREY.reshape(6, 64), r"\[6, 64\].*reshape it"),
    "videos": (COLOUR[None], r"\[1, 6, 8, 8, 3\].*reshape it"),
    "nothing": (GREY[:0], r"\[0, 8, 8\].*it is empty"),
}


@pytest.mark.parametrize(("array", "message"), UNSUITABLE.values(), ids=UNSUITABLE.keys())
def test_an_unsuitable_array_is_told_how_to_become_images(array, message):
    with pytest.raises(ValueError, match=message):
        from_array(array)


def test_the_advice_for_floats_works():
    advised = (255 * (GREY / 255)).round().astype(np.uint8)
    assert torch.equal(from_array(advised).pixels, from_array(GREY).pixels)


def test_arrays_are_never_enlarged():
    with pytest.raises(ValueError, match="8 × 8 px, smaller than the asked size of 16"):
        from_array(GREY, size=16)


@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(6), np.zeros((6, 2), int)])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match=r"has 6 images, and its labels are .* give integers of shape \[6\]"):
        from_array(GREY, labels)


def test_the_greatest_label_is_read_and_one_beyond_is_refused():
    top = np.full(6, 2**63 - 1, np.uint64)
    assert from_array(GREY, top).labels.tolist() == top.tolist()
    with pytest.raises(ValueError, match=r"has labels up to 9223372036854775808; number its classes from 0"):
        from_array(GREY, top + np.uint64(1))


# files


@pytest.mark.parametrize(("x", "y"), [("{}_x", "{}_y"), ("x_{}", "y_{}"), ("{}_images", "{}_labels")])
def test_an_npz_with_splits_gives_the_split_that_is_asked(tmp_path, x, y):
    arrays = {x.format("train"): COLOUR, y.format("train"): np.arange(6, dtype=np.uint8)}
    arrays |= {x.format("test"): COLOUR[:2], y.format("test"): np.array([[7], [8]])}
    np.savez(tmp_path / "both.npz", **arrays)
    train, test = from_file(tmp_path / "both.npz"), from_file(tmp_path / "both.npz", split="test")
    assert torch.equal(train.pixels, from_array(COLOUR).pixels) and train.labels.tolist() == list(range(6))
    assert len(test) == 2 and test.labels.tolist() == [7, 8]


def test_images_and_labels_named_in_two_ways_belong_together_and_own_labels_go_first(tmp_path):
    np.savez(tmp_path / "mixed.npz", train_x=COLOUR, train_labels=np.arange(6))
    assert from_file(tmp_path / "mixed.npz").labels.tolist() == list(range(6))
    np.savez(tmp_path / "both.npz", train_images=COLOUR, train_y=np.zeros(6, int), train_labels=np.arange(6))
    assert from_file(tmp_path / "both.npz").labels.tolist() == list(range(6))


def test_an_npz_of_one_array_needs_no_names(tmp_path):
    np.savez_compressed(tmp_path / "one.npz", GREY)
    np.savez(tmp_path / "labelled.npz", pictures=GREY, kinds=np.arange(6))
    assert from_file(tmp_path / "one.npz").labels is None
    assert from_file(tmp_path / "labelled.npz").labels.tolist() == list(range(6))


@pytest.mark.parametrize("name", ["test_x", "x_test", "test_images", "valid_x"])
def test_what_is_held_out_is_not_learned_from(tmp_path, name):
    np.savez(tmp_path / "held.npz", **{name: GREY})
    with pytest.raises(ValueError, match=f"held.npz has no 'train' images, it holds {name}; save what shall"):
        from_file(tmp_path / "held.npz")


def test_an_npy_is_read(tmp_path):
    np.save(tmp_path / "grey.npy", GREY)
    assert torch.equal(from_file(tmp_path / "grey.npy").pixels, from_array(GREY).pixels)


def test_the_file_is_named_when_its_array_is_unsuitable(tmp_path):
    np.savez(tmp_path / "floats.npz", train_x=GREY / 255)
    with pytest.raises(ValueError, match=r"train_x in .*floats.npz is float64"):
        from_file(tmp_path / "floats.npz")


def test_ambiguous_arrays_are_listed(tmp_path):
    np.savez(tmp_path / "two.npz", a=GREY, b=GREY)
    with pytest.raises(ValueError, match=r"two.npz .*it holds a, b; save train_x and train_y"):
        from_file(tmp_path / "two.npz")


@pytest.mark.parametrize("arrays", [{}, {"y": np.arange(4)}])
def test_an_npz_without_images_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "none.npz", **arrays)
    with pytest.raises(ValueError, match=r"none.npz .*it holds (y|nothing)"):
        from_file(tmp_path / "none.npz")


def test_a_split_that_is_not_there_is_never_replaced_by_another(tmp_path):
    np.savez(tmp_path / "train.npz", train_x=GREY)
    np.save(tmp_path / "grey.npy", GREY)
    with pytest.raises(ValueError, match=r"no 'test' images, it holds train_x"):
        from_file(tmp_path / "train.npz", split="test")
    with pytest.raises(ValueError, match=r"no 'test' images"):
        from_file(tmp_path / "grey.npy", split="test")


class Trap:
    """Unpickling it would leave a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


@pytest.mark.parametrize("name", ["trap.npy", "trap.npz"])
def test_nothing_is_ever_unpickled(tmp_path, name):
    trap = np.array([Trap(tmp_path / "mark")], dtype=object)
    if name == "trap.npy":
        np.save(tmp_path / name, trap, allow_pickle=True)
    else:
        np.savez(tmp_path / name, train_x=trap)
    with pytest.raises(ValueError, match=rf"cannot read .*{name} .*allow_pickle=False"):
        from_file(tmp_path / name)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["broken.npz", "broken.npy"])
def test_a_broken_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read .*{name} .*np.save or np.savez"):
        from_file(tmp_path / name)


def test_a_truncated_npz_is_refused(tmp_path):
    np.savez(tmp_path / "cut.npz", train_x=COLOUR)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot read .*cut.npz"):
        from_file(tmp_path / "cut.npz")


# folders


def test_subfolders_are_labels_in_the_order_of_their_names(tmp_path):
    for i, name in enumerate(["b/1.png", "a/2.png", "a/deep/1.png", "c/x.PNG"]):
        write(tmp_path, name, GREY[i])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/read.txt").write_text("no picture")
    images = from_folder(tmp_path, 8)
    assert images.labels.tolist() == [0, 0, 1, 2]
    assert torch.equal(images.pixels[:, 0], torch.from_numpy(GREY[[1, 2, 0, 3]]))


def test_a_flat_folder_has_no_labels_and_is_read_in_order(tmp_path):
    for i in (2, 0, 1):
        write(tmp_path, f"{i}.png", GREY[i])
    (tmp_path / ".hidden.png").write_bytes(b"")
    images = from_folder(tmp_path, 8, flip=True)
    assert images.labels is None and images.flip
    assert torch.equal(images.pixels[:, 0], torch.from_numpy(GREY[:3]))


def test_one_picture_in_colour_makes_the_folder_colour(tmp_path):
    write(tmp_path, "1.png", GREY[0])
    assert from_folder(tmp_path, 8).event_shape == (1, 8, 8)
    write(tmp_path, "2.png", COLOUR[0])
    images = from_folder(tmp_path, 8)
    assert images.event_shape == (3, 8, 8)
    assert torch.equal(images.pixels[0], torch.from_numpy(GREY[0]).expand(3, 8, 8))
    assert from_folder(tmp_path, 8, channels=1).event_shape == (1, 8, 8)


def test_pictures_of_any_shape_become_squares_of_one_size(tmp_path):
    write(tmp_path, "wide.png", np.zeros((20, 50, 3), np.uint8))
    write(tmp_path, "tall.jpg", np.zeros((33, 17, 3), np.uint8))
    assert from_folder(tmp_path, 16).pixels.shape == (2, 3, 16, 16)


def test_loose_pictures_beside_subfolders_are_ambiguous(tmp_path):
    for name in ("1.png", "a/1.png", "a/2.png"):
        write(tmp_path, name, GREY[0])
    with pytest.raises(ValueError, match="1 pictures of its own and 2 in subfolders"):
        from_folder(tmp_path, 8)


def test_an_empty_folder_is_told_the_known_endings(tmp_path):
    (tmp_path / "read.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"has no pictures; known endings are .*\.png"):
        from_folder(tmp_path, 8)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        from_folder(tmp_path / "nowhere", 8)


def test_the_one_bad_picture_of_a_folder_is_named(tmp_path):
    for i in range(5):
        write(tmp_path, f"{i}.png", GREY[i])
    (tmp_path / "3.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"cannot read the picture .*3.png"):
        from_folder(tmp_path, 8)


def test_a_small_picture_in_a_folder_is_named(tmp_path):
    write(tmp_path, "small.png", GREY[0])
    with pytest.raises(ValueError, match=r"small.png is 8 × 8 px, smaller than the asked size of 9"):
        from_folder(tmp_path, 9)


# the front door


def test_load_knows_the_word_the_folder_and_the_file(tmp_path):
    write(tmp_path, "folder/a.png", GREY[0])
    np.savez(tmp_path / "both.npz", train_x=GREY, test_x=GREY[:2])
    assert torch.equal(load("digits", 28).pixels, digits(28).pixels)
    assert load(str(tmp_path / "folder"), 4, channels=3).event_shape == (3, 4, 4)
    images = load(str(tmp_path / "both.npz"), 8, split="test", flip=True)
    assert len(images) == 2 and images.flip


def test_load_turns_grey_to_colour_and_colour_to_grey_like_pillow(tmp_path):
    np.save(tmp_path / "colour.npy", COLOUR)
    np.save(tmp_path / "grey.npy", GREY)
    grey = load(str(tmp_path / "colour.npy"), 8, channels=1).pixels[:, 0].numpy()
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR])
    assert np.abs(grey.astype(int) - pillow).max() <= 1
    colour = load(str(tmp_path / "grey.npy"), 8, channels=3).pixels
    assert torch.equal(colour[:, 2], torch.from_numpy(GREY)) and colour.shape[1] == 3


def test_load_never_answers_a_test_split_with_training_images(tmp_path):
    write(tmp_path, "a.png", GREY[0])
    for spec in ("digits", str(tmp_path)):
        with pytest.raises(ValueError, match="has no 'test' part; load all of it and cut one off"):
            load(spec, split="test")


def test_as_many_classes_are_counted_as_the_labels_have(tmp_path):
    """By no picture: those of the folder are none."""
    np.savez(tmp_path / "x.npz", train_x=GREY, train_y=np.arange(6) % 3, test_x=GREY, test_y=np.arange(6))
    for name in ("cat/1.png", "dog/2.png", "dog/3.png", "emu/4.png", "fox/5.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"no picture")
    assert count_classes(str(tmp_path / "x.npz"), 4) == 3
    assert count_classes(str(tmp_path / "photos"), 8) == 4
    assert count_classes("digits", 8) == len(digits(8).labels.unique())


def test_classes_that_cannot_be_counted_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    np.savez(tmp_path / "gap.npz", train_x=GREY, train_y=[0, 1, 3, 3, 1, 0])
    with pytest.raises(ValueError, match="no labels to learn from"):
        count_classes(str(tmp_path / "x.npy"), 8)
    with pytest.raises(
        ValueError, match="3 labels from 0 to 3, and classes are counted from 0 to 2 without a gap"
    ):
        count_classes(str(tmp_path / "gap.npz"), 8)


def test_load_names_what_it_cannot_find(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"there is no 'digitz'; give \"digits\", \"cifar10\", .* a folder"):
        load("digitz")
    with pytest.raises(ValueError, match=r"there is no file .*nowhere.npz"):
        load(str(tmp_path / "nowhere.npz"))
    with pytest.raises(ValueError, match=r"data.csv is one file; put pictures in a folder or a ZIP"):
        load(str(tmp_path / "data.csv"))
    with pytest.raises(ValueError, match="2 channels cannot be read"):
        load("digits", channels=2)
