"""--labels and --label on the command line: classes are learned, kept, drawn and told apart."""

import json
import re

import numpy as np
import pytest
import torch
from hostile import refused
from PIL import Image

from evolvent.cli.given import uneven
from evolvent.cli.main import main
from evolvent.nets.retelling import forgotten, with_classes_of
from evolvent.pretrained import load_weights
from evolvent.recipes.digits import digits
from evolvent.recipes.find import build, find
from evolvent.sampling import needed
from evolvent.shapes import apart, carry
from evolvent.storage.reading import read_model, read_record

IMAGES = {"data": "digits", "size": 8, "channels": 1, "width": 4, "num_hidden": 4, "labels": True}
WORDS = [
    "--size",
    "8",
    "--channels",
    "1",
    "--width",
    "4",
    "--num-hidden",
    "4",
    "--num-steps",
    "4",
    "--batch-size",
    "8",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A set of three shades, each a class, the same without labels, and with labels from 1 on."""
    folder = tmp_path_factory.mktemp("labels")
    labels = np.arange(60) % 3
    noise = np.random.default_rng(0).integers(50, size=(60, 8, 8))
    pixels = (labels[:, None, None] * 100 + noise).astype(np.uint8)
    np.savez(folder / "shades.npz", train_x=pixels, train_y=labels)
    np.savez(folder / "bare.npz", train_x=pixels)
    np.savez(folder / "odd.npz", train_x=pixels, train_y=labels + 1)
    return folder


def train(place, out, *words, data="shades"):
    line = ["train", "images", "--data", f"{place}/{data}.npz", *WORDS, "--out", f"{place}/{out}", *words]
    return main(line)


@pytest.fixture(scope="module")
def run(place):
    assert train(place, "run", "--labels") == 0
    return place / "run"


@pytest.fixture(scope="module")
def plain(place):
    assert train(place, "plain") == 0
    return place / "plain"


def sampled(source, out, *words):
    assert main(["sample", str(source), "--out", str(out), "--overwrite", *words]) == 0
    with np.load(out) as archive:
        return dict(archive)


def test_the_samples_of_a_class_are_its_turns_among_all(run, tmp_path):
    every = sampled(run, tmp_path / "x.npz", "--num", "70")
    assert np.array_equal(every["labels"], np.arange(70) % 3)
    for label in range(3):
        alone = sampled(run, tmp_path / "y.npz", "--num", "70", "--label", str(label))
        assert np.array_equal(alone["images"][label::3], every["images"][label::3])
        assert set(alone["labels"]) == {label}
    two = sampled(run, tmp_path / "z.npz", "--num", "5", "--label", "2,0")
    assert list(two["labels"]) == [2, 0, 2, 0, 2]


def test_a_class_is_a_column_of_the_picture(run, tmp_path):
    assert main(["sample", str(run), "--num", "12", "--out", f"{tmp_path}/x.png"]) == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.height > picture.width  # three columns, four rows
    assert (run / "samples.png").is_file()


def test_classes_that_nobody_counted_are_those_of_the_data(run, place):
    """Whoever goes on, samples or exports meets a plain number; the nets are those of one that was typed."""
    assert read_record(run)["arguments"]["num_classes"] == 3
    assert train(place, "typed", "--labels", "--num-classes", "3") == 0
    counted, typed = (read_model(of) for of in (run, place / "typed"))
    assert counted[1] == typed[1]
    assert all(torch.equal(tensor, typed[0][name]) for name, tensor in counted[0].items())


def test_without_labels_nothing_is_counted(plain):
    assert read_record(plain)["arguments"]["num_classes"] is None


def test_stopping_and_resuming_equals_going_straight_on_bitwise(run, place):
    assert train(place, "parts", "--labels", "--max-minutes", "1e-9") == 124
    assert main(["train", "--resume", "--out", f"{place}/parts"]) == 0
    whole, parts = read_model(run)[0], read_model(place / "parts")[0]
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_from_before_there_were_labels_goes_on_without(place, plain, capsys):
    assert train(place, "old", "--max-minutes", "1e-9") == 124
    record = json.loads((place / "old" / "run.json").read_text())
    del record["arguments"]["labels"], record["arguments"]["num_classes"]
    (place / "old" / "run.json").write_text(json.dumps(record))
    assert main(["train", "--resume", "--out", f"{place}/old", "--labels"]) == 2
    assert "a resumed run keeps its options: leave --labels out" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", f"{place}/old"]) == 0
    new, old = read_model(plain)[0], read_model(place / "old")[0]
    assert all(torch.equal(new[name], old[name]) for name in new)


def test_an_export_remembers_its_classes(run, tmp_path):
    assert main(["export", str(run), "--out", f"{tmp_path}/mine", "--half", "false"]) == 0
    found = [sampled(source, tmp_path / "x.npz", "--label", "1") for source in (run, tmp_path / "mine")]
    assert np.array_equal(found[0]["images"], found[1]["images"])


def test_balanced_samples_are_what_is_evaluated(run, capsys):
    assert main(["evaluate", str(run), "--num", "50", "--measures", "energy-distance"]) == 0
    assert "energy-distance" in capsys.readouterr().out


def test_equal_turns_against_uneven_classes_are_told(place, capsys):
    """60 of the 600 images are held out: of class 0 about 48, where 20 are drawn of 60."""
    with np.load(place / "shades.npz") as archive:
        rows = np.array([0, 1, 2] * 4 + [0, 3, 6, 9] * 12).repeat(10)
        np.savez(place / "uneven.npz", train_x=archive["train_x"][rows], train_y=archive["train_y"][rows])
    assert train(place, "uneven", "--labels", data="uneven") == 0
    capsys.readouterr()
    assert main(["evaluate", str(place / "uneven"), "--num", "9", "--measures", "energy-distance"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"in equal numbers, and the held-out data have [45]\d images of class 0 and \d of class", told
    )
    assert uneven(torch.arange(60) % 3, 3) == uneven(None, 3) == uneven(torch.zeros(9).long(), 0) == ""


def test_without_labels_samples_have_none(plain, tmp_path):
    assert set(sampled(plain, tmp_path / "x.npz", "--num", "3")) == {"images"}


def test_the_energy_of_all_digits_starts_alike_with_labels_and_without():
    without, with_labels = (build(digits, {"labels": labels}).learner.energy.net for labels in (False, True))
    for a, b in zip(without.parameters(), with_labels.score.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("recipe", ["digits", "digits-gcn", "cifar10-amortized"])
def test_a_model_that_knew_no_classes_begins_with_them_as_what_it_was(recipe):
    """Every class has the energy and the births of all data, and none of the weights is left out."""
    small = {"width": 4} | ({"mapping_width": 4, "size": 8} if "cifar" in recipe else {})
    without, with_labels = (
        build(find(recipe), small | {"labels": labels}, seed=seed).learner
        for labels, seed in ((False, 1), (True, 2))
    )
    load_weights(with_labels, with_classes_of(with_labels, needed(without)), "the model without labels")
    labels = torch.arange(12) % 10
    x = torch.rand(12, *without.energy.reference.event_shape)
    assert torch.equal(with_labels.energy.potential(carry(x, labels)), without.energy.potential(x))
    if hasattr(without, "mapping"):
        z = torch.randn(12, without.mapping.num_hidden)
        births, told = apart(with_labels.mapping(carry(z, labels)))
        torch.testing.assert_close(births, without.mapping(z))
        assert torch.equal(told, labels)
        (heard,) = torch.autograd.grad(births.square().sum(), with_labels.mapping.mapping.read_in.weight)
        assert heard[:, len(z[0]) :].abs().sum() > 0  # the class is not heard yet, and will be


@pytest.mark.parametrize("labels", [False, True])
def test_weights_of_as_many_classes_are_left_as_they_are(labels):
    learner = build(digits, {"labels": labels, "width": 4}).learner
    weights = needed(learner)
    assert with_classes_of(learner, weights) is weights


def test_weights_of_a_net_that_calls_something_else_directions_are_left_as_they_are():
    learner = build(digits, {"width": 4}).learner
    learner.energy.net.register_buffer("directions", torch.randn(2, 8))
    weights = needed(learner)
    assert with_classes_of(learner, weights) is weights


def test_a_model_that_forgets_its_classes_begins_as_that_of_the_mean_class():
    """Where all classes but one direction and one code are zero, the mean class is a tenth of that one."""
    with_labels = build(digits, {"labels": True, "width": 4}, seed=1).learner
    energy, mapping = with_labels.energy.net, with_labels.mapping
    with torch.no_grad():
        energy.directions.zero_()[3].normal_()
        mapping.codes.zero_()[3].normal_()
    without = build(digits, {"width": 4}, seed=2).learner
    load_weights(without, with_classes_of(without, needed(with_labels)), "the model with labels")
    with torch.no_grad():
        energy.directions[3] *= 0.1
        mapping.codes[3] *= 0.1
    x, z, threes = torch.rand(4, 1, 32, 32), torch.randn(4, without.mapping.num_hidden), torch.full((4,), 3)
    torch.testing.assert_close(without.energy.potential(x), with_labels.energy.potential(carry(x, threes)))
    torch.testing.assert_close(without.mapping(z), apart(mapping(carry(z, threes)))[0])


def test_a_model_goes_to_other_classes_by_way_of_none():
    ten, three = (build(find("images"), IMAGES | {"num_classes": num}, seed=num).learner for num in (10, 3))
    weights = with_classes_of(three, needed(ten))
    load_weights(three, weights, "the model with ten classes")
    assert not three.energy.net.directions.any()
    assert torch.equal(forgotten(weights)["energy.net.stem.weight"], ten.energy.net.score.stem.weight)


def test_weights_of_a_learner_without_a_mapping_do_not_fit_one_that_has_it():
    chains = needed(build(find("digits-gcn"), {"width": 4}).learner)
    learner = build(digits, {"labels": True, "width": 4}).learner
    with pytest.raises(
        ValueError, match=r"weights in chains do not fit the recipe: mapping\.codes is absent"
    ):
        load_weights(learner, with_classes_of(learner, chains), "chains")


def test_a_mapping_that_cannot_hear_a_class_is_refused():
    learner = build(digits, {"labels": True, "width": 4}).learner
    deaf = needed(build(digits, {"width": 4}).learner)
    del deaf["mapping.read_in.weight"]
    with pytest.raises(
        ValueError, match=r"these weights have no mapping\.mapping\.read_in\.weight: call that layer read_in"
    ):
        with_classes_of(learner, deaf)


def test_training_with_labels_begins_from_weights_without(plain, place, capsys):
    words = (
        "train",
        "--init-from",
        str(plain),
        "--data",
        f"{place}/shades.npz",
        "--labels",
    )
    assert main([*words, "--out", f"{place}/told"]) == 0
    assert read_model(place / "told")[0]["energy.net.directions"].abs().sum() > 0
    assert read_record(place / "told")["init_from"]["source"] == str(plain)
    assert "classes" not in capsys.readouterr().out
    back = "train", "--init-from", f"{place}/told", "--labels", "false"
    assert main([*back, "--out", f"{place}/forgot"]) == 0
    lost = f"the weights in {place}/told know 3 classes and this run none: give --labels to keep them\n"
    assert capsys.readouterr().out.count(lost) == 1
    assert read_model(place / "forgot")[0].keys() == read_model(plain)[0].keys()


def test_training_says_that_other_classes_take_the_place_of_those_of_the_weights(run, place, capsys):
    with np.load(place / "shades.npz") as archive:
        np.savez(place / "halves.npz", train_x=archive["train_x"], train_y=np.arange(60) % 2)
    lost = f"the weights in {run} know 3 classes, this run 2 others: it begins from their mean\n"
    for data, told in (("shades", 0), ("halves", 1)):
        words = "train", "--init-from", str(run), "--data", f"{place}/{data}.npz"
        assert main([*words, "--out", f"{place}/on-{data}"]) == 0
        assert capsys.readouterr().out.count(lost) == told


MISTAKES = {
    "sample {place}/run --label 3": "there is no class 3: this model knows 0 to 2",
    "sample {place}/run --label -1": "classes are named by their numbers",
    "sample {place}/run --label 0,x": 'not "0,x"',
    "sample {place}/plain --label 0": "trained without labels",
    "train images --data {place}/bare.npz --size 8 --channels 1 --labels": "these data have no labels to learn from",
    "train images --data {place}/odd.npz --size 8 --labels": "these data have 3 labels from 1 to 3, and classes are",
    "train images --data {place}/shades.npz --size 8 --channels 1 --labels --num-classes 4": "give --num-classes 3",
    "train images --data celeba --labels": "these data have no labels to learn from",
    "train images --data {place}/shades.npz --size 8 --channels 1 --num-classes 3": "give --labels as well",
    "train cifar10-ggcn --data {place}/shades.npz --size 8 --labels --num-classes 9": "give --num-classes 3, where",
    "sample {place}/run --out shades.npz/": "leave off the / or the .npz",
    "train images --data {place}/shades.npz --labels --num-classes 1000000000000": "at most 65536, not 1000000000000",
    "train images --data {place}/shades.npz --labels --num-classes 0": "num_classes must be at least 1, not 0",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence(line, run, plain, place, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(line.format(place=place).split(), MISTAKES[line], capsys, watched=place)
    assert not list(tmp_path.iterdir())
