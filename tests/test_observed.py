"""Conditioning on what is seen: an exact posterior, in points and in hidden codes, and the command."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from evolvent.cli.complete import Part, hiding
from evolvent.cli.main import main
from evolvent.dynamics import Langevin, Preconditioned
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.amortized import Adversarial
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.observed import Observed, complete, stages_to_complete
from evolvent.particles import Fresh
from evolvent.pretrained import from_pretrained
from evolvent.reference import Gaussian
from evolvent.views import Coarse, Grey, Masked

STIFFNESS, SIGMA, SEEN = 2.0, 0.5, 1.5
FIRST = torch.tensor([1.0, 0.0])
"""A mask that shows the first coordinate."""
STEP_SIZE = 0.01
"""Costs 2 to 8 % of a variance: 1/(1 − h λ/2) of one of 1/λ."""


class Spring(nn.Module):
    """f(x) = −k (x₁ − x₂)² / 2: with N(0, I) a Gaussian whose coordinates know of each other."""

    def forward(self, x):
        return -STIFFNESS * (x[:, 0] - x[:, 1]).square() / 2


def in_points(temperature=1.0):
    energy = Energy(Spring(), Gaussian((2,)))
    return GCN(energy, Fresh(energy.reference), Langevin(STEP_SIZE, 400, temperature))


def in_codes(beta=1.0):
    """Points that are their codes, so that V is U where β = 1."""
    mapping = nn.Identity()
    mapping.num_hidden = 2
    chain = {"hidden": Langevin(STEP_SIZE, 400)}
    parts = {"flow": KL(), "mapping_loss": Adversarial(), "training": {}, "sampling": chain, "beta": beta}
    return GGCN(Energy(Spring(), Gaussian((2,))), mapping, **parts)


class Along(nn.Module):
    """What lies along the direction (3, 4) is seen."""

    def forward(self, x):
        return x @ torch.tensor([[9.0, 12.0], [12.0, 16.0]]) / 25


@pytest.mark.parametrize("view", [Masked(FIRST), Along()])
@pytest.mark.parametrize(
    ("learner", "prior", "stiffness"),
    [
        (in_points(), 1, STIFFNESS),
        (in_points(temperature=2.0), 1 / 2, STIFFNESS / 2),
        (in_codes(), 1, STIFFNESS),
        (in_codes(beta=4.0), 1, 4 * STIFFNESS),
    ],
)
def test_what_is_hidden_follows_the_posterior(learner, prior, stiffness, view):
    """Of the law that the chain has without anything seen: σ is what it says at any temperature and any β.

    4,000 rows: a mean is known to 0.01 and a variance to 2.2 %.
    """
    point = torch.tensor([[SEEN, 99.0]]) if isinstance(view, Masked) else torch.tensor([[SEEN, 0.5]])
    x = complete(
        learner, point.repeat(4000, 1), view, sigma=SIGMA, stages=learner.stages, batch_size=4000
    ).double()
    projection, own = view(torch.eye(2)).double(), prior + stiffness
    precision = torch.tensor([[own, -stiffness], [-stiffness, own]]) + projection / SIGMA**2
    mean = precision.inverse() @ projection @ point[0].double() / SIGMA**2
    _, across = torch.linalg.eigh(torch.eye(2) - projection)
    unseen = x @ across[:, 1]
    assert unseen.mean() == pytest.approx(float(mean @ across[:, 1]), abs=0.04)
    variance = across[:, 1] @ precision.inverse() @ across[:, 1]
    assert unseen.var() == pytest.approx(float(variance), rel=0.1)
    assert torch.allclose(view(x.float()), view(point), atol=1e-5)


def test_what_a_mask_shows_stays_to_the_last_bit():
    seen = torch.randn(5, 2)
    assert torch.equal(complete(in_points(), seen, Masked(FIRST))[:, 0], seen[:, 0])


VIEWS = {part: hiding(part, (3, 8, 8)) for part in get_args(Part)}


@pytest.mark.parametrize("part", VIEWS)
def test_a_view_is_an_orthogonal_projection_that_hides_the_share_it_says(part):
    view, hidden_share = VIEWS[part]
    projection = view(torch.eye(192).view(-1, 3, 8, 8)).flatten(1)
    assert torch.allclose(projection @ projection, projection, atol=1e-5)
    assert torch.allclose(projection, projection.T, atol=1e-5)
    assert projection.trace() == pytest.approx(192 * (1 - hidden_share), rel=1e-5)


def test_a_coarse_view_shows_what_is_even_and_slow_and_hides_what_is_quick():
    view, lines = Coarse(16, 4), torch.arange(16)
    even = torch.full((1, 1, 16, 16), 0.7)
    slow = torch.cos(torch.pi * 3 * (lines + 0.5) / 16).expand(1, 1, 16, 16)
    quick = torch.cos(torch.pi * 4 * (lines + 0.5) / 16).expand(1, 1, 16, 16)
    assert torch.allclose(view(even), even, atol=1e-6)
    assert torch.allclose(view(slow), slow, atol=1e-6)
    assert torch.allclose(view(quick), torch.zeros(()), atol=1e-6)


def test_a_misfit_is_computed_in_full_precision_under_autocast():
    blind = nn.Sequential(nn.Flatten(), nn.Linear(256, 1, bias=False), nn.Flatten(0))
    nn.init.zeros_(blind[1].weight)
    score = Observed(blind, torch.rand(4, 1, 16, 16), Coarse(16, 4), 0.5)
    points = torch.rand(4, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = score(points)
    assert torch.equal(found, score(points))


NO_VIEWS = {
    "P² = P": lambda x: x / 2,
    "Pᵀ = P": lambda x: x[:, :1].expand_as(x),
    "breaks the law: Pᵀ": lambda x: x.clamp(-0.5, 0.5),
    "each point by itself": lambda x: x.mean(0, keepdim=True).expand_as(x),
    "of shape .2, 2. as it is given, not torch.float32 of shape .2, 1.": lambda x: x.sum(1, keepdim=True),
    "not torch.float64 of shape": lambda x: x.double(),
    "as it is given, not None": lambda x: None,
    "no gradient goes through this one": lambda x: x.detach() * FIRST,
    "takes no points of shape .2, 2.: The size of tensor a .3.": Masked(torch.ones(3)),
    "takes no points of shape .2, 2.: a leaf Variable": lambda x: x.mul_(FIRST),
}


@pytest.mark.parametrize("told", NO_VIEWS)
@pytest.mark.parametrize("seen", [torch.zeros(2, 2), torch.randn(2, 2)])
def test_what_is_no_orthogonal_projection_is_no_view_whatever_is_seen(told, seen):
    with pytest.raises(ValueError, match=told):
        complete(in_points(), seen, NO_VIEWS[told])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_a_mask_shows_the_same_in_any_dtype(dtype):
    seen = torch.randn(3, 2)
    found = complete(in_points(), seen, Masked(FIRST.to(dtype)))
    assert torch.equal(found, complete(in_points(), seen, Masked(FIRST)))


@pytest.mark.parametrize("value", [0.5, 255.0, -1.0, torch.nan])
def test_a_mask_is_zero_or_one(value):
    with pytest.raises(ValueError, match="1 of 2 values are neither"):
        Masked(torch.tensor([value, 0.0]))


def test_what_a_mask_hides_may_be_anything_and_what_is_seen_must_be_numbers():
    seen = torch.randn(3, 2)
    unknown = torch.stack([seen[:, 0], torch.full((3,), torch.nan)], 1)
    found = complete(in_points(), unknown, Masked(FIRST))
    assert torch.equal(found, complete(in_points(), seen, Masked(FIRST)))
    with pytest.raises(ValueError, match="3 of the values that are seen are NaN or infinite"):
        complete(in_points(), unknown, Masked(1 - FIRST))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_points_of_any_precision_are_completed_in_single(dtype):
    seen = torch.randn(3, 2).to(dtype)
    found = complete(in_points(), seen.clone().requires_grad_(), Along())
    assert found.dtype == torch.float32 and not found.requires_grad
    assert torch.equal(found, complete(in_points(), seen.float(), Along()))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"batch_size": 0}, "in batches of at least 1"),
        ({"sigma": 1e-200}, "is at least 1e-06 and finite, not 1e-200"),
        ({"sigma": torch.inf}, "is at least 1e-06 and finite, not inf"),
    ],
)
def test_numbers_that_complete_nothing_are_refused(how, told):
    with pytest.raises(ValueError, match=told):
        complete(in_points(), torch.zeros(3, 2), Masked(FIRST), **how)


def test_a_step_that_what_is_seen_would_throw_off_is_refused_with_what_would_not():
    """A spring of stiffness 1 / σ² diverges under steps beyond 2 σ², in a metric by its longest axis sooner."""
    learner = in_points()
    learner.stages = {"image": Langevin(0.1, 50, temperature=0.0)}
    seen = torch.zeros(2, *learner.energy.reference.event_shape)
    with pytest.raises(ValueError, match=r"a --step-size of 0\.0047, or a --sigma of 0\.23"):
        complete(learner, seen, Masked(torch.ones(seen.shape[1:])), sigma=0.05)
    assert complete(learner, seen, Masked(torch.ones(seen.shape[1:])), sigma=0.5).isfinite().all()
    learner.stages = {"image": Preconditioned(0.1, 50, temperature=0.0)}
    learner.energy.reference.longest = lambda: 10.0
    with pytest.raises(ValueError, match=r"a --sigma of 0\.74"):
        complete(learner, seen, Masked(torch.ones(seen.shape[1:])), sigma=0.23)


def test_what_is_held_loosely_to_anything_is_held_to_nothing():
    energy, x = in_points().energy, torch.randn(3, 2)
    score = Observed(energy.net, torch.randn(3, 2), Masked(FIRST), sigma=1e300)
    assert torch.equal(score(x), energy.net(x))


def test_a_row_depends_on_its_number_and_on_what_it_is_held_to():
    seen, view = torch.randn(7, 2), Masked(FIRST)
    many = complete(in_points(), seen, view, batch_size=4)
    assert torch.equal(complete(in_points(), seen[:5], view, batch_size=4), many[:5])
    seen[2] += 1
    changed = (complete(in_points(), seen, view, batch_size=4) != many).any(1)
    assert changed.tolist() == [i == 2 for i in range(7)]


def test_rows_are_never_parted_from_what_they_are_held_to():
    energy = Energy(Observed(Spring(), torch.randn(8, 2), Masked(FIRST), 1.0), Gaussian((2,)))
    assert energy.load(torch.randn(8, 2)).rows is None
    with pytest.raises(ValueError, match="8 points were seen in part, and 3 are held to them"):
        energy(torch.randn(3, 2))


def test_the_learner_is_left_as_it_was():
    learner = in_codes()
    complete(learner, torch.randn(2, 2), Masked(FIRST), batch_size=2, stages=learner.stages)
    assert isinstance(learner.energy.net, Spring)


def test_codes_are_looked_for_where_there_is_a_mapping():
    assert set(stages_to_complete(in_codes())) == {"selection", "hidden"}
    assert stages_to_complete(in_points()) == in_points().stages


@pytest.mark.parametrize(
    ("part", "share"), [("left", 0.5), ("right", 0.5), ("top", 0.5), ("bottom", 0.5), ("middle", 0.25)]
)
def test_a_half_or_a_quarter_is_hidden(part, share):
    view, hidden_share = VIEWS[part]
    assert float(1 - view.mask.float().mean()) == hidden_share == share
    assert view.mask[:, 0, 0].tolist() == [part not in ("left", "top")] * 3


def test_the_share_that_is_hidden_is_that_of_sides_that_four_does_not_divide():
    view, share = hiding("detail", (1, 6, 6))
    assert view(torch.eye(36).view(-1, 1, 6, 6)).flatten(1).trace() == pytest.approx(36 * (1 - share))


@pytest.mark.parametrize(
    ("part", "shape", "told"),
    [
        ("detail", (3, 8, 16), "not of 16 × 8 px"),
        ("detail", (1, 3, 3), "square images of 4 px and more, not of 3 × 3 px"),
        ("middle", (1, 3, 3), "images of 3 × 3 px have no middle"),
        ("top", (1, 1, 8), "images of 8 × 1 px have no top"),
    ],
)
def test_images_that_have_no_such_part_are_refused(part, shape, told):
    with pytest.raises(ValueError, match=told):
        hiding(part, shape)


QUICK = ["--num", "2", "--tries", "3", "--num-steps", "2", "--batch-size", "6"]


def test_shipped_digits_are_completed_offline(tmp_path, capsys):
    assert main(["complete", "digits", "--hide", "top", *QUICK, "--out", str(tmp_path / "x.png")]) == 0
    assert "2 images completed 3 times each by digits" in capsys.readouterr().out
    with Image.open(tmp_path / "x.png") as image:
        width, height = image.size
    assert width / height == pytest.approx(5 / 2, rel=0.01)  # what is seen, three completions, the image
    assert main(["complete", "digits", "--hide", "top", *QUICK, "--out", str(tmp_path / "x.npz")]) == 0
    with np.load(tmp_path / "x.npz") as archive:
        images = archive["images"]
    assert images.shape == (2, 3, 32, 32, 1)
    assert (images[:, 0, 16:] == images[:, 1, 16:]).all()
    assert (images[:, 0, :16] != images[:, 1, :16]).any()


def test_pictures_without_labels_ask_for_a_class_of_a_model_that_knows_some(tmp_path, capsys):
    np.savez(
        tmp_path / "grey.npz", images=np.random.default_rng(0).integers(0, 255, (4, 32, 32), dtype=np.uint8)
    )
    words = [
        "complete",
        "digits",
        "--data",
        str(tmp_path / "grey.npz"),
        *QUICK,
        "--out",
        str(tmp_path / "x.png"),
    ]
    assert main(words) == 2
    assert "give --label 3, or several in turns" in capsys.readouterr().err
    assert main([*words, "--label", "3,8"]) == 0


def test_pictures_of_another_size_are_told_how_they_come_to_that_of_the_model(tmp_path, capsys):
    np.save(tmp_path / "small.npy", np.zeros((4, 8, 8), np.uint8))
    words = ["complete", "digits", "--data", f"{tmp_path}/small.npy", "--out", str(tmp_path / "x.png")]
    assert main(words) == 2
    assert "small.npy 8 × 8 px with 1: bring them to that by `evolvent data " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "labels", "told"),
    [
        (torch.zeros(3, 1), None, "floats of shape .rows, 2."),
        (torch.zeros(0, 2), None, "at least 1 sample"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), "trained without labels"),
    ],
)
def test_rows_that_are_no_points_of_the_model_are_refused(seen, labels, told):
    with pytest.raises(ValueError, match=told):
        complete(in_points(), seen, Masked(FIRST), labels=labels)


def test_a_model_of_classes_wants_a_label_a_row():
    learner, seen = from_pretrained("digits").learner, torch.zeros(2, 1, 32, 32)
    with pytest.raises(ValueError, match=r"a label for each of 2 rows is wanted, .* and there are none"):
        complete(learner, seen, Grey())
    with pytest.raises(ValueError, match=r"and there are torch.int64 of shape \[1\]"):
        complete(learner, seen, Grey(), labels=torch.tensor([3]))
    for unknown in (-1, 10):
        with pytest.raises(ValueError, match=f"there is no class {unknown}: this model knows 0 to 9"):
            complete(learner, seen, Grey(), labels=torch.tensor([3, unknown]))


def test_inference_mode_changes_nothing():
    seen, view = torch.randn(2, 2), Masked(FIRST)
    with torch.inference_mode():
        inferred = complete(in_points(), seen, view, batch_size=2)
        born = from_pretrained("digits").learner
    assert torch.equal(inferred, complete(in_points(), seen, view, batch_size=2))
    assert not any(tensor.is_inference() for tensor in born.parameters())
