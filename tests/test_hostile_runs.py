"""Run folders that were cut, bent or forged: nothing of them is believed, nothing is run, nothing is lost."""

import json
import os
import shutil
import struct

import pytest
import torch
from hostile import DETECTOR, contents, heard, make_run, refused
from safetensors.torch import save

from evolvent.storage.runs import WRITTEN
from evolvent.storage.sealed import pack_state, pack_weights, seal, unpack_state, unpack_weights

DEEP = "[" * 100_000
LONG = "9" * 5000
RECORDS = {
    "empty": (b"", "run.json cannot be read"),
    "cut": (lambda r: json.dumps(r)[:-9], "run.json cannot be read"),
    "not JSON": (b"status: stopped", "run.json cannot be read"),
    "not UTF-8": (b'{"recipe": "\xff\xfe"}', "run.json cannot be read"),
    "zeros": (bytes(4096), "run.json cannot be read"),
    "a list": (b"[]", "run.json cannot be read"),
    "null": (b"null", "run.json cannot be read"),
    "a number": (b"3", "run.json cannot be read"),
    "deep": (DEEP.encode(), "run.json cannot be read"),
    "deep inside": (lambda r: json.dumps(r)[:-1] + ', "x": ' + DEEP, "run.json cannot be read"),
    "nothing in it": (b"{}", "run.json cannot be read"),
    "a pickle": (b"\x80\x04cposix\nsystem\n(Vecho owned\ntR.", "run.json cannot be read"),
    "a long number": (lambda r: json.dumps(r)[:-1] + f', "x": {LONG}}}', "run.json cannot be read"),
    "two records": (lambda r: 2 * json.dumps(r), "run.json cannot be read"),
    "no recipe": (lambda r: r.pop("recipe"), "run.json cannot be read"),
    "no seed": (lambda r: r.pop("seed"), "run.json cannot be read"),
    "recipe null": (lambda r: r.update(recipe=None), "odd recipe"),
    "recipe a list": (lambda r: r.update(recipe=["digits"]), "odd recipe"),
    "arguments a list": (lambda r: r.update(arguments=[3]), "odd arguments"),
    "seed a float": (lambda r: r.update(seed=1.5), "odd seed"),
    "seed true": (lambda r: r.update(seed=True), "odd seed"),
    "status a number": (lambda r: r.update(status=3), "odd status"),
    "device a number": (lambda r: r.update(device=0), "odd device"),
    "step a word": (lambda r: r.update(step="three"), "odd step"),
    "sessions a number": (lambda r: r.update(sessions_begun_at_step=3), "odd sessions_begun_at_step"),
    "init_from a word": (lambda r: r.update(init_from="digits"), "odd init_from"),
    "init_from empty": (lambda r: r.update(init_from={}), "odd init_from"),
    "init_from of no step": (lambda r: r.update(init_from={"source": "x", "recipe": "x"}), "odd init_from"),
}
"""run.json of a stopped run: its content, or what changes the record."""

TAKEN_UP = {
    "an unknown recipe": (lambda r: r.update(recipe="toy-rnig"), "did you mean toy-ring?"),
    "an empty recipe": (lambda r: r.update(recipe=""), 'no recipe is called ""'),
    "a recipe above": (lambda r: r.update(recipe="../../../etc/passwd:x"), "does not exist"),
    "a recipe that is a folder": (lambda r: r.update(recipe="/:x"), "does not exist"),
    "a recipe in a device": (lambda r: r.update(recipe="/dev/zero:x"), "does not exist"),
    "a recipe with a zero byte": (lambda r: r.update(recipe="a\0b.py:x"), "null"),
    "a long recipe": (lambda r: r.update(recipe="x" * 10**5), "no recipe is called"),
    "a device of its own": (lambda r: r.update(device="tpu"), "tpu"),
    "a device that is gone": (lambda r: r.update(device="cuda"), "no GPU"),
    "another argument": (lambda r: r["arguments"].update(size=3), "it has no size now"),
    "an argument of another type": (lambda r: r["arguments"].update(num_steps="many"), "num_steps"),
    "an argument that is a float": (lambda r: r["arguments"].update(num_steps=2.5), "--num-steps"),
    "an argument too large": (lambda r: r["arguments"].update(num_steps=2**70), "too large"),
    "an argument below 1": (lambda r: r["arguments"].update(num_steps=-1), "at least 1"),
    "an infinite argument": (lambda r: r["arguments"].update(lr=float("inf")), "finite"),
    "a NaN argument": (lambda r: r["arguments"].update(lr=float("nan")), "nan"),
    "a seed too large": (lambda r: r.update(seed=2**70), "a seed lies between"),
    "an argument that is null": (lambda r: r["arguments"].update(lr=None), "lr"),
    "an argument that is an object": (lambda r: r["arguments"].update(lr={"a": 1}), "lr"),
}
"""run.json that can be read, and a run that cannot go on."""

