"""folders.py: a ZIP is read as the folder it was made of, and no picture is resized twice."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent.data import folders, from_folder, load
from evolvent.data.folders import folder_album, zip_album
from evolvent.data.readers import collected, splits_of

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(256, size=(6, 9, 8, 3), dtype=np.uint8)
NAMES = ["cat/2.png", "cat/deep/1.png", "dog/1.bmp", "dog/3.PNG", "owl/x.tiff", "owl/y.png"]


def write(folder, name, array):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name)


def zipped(folder, path, within=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{within}{file.relative_to(folder)}")
    return path


@pytest.fixture
def folder(tmp_path):
    for name, picture in zip(NAMES, PICTURES, strict=True):
        write(tmp_path / "photos", name, picture)
    (tmp_path / "photos/read.txt").write_text("no picture")
    return tmp_path / "photos"


@pytest.mark.parametrize("within", ["", "photos/", "a/b/"])
def test_a_zip_is_the_folder_it_was_made_of(folder, tmp_path, within):
    from_zip = load(str(zipped(folder, tmp_path / "photos.zip", within)), 4)
    assert torch.equal(from_zip.pixels, from_folder(folder, 4).pixels)
    assert from_zip.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_zip_of_loose_pictures_has_no_labels(tmp_path):
    write(tmp_path / "loose", "1.png", PICTURES[0])
    assert load(str(zipped(tmp_path / "loose", tmp_path / "x.ZIP", "all/")), 8).labels is None


def test_what_is_no_picture_in_a_zip_is_passed_over_and_nothing_is_unpacked(folder, tmp_path):
    path = zipped(folder, tmp_path / "photos.zip", "photos/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/photos/cat/2.png", b"no picture")
        archive.writestr("photos/cat/._2.png", b"no picture")
        archive.writestr("photos/notes.csv", b"1,2")
        archive.writestr("photos/../../escaped.txt", b"no picture")
    before = sorted(tmp_path.rglob("*"))
    assert len(load(str(path), 8)) == 6
    assert sorted(tmp_path.rglob("*")) == before


def test_a_path_out_of_the_zip_is_a_name_like_any_other(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as archive:
        archive.write(folder / "cat/2.png", "../../2.png")
        archive.write(folder / "dog/1.bmp", "/etc/1.bmp")
    assert len(load(str(tmp_path / "up.zip"), 8)) == 2


def test_a_member_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(1001))
    with pytest.raises(ValueError, match=r"zeros.png in .*bomb.zip unpacks to 1,001 bytes, .* than 1,000"):
        load(str(tmp_path / "bomb.zip"), 8)


def test_a_damaged_zip_is_named(folder, tmp_path):
    path = zipped(folder, tmp_path / "photos.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"cat/2.png") + len("cat/2.png") + 20
    content[at : at + 8] = bytes(8)
    (tmp_path / "damaged.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read cat/2.png in .*damaged.zip .*make the ZIP again"):
        load(str(tmp_path / "damaged.zip"), 8)
    (tmp_path / "cut.zip").write_bytes(content[:-30])
    with pytest.raises(ValueError, match=r"cannot read .*cut.zip"):
        load(str(tmp_path / "cut.zip"), 8)
    with pytest.raises(ValueError, match=r"there is no file .*none.zip"):
        load(str(tmp_path / "none.zip"), 8)


def test_a_zip_without_pictures_is_told_the_known_endings(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", b"")
    with pytest.raises(ValueError, match=r"x.zip has no pictures; known endings are"):
        load(str(tmp_path / "x.zip"), 8)


@pytest.mark.parametrize("within", ["", "mnist/"])
def test_folders_called_train_and_test_are_splits(tmp_path, within):
    for i, name in enumerate(["test/a/1.png", "train/a/1.png", "train/a/2.png", "train/b/1.png"]):
        write(tmp_path / "set" / within, name, PICTURES[i])
    path = zipped(tmp_path / "set", tmp_path / "set.zip")
    for spec in (str(tmp_path / "set"), str(path)):
        assert splits_of(spec) == ["test", "train"]
        assert load(spec, 8).labels.tolist() == [0, 0, 1]
        expected = torch.from_numpy(PICTURES[0][:8])
        assert load(spec, 8, split="test").labels is None
        # 9 × 8 px: the central square is rows 0 to 8.
        assert torch.equal(load(spec, 8, split="test").pixels[0], expected.permute(2, 0, 1))
        with pytest.raises(ValueError, match="has no 'valid' part"):
            load(spec, 8, split="valid")


# sizes


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_that_has_the_size_comes_back_bit_equal(tmp_path, channels):
    picture = RANDOM.integers(256, size=(64, 64, 3), dtype=np.uint8)[..., : 1 if channels == 1 else None]
    picture = picture[..., 0] if channels == 1 else picture
    write(tmp_path / "set", "1.png", picture)
    for spec in (str(tmp_path / "set"), str(zipped(tmp_path / "set", tmp_path / "set.zip"))):
        pixels = load(spec, 64).pixels[0].permute(1, 2, 0).numpy()
        assert np.array_equal(pixels.squeeze(), picture)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_larger_picture_is_resized_by_one_call_of_pillow(tmp_path, size):
    picture = Image.fromarray(RANDOM.integers(256, size=(240, 200, 3), dtype=np.uint8))
    (tmp_path / "set").mkdir()
    picture.save(tmp_path / "set/1.png")
    expected = picture.resize((size, size), Image.Resampling.BICUBIC, box=(0, 20, 200, 220))
    pixels = load(str(tmp_path / "set"), size).pixels[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, np.asarray(expected))


# albums


def test_an_album_gives_any_rows_in_order(folder):
    album = folder_album(folder, 4)
    every = collected(album).pixels.permute(0, 2, 3, 1).numpy()
    rows = np.array([0, 2, 5])
    assert np.array_equal(np.concatenate(list(album.pieces(rows))), every[rows])


def test_at_most_so_many_are_the_same_ones_in_every_call_with_their_labels(folder, tmp_path):
    album = zip_album(zipped(folder, tmp_path / "photos.zip"), 4)
    every, few = collected(album), collected(album.at_most(4))
    found = (few.pixels[:, None] == every.pixels).flatten(2).all(2).float().argmax(1)
    assert len(few) == 4 and (found.diff() > 0).all() and torch.equal(every.labels[found], few.labels)
    assert torch.equal(collected(album.at_most(4)).pixels, few.pixels)
    assert album.at_most(6) is album
    with pytest.raises(ValueError, match="ask for at least 1"):
        album.at_most(0)


def test_pieces_make_up_the_whole(folder, monkeypatch):
    whole = from_folder(folder, 4).pixels
    monkeypatch.setattr("evolvent.data.album.PIECE_PICTURES", 4)
    assert [len(piece) for piece in folder_album(folder, 4).every_piece()] == [4, 2]
    assert torch.equal(from_folder(folder, 4).pixels, whole)
