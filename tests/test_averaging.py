"""The mean of runs that began from the same weights, and what has none."""

import copy
import json
import re

import numpy as np
import pytest
import torch
from hostile import refused

from evolvent.averaging import mean_of
from evolvent.cli.main import main
from evolvent.pretrained import from_pretrained
from evolvent.storage.reading import read_model

TOY = ["--num-steps", "3", "--batch-size", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Weights, two runs from them that differ in their seed, an export of one, and two runs of other weights."""
    folder = tmp_path_factory.mktemp("averaging")
    small = ["digits-adversarial", "--width", "4", "--num-hidden", "4", *TOY]
    assert main(["train", *small, "--out", str(folder / "base")]) == 0
    assert main(["train", *small, "--seed", "9", "--out", str(folder / "apart")]) == 0
    wide = ["--width", "5", "--num-hidden", "4", "--num-steps", "1", "--batch-size", "8"]
    assert main(["train", "digits-adversarial", *wide, "--out", str(folder / "wider")]) == 0
    for seed in ("1", "2"):
        begin = ["--init-from", str(folder / "base"), *TOY, "--seed", seed, "--out", str(folder / seed)]
        assert main(["train", *begin]) == 0
    assert main(["export", str(folder / "1"), "--half", "false", "--out", str(folder / "whole")]) == 0
    return folder


def learned(weights):
    """Without batch norm's statistics."""
    return {name: tensor for name, tensor in weights.items() if ".norms." not in name}


def average(*runs, out):
    return main(["average", *map(str, runs), "--out", str(out)])


def test_the_mean_is_that_of_every_weight_and_says_of_what_it_is(place, tmp_path):
    runs = [place / "1", place / "2", place / "base"]
    assert average(*runs, out=tmp_path / "mean.safetensors") == 0
    weights, metadata = read_model(tmp_path / "mean.safetensors")
    every = [read_model(run)[0] for run in runs]
    assert weights.keys() == every[0].keys()
    for name, tensor in learned(weights).items():
        torch.testing.assert_close(tensor, torch.stack([of[name] for of in every]).mean(0))
    told = json.loads(metadata["averaged"])
    assert [(of["source"], of["step"]) for of in told] == [(str(run), 3) for run in runs]
    assert len({of["sha256"] for of in told}) == 3


def test_batch_norm_knows_the_births_of_the_mean(place, tmp_path):
    """Births in eval mode are those that the same net bears under the statistics of a large batch."""
    mean = tmp_path / "mean.safetensors"
    assert average(place / "1", place / "2", out=mean) == 0
    mapping = from_pretrained(mean).learner.mapping
    hidden = torch.randn(4096, mapping.num_hidden, generator=torch.Generator().manual_seed(3))
    known = mapping(hidden)
    of_the_batch = copy.deepcopy(mapping).train()(hidden)
    assert (known - of_the_batch).square().mean() < 1e-3 * of_the_batch.var()


def test_a_mean_is_drawn_from_and_begun_from_as_any_weights(place, tmp_path):
    mean = tmp_path / "mean.safetensors"
    assert average(place / "1", place / "2", out=mean) == 0
    assert main(["sample", str(mean), "--num", "4", "--out", str(tmp_path / "samples.png")]) == 0
    assert main(["train", "--init-from", str(mean), *TOY, "--out", str(tmp_path / "next")]) == 0
    assert from_pretrained(mean).recipe == "digits-adversarial"


def test_a_run_of_another_recipe_over_the_same_nets_counts_and_the_first_ones_options_stay(place, tmp_path):
    small = ["--width", "4", "--num-hidden", "4", *TOY]
    begin = ["train", "digits", "--init-from", str(place / "base"), *small]
    assert main([*begin, "--out", str(tmp_path / "ggcn")]) == 0
    _, metadata = mean_of([place / "1", tmp_path / "ggcn"])
    assert metadata["recipe"] == "digits-adversarial"


def test_weights_in_half_precision_have_a_mean_in_single(place, tmp_path):
    assert main(["export", str(place / "1"), "--out", str(tmp_path / "half")]) == 0
    weights, _ = mean_of([tmp_path / "half", place / "2"])
    assert all(tensor.dtype == torch.float32 for tensor in weights.values() if tensor.is_floating_point())


def test_a_mean_is_passed_on_with_a_card_that_says_of_what_it_is(place, tmp_path):
    assert average(place / "1", place / "2", out=tmp_path / "mean.safetensors") == 0
    assert main(["export", str(tmp_path / "mean.safetensors"), "--out", str(tmp_path / "mine")]) == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"* **Average** of `{place / '1'}` at step 3, `{place / '2'}` at step 3.\n* **Weights**" in card
    assert "Trained" not in card
    assert from_pretrained(tmp_path / "mine").step == 3


def test_what_runs_saw_of_the_same_data_is_no_common_beginning(tmp_path, capsys):
    """Two spectral references of the same images are alike, whatever the nets beside them."""
    pixels = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", train_x=pixels, test_x=pixels[:8])
    words = ["cifar10-gcn", "--data", str(tmp_path / "data.npz"), "--size", "8", "--width", "4", *TOY]
    words += ["--num-slots", "16", "--chain-steps", "1", "--sampling-steps", "1", "--captured", "false"]
    for seed in ("1", "2"):
        assert main(["train", *words, "--seed", seed, "--out", str(tmp_path / seed)]) == 0
    with pytest.raises(ValueError, match="began apart"):
        mean_of([tmp_path / "1", tmp_path / "2"])
    checkpoint = max((tmp_path / "1" / "checkpoints").glob("*.pt"))
    assert main(["export", str(checkpoint), "--half", "false", "--out", str(tmp_path / "whole")]) == 0
    run, whole = (from_pretrained(tmp_path / name).draw(4) for name in ("1", "whole"))
    assert torch.equal(run, whole)


MISTAKES = {
    "{1}": "a mean is of two models or more: name the others, too",
    "{1} {apart}": "a mean of models that began apart is none",
    "{1} digits": "the nets differ: ",
    "{1} {wider}": "the nets differ: ",
    "{1} {1}": "hold the same weights, which count once: name runs that differ",
    "{1} {2} {2}/model.safetensors": "/2/model.safetensors hold the same weights",
    "{1} {2} {whole}": "/whole hold the same weights",
    "{1} {1}/log.jsonl": "is not a safetensors file",
    "{1} {1}/nothing": "there is no such file",
    "{1} {2} --out mean.png": "weights are written as .safetensors, not as mean.png",
    "{1} {2} --out {1}/model.safetensors": "already exists: give another name, or --overwrite",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_what_has_no_mean_is_refused_in_a_sentence(place, tmp_path, capsys, words):
    runs = {run.name: str(run) for run in place.iterdir()}
    typed = ["average", "--out", str(tmp_path / "mean.safetensors")]
    typed += [re.sub(r"{(\w+)}", lambda found: runs[found[1]], word) for word in words.split()]
    refused(typed, MISTAKES[words], capsys, watched=place)
    assert not any(tmp_path.iterdir())
