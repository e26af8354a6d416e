import math

import pytest
import torch

from evolvent.noise import Noise
from evolvent.reference import Gaussian, Uniform


def test_the_gaussian_energy_is_minus_the_log_density():
    x = torch.randn(5, 1, 3, 3, dtype=torch.float64)
    law = torch.distributions.Normal(0.0, 1.7)
    expected = -law.log_prob(x).flatten(1).sum(1)
    assert torch.allclose(Gaussian((1, 3, 3), std=1.7).energy(x), expected, rtol=1e-6)


def test_samples_have_the_deviation_of_the_reference():
    """40,000 numbers: the deviation's relative error is 0.0035."""
    x = Gaussian((4,), std=0.5).sample(10_000, Noise())
    assert abs(x.std() / 0.5 - 1) < 0.02


def test_the_uniform_reference_does_not_pull():
    uniform = Uniform((2, 2), low=-1.0, high=3.0)
    x = uniform.sample(1000, Noise())
    assert x.min() >= -1
    assert x.max() <= 3
    assert torch.allclose(uniform.energy(x), torch.full((1000,), 4 * math.log(4)))


def test_impossible_references_are_refused():
    with pytest.raises(ValueError, match="deviation above 0"):
        Gaussian((2,), std=0.0)
    with pytest.raises(ValueError, match="empty"):
        Uniform((2,), low=1.0, high=1.0)
