import copy
from dataclasses import replace

import pytest
import torch

from evolvent.data.toys import Ring
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.learners.gcn import GCN
from evolvent.nets.score import PlainScore
from evolvent.particles import Persistent
from evolvent.recipes.toys import PlaneScore
from evolvent.reference import Gaussian, Uniform
from evolvent.training.trainer import Adam, Schedule, Trainer

SCHEDULE = Schedule(20, 16, {"energy": Adam(1e-2)}, averaging=0.9)


def trainer(seed=0):
    torch.manual_seed(0)
    energy = Energy(PlaneScore(width=8), Gaussian((2,)))
    learner = GCN(energy, Persistent(energy.reference, 32), Langevin(0.05, 3))
    return Trainer(learner, Ring(), SCHEDULE, seed=seed)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def run(trainer, num_steps):
    for _ in range(num_steps):
        trainer.advance()
    return trainer


def test_stop_and_resume_equals_straight_on_bitwise():
    straight = run(trainer(), 12)
    stopped = run(trainer(), 5)
    state = copy.deepcopy(stopped.state_dict())
    torch.rand(99)  # whatever happens in between
    resumed = trainer()
    resumed.load_state_dict(state)
    run(resumed, 7)
    assert same(straight.learner, resumed.learner)
    assert same(straight.averaged, resumed.averaged)


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_is_computed_where_the_machine_has_instructions_for_it(monkeypatch, able):
    """Within the rounding of 8 bits through three moves; and energies are float32 in any case."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    torch.manual_seed(0)
    energy = Energy(PlainScore(8), Uniform((1, 8, 8)))
    learner = GCN(energy, Persistent(energy.reference, 32), Langevin(0.05, 3))

    def particles(precision):
        schedule = replace(SCHEDULE, precision=precision)
        return Trainer(copy.deepcopy(learner), Squares(), schedule).advance().particles

    exact, rounded = particles("float32"), particles("bfloat16")
    assert torch.equal(exact, rounded) != able
    assert rounded.dtype == torch.float32
    assert torch.allclose(exact, rounded, atol=0.01)


class Squares(torch.nn.Module):
    event_shape = (1, 8, 8)

    def draw(self, num):
        return torch.rand(num, *self.event_shape)


def test_seeds_make_different_runs():
    assert not same(run(trainer(seed=0), 3).learner, run(trainer(seed=1), 3).learner)


def test_the_average_is_the_exponential_one():
    t = trainer()
    weight = t.learner.energy.net.layers[0].weight
    average = t.averaged.energy.net.layers[0].weight
    before = average.clone()
    t.advance()
    decay = min(0.9, 1 / 11)
    assert torch.allclose(average, decay * before + (1 - decay) * weight)


def test_the_learning_rate_falls_linearly_to_zero():
    schedule = Schedule(100, 1, {}, decay_from=0.5)
    assert [schedule.lr_factor(step) for step in (0, 50, 75, 100)] == [1, 1, 0.5, 0]
    assert Schedule(100, 1, {}, decay_from=1.0).lr_factor(99) == 1


def test_a_loss_that_trains_nothing_and_a_name_that_is_nothing_are_refused():
    energy = Energy(PlaneScore(width=8), Gaussian((2,)))
    learner = GCN(energy, Persistent(energy.reference, 32), Langevin(0.05, 3))
    with pytest.raises(ValueError, match='nothing trains "energy"'):
        Trainer(learner, Ring(), Schedule(5, 16, {})).advance()
    twice = {"energy": Adam(1e-3), "energy.net": Adam(1e-3)}
    with pytest.raises(ValueError, match=r'trains "energy\.net" twice'):
        Trainer(learner, Ring(), Schedule(5, 16, twice))
    with pytest.raises(ValueError, match='no submodule "enrgy"'):
        Trainer(learner, Ring(), Schedule(5, 16, {"enrgy": Adam(1e-3)}))


def test_no_step_is_taken_past_the_end():
    finished = run(trainer(), SCHEDULE.num_steps)
    assert finished.finished
    with pytest.raises(ValueError, match="schedule ends at step 20"):
        finished.advance()


def test_the_bank_exists_once():
    t = run(trainer(), 2)
    assert t.averaged.particles.bank is t.learner.particles.bank


@pytest.mark.parametrize(
    "settings", [{"num_steps": 0}, {"batch_size": 0}, {"decay_from": 2.0}, {"averaging": 1.0}]
)
def test_impossible_schedules_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        Schedule(**{"num_steps": 1, "batch_size": 1, "adam": {}} | settings)
    with pytest.raises(ValueError, match="above 0"):
        Adam(0.0)
