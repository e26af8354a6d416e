import numpy
import pytest
import scipy.linalg
import torch

from evolvent.metrics import Moments, frechet_distance


def features(n, d=12, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + seed


def by_matrix_root(x, y):
    x, y = x.numpy(), y.numpy()
    a, b = numpy.cov(x, rowvar=False), numpy.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + numpy.trace(a + b - 2 * root)


def test_it_is_the_published_formula_with_the_matrix_root():
    x, y = features(200), features(150, seed=1)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(by_matrix_root(x, y), rel=1e-6)


def test_it_is_the_closed_form_of_two_normal_laws_with_one_set_of_axes():
    """‖μ_a − μ_b‖² + Σ (σ_a − σ_b)², also where some σ is 0."""
    axes = torch.linalg.qr(features(8, 8))[0]
    s, t = (
        torch.tensor([3.0, 2, 1, 0.1, 0, 0, 5, 1]).double(),
        torch.tensor([1.0, 2, 3, 4, 5, 0, 0, 1e-4]).double(),
    )
    shift = torch.arange(8).double()
    n = 1000
    a = Moments(n, shift * 0, (n - 1) * axes @ (s**2).diag() @ axes.T)
    b = Moments(n, shift, (n - 1) * axes @ (t**2).diag() @ axes.T)
    expected = (shift**2).sum() + ((s - t) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)


def test_fewer_points_than_features_is_exact_too():
    """The 5 points' own geometry: W₂ is unchanged when features that are always 0 are added."""
    x, y = features(5, 4), features(6, 4, seed=2)
    axes = torch.linalg.qr(features(40, 40))[0][:4]
    few = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(Moments.of(x @ axes), Moments.of(y @ axes)) == pytest.approx(few, rel=1e-6)


def test_a_law_is_at_distance_zero_from_itself_and_distance_is_symmetric():
    a, b = Moments.of(features(50)), Moments.of(features(60, seed=3))
    assert abs(frechet_distance(a, a)) < 1e-9 * float(a.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_constant_features_are_apart_by_their_means_alone():
    ones = torch.ones(4, 3)
    assert frechet_distance(Moments.of(ones), Moments.of(3 * ones)) == 12


@pytest.mark.parametrize("pieces", [[97], [1] * 97, [50, 0, 47], [2, 95]])
def test_moments_in_pieces_are_the_moments_of_the_whole(pieces):
    x = features(97) + 1e3
    moments = Moments.empty(12)
    for piece in x.split(pieces):
        moments = moments.update(piece)
    assert moments.num == 97
    torch.testing.assert_close(moments.mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.covariance, x.T.cov(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 97])
def test_pieces_of_any_size_change_the_distance_by_rounding_alone(size):
    x, y = features(97) + 1e3, Moments.of(features(80, seed=1))
    pieces = Moments.of_pieces(x.split(size))
    assert frechet_distance(pieces, y) == pytest.approx(frechet_distance(Moments.of(x), y), rel=1e-9)
    with pytest.raises(ValueError, match="no features"):
        Moments.of_pieces([])


def test_order_does_not_matter():
    x, y = features(80), features(80, seed=1)
    shuffled = x[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
    forward, other = (frechet_distance(Moments.of(some), Moments.of(y)) for some in (x, shuffled))
    assert forward == pytest.approx(other, rel=1e-9)


def test_merging_is_the_same_from_either_side():
    a, b = Moments.of(features(30)), Moments.of(features(70, seed=1))
    for left, right in zip(a.merge(b)[1:], b.merge(a)[1:], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-9)


def test_a_feature_that_is_not_finite_is_an_error():
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="not finite"):
            Moments.of(features(5).index_fill(0, torch.tensor([2]), bad))


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 images, not 1"):
        frechet_distance(Moments.of(features(1)), Moments.of(features(9)))


def test_features_of_two_detectors_are_not_compared():
    with pytest.raises(ValueError, match="not of one detector"):
        frechet_distance(Moments.of(features(9, 4)), Moments.of(features(9, 5)))


def test_a_covariance_on_which_torch_gives_up_has_the_same_distance(monkeypatch):
    """MKL's eigh does, on the 39 directions of 40 pictures among 1280; which ones is up to rounding."""
    torch.manual_seed(0)
    a, b = (Moments.of(torch.randn(20, 64) * scale) for scale in (1, 2))
    expected = frechet_distance(a, b)

    def gives_up(matrix):
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)  # float64 and a square root
