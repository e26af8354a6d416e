"""The area under the ROC curve, against the loop over all pairs."""

import pytest
import torch

from evolvent.metrics import auroc


def normal(num, *, shift=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, generator=generator, dtype=torch.float64) + shift


def rounded(num, **how):
    """Numbers of which many are equal."""
    return (2 * normal(num, **how)).round()


def wins(x, y):
    """[n, m]: 1 where y is above x, 1/2 where it is equal."""
    return torch.tensor([[float(b > a) + float(b == a) / 2 for b in y.tolist()] for a in x.tolist()]).double()


DRAWS = [
    (normal(9), normal(7, shift=1, seed=1)),
    (rounded(30), rounded(40, shift=0.3, seed=1)),
    (rounded(2), normal(50, seed=1)),
    (torch.tensor([0.0, float("inf")]), torch.tensor([-float("inf"), float("inf"), 3.0])),
]


@pytest.mark.parametrize(("x", "y"), DRAWS)
def test_it_is_the_mean_over_all_pairs_with_ties_half(x, y):
    assert auroc(x, y).value == pytest.approx(float(wins(x, y).mean()), abs=1e-12)


@pytest.mark.parametrize(("x", "y"), DRAWS)
def test_its_error_is_that_of_delong(x, y):
    """The components of a Mann-Whitney statistic, by the matrix of all pairs."""
    pairs = wins(x, y)
    variance = pairs.mean(1).var() / len(x) + pairs.mean(0).var() / len(y)
    assert auroc(x, y).error == pytest.approx(float(variance.sqrt()), rel=1e-9)


def test_its_error_is_the_spread_over_fresh_draws():
    """Of 400 draws the spread is known to 1/√800, 3.5 %; four times that is allowed."""
    found = [auroc(normal(60, seed=2 * i), normal(90, shift=0.8, seed=2 * i + 1)) for i in range(400)]
    spread = torch.tensor([one.value for one in found]).std()
    told = torch.tensor([one.error for one in found]).square().mean().sqrt()
    assert float(told) == pytest.approx(float(spread), rel=0.14)


def test_two_normal_laws_have_the_area_that_is_known():
    """Φ(d/√2) for equal spreads and a distance d of the means, to four standard errors."""
    found = auroc(normal(4000), normal(4000, shift=1.0, seed=1))
    known = float(torch.distributions.Normal(0, 1).cdf(torch.tensor(0.5**0.5)))
    assert abs(found.value - known) < 4 * found.error


def test_changing_sides_mirrors_it_and_a_rising_map_changes_nothing():
    x, y = rounded(30), rounded(40, shift=0.3, seed=1)
    found = auroc(x, y)
    assert auroc(y, x).value == pytest.approx(1 - found.value, abs=1e-12)
    assert auroc(x.exp(), y.exp()) == found
    assert auroc(-y, -x).value == pytest.approx(found.value, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "value"), [(normal(5), normal(5) + 100, 1.0), (normal(5) + 100, normal(5), 0.0)]
)
def test_sets_that_do_not_overlap_have_no_honest_error(x, y, value):
    assert auroc(x, y) == (value, None)


def test_numbers_that_are_all_equal_tell_nothing():
    assert auroc(torch.zeros(3), torch.zeros(4)) == (0.5, None)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (torch.zeros(1), torch.zeros(4), "1 and 4 numbers are too few: at least 2"),
        (torch.zeros(2), torch.tensor([0.0, float("nan")]), "a number is NaN"),
    ],
)
def test_what_has_no_area_is_refused(x, y, says):
    with pytest.raises(ValueError, match=says):
        auroc(x, y)
