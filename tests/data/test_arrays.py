"""arrays.py: of a file the heads are read first, and then what is asked, wherever and however it lies."""

import numpy as np
import pytest
import torch

from evolvent.data import arrays, from_file, load
from evolvent.data.arrays import file_album, stored_arrays

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(256, size=(60, 8, 8), dtype=np.uint8)
COLOUR = RANDOM.integers(256, size=(60, 8, 8, 3), dtype=np.uint8)


def files(folder, array):
    """The same array in every kind of file."""
    np.save(folder / "array.npy", array)
    np.savez(folder / "stored.npz", y=np.arange(60), x=array)
    np.savez_compressed(folder / "packed.npz", y=np.arange(60), x=array)
    return [folder / name for name in ("array.npy", "stored.npz", "packed.npz")]


@pytest.mark.parametrize("array", [GREY, COLOUR, COLOUR[:, :, :6], np.asfortranarray(COLOUR)])
def test_every_kind_of_file_gives_the_array(tmp_path, array, monkeypatch):
    monkeypatch.setattr(arrays, "PIECE_BYTES", 1000)  # several pieces, the last of them shorter
    axes = array if array.ndim == 4 else array[..., None]
    for path in files(tmp_path, array):
        assert torch.equal(from_file(path).pixels, torch.from_numpy(axes.copy()).permute(0, 3, 1, 2))


@pytest.mark.parametrize("array", [GREY, COLOUR])
def test_rows_lie_where_the_head_says(tmp_path, array):
    array_path, stored_path, packed_path = files(tmp_path, array)
    rows = np.array([3, 4, 5, 59, 0, 3])
    for path in (array_path, stored_path):
        album, out = file_album(path), np.empty((6, 8, 8, array[0].size // 64), np.uint8)
        album.rows.read_into(out, rows)
        assert np.array_equal(out.squeeze(), array[rows])
        assert file_album(path, size=4).rows is None
        assert (file_album(path, channels=3).rows is None) == (array.ndim == 3)
    assert file_album(packed_path).rows is None


def test_a_member_of_another_writer_is_found_by_its_own_head(tmp_path):
    """The extra field of a member's own head may differ from the directory's: zip64 is written so."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        with archive.open("first.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.arange(60))
        with archive.open("x.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, COLOUR)
    out = np.empty((1, 8, 8, 3), np.uint8)
    file_album(tmp_path / "x.npz").rows.read_into(out, np.array([17]))
    assert np.array_equal(out[0], COLOUR[17])


def test_only_what_is_asked_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", train_x=COLOUR, test_x=GREY)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[file_album(tmp_path / "x.npz").rows.offset] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    assert len(load(str(tmp_path / "x.npz"), 8, split="test")) == 60
    with pytest.raises(ValueError, match=r"cannot read .*x.npz .*CRC"):
        load(str(tmp_path / "x.npz"), 8)


def test_a_file_that_is_shorter_than_its_head_says_is_refused_before_it_is_read(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"cannot read .*x.npy \(it holds 3,839 bytes of an array of 3,840"):
        stored_arrays(tmp_path / "x.npy")


def test_a_number_is_no_array(tmp_path):
    np.savez(tmp_path / "x.npz", train_x=np.uint8(3))
    with pytest.raises(ValueError, match=r"cannot read .*x.npz .*a single number"):
        from_file(tmp_path / "x.npz")