LOGS = {
    "not JSON": ("step 1\n", "line 1 is damaged"),
    "a list": ("[]\n", "line 1 holds no object"),
    "deep": (DEEP + "\n", "line 1 is damaged"),
    "an empty line": ('{"step": 1}\n\n', "line 2 is damaged"),
    "zeros": ("\0" * 64 + "\n", "line 1 is damaged"),
    "a long number": (f'{{"step": {LONG}}}\n', "line 1 is damaged"),
    "no step": ('{"seconds": 1}\n', "line 1 is not of a log"),
    "step a word": ('{"step": "one", "seconds": 1}\n', "line 1 is not of a log"),
    "step null": ('{"step": null}\n', "line 1 is not of a log"),
    "step a float": ('{"step": 1.5, "seconds": 1}\n', "line 1 is not of a log"),
    "a sign that is a word": ('{"step": 1, "seconds": 1, "energy_gap": "large"}\n', "line 1 is not of a log"),
    "a sign that is a list": ('{"step": 1, "seconds": 1, "energy_gap": [1]}\n', "line 1 is not of a log"),
}
"""log.jsonl of a stopped run."""


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def rewritten(change):
    """Of a checkpoint, sealed again after its state was changed."""

    def rewrite(content):
        state = unpack_state(content)
        return pack_state(change(state) or state)

    return rewrite


def pickled(content):
    return seal(_torch_file({"trainer": Bomb(), "seconds": 0.0}))


def _torch_file(what):
    import io

    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


class Bomb:
    """Whoever unpickles it leaves a file behind."""

    def __reduce__(self):
        return (os.mkdir, ("owned",))


