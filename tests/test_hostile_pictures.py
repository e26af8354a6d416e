"""Pictures that nobody drew, and the folders and ZIP files they come in: read rightly or refused by name."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hostile import heard, refused
from PIL import Image

SIDE = 16
COLOUR = np.random.RandomState(0).randint(256, size=(SIDE, SIDE, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *more, bits=8, colour=2):
    first = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + first + b"".join(more) + chunk(b"IEND", b"")


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


PNG, JPEG = encoded(COLOUR), encoded(COLOUR, "JPEG")
UNREADABLE = "cannot read the picture"
PICTURES = {
    "empty.png": (b"", UNREADABLE),
    "text.png": (b"a picture of a cat", UNREADABLE),
    "zeros.png": (bytes(1000), UNREADABLE),
    "page.jpg": (b"<html><body>404 Not Found</body></html>", UNREADABLE),
    "magic.png": (b"\x89PNG\r\n\x1a\n", UNREADABLE),
    "magic.jpg": (b"\xff\xd8\xff\xe0", UNREADABLE),
    "magic.gif": (b"GIF89a", UNREADABLE),
    "magic.bmp": (b"BM", UNREADABLE),
    "magic.tif": (b"II*\0", UNREADABLE),
    "magic.webp": (b"RIFF\4\0\0\0WEBP", UNREADABLE),
    "magic.avif": (b"\0\0\0\x1cftypavif", UNREADABLE),
    "half.png": (PNG[: len(PNG) // 2], UNREADABLE),
    "half.jpg": (JPEG[: len(JPEG) // 2], UNREADABLE),
    "half.gif": (encoded(GREY, "GIF")[:90], UNREADABLE),
    "half.bmp": (encoded(COLOUR, "BMP")[:300], UNREADABLE),
    "half.tif": (encoded(COLOUR, "TIFF")[:300], UNREADABLE),
    "half.webp": (encoded(COLOUR, "WEBP")[:100], UNREADABLE),
    "half.ppm": (encoded(COLOUR, "PPM")[:300], UNREADABLE),
    "sum.png": (flipped(PNG, 60), UNREADABLE),
    "head.png": (flipped(PNG, 20), UNREADABLE),
    "nothing.png": (png(SIDE, SIDE), UNREADABLE),
    "no-width.png": (png(0, SIDE), UNREADABLE),
    "no-depth.png": (png(SIDE, SIDE, bits=0), UNREADABLE),
    "bomb64.png": (png(9_000, 9_000, chunk(b"IDAT", zlib.compress(bytes(10**6)))), "downscale it"),
    "bomb100.png": (png(10_000, 10_000, chunk(b"IDAT", zlib.compress(bytes(10**6)))), "downscale it"),
    "bomb4000.png": (png(65_000, 65_000, chunk(b"IDAT", b"")), UNREADABLE),
    "widest.png": (png(2**31 - 1, 1), UNREADABLE),
    "wordy.png": (png(SIDE, SIDE, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), UNREADABLE),
    "tall.ppm": (b"P6 99999 99999 255\n", UNREADABLE),
    "word.ppm": (b"P6 many many 255\n", UNREADABLE),
    "below.ppm": (b"P6 -16 -16 255\n", UNREADABLE),
    "wide.bmp": (
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**30, 2**30, 1, 24, 0) + bytes(24),
        UNREADABLE,
    ),
    "one.png": (encoded(COLOUR[:1, :1]), "is 1 × 1 px, smaller than the asked size of 8"),
    "line.png": (encoded(COLOUR[:1]), "is 16 × 1 px, smaller"),
    "float.tif": (encoded(GREY.astype(np.float32), "TIFF"), "pixels are floats"),
    "deep.tif": (encoded(GREY.astype(np.int32) * 1000, "TIFF"), "beyond 16 bits"),
    "below.tif": (encoded(GREY.astype(np.int32) - 300, "TIFF"), "beyond 16 bits"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(owned) (w) file\n", UNREADABLE),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UNREADABLE),
    "array.png": (b"\x93NUMPY\1\0", UNREADABLE),
    "zip.jpg": (b"PK\5\6" + bytes(18), UNREADABLE),
    "\x1b[2J.png": (b"escape", "\\x1b[2J.png"),
    "two\nlines.png": (b"lines", "lines.png"),
    "\udcff.png": (b"no UTF-8", "dcff.png"),
    "x" * 250 + ".png": (b"long", UNREADABLE),
}
"""One file in a folder; the same in a ZIP."""

TURNED = Image.Exif()
TURNED[0x0112] = 6
CLEAR = np.dstack([COLOUR, np.full((SIDE, SIDE), 255, np.uint8)])
ODD = {
    "cmyk.jpg": encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "turned.jpg": encoded(COLOUR, "JPEG", exif=TURNED),
    "palette.png": encoded(Image.fromarray(COLOUR).convert("P")),
    "clear-palette.png": encoded(Image.fromarray(COLOUR).convert("P"), transparency=3),
    "alpha.png": encoded(CLEAR),
    "clear.png": encoded(CLEAR * np.uint8([1, 1, 1, 0])),
    "grey-alpha.png": encoded(Image.fromarray(GREY).convert("LA")),
    "sixteen.png": encoded(GREY.astype(np.uint16) * 257),
    "bit.png": encoded(Image.fromarray(GREY).convert("1")),
    "moving.gif": encoded(COLOUR, "GIF", save_all=True, append_images=[Image.fromarray(COLOUR)] * 3),
    "lab.tif": encoded(Image.fromarray(COLOUR).convert("LAB"), "TIFF"),
    "ycbcr.tif": encoded(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF"),
    "bad-exif.jpg": encoded(COLOUR, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
    "wrong-ending.png": JPEG,
}
"""Unusual, and a picture all the same."""


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return buffer.getvalue()


def linked(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target


def encrypted(content):
    """The flag of encryption in both heads."""
    content = bytearray(content)
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def claims(content, size, says):
    """A ZIP whose member of `size` bytes says that it has others."""
    return content.replace(struct.pack("<I", size), struct.pack("<I", says))


HUGE = zipped(("a.png", bytes(10**7)))
ZIPS = {
    "empty": (b"", "cannot read x.zip"),
    "text": (b"PK, a letter", "cannot read x.zip"),
    "cut": (zipped(("a.png", PNG))[:-30], "cannot read x.zip"),
    "the end alone": (b"PK\5\6" + bytes(18), "has no pictures"),
    "a head alone": (b"PK\3\4" + bytes(26), "cannot read x.zip"),
    "no pictures": (zipped(("a.txt", b"x")), "has no pictures"),
    "hidden pictures": (zipped((".a.png", PNG), ("__MACOSX/a.png", PNG)), "has no pictures"),
    "a folder called x.png": (zipped(("x.png/", b"")), "has no pictures"),
    "a ZIP in a ZIP": (zipped(("a.zip", zipped(("a.png", PNG)))), "has no pictures"),
    "a ZIP called x.png": (zipped(("x.png", zipped(("a.png", PNG)))), UNREADABLE),
    "a bomb": (claims(HUGE, 10**7, 2**28 + 1), "and no picture has more than"),
    "a bomb that lies": (claims(HUGE, 10**7, 1000), "cannot read a.png"),
    "names above": (zipped(("../../owned.png", b"x")), "../../owned.png"),
    "absolute names": (zipped(("/tmp/owned.png", b"x")), "owned.png"),
    "names of Windows": (zipped(("..\\..\\owned.png", b"x")), "has no pictures"),
    "a link": (zipped(linked("a.png", "/etc/passwd")), UNREADABLE),
    "two of one name, the last one broken": (zipped(("a.png", PNG), ("b.png", b"x")), "b.png"),
    "a bit of a member": (flipped(zipped(("a.png", PNG)), 200), "cannot read a.png"),
    "encrypted": (encrypted(zipped(("a.png", PNG))), "cannot read a.png"),
    "an unknown compression": (
        zipped(("a.png", PNG), compression=0).replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"),
        "a.png",
    ),
    "escapes in a name": (zipped(("\x1b]0;owned\a.png", b"x")), "\\x1b]0;owned\\x07.png"),
    "a long name": (zipped(("a" * 60_000 + ".png", b"x")), UNREADABLE),
    "loose beside folders": (zipped(("a.png", PNG), ("b/c.png", PNG)), "it is not clear what is a label"),
    "an empty picture": (zipped(("a.png", b"")), UNREADABLE),
    "a picture too small": (zipped(("a.png", encoded(COLOUR[:4, :4]))), "smaller than the asked size"),
}


def _empty(folder):
    folder.mkdir()


def _named_like_a_picture(folder):
    (folder / "x.png").mkdir(parents=True)


def _loop(folder):
    folder.mkdir()
    (folder / "again").symlink_to(folder)


def _dangling(folder):
    folder.mkdir()
    (folder / "a.png").symlink_to("nowhere.png")


def _around(folder):
    folder.mkdir()
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")


def _pipe(folder):
    folder.mkdir()
    os.mkfifo(folder / "a.png")


def _device(folder):
    folder.mkdir()
    (folder / "a.png").symlink_to("/dev/zero")


def _secret(folder):
    folder.mkdir()
    (folder / "a.png").symlink_to("/etc/passwd")


def _loose(folder):
    (folder / "b").mkdir(parents=True)
    for name in ("a.png", "b/c.png"):
        (folder / name).write_bytes(PNG)


def _file(folder):
    folder.write_bytes(PNG)


def _itself(folder):
    folder.symlink_to(folder)


FOLDERS = {
    "empty": (_empty, "has no pictures"),
    "a folder called x.png": (_named_like_a_picture, "has no pictures"),
    "a folder that holds itself": (_loop, "has no pictures"),
    "a link to nothing": (_dangling, "has no pictures"),
    "links to each other": (_around, "has no pictures"),
    "a pipe": (_pipe, "has no pictures"),
    "a device": (_device, "has no pictures"),
    "a link to what is no picture": (_secret, UNREADABLE),
    "loose beside folders": (_loose, "it is not clear what is a label"),
    "a picture": (_file, "is one file"),
    "a link to itself": (_itself, "x"),
}
TABLES = (PICTURES, ZIPS, FOLDERS)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "content", "says"), [(k, *v) for k, v in PICTURES.items()], ids=ascii)
def test_a_picture_that_is_none(place, capsys, name, content, says):
    (place / "x").mkdir()
    (place / "x" / name).write_bytes(content)
    refused(["data", "x", "--size", "8"], says, capsys, watched=place)
    if name.isprintable():
        (place / "x.zip").write_bytes(zipped((name, content)))
        refused(["data", "x.zip", "--size", "8", "--channels", "3"], says, capsys, watched=place)


@pytest.mark.parametrize("name", ODD)
def test_a_picture_that_is_unusual_is_read(place, capsys, name):
    (place / "x").mkdir()
    (place / "x" / name).write_bytes(ODD[name])
    code, _, told = heard(["data", "x", "--size", "8"], capsys)
    assert (code, told) == (0, "")
    with np.load("data.npz") as arrays:
        assert arrays["train_x"].shape[:3] == (1, 8, 8)


@pytest.mark.parametrize(("content", "says"), ZIPS.values(), ids=ZIPS)
def test_a_zip_that_is_none(place, capsys, content, says):
    (place / "x.zip").write_bytes(content)
    refused(["data", "x.zip", "--size", "8"], says, capsys, watched=place)
    refused(["evaluate", "x.zip", "--against", "digits", "--cache", "none"], "", capsys, watched=place)


@pytest.mark.parametrize(("make", "says"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_is_none(place, capsys, make, says):
    make(place / "x")
    before = sorted(os.listdir(place))
    for words in (["data", "x", "--size", "8"], ["evaluate", "x", "--against", "digits", "--cache", "none"]):
        code, _, told = heard(words, capsys)
        assert ((code, told.count("\n")) == (2, 1) and says in told) or "evaluate" in words
    assert sorted(os.listdir(place)) == before
