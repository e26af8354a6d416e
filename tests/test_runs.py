"""The run folder: nothing half-written, one holder at a time, and resuming is going straight on, bitwise."""

import json
import os
import signal

import pytest
import torch
from tiny import ARGUMENTS, Heard, Interrupted, create, same, steps, timeless, trainer

from evolvent.data.toys import Ring
from evolvent.processes import stopping
from evolvent.processes.stopping import Stopped, signals_raise
from evolvent.storage.circumstances import sources
from evolvent.storage.reading import MODEL, read_lines, read_model
from evolvent.storage.runs import Run, next_free
from evolvent.training.session import train
from evolvent.training.trainer import Diverged

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_an_interrupted_and_resumed_run_equals_one_that_went_straight_on(tmp_path):
    with create(tmp_path / "whole") as whole:
        train(whole, trainer())
    with create(tmp_path / "parts") as parts:
        ending = train(parts, trainer(Interrupted(5, signal.SIGTERM)))
    assert (ending.status, ending.signal) == ("stopped", signal.SIGTERM)
    assert parts.record["status"] == "stopped"
    with Run.open(tmp_path / "parts") as parts:
        train(parts, trainer())
    assert parts.record["sessions_begun_at_step"] == [0, 5]
    assert same(whole.load_checkpoint()[0]["trainer"], parts.load_checkpoint()[0]["trainer"])
    assert same(read_model(whole.path)[0], read_model(parts.path)[0])
    assert timeless(whole) == timeless(parts)


