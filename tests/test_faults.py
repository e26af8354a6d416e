"""Full disks, read-only and emptied folders, files that do not fit, signals: one sentence, and nothing is lost."""

import errno
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from tiny import RECIPE, Heard, create, same, steps, timeless, trainer

from evolvent.cli.drawing import Sampling
from evolvent.cli.evaluate import evaluate
from evolvent.cli.main import main
from evolvent.cli.report import report
from evolvent.pretrained import from_pretrained
from evolvent.storage import files, sealed
from evolvent.storage.circumstances import SourceChanged
from evolvent.storage.reading import read_lines, read_model
from evolvent.storage.runs import Run, append_line
from evolvent.training.session import train

pytestmark = pytest.mark.usefixtures("no_pictures")


def full_disk(monkeypatch, after):
    """From the call `after` on, fsync finds no space left."""
    real, calls = os.fsync, iter(range(10**9))

    def fsync(number):
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)


class Unshown(Heard):
    """Its output has no room left from a step on."""

    def line(self, line):
        if line["step"] >= 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_output_that_fails_loses_no_step(tmp_path):
    clocks = {"checkpoint_every": 10}
    with create(tmp_path / "whole") as whole:
        train(whole, trainer(**clocks))
    with create(tmp_path / "run") as run, pytest.raises(OSError, match="No space left"):
        train(run, trainer(**clocks), show=Unshown())
    assert steps(run) == [8, 0]
    with Run.open(run.path) as run:
        train(run, trainer(**clocks))
    assert same(whole.load_checkpoint()[0]["trainer"], run.load_checkpoint()[0]["trainer"])
    assert timeless(whole) == timeless(run)


@pytest.mark.parametrize("after", [0, 1, 2, 4, 7, 11, 16, 21])
def test_a_full_disk_ends_a_run_in_one_sentence_and_freed_it_goes_on_to_the_same_bits(
    toy, tmp_path, monkeypatch, capsys, after
):
    with monkeypatch.context() as patched:
        full_disk(patched, after)
        assert main(toy) == 2
    heard = capsys.readouterr().err
    assert "No space left on device" in heard and str(tmp_path / "run") in heard
    assert heard.count("\n") == 1
    assert not list(tmp_path.rglob("*.tmp"))
    begun = (tmp_path / "run").exists()
    assert main(["train", "--resume", *toy[2:]] if begun else toy) == 0
    assert main([*toy[:3], f"{tmp_path}/whole"]) == 0
    assert same(read_model(tmp_path / "run")[0], read_model(tmp_path / "whole")[0])


