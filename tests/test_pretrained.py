"""Weights that travel arrive as they left, up to half precision, and say what is wrong when they cannot."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hostile import make_run

import evolvent as ev
from evolvent.cli.main import main
from evolvent.data import to_pixels
from evolvent.dynamics import Langevin
from evolvent.pretrained import from_pretrained, model_file, save_pretrained, shipped, weights_and_origin
from evolvent.storage.reading import MODEL, read_model, read_record
from evolvent.storage.runs import Run
from evolvent.storage.sealed import unpack_state


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "digits", "--num-steps", "2", "--batch-size", "4", "--width", "4", "--out", str(out)]
    assert main([*words, "--threads", "1"]) == 0
    return out


def test_exported_weights_are_the_runs_rounded_to_half_precision(run, tmp_path):
    save_pretrained(run, tmp_path / "half")
    save_pretrained(run, tmp_path / "whole", half=False)
    own, half, whole = (
        from_pretrained(source).learner.state_dict()
        for source in (run, tmp_path / "half", tmp_path / "whole")
    )
    for name, tensor in own.items():
        assert torch.equal(whole[name], tensor)
        assert torch.equal(
            half[name], tensor.half().to(tensor.dtype) if tensor.is_floating_point() else tensor
        )
    sizes = [(folder / MODEL).stat().st_size for folder in (tmp_path / "half", tmp_path / "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    for name, precision in (("half", "half"), ("whole", "single")):
        assert f"* **Weights**: {precision} precision" in (tmp_path / name / "README.md").read_text()


@pytest.mark.parametrize(("num", "at_once"), [(3, 3), (70, 64)])
def test_a_model_draws_what_the_command_line_does_at_the_same_batch_size(run, tmp_path, num, at_once):
    words = ["--num", str(num), "--batch-size", str(at_once), "--seed", "5", "--dynamics", "image"]
    assert main(["sample", str(run), *words, "--out", f"{tmp_path}/x.npz"]) == 0
    saved = from_pretrained(run)
    points = saved.draw(num, seed=5, stages={"image": saved.learner.stages["image"]})
    with np.load(tmp_path / "x.npz") as archive:
        assert np.array_equal(archive["images"], to_pixels(points).permute(0, 2, 3, 1).numpy())


def test_a_model_draws_the_classes_that_are_asked_for_and_no_more_points_than_that(monkeypatch):
    saved = from_pretrained("digits")
    sizes, sample = [], saved.learner.sample

    def counted(num, *rest):
        sizes.append(num)
        return sample(num, *rest)

    monkeypatch.setattr(saved.learner, "sample", counted)
    threes = saved.draw(2, classes=[3], stages={})
    assert torch.equal(threes, ev.draw(saved.learner, 2, classes=[3], stages={}, batch_size=2))
    assert not torch.equal(threes, saved.draw(2, classes=[4], stages={}))
    assert sizes == [1, 2, 2, 2]  # the first tells the shape


def test_a_model_card_holds_what_the_run_knows_and_grants_no_licence(run, tmp_path):
    (run / "scores.jsonl").write_text("")
    save_pretrained(run, tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "evolvent sample mine" in card
    assert '"width": 4' in card
    assert "None yet" in card
    assert "license: unknown" in card and "mit" not in card.partition("# ")[0]


def test_a_recipe_of_ones_own_travels_by_its_files_name_and_is_found_where_the_file_lies(
    tmp_path, monkeypatch, capsys
):
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    own.mkdir()
    save_pretrained(make_run(own, "points"), theirs / "model")
    card = (theirs / "model" / "README.md").read_text()
    assert "`evolvent train my.py:points`.\n`my.py` is the author's own file" in card
    assert "# points, step 3" in card and str(own) not in card
    assert str(own).encode() not in (theirs / "model" / MODEL).read_bytes()
    (own / "my.py").rename(theirs / "my.py")
    monkeypatch.chdir(theirs)
    assert main(["sample", "model", "--num", "4", "--out", "points.png"]) == 0
    assert main(["train", "--init-from", "model", "--out", "next"]) == 0
    assert read_record(theirs / "next")["recipe"] == f"{theirs / 'my.py'}:points"
    monkeypatch.chdir(own)
    assert main(["sample", str(theirs / "model"), "--num", "4", "--out", "points.png"]) == 2
    assert "model was trained by my.py:points: the file my.py does not exist" in capsys.readouterr().err


def test_a_model_card_holds_the_newest_score_of_each_measure_of_its_own_step(run, tmp_path):
    score = {"step": 2, "num_samples": 9, "num_reference": 8, "protocol": "pixels", "floor": None}
    score |= {"lower_is_better": True}
    lines = [
        score | {"measure": name, "value": value} for name, value in (("a", 1.5), ("b", 2.5), ("a", 3.25))
    ]
    lines.append(score | {"step": 1, "measure": "a", "value": 9.5})  # of weights that are no more
    (run / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_pretrained(run, tmp_path / "mine")
    table = (tmp_path / "mine" / "README.md").read_text().splitlines()[-2:]
    assert table == ["| a | 3.25 | 9 | 8 | - | - | pixels | - |", "| b | 2.5 | 9 | 8 | - | - | pixels | - |"]


def test_every_checkpoint_of_a_run_is_a_model_by_itself(tmp_path):
    """Its averaged weights; the last one's are those of model.safetensors. The bank of chains stays behind."""
    words = "train digits-gcn --num-steps 2 --batch-size 4 --num-slots 8 --width 4 --threads 1"
    run, draws = tmp_path / "run", {}
    assert main([*words.split(), "--out", str(run)]) == 0
    for step in (0, 2):
        saved = from_pretrained(run / "checkpoints" / f"step-{step:08d}.pt")
        assert saved.step == step
        draws[step] = saved.draw(4, stages={"image": Langevin(0.1, 2)})
    assert torch.equal(draws[2], from_pretrained(run).draw(4, stages={"image": Langevin(0.1, 2)}))
    assert not torch.equal(draws[2], draws[0])
    first = str(run / "checkpoints" / "step-00000000.pt")
    save_pretrained(first, tmp_path / "mine", half=False)
    exported, metadata = read_model(tmp_path / "mine")
    assert metadata["step"] == "0"
    assert exported.keys() == read_model(run)[0].keys()
    assert main(["average", first, str(run), "--out", str(tmp_path / "mean.safetensors")]) == 0
    assert read_model(tmp_path / "mean.safetensors")[0].keys() == exported.keys()
    assert main(["train", "--init-from", first, "--num-steps", "1", "--out", str(tmp_path / "next")]) == 0


