"""--out at places where nothing can or may be written: told before the work, and nothing there is touched."""

import os
import threading

import numpy as np
import pytest
from hostile import heard, make_run, refused

EXISTS = "already exists"
TAKEN = "is not an empty folder"
FOR_FILES = {
    "old.{}": EXISTS,
    "link.{}": EXISTS,
    "dangling.{}": EXISTS,
    "itself.{}": EXISTS,
    "folder.{}": "is a folder",
    "old.{}/x.{}": "is no folder",
    "dangling.{}/x.{}": "is no folder",
    "/dev/null/x.{}": "is no folder",
    "/proc/x.{}": "/proc/x.",
    "/proc/nowhere/deep/x.{}": "/proc/nowhere",
    "/sys/x.{}": "/sys/x.",
    "pipe.{}": "is no file but a device or a pipe",
    "null.{}": "is no file but a device or a pipe",
    "full.{}": "is no file but a device or a pipe",
    "x" * 300 + ".{}": "File name too long",
    "y/" * 3000 + "x.{}": "File name too long",
    "zero\0byte.{}": "null",
    "": "is empty",
    "\t": "is empty",
}
"""For a file that ends so; of each ending."""
OTHER_ENDINGS = {"x.jpg": "not as .jpg", "x.npy": "not as .npy", "x.PNG": "not as .PNG"}
FOR_FOLDERS = {
    "theirs": TAKEN,
    "theirs/": TAKEN,
    "hidden": TAKEN,
    "old": TAKEN,
    "dangling": TAKEN,
    "/dev/null": TAKEN,
    "/dev/full": TAKEN,
    ".": TAKEN,
    "..": TAKEN,
    "/": TAKEN,
    "/proc": TAKEN,
    "/proc/x": "/proc/x",
    "old/x": "is no folder",
    "x" * 300: "File name too long",
}
"""For samples in a folder."""
FOR_RUNS = {
    "theirs": "already holds files",
    "hidden": "already holds files",
    "old": "is a file",
    "old/x": "old/x",
    "dangling": "is a link to nothing: make the folder nowhere, or choose another --out",
    "/dev/null": "is a file",
    "/dev/full": "is a file",
    "pipe": "is a file",
    ".": "already holds files",
    "/proc/x": "/proc/x",
    "x" * 300: "File name too long",
    "zero\0byte": "null",
    "": "is empty",
    " ": "is empty",
}
"""For a run."""
COMMANDS = {
    "sample png": (("sample", "{run}", "--out"), "png"),
    "sample npz": (("sample", "{run}", "--out"), "npz"),
    "evaluate": (("evaluate", "{run}", "--out"), "png"),
    "energy": (("energy", "{run}", "--out"), "npz"),
    "energy csv": (("energy", "{run}", "--out"), "csv"),
    "energy picture": (("energy", "{run}", "--out", "fresh.npz", "--picture"), "png"),
    "data": (("data", "{few}", "--out"), "npz"),
    "data sheet": (("data", "{few}", "--out", "fresh.npz", "--sheet"), "png"),
}
FILES = {f"{name} {place[:40]!r}": (name, place) for name in COMMANDS for place in FOR_FILES}
TABLES = (FILES, OTHER_ENDINGS, FOR_FOLDERS, FOR_RUNS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    np.savez(
        folder / "few.npz", images=np.random.RandomState(0).randint(256, size=(20, 8, 8)).astype(np.uint8)
    )
    return {
        "run": make_run(folder, "images"),
        "few": folder / "few.npz",
        "points": make_run(folder, "points"),
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with one of each: old files, folders of others, links, a pipe, devices."""
    monkeypatch.chdir(tmp_path)
    for ending in ("", ".png", ".npz", ".csv"):
        (tmp_path / f"old{ending}").write_bytes(b"of somebody else")
        (tmp_path / f"link{ending}").symlink_to("old")
        (tmp_path / f"dangling{ending}").symlink_to("nowhere")
        (tmp_path / f"itself{ending}").symlink_to(f"itself{ending}")
        (tmp_path / f"folder{ending}").mkdir()
        (tmp_path / f"null{ending}").symlink_to("/dev/null")
        (tmp_path / f"full{ending}").symlink_to("/dev/full")
    for name in ("theirs/thesis.tex", "hidden/.thesis.tex"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"of somebody else")
    for name in ("pipe", "pipe.png", "pipe.npz", "pipe.csv"):
        # The reader that `contents` would wait for is never asked: a pipe is no file.
        os.mkfifo(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_place_where_no_file_can_or_may_be(place, runs, capsys, name):
    command, out = FILES[name]
    words, ending = COMMANDS[command]
    words = [word.format(**runs) for word in words]
    refused([*words, out.replace("{}", ending)], FOR_FILES[out], capsys, watched=place)


@pytest.mark.parametrize(("out", "says"), OTHER_ENDINGS.items())
def test_samples_of_another_ending(place, runs, capsys, out, says):
    refused(["sample", str(runs["run"]), "--out", out], says, capsys, watched=place)


@pytest.mark.parametrize(("out", "says"), FOR_FOLDERS.items(), ids=[out[:9] for out in FOR_FOLDERS])
def test_a_place_where_no_samples_can_or_may_lie(place, runs, capsys, out, says):
    refused(["sample", str(runs["run"]), "--out", out], says, capsys, watched=place)


@pytest.mark.parametrize(("out", "says"), FOR_RUNS.items(), ids=[ascii(out[:9]) for out in FOR_RUNS])
def test_a_place_where_no_run_can_or_may_be(place, runs, capsys, out, says):
    recipe = f"{runs['run'].parent}/my.py:points"
    refused(["train", recipe, "--out", out], says, capsys, watched=place)


def test_the_folder_that_we_are_in_is_not_replaced(tmp_path, runs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(
        ["sample", str(runs["run"]), "--out", "."], "the folder that you are in", capsys, watched=tmp_path
    )


def test_points_go_into_no_folder_and_this_is_told_before_they_are_drawn(tmp_path, runs, monkeypatch, capsys):
    monkeypatch.setattr("evolvent.cli.commands.draw_into", None)
    refused(
        ["sample", str(runs["points"]), "--out", f"{tmp_path}/x"], "only images go", capsys, watched=tmp_path
    )


@pytest.mark.parametrize("out", ["old.png", "link.png", "dangling.png"])
def test_what_is_overwritten_was_asked_for_and_a_link_is_not_followed(place, runs, capsys, out):
    words = ["sample", str(runs["run"]), "--num", "2", "--out", out, "--overwrite"]
    assert heard(words, capsys)[0] == 0
    assert (place / out).read_bytes().startswith(b"\x89PNG") and not (place / out).is_symlink()
    assert (place / "old").read_bytes() == b"of somebody else" and not (place / "nowhere").exists()


def test_an_existing_picture_of_neighbours_is_replaced_only_when_asked(place, runs, capsys, monkeypatch):
    monkeypatch.setattr("evolvent.cli.evaluate._scores", lambda case, sight: [])
    monkeypatch.setattr("evolvent.cli.evaluate._neighbours", lambda case, sight: _picture())
    words = ["evaluate", str(runs["run"]), "--num", "6", "--out", "old.png"]
    refused(words, EXISTS, capsys, watched=place)
    assert heard([*words, "--overwrite"], capsys)[0] == 0
    assert (place / "old.png").read_bytes().startswith(b"\x89PNG")


def _picture():
    from PIL import Image

    return Image.new("L", (2, 2))


def test_a_folder_of_samples_is_whole_or_absent(tmp_path, runs, monkeypatch, capsys):
    from evolvent import pictures

    real, calls = pictures.save_image, iter(range(10))

    def full(*words):
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*words)

    with monkeypatch.context() as patched:
        patched.setattr(pictures, "save_image", full)
        words = ["sample", str(runs["run"]), "--num", "5", "--out", f"{tmp_path}/x"]
        refused(words, f"{tmp_path}/x: No space left", capsys, watched=tmp_path)
    assert heard(words, capsys)[0] == 0
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["x"] and len(
        list((tmp_path / "x").iterdir())
    ) == 5


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    """In a container numbers of processes come back: it starts again from 1."""
    from evolvent.storage.files import folder_whole

    left = tmp_path / f".x.{os.getpid()}.tmp"
    left.mkdir()
    (left / "old").touch()
    with folder_whole(tmp_path / "x") as folder:
        (folder / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["x", "new"]


def test_two_commands_at_once_leave_one_whole_folder(tmp_path, runs):
    """The second finds a folder that is not empty, and leaves nothing."""
    from evolvent.storage.files import folder_whole

    def fill(name):
        with folder_whole(tmp_path / "x") as folder:
            (folder / name).write_text(name)

    fill("first")
    failed = []

    def late():
        try:
            fill("second")
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert failed and [file.name for file in (tmp_path / "x").iterdir()] == ["first"]
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
