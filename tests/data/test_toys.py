"""toys.py: what is drawn has the density that is claimed."""

import copy
import math

import pytest
import torch

from evolvent.data import Checkerboard, Grid, Mixture, Moons, Ring

TOYS = [Ring(), Ring(5, std=0.2), Grid(), Grid(3, std=0.3), Moons(), Checkerboard()]
HALF, CELLS, FINE = 3.6, 24, 10


def ids(toy):
    return f"{type(toy).__name__}-{len(getattr(toy, 'centres', []))}"


every_toy = pytest.mark.parametrize("toy", TOYS, ids=ids)


def mass_of_cells(toy):
    """The mass of each of CELLS² cells of [-HALF, HALF]², by the midpoint rule on FINE² points a cell."""
    num = CELLS * FINE
    ticks = (torch.arange(num) + 0.5) * (2 * HALF / num) - HALF
    density = toy.log_density(torch.cartesian_prod(ticks, ticks)).exp() * (2 * HALF / num) ** 2
    return density.double().view(CELLS, FINE, CELLS, FINE).sum((1, 3))


@every_toy
def test_the_density_integrates_to_one(toy):
    # The midpoint rule is exact to float32 on smooth laws, and on the board as 0.03 divides its squares.
    assert mass_of_cells(toy).sum().item() == pytest.approx(1, abs=1e-4)


@every_toy
def test_draws_fall_where_the_density_is(toy):
    torch.manual_seed(0)
    num = 100_000
    cell = ((toy.draw(num) + HALF) * (CELLS / (2 * HALF))).floor().long()
    assert cell.min() >= 0 and cell.max() < CELLS
    seen = torch.bincount(cell[:, 0] * CELLS + cell[:, 1], minlength=CELLS**2)
    expected = num * mass_of_cells(toy).flatten()
    # A count has the spread √expected; five of them, and a few for the cells that expect next to none.
    assert ((seen - expected).abs() <= 5 * expected.sqrt() + 4).all()


@every_toy
def test_a_draw_is_a_float32_point_of_the_plane_where_the_density_is_finite(toy):
    x = toy.draw(5000)
    assert x.dtype == torch.float32 and x.shape == (5000, *toy.event_shape)
    assert toy.log_density(x).isfinite().all()
    assert x.abs().max() < HALF


@every_toy
def test_the_same_global_seed_draws_the_same(toy):
    torch.manual_seed(5)
    first = toy.draw(10)
    torch.manual_seed(5)
    assert torch.equal(first, toy.draw(10))


@every_toy
def test_a_draw_reads_nothing_back_from_the_device(toy):
    # A tensor on "meta" has no values, so whatever would wait for one raises.
    away = copy.deepcopy(toy).to("meta")
    assert away.log_density(away.draw(4)).shape == (4,)


@every_toy
def test_a_checkpoint_holds_no_data(toy):
    assert not toy.state_dict() and list(toy.buffers())


@pytest.mark.parametrize("toy", [Ring(), Grid()], ids=ids)
def test_every_mode_has_the_same_weight(toy):
    torch.manual_seed(1)
    num, modes = 40_000, len(toy.centres)
    counts = torch.cdist(toy.draw(num), toy.centres).argmin(1).bincount(minlength=modes)
    assert ((counts - num / modes).abs() < 5 * math.sqrt(num / modes)).all()


def test_a_mixture_of_one_is_the_normal():
    toy = Mixture(torch.tensor([[1.0, -2.0]]), std=0.7)
    x = torch.randn(50, 2)
    normal = torch.distributions.Normal(torch.tensor([1.0, -2.0]), 0.7)
    torch.testing.assert_close(toy.log_density(x), normal.log_prob(x).sum(1), rtol=1e-5, atol=1e-5)


def test_the_score_of_a_mixture_is_differentiable_and_exact():
    toy = Moons().double()
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(toy.log_density, x)


def test_the_ridge_of_the_moons_has_no_ripple():
    toy = Moons().double()
    on_centres, between = toy.centres[25:40], (toy.centres[25:39] + toy.centres[26:40]) / 2
    ends = toy.log_density(on_centres)
    # What is left is the chord, 0.0005 inside its arc.
    assert (toy.log_density(between) - (ends[1:] + ends[:-1]) / 2).abs().max() < 5e-3


def test_the_board_is_dark_where_column_plus_row_is_even():
    board = Checkerboard()
    x = torch.tensor([[-2.9, -2.9], [-2.9, -1.4], [0.1, 0.1], [0.1, -0.1], [3.1, 3.1], [-3.1, -1.4]])
    assert board.log_density(x).exp().mul(18).round().tolist() == [1, 0, 1, 0, 0, 0]


def test_no_draw_is_rounded_into_a_light_square(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.full(shape, 1 - 2**-24, device=device))
    board = Checkerboard()
    assert board.log_density(board.draw(500)).isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ring(0), "at least one mode, not 0"),
        (lambda: Grid(1), "at least 2 modes a side, not 1"),
        (lambda: Moons(std=0.0), "above 0, not 0.0"),
        (lambda: Ring(std=float("nan")), "above 0, not nan"),
    ],
)
def test_an_impossible_law_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
