import pytest
import torch

from evolvent.metrics.fidelity import fidelity


def normal(n, d=4, *, shift=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def balls(points, k):
    """Each point's distance to its k-th neighbour, pair by pair."""
    return [
        sorted(float((a - b).norm()) for j, b in enumerate(points) if j != i)[k - 1]
        for i, a in enumerate(points)
    ]


def inside(points, centres, k):
    radii = balls(centres, k)
    return torch.tensor(
        [[float((p - c).norm()) <= r for c, r in zip(centres, radii, strict=True)] for p in points]
    )


@pytest.mark.parametrize(("k", "shift"), [(1, 0.0), (3, 0.5), (5, 2.0)])
def test_they_are_the_shares_counted_ball_by_ball(k, shift):
    samples, real = normal(20, shift=shift, seed=1), normal(15)
    hits = inside(samples, real, k)
    precision, recall, density, coverage = fidelity(samples, real, k_support=k, k_density=k)
    assert precision == pytest.approx(float(hits.any(1).double().mean()))
    assert recall == pytest.approx(float(inside(real, samples, k).any(1).double().mean()))
    assert density == pytest.approx(float(hits.double().sum()) / (k * 20))
    assert coverage == pytest.approx(float(hits.any(0).double().mean()))


def test_data_in_place_of_samples_scores_one():
    real = normal(30)
    precision, recall, _, coverage = fidelity(real, real)
    assert (precision, recall, coverage) == (1, 1, 1)


def test_samples_far_away_score_zero():
    assert fidelity(normal(30, shift=100.0), normal(30)) == (0, 0, 0, 0)


def test_density_of_equal_laws_is_one_in_the_mean():
    """100 repetitions of 50 points against 50: the mean within 4 of its standard errors."""
    runs = [fidelity(normal(50, seed=2 * i), normal(50, seed=2 * i + 1)).density for i in range(100)]
    densities = torch.tensor(runs)
    assert (densities.mean() - 1).abs() < 4 * densities.std() / 10


def test_lost_modes_cost_coverage_and_not_density():
    both = torch.cat([normal(40), normal(40, shift=20.0, seed=1)])
    one = normal(80, seed=2)
    _, _, density, coverage = fidelity(one, both)
    assert density > 0.8 and coverage <= 0.5


def test_order_pieces_and_a_common_shift_do_not_matter(monkeypatch):
    samples, real = normal(33, shift=0.5, seed=1), normal(29)
    whole = fidelity(samples, real)
    monkeypatch.setattr("evolvent.metrics.distances.ENTRIES", 100)
    samples, real = samples.flip(0) + 1000, real.roll(5, 0) + 1000
    assert fidelity(samples, real) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("k", ["k_support", "k_density"])
def test_bad_points_are_refused_in_a_sentence(k):
    with pytest.raises(ValueError, match="not finite"):
        fidelity(normal(9), normal(9).index_fill(0, torch.tensor([2]), torch.nan))
    with pytest.raises(ValueError, match="4 and of 5 numbers"):
        fidelity(normal(9), normal(9, 5))
    with pytest.raises(ValueError, match="9 samples and 3 data have no 3 neighbours"):
        fidelity(normal(9), normal(3), **{k: 3})
    with pytest.raises(ValueError, match="no 0 neighbours"):
        fidelity(normal(9), normal(9), **{k: 0})
