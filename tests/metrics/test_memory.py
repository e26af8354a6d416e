import pytest
import torch

from evolvent.metrics import memorisation
from evolvent.metrics.memory import nearest, ratios


def normal(n, d=3, *, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_ratio_is_that_of_the_distances_pair_by_pair():
    samples, train, held_out = normal(9), normal(12, seed=1), normal(12, seed=2)
    expected = [
        min(float((x - y).norm()) for y in train) / min(float((x - y).norm()) for y in held_out)
        for x in samples
    ]
    torch.testing.assert_close(ratios(samples, train, held_out), torch.tensor(expected).double())


def test_held_out_images_are_compared_with_the_others_of_their_kind():
    samples, train, held_out = normal(9), normal(12, seed=1), normal(12, seed=2)
    expected = [
        min(float((x - y).norm()) for y in train)
        / min(float((x - y).norm()) for j, y in enumerate(held_out) if j != i)
        for i, x in enumerate(held_out)
    ]
    usual = memorisation(samples, train, held_out)[1]
    assert usual.ratio == pytest.approx(float(torch.tensor(expected).median()), rel=1e-5)


def test_samples_of_the_same_law_are_as_near_to_either():
    """Median and share of 1,000 points lie within a few per cent of 1 and 5 %."""
    ours, usual = memorisation(normal(1000), normal(1000, seed=1), normal(1000, seed=2))
    assert ours.ratio == pytest.approx(1, abs=0.1) and usual.ratio == pytest.approx(1, abs=0.1)
    assert ours.share == pytest.approx(0.05, abs=0.03)
    assert usual.share == pytest.approx(0.05, abs=0.001)


def test_copies_have_ratio_zero_and_are_counted():
    """Exactly 0 far from the origin too, where a product of matrices rounds."""
    train, held_out = normal(50, seed=1) + 1e4, normal(50, seed=2) + 1e4
    samples = torch.cat([train[:10], normal(30) + 1e4])
    assert (ratios(samples, train, held_out)[:10] == 0).all()
    assert memorisation(samples, train, held_out)[0].share >= 0.25


def test_a_copy_of_both_is_near_to_either():
    train, held_out = normal(5, seed=1), normal(5, seed=2)
    both = normal(1)
    assert ratios(both, torch.cat([train, both]), torch.cat([held_out, both])) == 1


@pytest.mark.parametrize("num_leaked", [0, 4, 45, 60])
def test_copies_are_counted_however_many_held_out_images_are_training_images_too(num_leaked):
    train = normal(60, seed=1)
    held_out = torch.cat([train[60 - num_leaked :], normal(60 - num_leaked, seed=2)])
    ours, usual = memorisation(torch.cat([train[:30], held_out[-30:]]), train, held_out)
    assert ours.share == pytest.approx(1 - max(30, num_leaked) / 60, abs=0.01), (
        "copies of both are near to either"
    )
    assert usual.share == pytest.approx((num_leaked + 0.05 * (60 - num_leaked)) / 60, abs=0.01)


def test_held_out_images_that_come_twice_are_compared_with_the_others():
    samples, train, held_out = normal(200), normal(200, seed=1), normal(100, seed=2)
    ours, usual = memorisation(samples, train, held_out.repeat(2, 1))
    assert usual.ratio < 2 and usual.share == pytest.approx(0.05, abs=0.01)
    assert ours.share == pytest.approx(0.05, abs=0.05)
    assert memorisation(train, train, held_out.repeat(2, 1))[0].share == 1


def test_order_does_not_matter():
    samples, train, held_out = normal(20), normal(30, seed=1), normal(30, seed=2)
    flipped = memorisation(samples.flip(0), train.roll(7, 0), held_out.flip(0))
    for one, other in zip(memorisation(samples, train, held_out), flipped, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_the_nearest_training_images_come_nearest_first():
    samples, train = normal(4), normal(20, seed=1)
    distances = torch.cdist(samples, train)
    assert torch.equal(nearest(samples, train, k=3), distances.argsort(1)[:, :3])
    with pytest.raises(ValueError, match="no 21 nearest of 20"):
        nearest(samples, train, k=21)


def test_sets_that_cannot_be_compared_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="5 training and 4 held-out"):
        memorisation(normal(3), normal(5), normal(4))
    with pytest.raises(ValueError, match="not finite"):
        memorisation(torch.full((3, 3), torch.nan), normal(5), normal(5))
