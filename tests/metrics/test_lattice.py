import math

import pytest
import torch

from evolvent.data.toys import Ring
from evolvent.metrics import plane_kl


def normal(x):
    return -x.square().sum(1) / 2 - math.log(2 * math.pi)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 1.0), (0.0, 1.5), (1.0, 0.8)])
def test_it_is_the_closed_form_of_two_normal_laws_whatever_the_constant_of_the_energy(mean, std):
    """The lattice's step is far below either deviation: its sum of a normal density is exact to 1e-5."""

    def energy(x):
        return (x - mean).square().sum(1) / (2 * std**2) + 123

    exact = 2 * math.log(std) + (1 + mean**2) / std**2 - 1
    assert plane_kl(normal, energy, reach=8) == pytest.approx(exact, abs=1e-4)


def test_a_law_is_at_no_distance_from_its_own_energy():
    law = Ring()
    assert plane_kl(law.log_density, lambda x: 5 - law.log_density(x), reach=6) == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_measured_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="a larger reach is needed"):
        plane_kl(normal, lambda x: -normal(x), reach=1)
    with pytest.raises(ValueError, match="not finite"):
        plane_kl(normal, lambda x: -normal(x) * torch.nan, reach=8)
