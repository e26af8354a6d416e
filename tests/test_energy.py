import pytest
import torch
from torch import nn

from evolvent.energy import Energy
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.reference import Gaussian, Uniform


class Quadratic(nn.Module):
    """f(x) = −½ xᵀ A x + bᵀ x."""

    def __init__(self, matrix, shift):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.register_buffer("shift", shift)

    def forward(self, x):
        return -0.5 * (x @ self.matrix * x).sum(1) + x @ self.shift


class Linear(nn.Module):
    """g(z) = M z."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, hidden):
        return hidden @ self.matrix.T


def test_a_zero_score_leaves_the_reference():
    reference = Gaussian((3,), std=2.0)
    energy = Energy(Quadratic(torch.zeros(3, 3), torch.zeros(3)), reference)
    x = torch.randn(6, 3)
    assert torch.equal(energy(x), reference.energy(x))


def test_a_higher_score_is_a_lower_energy():
    net = PlainScore(8)
    energy = Energy(net, Uniform((1, 8, 8)))
    x = torch.randn(16, 1, 8, 8)
    assert torch.equal(energy(x).argsort(), net(x).argsort(descending=True))


def test_the_force_is_the_gradient_of_the_energy():
    """Central differences in float64: error of order 1e-9."""
    energy = Energy(PlainScore(8, width=4), Gaussian((1, 8, 8))).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    direction = torch.randn_like(x)
    slope = (energy(x + 1e-5 * direction) - energy(x - 1e-5 * direction)) / 2e-5
    assert torch.allclose((energy.force(x) * direction).flatten(1).sum(1), slope, rtol=1e-6)


def test_value_and_force_leave_no_graph_and_need_no_grad_mode():
    energy = Energy(PlainScore(8), Gaussian((1, 8, 8)))
    with torch.no_grad():
        value, force = energy.value_and_force(torch.randn(2, 1, 8, 8))
    assert not value.requires_grad
    assert not force.requires_grad
    assert all(p.grad is None for p in energy.parameters())


def test_a_net_that_returns_a_column_is_refused():
    energy = Energy(nn.Linear(2, 1), Gaussian((2,)))
    with pytest.raises(ValueError, match=r"shape \[4\]; it returned \[4, 1\]"):
        energy(torch.randn(4, 2))


def test_the_pullback_through_a_linear_mapping_is_the_known_gaussian():
    """x = Mz with Φ quadratic: V(z) = ½ zᵀ(β MᵀAM + I)z − β bᵀMz up to a constant, exactly."""
    generator = torch.Generator().manual_seed(0)
    mapping = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    matrix, shift = root @ root.T, torch.randn(3, generator=generator, dtype=torch.float64)
    energy = Energy(Quadratic(matrix, shift), Uniform((3,)))
    hidden = energy.pullback(Linear(mapping), Gaussian((2,)), beta=1.5)
    z = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    precision = 1.5 * mapping.T @ matrix @ mapping + torch.eye(2, dtype=torch.float64)
    known = 0.5 * (z @ precision * z).sum(1) - 1.5 * z @ mapping.T @ shift
    assert torch.allclose(hidden(z) - hidden(z).mean(), known - known.mean(), rtol=1e-5)


def test_hidden_langevin_samples_the_pulled_back_density():
    """20,000 chains; the sampling error of a covariance is 0.007, the step's bias below 0.01."""
    from evolvent.dynamics import Langevin

    torch.manual_seed(0)
    mapping = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    energy = Energy(Quadratic(torch.eye(2) * 2, torch.zeros(2)), Uniform((2,)))
    hidden = energy.pullback(Linear(mapping), Gaussian((2,)), beta=1.0)
    end = Langevin(0.02, 300).evolve(hidden, torch.randn(20_000, 2), Noise()).end
    expected = torch.linalg.inv(2 * mapping.T @ mapping + torch.eye(2))
    assert torch.allclose(end.T.cov(), expected, atol=0.02)