def test_a_run_killed_between_checkpoints_takes_its_log_back_to_the_last_one(tmp_path):
    with create(tmp_path / "run") as run:
        for step in range(1, 9):
            run.log({"step": step})
        with (run.path / "log.jsonl").open("a") as file:
            file.write('{"step": 9, "ene')
        run.cut_log(6)
    assert [line["step"] for line in read_lines(run.path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_the_three_newest_checkpoints_and_one_a_quarter_are_kept(tmp_path):
    with create(tmp_path / "run") as run:
        train(run, trainer(num_steps=20, checkpoint_every=2))
    assert steps(run) == [20, 18, 16, 10, 6]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_corrupt_checkpoint_is_passed_over_for_the_one_before_and_named(tmp_path, damage):
    with create(tmp_path / "run") as run:
        train(run, trainer())
    spoil(run.checkpoints()[0], damage)
    heard = Heard()
    with Run.open(tmp_path / "run") as run:
        train(run, trainer(), show=heard)
    (sentence,) = heard.sentences
    assert "step-00000012.pt cannot be read" in sentence
    assert "going on from step 9" in sentence
    assert sentence in [line.get("warning") for line in read_lines(run.path / "log.jsonl")]
    assert run.record["status"] == "finished"


def spoil(file, damage):
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    file.write_bytes({"truncated": content[:-100], "flipped": content, "emptied": b""}[damage])


def test_when_all_checkpoints_are_corrupt_the_run_is_not_started_over_in_silence(tmp_path):
    with create(tmp_path / "run") as run:
        train(run, trainer())
    for file in run.checkpoints():
        spoil(file, "truncated")
    with Run.open(tmp_path / "run") as run, pytest.raises(ValueError, match="none of the 4 checkpoints"):
        train(run, trainer())


def test_a_diverged_run_says_so_and_saves_nothing_of_it(tmp_path):
    data = Ring()
    broken = trainer(data)
    with create(tmp_path / "run") as run:
        healthy = data.draw
        data.draw = lambda num: healthy(num) * (torch.nan if broken.step >= 7 else 1)
        with pytest.raises(Diverged, match=r"diverged at step 8: .*energy gap nan.*force norm"):
            train(run, broken)
    assert run.record["status"] == "diverged"
    assert steps(run) == [6, 3, 0]


def test_an_error_of_the_recipe_is_kept_whole_in_the_record(tmp_path):
    data = Ring()
    data.draw = lambda num: torch.zeros(num, 2).view(num, 3)
    with create(tmp_path / "run") as run, pytest.raises(RuntimeError):
        train(run, trainer(data))
    assert run.record["status"] == "failed"
    assert "Traceback" in json.loads((run.path / "run.json").read_text())["error"]


class InterruptedTwice(Interrupted):
    def draw(self, num):
        drawn = super().draw(num)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn


@pytest.fixture
def _ctrl_c_is_heard():
    """A shell starts what it puts in the background with Ctrl-C ignored."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_two_signals_at_once_are_one_and_a_later_one_ends_the_run_at_its_last_checkpoint(
    tmp_path, monkeypatch
):
    for number in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(stopping, "TOGETHER", 60)
        with create(tmp_path / f"together-{number}") as run:
            assert train(run, trainer(InterruptedTwice(5, number))).signal == number
        assert (run.record["step"], steps(run)[0]) == (5, 5)
        monkeypatch.setattr(stopping, "TOGETHER", -1)
        with create(tmp_path / f"apart-{number}") as run, signals_raise(), pytest.raises(Stopped):
            train(run, trainer(InterruptedTwice(5, number)))
        assert (run.record["status"], run.record["step"], steps(run)[0]) == ("stopped", 3, 3)


def test_signals_have_their_usual_effect_after_a_session(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with create(tmp_path / "run") as run:
        train(run, trainer())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_with_files_in_it_is_refused_with_the_two_ways_out(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"--resume --out .* or choose another folder with --out"):
        create(tmp_path)


def test_a_folder_has_one_holder_at_a_time(tmp_path):
    with create(tmp_path / "run"), pytest.raises(ValueError, match="in use by another process"):
        Run.open(tmp_path / "run")
    Run.open(tmp_path / "run").close()


def test_what_a_killed_process_left_half_written_is_swept_away_and_nothing_else(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.41.tmp").touch()
    with create(tmp_path / "run") as run:
        train(run, trainer(num_steps=2))
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    mine = run.path / ".more.png.41.tmp"  # what another command may be writing there
    mine.touch()
    for name in (
        "checkpoints/.step-00000006.pt.41.tmp",
        "samples/.step-00000002.png.41.tmp",
        f".{MODEL}.7.tmp",
    ):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).touch()
    Run.open(run.path).close()
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before | {mine: b""}


def test_the_record_says_what_was_run_and_on_what(tmp_path):
    with create(tmp_path / "run") as run:
        pass
    record = json.loads((run.path / "run.json").read_text())
    assert (record["recipe"], record["arguments"], record["seed"]) == ("toy", ARGUMENTS, 3)
    assert {"python", "torch", "numpy", "evolvent"} <= record["versions"].keys()
    assert {"platform", "num_cpus", "gpu"} <= record["machine"].keys()


def test_the_model_file_carries_its_recipe_and_no_particles(tmp_path):
    with create(tmp_path / "run") as run:
        train(run, trainer())
    weights, metadata = read_model(run.path)
    assert not [name for name in weights if "bank" in name]
    assert "energy.net.0.weight" in weights
    assert metadata["recipe"] == "toy"
    assert json.loads(metadata["arguments"]) == ARGUMENTS
    assert metadata["step"] == "12"


def test_time_runs_out_with_a_checkpoint(tmp_path):
    with create(tmp_path / "run") as run:
        ending = train(run, trainer(), max_minutes=1e-9)
    assert (ending.status, ending.signal) == ("stopped", None)
    assert steps(run) == [1, 0]


def test_the_next_free_folder_is_above_all_that_exist(tmp_path):
    for name in ("digits-1", "digits-4", "digits-old", "digits-gcn-7"):
        (tmp_path / name).mkdir()
    assert next_free("digits", tmp_path).name == "digits-5"


def test_a_run_knows_its_sources_without_git(tmp_path):
    """Two recipe files that differ by a byte give two digests; the package's own stays."""
    digests = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "mine.py").write_text(text)
        digests.append(sources(f"{tmp_path / 'mine.py'}:recipe"))
    assert digests[0]["evolvent"] == digests[1]["evolvent"]
    assert digests[0]["mine.py"] != digests[1]["mine.py"]
    assert sources("digits").keys() == {"evolvent"}