def test_a_line_that_does_not_fit_the_disk_is_not_there_at_all(tmp_path, monkeypatch):
    append_line(tmp_path / "log.jsonl", {"step": 1})
    with monkeypatch.context() as patched:
        full_disk(patched, 0)
        with pytest.raises(OSError, match="No space left"):
            append_line(tmp_path / "log.jsonl", {"step": 2})
    append_line(tmp_path / "log.jsonl", {"step": 3})
    assert read_lines(tmp_path / "log.jsonl") == [{"step": 1}, {"step": 3}]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    files.write_whole(tmp_path / "file", "old")
    with monkeypatch.context() as patched:
        full_disk(patched, 0)
        with pytest.raises(OSError) as caught:
            files.write_whole(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_the_folder_is_synced_after_the_name_is_there(tmp_path, monkeypatch):
    """Else a power cut may take the new name away again."""
    synced, real = [], os.fsync

    def fsync(number):
        synced.append((os.readlink(f"/proc/self/fd/{number}"), (tmp_path / "sub" / "file").exists()))
        real(number)

    if not Path("/proc/self/fd").exists():
        pytest.skip("open files have no names here")
    monkeypatch.setattr(os, "fsync", fsync)
    files.write_whole(tmp_path / "sub" / "file", "x")
    assert synced[0] == (str(tmp_path), False)
    assert synced[-1] == (str(tmp_path / "sub"), True)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, as root may"
)
def test_a_run_in_a_read_only_folder_is_refused_with_the_way_out():
    place = Path(tempfile.mkdtemp())
    try:
        with create(place / "run"):
            pass
        for folder in (place, place / "run"):
            folder.chmod(0o555)
        (place / "run" / ".lock").chmod(0o444)
        assert (
            _as_nobody(lambda: Run.open(place / "run"))
            == f"{place}/run cannot be written (Permission denied)"
        )
        assert _as_nobody(lambda: create(place / "new")).endswith("Permission denied: '" + f"{place}/new'")
    finally:
        shutil.rmtree(place)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, as root may"
)
def test_a_run_that_cannot_be_written_is_not_judged_in_vain():
    place = Path(tempfile.mkdtemp())
    try:
        with create(place / "run") as run:
            train(run, trainer())
        for folder in (place, place / "run"):
            folder.chmod(0o555)
        told = _as_nobody(lambda: evaluate(str(place / "run"), sampling=Sampling()))
        assert told.startswith(
            f"{place}/run/scores.jsonl cannot be written, and scores of the run are kept there"
        )
        told = _as_nobody(lambda: report([str(place / "run")]))
        assert told == f"{place}/run cannot be written: name the picture of the curves by --out"
    finally:
        shutil.rmtree(place)