def test_a_checkpoint_that_is_damaged_or_of_no_run_is_one_sentence(run, tmp_path, capsys):
    checkpoint = next((run / "checkpoints").glob("*.pt"))
    alone, cut = tmp_path / "alone.pt", run / "checkpoints" / "step-00000009.pt"
    alone.write_bytes(checkpoint.read_bytes())
    cut.write_bytes(checkpoint.read_bytes()[:-9])
    for source, told in (
        (alone, "is not a run: it has no run.json"),
        (cut, "no checkpoint that can be read"),
    ):
        assert main(["sample", str(source), "--out", str(tmp_path / "x.png")]) == 2
        assert told in capsys.readouterr().err


def begin(out, *words):
    """The weights that a run of two steps begins with, and its run.json."""
    assert main(["train", *words, "--num-steps", "2", "--out", str(out), "--threads", "1"]) == 0
    state = unpack_state((out / "checkpoints" / "step-00000000.pt").read_bytes())
    return state["trainer"]["learner"], read_record(out)


def test_training_begins_from_weights_with_the_options_they_were_made_with(run, tmp_path):
    begun, record = begin(tmp_path / "next", "--init-from", str(run), "--batch-size", "3")
    weights, _ = read_model(run)
    assert begun.keys() == weights.keys()
    assert all(torch.equal(begun[name], tensor) for name, tensor in weights.items())
    assert record["arguments"] == read_record(run)["arguments"] | {"batch_size": 3}
    origin = record["init_from"]
    assert (origin["source"], origin["recipe"], origin["step"]) == (str(run), "digits", 2)
    assert origin["sha256"] == hashlib.sha256((run / MODEL).read_bytes()).hexdigest()


def test_the_weights_that_training_begins_from_are_read_once(run, tmp_path, monkeypatch):
    """Else another file may lie there when run.json is told of its recipe, its sum or its weights."""
    read, plain = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or plain(path))
    begin(tmp_path / "next", "--init-from", str(run))
    assert read.count(run / MODEL) == 1


