"""Arrays whose heads lie: .npz, .npy and idx files, of which nothing is unpickled and nothing taken on trust."""

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hostile import refused

GREY = np.random.RandomState(0).randint(256, size=(20, 8, 8)).astype(np.uint8)


class Bomb:
    """Whoever unpickles it leaves a file behind."""

    def __reduce__(self):
        return (open, ("owned", "w"))


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **options)
    return buffer.getvalue()


def npz(compressed=False, **arrays):
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def head(text, version=1, body=b""):
    """An .npy of that head, whatever it says."""
    text = text.encode("latin1")
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + body
    )


def claims(shape, descr="'|u1'", fortran=False, body=bytes(64)):
    return head(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}\n", body=body)


def archive(compression=zipfile.ZIP_STORED, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


objects = np.empty(3, object)
objects[:] = [Bomb(), 1, None]
NPY = {
    "empty": (b"", "cannot read"),
    "one byte": (b"\x93", "cannot read"),
    "the magic alone": (b"\x93NUMPY", "cannot read"),
    "another magic": (flipped(npy(GREY), 0), "cannot read"),
    "text": (b"an array", "cannot read"),
    "a pickle": (pickle.dumps(Bomb()), "cannot read"),
    "an array of pickles": (npy(objects), "pickles"),
    "records with pickles": (npy(np.zeros(3, [("a", object)])), "pickles"),
    "cut in its head": (npy(GREY)[:40], "cannot read"),
    "cut in its values": (npy(GREY)[:-1], "bytes of an array of"),
    "version 3": (flipped(npy(GREY), 6)[:6] + b"\3\0" + npy(GREY)[8:], "cannot read"),
    "version 255": (npy(GREY)[:6] + b"\xff\xff" + npy(GREY)[8:], "cannot read"),
    "a head of 4 GiB": (b"\x93NUMPY\2\0\xff\xff\xff\xff", "cannot read"),
    "a head that calls": (head("__import__('os').mkdir('owned')"), "cannot read"),
    "a head of brackets": (head("(" * 9000), "cannot read"),
    "a head of another kind": (head("[1, 2]"), "cannot read"),
    "a head with more in it": (
        head("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8), 'x': 1}"),
        "cannot read",
    ),
    "a shape of 2^60": (claims((2**60, 8, 8)), "bytes of an array of"),
    "a shape of 2^70": (claims((2**70, 8, 8)), "bytes of an array of"),
    "axes whose product wraps": (claims((2**32, 2**32, 8)), "bytes of an array of"),
    "a shape below 0": (claims((-1, 8, 8)), "is impossible"),
    "two axes below 0": (claims((-1, -8, 8)), "is impossible"),
    "a shape of 0 and 2^62": (claims((0, 2**62, 8)), "it is empty"),
    "a shape of fractions": (claims((1.5, 8, 8)), "cannot read"),
    "a shape that is a word": (claims("'many'"), "cannot read"),
    "70 axes": (claims((1,) * 70), "array"),
    "an unknown dtype": (claims((1, 8, 8), descr="'x9'"), "cannot read"),
    "a dtype of no bytes": (claims((9, 8, 8), descr="'|V0'"), "images are uint8"),
    "a dtype of 2 GiB": (claims((1, 8, 8), descr="'|V2147483647'"), "bytes of an array of"),
    "records": (npy(np.zeros((3, 8, 8), [("a", "u1"), ("b", "u1")])), "images are uint8"),
    "dates": (npy(np.zeros((3, 8, 8), "M8[s]")), "cannot read"),
    "words": (npy(GREY.astype(str)), "images are uint8"),
    "complex": (npy(GREY.astype(complex)), "images are uint8"),
    "big-endian 16 bits": (npy(GREY.astype(">u2") * 257), "rescale to 0..255"),
    "big-endian floats": (npy((GREY / 255).astype(">f4")), "convert 0..1"),
    "signed bytes": (npy(GREY.view(np.int8)), "images are uint8"),
    "floats that are NaN": (npy(np.where(GREY > 250, np.nan, GREY)), "NaN or infinite"),
    "floats that are infinite": (npy(np.where(GREY > 250, np.inf, GREY)), "NaN or infinite"),
    "huge floats": (npy(GREY * 1e300), "rescale to 0..255"),
    "half floats": (npy((GREY / 255).astype(np.float16)), "convert 0..1"),
    "a mask in Fortran's order": (npy(np.asfortranarray(GREY > 9)), "a mask by"),
    "a number": (npy(np.uint8(3)), "a single number"),
    "a row": (npy(GREY.ravel()), "which arrays of"),
    "a page": (npy(GREY[0]), "reshape it"),
    "channels first": (npy(np.zeros((5, 3, 8, 8), np.uint8)), "transpose(0, 2, 3, 1)"),
    "two channels": (npy(np.zeros((5, 8, 8, 2), np.uint8)), "reshape it"),
    "transparency": (npy(np.zeros((5, 8, 8, 4), np.uint8)), "drop the transparency"),
    "videos": (npy(np.zeros((5, 2, 8, 8, 3), np.uint8)), "reshape it"),
    "no images": (npy(GREY[:0]), "it is empty"),
    "images of no width": (npy(np.zeros((5, 8, 0, 3), np.uint8)), "it is empty"),
}
NPZ = {
    "empty": (b"", "cannot read"),
    "a ZIP of nothing": (archive(), "it holds nothing"),
    "cut in half": (npz(train_x=GREY)[:700], "cannot read"),
    "cut by a byte": (npz(train_x=GREY)[:-1], "cannot read"),
    "the end of a ZIP alone": (b"PK\5\6" + bytes(18), "it holds nothing"),
    "a head of a ZIP alone": (b"PK\3\4" + bytes(26), "cannot read"),
    "a bit of its values": (flipped(npz(train_x=GREY), 500), "cannot read"),
    "a bit of what is compressed": (flipped(npz(compressed=True, train_x=GREY), 500), "cannot read"),
    "a member that is no array": (archive(train_x=b"not an array"), "cannot read"),
    "a member of pickles": (archive(train_x=npy(objects)), "pickles"),
    "a member that is a pickle": (archive(train_x=pickle.dumps(Bomb())), "cannot read"),
    "labels of pickles": (npz(train_x=GREY, train_y=objects), "pickles"),
    "a member that claims more": (archive(train_x=claims((2**40, 8, 8))), "bytes of an array of"),
    "a bomb that claims more": (
        archive(zipfile.ZIP_DEFLATED, train_x=claims((2**40, 8, 8), body=bytes(10**7))),
        "bytes of an array of",
    ),
    "wrong keys": (npz(photos=GREY, masks=GREY), "which arrays of"),
    "labels alone": (npz(train_y=np.arange(20)), "which arrays of"),
    "too few labels": (npz(train_x=GREY, train_y=np.arange(19)), "has 20 images, and its labels are"),
    "labels that are floats": (npz(train_x=GREY, train_y=np.arange(20.0)), "and its labels are float64"),
    "labels on two axes": (npz(train_x=GREY, train_y=np.zeros((20, 10), int)), "of shape [20, 10]"),
    "labels that are words": (npz(train_x=GREY, train_y=np.array(["a"] * 20)), "and its labels are <U1"),
    "images that are floats": (npz(train_x=GREY / 255), "convert 0..1"),
    "images that are pages": (npz(train_x=GREY[0]), "reshape it"),
    "a test part alone": (npz(test_x=GREY[:0]), "it is empty"),
    "an .npz in an .npz": (archive(train_x=npz(train_x=GREY)), "cannot read"),
    "names out of the archive": (
        archive(**{"../../owned": npy(GREY), "/owned": npy(GREY)}),
        "which arrays of",
    ),
    "a name with escapes": (archive(**{"\x1b[2J": npy(GREY), "\n": npy(GREY)}), "which arrays of"),
    "an .npy in disguise": (npy(objects), "pickles"),
}
MAGIC = bytes((0, 0, 8, 3))
IDX = {
    "empty": (b"", "no idx file"),
    "the magic alone": (MAGIC, "cannot read"),
    "axes cut off": (MAGIC + bytes(7), "cannot read"),
    "floats": (bytes((0, 0, 13, 3)) + struct.pack(">3I", 1, 1, 1) + bytes(4), "no idx file"),
    "two axes": (bytes((0, 0, 8, 2)) + struct.pack(">2I", 28, 28) + bytes(784), "no idx file"),
    "little-endian": (MAGIC + struct.pack("<3I", 20, 28, 28) + bytes(20 * 784), "it claims"),
    "a bomb": (MAGIC + b"\xff" * 12, "it claims"),
    "more than it holds": (MAGIC + struct.pack(">3I", 21, 28, 28) + bytes(20 * 784), "does not hold"),
    "less than it holds": (MAGIC + struct.pack(">3I", 19, 28, 28) + bytes(20 * 784), "does not hold"),
    "images of other sides": (MAGIC + struct.pack(">3I", 20, 14, 56) + bytes(20 * 784), "px"),
    "no images": (MAGIC + struct.pack(">3I", 0, 28, 28), "it is empty"),
    "images of no side": (MAGIC + struct.pack(">3I", 20, 0, 0), "it is empty"),
}
GZIPPED = {
    "not gzipped": (MAGIC + bytes(12), "Not a gzipped file"),
    "cut": (gzip.compress(MAGIC + struct.pack(">3I", 20, 28, 28) + bytes(20 * 784))[:-9], "cannot read"),
    "a bomb": (gzip.compress(MAGIC + struct.pack(">3I", 1, 28, 28) + bytes(10**7)), "does not hold"),
    "gzipped twice": (gzip.compress(gzip.compress(MAGIC)), "no idx file"),
}
TABLES = (NPY, NPZ, IDX, GZIPPED)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("content", "says"), NPY.values(), ids=NPY)
def test_an_npy_that_is_no_images(place, capsys, content, says):
    (place / "x.npy").write_bytes(content)
    refused(["data", "x.npy"], says, capsys, watched=place)
    refused(["evaluate", "x.npy", "--against", "x.npy", "--cache", "none"], says, capsys, watched=place)


@pytest.mark.parametrize(("content", "says"), NPZ.values(), ids=NPZ)
def test_an_npz_that_is_no_images(place, capsys, content, says):
    (place / "x.npz").write_bytes(content)
    refused(["data", "x.npz", "--out", "y.npz"], says, capsys, watched=place)
    refused(
        ["train", "images", "--data", "x.npz", "--size", "8", "--channels", "1"],
        "x.npz",
        capsys,
        watched=place,
    )


@pytest.mark.parametrize(("content", "says"), IDX.values(), ids=IDX)
def test_idx_files_that_lie(place, capsys, content, says):
    (place / "set").mkdir()
    (place / "set" / "train-images-idx3-ubyte").write_bytes(content)
    refused(["data", "set", "--size", "28"], says, capsys, watched=place)


@pytest.mark.parametrize(("content", "says"), GZIPPED.values(), ids=GZIPPED)
def test_gzipped_idx_files_that_lie(place, capsys, content, says):
    (place / "set").mkdir()
    (place / "set" / "train-images-idx3-ubyte.gz").write_bytes(content)
    refused(["data", "set"], says, capsys, watched=place)
