"""Vital signs: each against an oracle that is not the code itself."""

import pytest
import torch
from tiny import trainer
from torch import nn

from evolvent.dynamics import MALA, Langevin, at_rest
from evolvent.energy import Energy
from evolvent.flows import JKO, KL
from evolvent.learners.update import vital_signs
from evolvent.noise import Noise
from evolvent.particles import Persistent
from evolvent.reference import Gaussian, Uniform
from evolvent.sampling import needed
from evolvent.training.signs import Signs


def told(values, name="gap"):
    signs = Signs()
    for value in values:
        signs.add({name: torch.tensor(value)})
    return signs


def test_what_is_read_is_mean_least_and_greatest_since_the_last_time():
    signs = told([3.0, -1.0, 4.0])
    assert signs.read() == {"gap": 2.0, "gap@min": -1.0, "gap@max": 4.0}
    signs.clear()
    assert signs.read() == {}
    signs.add({"gap": torch.tensor(7.0)})
    assert signs.read() == {"gap": 7.0, "gap@min": 7.0, "gap@max": 7.0}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_seen_whenever_one_looks(number):
    line = told([1.0, number, 1.0, 1.0]).read()
    assert not torch.tensor(line["gap"]).isfinite()


def test_signs_that_change_their_names_are_refused():
    with pytest.raises(ValueError, match=r"the same vital signs at every step; changed: .*force"):
        told([1.0]).add({"force": torch.tensor(1.0)})


def test_half_the_steps_before_a_stop_and_half_after_it_are_read_as_one():
    whole, first, second = told([0.1, 0.7, 0.3]), told([0.1, 0.7]), Signs()
    second.load_state_dict(first.state_dict())
    second.add({"gap": torch.tensor(0.3)})
    assert second.read() == whole.read()
    assert told([1.0], "gap@16").read() == {"gap@16": 1.0}


class Slope(nn.Module):
    """f(x) = s · Σx: the force of Φ = −f is −s everywhere."""

    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        return self.slope * x.flatten(1).sum(1)


def signs_of(energy, data, dynamics, flow=None, start=None):
    start = torch.randn_like(data) if start is None else start
    evolution = dynamics.evolve(energy, start, Noise())
    return vital_signs(energy, data, evolution, (flow or KL())(energy, data, evolution)), evolution


def test_under_a_linear_score_every_sign_is_known():
    """Φ = −s Σx over 4 numbers: ‖∇Φ‖ = 2s; at temperature 0 a chain of n steps h moves 2 n h s and drops 4 n h s²."""
    energy, data, slope = Energy(Slope(3.0), Uniform((4,))), torch.randn(16, 4), 3.0
    signs, evolution = signs_of(energy, data, Langevin(0.1, 5, temperature=0.0), JKO(tau=1.0))
    values = {name: float(sign) for name, sign in signs.items()}
    assert values["force_norm"] == pytest.approx(2 * slope)
    assert values["data_force_norm"] == pytest.approx(2 * slope)
    assert values["kinetic"] == pytest.approx(4 * slope**2)
    assert values["distance"] == pytest.approx(2 * 5 * 0.1 * slope, rel=1e-5)
    assert values["energy_drop"] == pytest.approx(4 * 5 * 0.1 * slope**2, rel=1e-5)
    between = -slope * (evolution.end - data).sum(1).detach()
    assert values["energy_gap"] == pytest.approx(float(between.mean()), rel=1e-4)
    assert values["gap_spread"] == pytest.approx(float(between.std(correction=0)), rel=1e-4)
    assert (values["particle_min"], values["particle_max"]) == (evolution.end.min(), evolution.end.max())


def test_a_flat_energy_has_no_gap_no_spread_and_no_force_on_data():
    signs, _ = signs_of(Energy(Slope(0.0), Uniform((4,))), torch.randn(16, 4), Langevin(0.1, 2))
    assert all(signs[name] == 0 for name in ("energy_gap", "gap_spread", "data_force_norm", "kinetic"))


def test_particles_at_rest_show_no_sign_of_a_chain():
    energy, data = Energy(Slope(3.0), Uniform((4,))), torch.randn(16, 4)
    resting = at_rest(energy, torch.randn(16, 4))
    signs = vital_signs(energy, data, resting, KL()(energy, data, resting))
    moving, _ = signs_of(energy, data, Langevin(0.1, 2))
    assert moving.keys() - signs.keys() == {"energy_drop", "distance", "acceptance"}


def test_the_force_on_data_is_that_of_their_first_eighth():
    """Under the reference alone ∇U = x/σ²."""
    data = torch.randn(32, 3)
    signs, _ = signs_of(Energy(Slope(0.0), Gaussian((3,), std=2.0)), data, Langevin(0.1, 2))
    assert signs["data_force_norm"] == pytest.approx(float(data[:4].norm(dim=1).mean()) / 4)


def test_acceptance_is_a_share_of_the_moves():
    energy, data = Energy(Slope(0.0), Gaussian((3,))), torch.randn(64, 3)
    careful, bold = (signs_of(energy, data, MALA(h, 5))[0]["acceptance"] for h in (1e-3, 10.0))
    assert careful > 0.99
    assert bold < 0.2


def test_chains_age_by_one_an_update_and_rebirth_keeps_them_young():
    """All 10,000 slots at each update: the mean age after n is (1 − (1 − r)ⁿ)/r; its error is below 0.02."""
    torch.manual_seed(0)
    for rebirth, age in ((0.0, 5.0), (0.3, (1 - 0.7**5) / 0.3), (1.0, 1.0)):
        particles = Persistent(Gaussian((1,)), 10_000, rebirth=rebirth)
        for _ in range(5):
            x, slots = particles.start(10_000, Noise())
            particles.commit(slots, x)
        assert particles.signs()["bank_age"] == pytest.approx(age, abs=0.06 if 0 < rebirth < 1 else 0)


def test_ages_are_saved_with_their_bank_and_leave_it_with_it():
    learner = nn.ModuleDict({"particles": Persistent(Gaussian((1,)), 3)})
    assert learner.state_dict().keys() - needed(learner).keys() == {"particles.bank", "particles.ages"}
    assert needed(learner["particles"]).keys() == {"reference.std"}


def test_the_gradient_norm_of_a_loss_is_that_of_the_submodule_it_trains():
    t = trainer()
    norm = t.advance().stats["gradient_norm_energy"]
    gradients = torch.cat([p.grad.flatten() for p in t.learner.energy.parameters()])
    assert norm == pytest.approx(float(gradients.norm()), rel=1e-6)
    assert t.signs.read()["gradient_norm_energy"] == float(norm)


def test_a_trainer_gathers_the_mean_over_its_steps():
    t, gaps = trainer(), []
    for _ in range(5):
        gaps.append(float(t.advance().stats["energy_gap"]))
    line = t.signs.read()
    assert line["energy_gap"] == pytest.approx(sum(gaps) / 5, rel=1e-5)
    assert (line["energy_gap@min"], line["energy_gap@max"]) == (min(gaps), max(gaps))
    assert "loss_energy" in line