def test_a_model_card_says_which_weights_a_run_began_from_where_it_did(run, tmp_path):
    begin(tmp_path / "next", "--init-from", str(run))
    cards = []
    for source in (run, tmp_path / "next"):
        save_pretrained(source, tmp_path / f"{source.name}-card")
        cards.append((tmp_path / f"{source.name}-card" / "README.md").read_text())
    drawn, begun = cards
    assert "Began from" not in drawn
    assert f"seed 0.\n* **Began from**: the weights of `{run}`, digits at step 2.\n* **Weights**" in begun


def test_another_recipe_over_the_same_nets_begins_from_weights_with_its_own_options(run, tmp_path):
    words = "digits-adversarial", "--init-from", str(run), "--width", "4", "--batch-size", "4"
    begun, record = begin(tmp_path / "next", *words)
    assert all(torch.equal(begun[name], tensor) for name, tensor in read_model(run)[0].items())
    assert record["recipe"] == "digits-adversarial"
    assert "chain_steps" not in record["arguments"]


def test_what_only_training_needs_is_not_among_the_weights(run, tmp_path):
    """So a model that learned without augmentation goes on with it, and the other way round."""
    begin(tmp_path / "augmented", "--init-from", str(run), "--augment", "adaptive")
    weights = read_model(tmp_path / "augmented")[0]
    assert weights.keys() == read_model(run)[0].keys()
    begun, _ = begin(tmp_path / "plain", "--init-from", str(tmp_path / "augmented"), "--augment", "0")
    assert all(torch.equal(begun[name], tensor) for name, tensor in weights.items())


def test_a_run_that_began_from_weights_goes_on_without_them(run, tmp_path):
    source, words = tmp_path / "source", ["--num-steps", "3", "--threads", "1"]
    save_pretrained(run, source, half=False)
    for out, minutes in ((tmp_path / "whole", []), (tmp_path / "parts", ["--max-minutes", "1e-9"])):
        main(["train", "--init-from", str(source), *words, *minutes, "--out", str(out)])
    shutil.rmtree(source)
    assert main(["train", "--resume", "--out", str(tmp_path / "parts"), "--threads", "1"]) == 0
    whole, parts = (read_model(tmp_path / name)[0] for name in ("whole", "parts"))
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_a_run_that_was_killed_before_its_first_checkpoint_does_not_begin_from_drawn_weights(
    run, tmp_path, capsys
):
    _, origin = weights_and_origin(run)
    facts = {name: origin[name] for name in ("recipe", "arguments")}
    Run.create(tmp_path / "killed", **facts, init_from=origin).close()
    assert main(["train", "--resume", "--out", str(tmp_path / "killed"), "--threads", "1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"start a new run by --init-from {run} with another --out" in told


def test_an_export_overwrites_nothing(run, tmp_path):
    (tmp_path / "theirs").write_text("work")
    with pytest.raises(ValueError, match="already exists"):
        save_pretrained(run, tmp_path)
    assert (tmp_path / "theirs").read_text() == "work"


def test_a_number_beyond_half_precision_is_refused(run, tmp_path, monkeypatch):
    weights = {"energy.net.first.bias": torch.tensor([1e6])}
    monkeypatch.setattr("evolvent.pretrained.read_model_with_sum", lambda _: (weights, {"step": "1"}, ""))
    with pytest.raises(ValueError, match=r"energy\.net\.first\.bias .* --half false"):
        save_pretrained(run, tmp_path / "half")
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_draw_offline(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", name, "--num", "4", "--batch-size", "4", "--out", "four.png"]) == 0
    assert (tmp_path / "four.png").stat().st_size > 500
    assert model_file(name).with_suffix(".md").is_file()


def test_a_folder_of_ones_own_comes_before_a_shipped_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert str(model_file("digits")) == "digits"


def test_the_hub_is_asked_for_owner_and_name_alone(run, monkeypatch):
    asked = []

    def download(name, file):
        asked.append((name, file))
        return str(run / MODEL)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    errors = SimpleNamespace(HfHubHTTPError=RuntimeError, LocalEntryNotFoundError=KeyError)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    assert from_pretrained("somebody/theirs").step == 2
    assert asked == [("somebody/theirs", MODEL)]
    for elsewhere in ("runs/digits-7", "nothing", "a/b/c", "../x"):
        with pytest.raises(ValueError, match="there is no such file"):
            from_pretrained(elsewhere)
    assert len(asked) == 1


def test_without_the_hubs_package_a_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'evolvent\[hub\]'"):
        from_pretrained("somebody/theirs")
