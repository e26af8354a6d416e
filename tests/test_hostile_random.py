"""Bad input that nobody thought of: hypothesis makes it up, and the contract is the same."""

import contextlib
import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile import alarm, contents, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from evolvent.cli.main import main
from evolvent.data.arrays import file_album
from evolvent.data.decoding import read_picture
from evolvent.data.folders import zip_album
from evolvent.data.idx import read_idx
from evolvent.storage.reading import read_log, read_model, read_record
from evolvent.storage.sealed import unpack_state

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TYPED = (
    "train sample evaluate report recipes data digits toy-ring images --out --num --num-steps --lr --seed --size"
    " --resume --help --device --against --measures --detector --cache --split -h -- - = --= --out= nan -1 0 1e400"
    " x.png x.npz {run} {run}/run.json . / .. ~ * --flip --guard"
)
WORDS = st.one_of(
    st.sampled_from(TYPED.split()),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)
"""What a cat on the keyboard might type."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("random"), "points", stopped=True)


@SETTINGS
@given(
    st.sampled_from(("train", "sample", "evaluate", "report", "recipes", "data", "")),
    st.lists(WORDS, max_size=5),
)
def test_any_words_are_done_or_refused_in_a_sentence(run, first, more):
    words = [first, *(word.format(run=run) if word.startswith("{run}") else word for word in more)]
    if first == "train":
        words.append("--max-minutes=1e-9")  # one step at most, please
    told, before = io.StringIO(), contents(run)
    quiet = contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place), alarm(words), quiet[0], quiet[1]:
        code = main(words)
    assert code in (0, 2, 124), told.getvalue()
    assert told.getvalue().count("\n") == (code == 2)
    after = {path: content for path, content in contents(run).items() if "report.png" not in path}
    assert code != 2 or after == before


def damaged(content):
    """Cut, flipped, overwritten, repeated: at places that hypothesis picks."""
    places = st.integers(0, len(content) - 1)
    return st.one_of(
        places.map(lambda i: content[:i]),
        places.map(lambda i: content[i:]),
        st.tuples(places, st.integers(1, 255)).map(
            lambda p: content[: p[0]] + bytes([content[p[0]] ^ p[1]]) + content[p[0] + 1 :]
        ),
        st.tuples(places, st.binary(min_size=1, max_size=9)).map(
            lambda p: content[: p[0]] + p[1] + content[p[0] + len(p[1]) :]
        ),
        places.map(lambda i: content[:i] + content),
        st.binary(max_size=64),
    )


PIXELS = np.random.RandomState(0).randint(256, size=(9, 8, 8, 3)).astype(np.uint8)


def made(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _zip(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", made(lambda b: Image.fromarray(PIXELS[0]).save(b, "PNG")))


PICTURE = Image.fromarray(PIXELS[0])
FILES = {
    "x.png": (made(lambda b: PICTURE.save(b, "PNG")), read_picture),
    "x.jpg": (made(lambda b: PICTURE.save(b, "JPEG")), read_picture),
    "x.gif": (made(lambda b: PICTURE.save(b, "GIF")), read_picture),
    "x.bmp": (made(lambda b: PICTURE.save(b, "BMP")), read_picture),
    "x.tif": (made(lambda b: PICTURE.save(b, "TIFF")), read_picture),
    "x.webp": (made(lambda b: PICTURE.save(b, "WEBP")), read_picture),
    "x.npy": (made(lambda b: np.save(b, PIXELS)), lambda path: list(file_album(path).every_piece())),
    "x.npz": (made(lambda b: np.savez(b, x=PIXELS)), lambda path: list(file_album(path).every_piece())),
    "x.zip": (made(_zip), lambda path: list(zip_album(path, 8).every_piece())),
    "idx": (
        bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4)) + bytes(24),
        lambda path: read_idx(path, 3),
    ),
    "run.json": (None, lambda path: read_record(path.parent)),
    "log.jsonl": (None, read_log),
    "model.safetensors": (None, read_model),
    "checkpoints/step-00000001.pt": (None, lambda path: _state(path.read_bytes())),
}
"""Files that are whole, and who reads them."""


def _state(content):
    try:
        return unpack_state(content)
    except ValueError:
        raise
    except Exception as error:  # as `Run.load_checkpoint` does
        raise ValueError from error


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FILES)
@SETTINGS
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_with_a_value_error(run, tmp_path, name, data):
    content, read = FILES[name]
    whole = (run / name).read_bytes() if content is None else content
    path = tmp_path / Path(name).name
    path.write_bytes(data.draw(damaged(whole)))
    with alarm(name), contextlib.suppress(ValueError):
        read(path)
    shutil.rmtree(path, ignore_errors=True)