def _as_nobody(action):
    """What a user without rights is told, up to the first colon and space or the whole."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.setuid(65534)
        try:
            action()
        except Exception as error:
            os.write(write, (str(error).split(": a run")[0]).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


def test_a_run_that_lost_its_checkpoints_does_not_start_over_in_silence(tmp_path):
    with create(tmp_path / "run") as run:
        train(run, trainer())
    shutil.rmtree(run.path / "checkpoints")
    with (
        Run.open(run.path) as run,
        pytest.raises(ValueError, match="was at step 12 and has no checkpoint any more"),
    ):
        train(run, trainer())
    (run.path / "log.jsonl").unlink()
    run.mark("stopped", step=12)
    with Run.open(run.path) as run, pytest.raises(ValueError, match="was at step 12"):
        train(run, trainer())


def test_a_run_goes_on_from_another_place(tmp_path):
    with create(tmp_path / "whole") as whole:
        train(whole, trainer())
    with create(tmp_path / "here") as run:
        train(run, trainer(), max_minutes=1e-9)
    (tmp_path / "here").rename(tmp_path / "there")
    with Run.open(tmp_path / "there") as run:
        train(run, trainer())
    assert same(whole.load_checkpoint()[0]["trainer"], run.load_checkpoint()[0]["trainer"])
    assert timeless(whole) == timeless(run)


def rewrite(run, change):
    """Change the state in the newest checkpoint, and seal it again."""
    file = run.checkpoints()[0]
    state = sealed.unpack_state(file.read_bytes())
    change(state["trainer"])
    file.write_bytes(sealed.pack_state(state))


def transpose(trainer):
    moments = trainer["optimisers"]["energy"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"].T.contiguous()


MISFITS = {
    "moments of another shape": transpose,
    "an optimiser of fewer parameters": lambda t: t["optimisers"]["energy"]["param_groups"][0][
        "params"
    ].pop(),
    "no optimiser": lambda t: t["optimisers"].clear(),
    "another net": lambda t: t["learner"].pop("energy.net.0.weight"),
    "no seed": lambda t: t.pop("seed"),
    "signs of nothing": lambda t: t.update(signs=None),
}


@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS)
def test_a_checkpoint_that_does_not_fit_is_one_sentence(tmp_path, change):
    with create(tmp_path / "run") as run:
        train(run, trainer(), max_minutes=1e-9)
    rewrite(run, change)
    with (
        Run.open(run.path) as run,
        pytest.raises(ValueError, match=r"^the checkpoint does not fit .*\)$") as caught,
    ):
        train(run, trainer())
    assert "\n" not in str(caught.value)


def test_a_run_without_pictures_finishes_and_says_why_there_are_none(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("a grid shows images")

    monkeypatch.setattr("evolvent.pictures.save", fail)
    heard = Heard()
    with create(tmp_path / "run") as run:
        ending = train(run, trainer(picture_every=4), show=heard)
    assert ending.status == "finished"
    assert (run.path / "model.safetensors").is_file()
    assert "there is no step-00000004.png of step 4: a grid shows images" in heard.sentences
    assert "there is no samples.png of step 12: a grid shows images" in heard.sentences


class Bomb:
    def __reduce__(self):
        return (print, ("a pickle was run",))


def test_a_checkpoint_with_a_pickle_in_it_is_passed_over_and_not_run(tmp_path, capsys):
    with create(tmp_path / "run") as run:
        train(run, trainer(), max_minutes=1e-9)
    buffer = io.BytesIO()
    torch.save({"trainer": Bomb(), "seconds": 0.0}, buffer)
    (run.path / "checkpoints" / "step-00000009.pt").write_bytes(
        sealed.seal(buffer.getvalue()),
    )
    heard = Heard()
    with Run.open(run.path) as run:
        train(run, trainer(), show=heard)
    assert "step-00000009.pt cannot be read (UnpicklingError)" in heard.sentences[0]
    assert "a pickle was run" not in capsys.readouterr().out


def test_a_keyword_that_was_renamed_since_is_one_sentence(toy, tmp_path, capsys):
    assert main([*toy, "--max-minutes", "1e-9"]) == 124
    (tmp_path / "toy.py").write_text(RECIPE.format(keyword="rate", first="pass"))
    capsys.readouterr()
    for words in (
        ["train", "--resume", *toy[2:]],
        ["train", "--init-from", f"{tmp_path}/run", "--out", f"{tmp_path}/next"],
        ["sample", f"{tmp_path}/run", "--out", f"{tmp_path}/x.npz"],
    ):
        assert main(words) == 2
        heard = capsys.readouterr().err
        assert heard.count("\n") == 1
        assert "no longer takes the arguments that the run was made with" in heard and "lr" in heard
        assert ("or start a new run from drawn weights" in heard) == (words[0] == "train")


def test_a_model_that_was_tampered_with_is_not_sampled_from(toy, tmp_path, capsys):
    assert main(toy) == 0
    file = tmp_path / "run" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert main(["sample", str(file), "--out", f"{tmp_path}/x.npz"]) == 2
    assert "its content does not fit its checksum" in capsys.readouterr().err


def test_a_recipe_file_that_was_edited_after_training_is_told_of(toy, tmp_path):
    """Weights fit another activation as well as their own."""
    run, file = tmp_path / "run", tmp_path / "toy.py"
    assert main([*toy, "--max-minutes", "1e-9"]) == 124
    assert from_pretrained(run).step == 1
    file.write_text(file.read_text().replace("SiLU", "Tanh"))
    with pytest.warns(SourceChanged, match=r"toy\.py has changed since .*run was made"):
        from_pretrained(run)
    with pytest.warns(SourceChanged, match=r"toy\.py has changed since .*run was made"):
        assert main(["train", "--resume", *toy[2:]]) == 0


def test_the_guard_is_an_option_of_every_run_and_a_resumed_one_remembers_it(toy, tmp_path):
    assert main([*toy, "--guard", "false", "--max-minutes", "1e-9"]) == 124
    record = tmp_path / "run" / "run.json"
    assert json.loads(record.read_text())["guard"] is None
    assert main(["train", "--resume", *toy[2:]]) == 0
    assert json.loads(record.read_text())["guard"] is None
    assert main([*toy[:3], f"{tmp_path}/other"]) == 0
    assert json.loads((tmp_path / "other" / "run.json").read_text())["guard"]["max_rollbacks"] == 3
