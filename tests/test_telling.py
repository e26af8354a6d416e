"""The command that tells how likely a model finds images."""

import csv
import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image

from evolvent.cli.main import main
from evolvent.data import digits, to_particles
from evolvent.pretrained import from_pretrained


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sixty digits with labels, in two parts, and the same turned by a quarter, without."""
    folder = tmp_path_factory.mktemp("likelihood")
    some = digits(32)
    x, y = some.pixels[:60, 0].numpy(), some.labels[:60].numpy()
    np.savez(folder / "digits.npz", train_x=x[:20], train_y=y[:20], test_x=x[20:], test_y=y[20:])
    np.savez(folder / "turned.npz", images=np.rot90(x, axes=(1, 2)))
    return folder


def told(place, *words, out="energies.npz"):
    """The columns that the command writes for the shipped digits."""
    words = ["energy", "digits", *words, "--overwrite", "--out", str(place / out)]
    assert main([word.replace("{p}", str(place)) for word in words]) == 0
    if out.endswith(".npz"):
        return dict(np.load(place / out))
    with (place / out).open() as file:
        rows = list(csv.reader(file))
    return {name: np.array(column, float) for name, *column in zip(*rows, strict=True)}


def by_hand(images, labels):
    model = from_pretrained("digits").learner
    x = to_particles(torch.from_numpy(np.ascontiguousarray(images))[:, None])
    return model.energy.given(torch.from_numpy(labels)).potential(x).detach().numpy()


def test_the_command_writes_the_potential_of_every_image_at_its_own_class(place, capsys):
    columns = told(place, "--data", "{p}/digits.npz")
    given = np.load(place / "digits.npz")
    assert list(columns) == ["index", "energy", "potential", "label"]
    assert (columns["index"] == np.arange(40)).all() and (columns["label"] == given["test_y"]).all()
    assert np.allclose(columns["potential"], by_hand(given["test_x"], given["test_y"]), rtol=1e-4)
    assert np.allclose(columns["energy"] - columns["potential"], 32 * 32 * np.log(2))
    printed = capsys.readouterr().out
    assert "of each image's own class" in printed and f"{columns['potential'].mean():.3f}" in printed


def test_a_number_picks_images_at_random_and_says_which(place):
    every = told(place, "--data", "{p}/digits.npz", "--split", "train")
    some = told(place, "--data", "{p}/digits.npz", "--split", "train", "--num", "7")
    assert len(set(some["index"])) == 7 and (np.diff(some["index"]) > 0).all()
    for name, column in some.items():
        assert (column == every[name][some["index"]]).all()


def test_a_table_of_text_has_the_same_columns_to_the_last_bit(place):
    words = ["--data", "{p}/digits.npz", "--against", "{p}/turned.npz"]
    arrays, text = told(place, *words), told(place, *words, out="energies.csv")
    assert [*arrays] == [*text] == ["index", "energy", "potential", "label", "against"]
    assert all((arrays[name] == text[name]).all() for name in arrays)


def test_against_others_the_printed_area_is_that_of_all_pairs(place, capsys):
    columns = told(place, "--data", "{p}/digits.npz", "--against", "{p}/turned.npz")
    others = columns["against"] == 1
    assert others.sum() == 60 and (columns["label"][others] == -1).all()
    low, high = columns["energy"][~others], columns["energy"][others]
    area = np.mean([float(b > a) + (a == b) / 2 for a, b in itertools.product(low, high)])
    printed = capsys.readouterr().out
    assert f"AUROC {area:.4f} (± " in printed and "of 60 and 40 images" in printed
    assert "of no class" in printed


def test_the_same_images_on_both_sides_have_half_the_area(place, capsys):
    told(place, "--data", "{p}/turned.npz", "--against", "{p}/turned.npz")
    assert re.search(r"AUROC 0\.5000 \(± 0\.05\d\d, ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "law"),
    [
        (["--data", "{p}/digits.npz"], "each image's own class"),
        (["--data", "{p}/turned.npz"], "no class"),
        (["--data", "{p}/digits.npz", "--label", "free"], "no class"),
        (["--data", "{p}/digits.npz", "--label", "7"], "class 7"),
        (["--data", "{p}/digits.npz", "--against", "{p}/digits.npz", "--against-split", "train"], "no class"),
        (["--data", "{p}/digits.npz", "--against", "{p}/digits.npz", "--label", "own"], "each image's own"),
    ],
)
def test_which_energy_it_is_stands_over_the_table(place, capsys, words, law):
    told(place, *words, "--num", "9")
    assert f", of {law}" in capsys.readouterr().out


def test_the_classes_of_images_without_labels_are_not_guessed(place, capsys):
    words = [
        "energy",
        "digits",
        "--data",
        f"{place}/turned.npz",
        "--label",
        "own",
        "--out",
        f"{place}/no.csv",
    ]
    assert main(words) == 2
    assert "not all of these images have such labels: give --label 3" in capsys.readouterr().err
    assert not (place / "no.csv").exists()


def test_the_picture_begins_with_the_lowest_energy_and_ends_with_the_highest(place):
    columns = told(place, "--data", "{p}/digits.npz", "--picture", "{p}/ends.png")
    images = np.load(place / "digits.npz")["test_x"]
    order = np.argsort(columns["energy"])
    with Image.open(place / "ends.png") as image:
        shown = np.asarray(image.convert("L"))
    scale = (shown.shape[1] - 2) // 12 // 32
    side = 32 * scale
    assert (shown[2 : 2 + side : scale, 2 : 2 + side : scale] == images[order[0]]).all()
    assert (shown[-2 - side : -2 : scale, -2 - side : -2 : scale] == images[order[-1]]).all()


def test_it_climbs_from_births_to_the_model_and_says_where_it_is_nearest(place, capsys):
    told(place, "--data", "{p}/digits.npz", "--label", "3", "--anneal", "60")
    printed = capsys.readouterr().out
    assert "from births, β = 0, to exp(β f): nats, 60 particles" in printed
    betas = [float(beta) for beta in re.findall(r"^│ (\d\.\d{3}) ", printed, re.MULTILINE)]
    assert betas[0] == 0 and 1 in betas and sorted(set(betas)) == betas
    found = re.search(
        r"nearest to (.+) at β = ([\d.]+).*: \S+ ± \S+ nats an image nearer than births; at the model's own β = 1,",
        printed,
    )
    assert found[1].endswith("digits.npz, test") and any(abs(float(found[2]) - beta) < 0.01 for beta in betas)


def test_it_says_where_the_nearest_beta_is_the_last(place, capsys):
    """To images of higher scores than particles have at any β the law comes nearer all the way."""
    energies = told(place, "--data", "{p}/digits.npz", "--label", "3")["energy"]
    with np.load(place / "digits.npz") as digits:
        np.savez(place / "likely.npz", images=digits["test_x"][np.argsort(energies)[:2]])
    told(place, "--data", "{p}/likely.npz", "--label", "3", "--anneal", "20", "--overwrite", "true")
    assert re.search(r"at β = [1-4]\S* \(the last that was taken", capsys.readouterr().out)


def test_it_says_where_there_are_too_few_particles_to_say_anything(place, capsys):
    told(place, "--data", "{p}/digits.npz", "--anneal", "20", "--num", "5")
    assert "short of the model's own 1, the weights are worth fewer than 2" in capsys.readouterr().out