UNREADABLE = "checkpoints in"
CHECKPOINTS = {
    "empty": (lambda c: b"", UNREADABLE),
    "one byte": (lambda c: b"P", UNREADABLE),
    "cut in half": (lambda c: c[: len(c) // 2], UNREADABLE),
    "cut by a byte": (lambda c: c[:-1], UNREADABLE),
    "longer by a byte": (lambda c: c + b"x", UNREADABLE),
    "a bit of the head": (lambda c: flipped(c, 3), UNREADABLE),
    "a bit of the middle": (lambda c: flipped(c, len(c) // 2), UNREADABLE),
    "a bit of the sum": (lambda c: flipped(c, len(c) - 5), UNREADABLE),
    "zeros": (lambda c: bytes(len(c)), UNREADABLE),
    "text": (lambda c: b"checkpoint", UNREADABLE),
    "not sealed": (lambda c: _torch_file({"trainer": {}}), UNREADABLE),
    "a pickle, sealed": (pickled, UNREADABLE),
    "a bare pickle, sealed": (lambda c: seal(b"\x80\x04cposix\nmkdir\n(Vowned\ntR." + bytes(2)), UNREADABLE),
    "a list, sealed": (lambda c: seal(_torch_file([1, 2])), UNREADABLE),
    "no trainer": (rewritten(lambda s: s.pop("trainer") and None), "does not fit"),
    "no weights": (rewritten(lambda s: s["trainer"].pop("learner") and None), "does not fit"),
    "no clock": (rewritten(lambda s: s.pop("seconds") and None), "does not fit"),
    "step a word": (rewritten(lambda s: s["trainer"].update(step="one")), "does not fit"),
    "step below 0": (rewritten(lambda s: s["trainer"].update(step=-3)), "does not fit"),
    "seed a word": (rewritten(lambda s: s["trainer"].update(seed="one")), "does not fit"),
    "rates of NaN": (rewritten(lambda s: s["trainer"].update(lr_scale=float("nan"))), "does not fit"),
    "seconds a word": (rewritten(lambda s: s.update(seconds="1")), "does not fit"),
    "health of another kind": (rewritten(lambda s: s.update(health=[])), "does not fit"),
    "rollbacks of another kind": (rewritten(lambda s: s["health"].update(rollbacks=[3])), "does not fit"),
}
"""Every checkpoint of a stopped run."""


def resealed(**metadata):
    """Of a model, sealed again with other metadata."""

    def reseal(content):
        weights, before = unpack_weights(content)
        return pack_weights(weights, {k: v for k, v in (before | metadata).items() if v is not None})

    return reseal


def header_of(text: bytes, length: int | None = None):
    return lambda c: struct.pack("<Q", len(text) if length is None else length) + text


def other_weights(change):
    def reseal(content):
        weights, metadata = unpack_weights(content)
        return pack_weights(change(weights) or weights, metadata)

    return reseal


NO_MODEL = "is not a safetensors file, or is damaged"
MODELS = {
    "empty": (lambda c: b"", NO_MODEL),
    "seven bytes": (lambda c: c[:7], NO_MODEL),
    "cut in half": (lambda c: c[: len(c) // 2], NO_MODEL),
    "cut by a byte": (lambda c: c[:-1], NO_MODEL),
    "longer by a byte": (lambda c: c + b"x", NO_MODEL),
    "a bit of its weights": (lambda c: flipped(c, len(c) - 3), "does not fit its checksum"),
    "a bit of its header": (lambda c: flipped(c, 40), "model.safetensors"),
    "a header without end": (header_of(b"{}", 2**63), NO_MODEL),
    "a header beyond the file": (header_of(b"{}", 4096), NO_MODEL),
    "a header that is a list": (header_of(b"[]"), NO_MODEL),
    "a header that is deep": (header_of(DEEP[:9000].encode()), NO_MODEL),
    "a tensor of 2^60": (
        header_of(b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}'),
        NO_MODEL,
    ),
    "tensors that overlap": (
        header_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}'),
        NO_MODEL,
    ),
    "a dtype of its own": (header_of(b'{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}'), NO_MODEL),
    "a pickle": (lambda c: _torch_file({"a": Bomb()}), NO_MODEL),
    "of another program": (lambda c: save({"a": torch.ones(3)}), "was not written by this evolvent"),
    "no recipe": (resealed(recipe=None), "its header names no recipe"),
    "an unknown recipe": (resealed(recipe="nothing"), "no recipe is called"),
    "a recipe above": (resealed(recipe="../../x.py:x"), "does not exist"),
    "arguments that are not JSON": (resealed(arguments="{"), "odd entry for arguments"),
    "arguments that are a list": (resealed(arguments="[]"), "odd entry for arguments"),
    "arguments that are deep": (resealed(arguments=DEEP), "odd entry for arguments"),
    "arguments of another type": (
        resealed(arguments='{"num_steps": "many"}'),
        "no longer takes the arguments",
    ),
    "arguments of another recipe": (resealed(arguments='{"width": 3}'), "no longer takes the arguments"),
    "a step that is a word": (resealed(step="three"), "odd entry for step"),
    "a tensor less": (other_weights(lambda w: w.popitem() and None), "is absent in the file and ["),
    "a tensor more": (
        other_weights(lambda w: w.update(x=torch.ones(3))),
        "x is [3] in the file and absent in the recipe",
    ),
    "a tensor of another shape": (
        other_weights(lambda w: w.update({"energy.net.1.bias": torch.ones(9)})),
        "do not fit the recipe",
    ),
    "weights of NaN": (
        other_weights(lambda w: {k: torch.full_like(v, torch.nan) for k, v in w.items()}),
        "NaN",
    ),
}
"""model.safetensors of a run of images."""

CACHES = {
    "empty": lambda c: b"",
    "cut": lambda c: c[: len(c) // 2],
    "a bit": lambda c: flipped(c, len(c) - 9),
    "text": lambda c: b"features",
    "other features": lambda c: save({"features": torch.zeros(40, 4)}),
    "no features": lambda c: save({"x": torch.zeros(40, 4)}),
    "a pickle": lambda c: _torch_file({"features": Bomb()}),
}
"""A file of remembered features, which is never trusted: they are computed anew, and a sentence says so."""

LINKS = dict.fromkeys(WRITTEN, "is a link")
"""What a run writes to, led out of its folder."""

TABLES = (RECORDS, TAKEN_UP, LOGS, CHECKPOINTS, MODELS, CACHES, LINKS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(place):
    return make_run(place, "images")


@pytest.fixture(scope="module")
def stopped(place):
    return make_run(place, "points", stopped=True)


@pytest.fixture
def copy(stopped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(stopped, tmp_path / "run")


def change_record(run, change):
    record = json.loads((run / "run.json").read_text())
    if callable(change):
        answer = change(record)
        change = (answer if isinstance(answer, str) and answer[0] == "{" else json.dumps(record)).encode()
    (run / "run.json").write_bytes(change)


@pytest.mark.parametrize(("change", "says"), RECORDS.values(), ids=RECORDS)
def test_a_record_that_cannot_be_read(copy, tmp_path, capsys, change, says):
    change_record(copy, change)
    refused(["train", "--resume", "--out", str(copy)], says, capsys, watched=tmp_path)
    refused(["report", str(copy)], says, capsys, watched=tmp_path)


@pytest.mark.parametrize(("change", "says"), TAKEN_UP.values(), ids=TAKEN_UP)
def test_a_record_that_cannot_be_gone_on_with(copy, tmp_path, monkeypatch, capsys, change, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change_record(copy, change)
    refused(["train", "--resume", "--out", str(copy)], says, capsys, watched=tmp_path)


@pytest.mark.parametrize(("content", "says"), LOGS.values(), ids=LOGS)
def test_a_log_that_is_damaged(copy, tmp_path, capsys, content, says):
    (copy / "log.jsonl").write_text(content)
    refused(["report", str(copy)], says, capsys, watched=tmp_path)
    refused(["train", "--resume", "--out", str(copy)], says, capsys, watched=copy / "checkpoints")


@pytest.mark.parametrize(("change", "says"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints_that_are_damaged_or_forged(copy, tmp_path, capsys, change, says):
    for file in (copy / "checkpoints").iterdir():
        file.write_bytes(change(file.read_bytes()))
    refused(["train", "--resume", "--out", str(copy)], says, capsys, watched=copy / "checkpoints")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("name", "says"), LINKS.items())
def test_a_link_out_of_the_folder_is_not_followed(copy, tmp_path, capsys, name, says):
    outside = tmp_path / "outside"
    if (copy / name).exists():
        (copy / name).rename(outside)
    else:
        outside.write_text("of somebody else")
    (copy / name).symlink_to(outside)
    before = contents(outside) if outside.is_dir() else outside.read_bytes()
    refused(["train", "--resume", "--out", str(copy)], says, capsys, watched=tmp_path)
    assert before == (contents(outside) if outside.is_dir() else outside.read_bytes())


def test_scores_are_not_written_through_a_link(finished, judged, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "outside").write_text("of somebody else")
    (run / "scores.jsonl").unlink(missing_ok=True)
    (run / "scores.jsonl").symlink_to(tmp_path / "outside")
    words = [str(run) if word == str(finished) else word for word in judged]
    refused([*words, "none"], "scores.jsonl", capsys, watched=tmp_path)


@pytest.mark.parametrize(("change", "says"), MODELS.values(), ids=MODELS)
def test_a_model_that_is_damaged_or_forged(finished, tmp_path, monkeypatch, capsys, change, says):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(change((finished / "model.safetensors").read_bytes()))
    refused(["sample", str(file), "--out", f"{tmp_path}/x.npz"], says, capsys, watched=tmp_path)


@pytest.fixture(scope="module")
def judged(finished, place):
    """The words of an evaluation, and the one file of its cache."""
    (place / "seen.py").write_text(DETECTOR)
    words = ["evaluate", str(finished), "--num", "20", "--measures", "frechet", "--detector"]
    return [*words, f"{place}/seen.py:corners", "--cache"]


def lasting(told):
    """What is the same each time: not the seconds, nor what had to be computed again."""
    return [
        line for line in told.splitlines() if "computed anew" not in line and not line.startswith("cost: ")
    ]


@pytest.mark.parametrize("change", CACHES.values(), ids=CACHES)
def test_remembered_features_that_are_damaged_or_forged(judged, tmp_path, monkeypatch, capsys, change):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    code, first, _ = heard([*judged, str(cache)], capsys)
    assert code == 0
    before = {file: file.read_bytes() for file in cache.iterdir()}
    for file, content in before.items():
        file.write_bytes(change(content))
    code, shown, told = heard([*judged, str(cache)], capsys)
    assert (code, told) == (0, "") and "computed anew" in shown
    assert lasting(shown) == lasting(first)
    code, again, told = heard([*judged, str(cache)], capsys)
    assert (code, told, "computed anew" in again) == (0, "", False) and lasting(again) == lasting(first)
    assert not (tmp_path / "owned").exists()
