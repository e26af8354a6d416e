import subprocess
import sys

import numpy
import ot
import pytest
import torch

from evolvent.metrics import distances
from evolvent.metrics.distances import (
    energy_distance,
    kernel_distance,
    mmd,
    response_distance,
    sliced_wasserstein,
    spread,
    wasserstein,
)


def normal(n, d=3, *, shift=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


KERNELS = {
    "kernel": (kernel_distance, lambda a, b: (float(a @ b) / len(a) + 1) ** 3),
    "mmd": (lambda x, y: mmd(x, y, bandwidth=0.7), lambda a, b: float((-((a - b) ** 2).sum() / 0.98).exp())),
    "energy": (energy_distance, lambda a, b: -float((a - b).norm())),
}
MEASURES = {name: measure for name, (measure, _) in KERNELS.items()}
MEASURES |= {"sliced": sliced_wasserstein, "response": response_distance}


def mmd2(x, y):
    """The published KID's estimate over one block, as torch-fidelity has it, in numpy."""
    a, b, c = (((u @ v.T) / x.shape[1] + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
    n = len(x)
    own = a.sum() - numpy.trace(a) + b.sum() - numpy.trace(b)
    return own / (n * (n - 1)) - 2 * c.sum() / (n * n)


def test_the_kernel_distance_is_the_published_formula_on_the_same_features():
    x, y = normal(200, 64), normal(200, 64, shift=0.3, seed=1)
    assert kernel_distance(x, y).value == pytest.approx(mmd2(x.numpy(), y.numpy()), rel=1e-9)


def test_the_spread_is_the_root_mean_square_distance_of_two_different_points():
    y = normal(30)
    assert spread(y) == pytest.approx(float((torch.pdist(y) ** 2).mean().sqrt()), rel=1e-12)


@pytest.mark.parametrize(("n", "d", "shift"), [(1, 2, 1.0), (40, 2, 0.5), (60, 5, 3.0)])
def test_the_exact_distance_is_that_of_optimal_transport(n, d, shift):
    x, y = normal(n, d), normal(n, d, shift=shift, seed=1)
    weights = numpy.full(n, 1 / n)
    theirs = ot.emd2(weights, weights, ot.dist(x.numpy(), y.numpy())) ** 0.5
    assert wasserstein(x, y).value == pytest.approx(float(theirs), rel=1e-9)


def test_the_exact_distance_ignores_order_and_knows_a_shift():
    x, v = normal(50), torch.tensor([3.0, 0, 4]).double()
    assert wasserstein(x, (x + v).flip(0)).value == pytest.approx(5, rel=1e-12)


def test_the_exact_distance_pairs_equally_many_points():
    with pytest.raises(ValueError, match="not 5 and 4"):
        wasserstein(normal(5), normal(4))


@pytest.mark.parametrize("name", KERNELS)
def test_it_is_the_double_loop_over_all_pairs_of_different_points(name):
    measure, kernel = KERNELS[name]
    x, y = normal(7), normal(5, shift=0.5, seed=1)
    own_x = numpy.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    own_y = numpy.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    cross = numpy.mean([kernel(a, b) for a in x for b in y])
    assert measure(x, y).value == pytest.approx(own_x + own_y - 2 * cross, rel=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_its_error_is_the_jackknife(name):
    measure, _ = KERNELS[name]
    x, y = normal(6), normal(8, shift=0.5, seed=1)
    without_x = torch.tensor([measure(torch.cat([x[:i], x[i + 1 :]]), y).value for i in range(6)])
    without_y = torch.tensor([measure(x, torch.cat([y[:i], y[i + 1 :]])).value for i in range(8)])
    variance = 5 * without_x.var(correction=0) + 7 * without_y.var(correction=0)
    assert measure(x, y).error == pytest.approx(float(variance.sqrt()), rel=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_equal_laws_are_at_distance_zero_in_the_mean_even_of_four_points(name):
    """The mean of 2000 repetitions lies within 4 of its standard errors of 0; few points, unequal counts."""
    measure, _ = KERNELS[name]
    values = torch.tensor(
        [measure(normal(4, seed=2 * i), normal(5, seed=2 * i + 1)).value for i in range(2000)]
    )
    assert values.min() < 0
    assert values.mean().abs() < 4 * values.std() / 2000**0.5


@pytest.mark.parametrize("name", KERNELS)
def test_the_error_is_the_spread_over_repetitions_where_laws_differ(name):
    """300 repetitions know their spread to 4 %, the jackknife errs by a little more: 20 %."""
    measure, _ = KERNELS[name]
    runs = [measure(normal(50, seed=2 * i), normal(60, shift=1.0, seed=2 * i + 1)) for i in range(300)]
    values, errors = torch.tensor(runs).T
    assert errors.mean() == pytest.approx(float(values.std()), rel=0.2)


def test_energy_distance_of_two_points_masses_is_twice_their_distance():
    zero, three = torch.zeros(4, 1), torch.full((4, 1), 3.0)
    assert energy_distance(zero, three) == (6, 0)


@pytest.mark.parametrize("name", MEASURES)
def test_order_and_pieces_do_not_matter(name, monkeypatch):
    x, y = normal(40), normal(30, shift=0.3, seed=1)
    whole = MEASURES[name](x, y).value
    monkeypatch.setattr(distances, "ENTRIES", 100)
    assert MEASURES[name](x.flip(0), y.roll(7, 0)).value == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (7, 5), (1, 3)])
def test_on_a_line_the_sliced_distance_is_the_wasserstein_distance(n, m):
    x, y = normal(n, 1), normal(m, 1, shift=1.0, seed=1)
    exact = ot.wasserstein_1d(x[:, 0].numpy(), y[:, 0].numpy(), p=2) ** 0.5
    assert sliced_wasserstein(x, y).value == pytest.approx(float(exact), rel=1e-9)
    assert sliced_wasserstein(x, y).error == pytest.approx(0, abs=1e-9)


def test_the_sliced_distance_agrees_with_another_implementation_on_the_same_directions():
    x, y = normal(50), normal(35, shift=0.5, seed=1)
    directions = torch.randn(3, 256, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).numpy()
    theirs = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions, p=2)
    assert sliced_wasserstein(x, y, seed=9).value == pytest.approx(float(theirs), rel=1e-9)


def test_a_shift_by_v_moves_the_sliced_distance_to_its_length_over_the_root_of_the_dimension():
    """E⟨v,u⟩² = ‖v‖²/d; the estimate lies within 4 of its standard errors."""
    x, v = normal(20, 5), torch.tensor([3.0, 0, 4, 0, 0]).double()
    value, error = sliced_wasserstein(x, x + v, num_projections=2000)
    assert error < 0.05 and abs(value - 5 / 5**0.5) < 4 * error


def test_points_are_at_no_sliced_distance_from_themselves():
    assert sliced_wasserstein(normal(9), normal(9)) == (0, 0)


def test_response_distance_is_the_mean_over_filters_of_the_difference_of_means():
    x, y = torch.tensor([[1.0, 10], [3, 10]]), torch.tensor([[0.0, 14], [0, 18], [0, 16]])
    assert response_distance(x, y) == (4, None)


@pytest.mark.parametrize("name", MEASURES)
def test_bad_points_are_refused_in_a_sentence(name):
    x = normal(5)
    with pytest.raises(ValueError, match="not finite"):
        MEASURES[name](x, x.index_fill(0, torch.tensor([2]), torch.nan))
    with pytest.raises(ValueError, match="points of 3 and of 4 numbers"):
        MEASURES[name](x, normal(5, 4))
    with pytest.raises(ValueError, match="too few"):
        MEASURES[name](x, x[:0])


@pytest.mark.parametrize("name", KERNELS)
def test_two_points_have_no_error_and_are_refused(name):
    with pytest.raises(ValueError, match="5 and 2 points are too few"):
        MEASURES[name](normal(5), normal(2))


def test_settings_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="bandwidth must be above 0"):
        mmd(normal(4), normal(4), bandwidth=0.0)
    with pytest.raises(ValueError, match="at least 2 projections"):
        sliced_wasserstein(normal(4), normal(4), num_projections=1)


GROWTH = """
import resource, torch
from evolvent.machine import keep_freed_memory
from evolvent.metrics import distances, fidelity, memory

distances.ENTRIES = 2**20
torch.set_num_threads(1)
keep_freed_memory()
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x, y = torch.randn(2, 8000, 2)
distances.kernel_distance(x[:200], y[:200])
before = most()
distances.kernel_distance(x, y), fidelity.fidelity(x, y), memory._nearest(x.double(), y.double())
print((most() - before) / (8 * distances.ENTRIES))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_matrices_of_all_pairs_take_the_room_of_a_few_blocks():
    """In a process that keeps freed memory as well, where 64 blocks of each once stood side by side."""
    ran = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 24
