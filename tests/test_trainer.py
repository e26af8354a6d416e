import copy
from dataclasses import replace

import jaxtyping
import pytest
import torch

import evolvent.machine
from evolvent.data.toys import Ring
from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.learners.gcn import GCN
from evolvent.nets.score import PlainScore
from evolvent.particles import Persistent
from evolvent.recipes.toys import PlaneScore
from evolvent.reference import Gaussian, Uniform
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

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
def test_bfloat16_is_computed_where_the_machine_gains_from_it(monkeypatch, able):
    """Within the rounding of 8 bits through three moves; and energies are float32 in any case."""
    monkeypatch.setattr(evolvent.machine, "gains_from_bfloat16", lambda device: able)
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


@pytest.mark.parametrize("losses", [{}, {"energy": None}])
def test_what_shall_be_trained_and_has_no_loss_is_refused(losses):
    learner = trainer().learner
    learner.spare = torch.nn.Linear(1, 1)
    forward = learner.forward
    learner.forward = lambda data: (u := forward(data))._replace(
        losses={name: u.losses[name] for name in losses}
    )
    names = ["spare"] if losses else ["spare", "energy"]
    for name in names:
        adam = {trained: Adam(1e-3) for trained in {name, *losses}}
        with pytest.raises(ValueError, match=f'schedule.adam trains "{name}", which has no loss'):
            Trainer(learner, Ring(), Schedule(5, 16, adam)).advance()


def test_frozen_layers_stay_and_the_rest_learns():
    t = trainer()
    first, *others = t.learner.energy.net.parameters()
    first.requires_grad_(False)
    t = Trainer(t.learner, Ring(), SCHEDULE)
    before = [parameter.clone() for parameter in (first, *others)]
    t.advance()
    assert torch.equal(first, before[0])
    assert not all(map(torch.equal, others, before[1:]))
    with pytest.raises(ValueError, match='all of "energy" is frozen'):
        Trainer(t.averaged, Ring(), SCHEDULE)


class Remembering(PlaneScore):
    """A net that puts another tensor in the place of its buffer at every pass."""

    def __init__(self):
        super().__init__(width=8)
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x):
        self.seen = 0.9 * self.seen + 0.1 * x.detach().mean(0)
        return super().forward(x)


def test_a_buffer_that_a_forward_pass_replaces_is_averaged_over_saved_and_resumed_as_it_is():
    def remembering():
        energy = Energy(Remembering(), Gaussian((2,)))
        learner = GCN(energy, Persistent(energy.reference, 32), Langevin(0.05, 3))
        return Trainer(learner, Ring(), SCHEDULE, seed=3)

    torch.manual_seed(0)
    whole = run(remembering(), 4)
    assert torch.equal(whole.averaged.energy.net.seen, whole.learner.energy.net.seen)
    resumed = remembering()
    resumed.advance()
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert torch.equal(resumed.learner.energy.net.seen, whole.learner.energy.net.seen)
    assert whole.learner.energy.net.seen.any()


def test_a_captured_run_refuses_a_buffer_that_a_forward_pass_replaces():
    """A CUDA graph would read the one of its recording for ever."""
    energy = Energy(Remembering(), Gaussian((2,)))
    t = Trainer(GCN(energy, Persistent(energy.reference, 32), Langevin(0.05, 3)), Ring(), SCHEDULE)
    t.captured = True
    with pytest.raises(ValueError, match=r"another tensor in that of seen: write into it .*--captured false"):
        t.advance()


def test_an_update_that_is_kept_keeps_no_graph():
    """Else a GPU would add the next gradients up on the stream of a step that is gone."""
    update = trainer().advance()
    tensors = [*update.losses.values(), *update.stats.values(), update.particles]
    assert not any(tensor.requires_grad for tensor in tensors)


def test_a_vital_sign_that_the_log_knows_otherwise_is_refused():
    t = trainer()
    forward = t.learner.forward
    t.learner.forward = lambda data: (u := forward(data))._replace(stats=u.stats | {"step": torch.zeros(())})
    with pytest.raises(ValueError, match='a vital sign cannot be called "step"'):
        t.advance()


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


def test_a_precision_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of the tests
    for make in (
        lambda: replace(SCHEDULE, precision="bf16"),
        lambda: evolvent.machine.computed_in("half", "cpu"),
    ):
        with pytest.raises(ValueError, match="a precision is float32 or bfloat16, not "):
            make()


def test_what_is_asked_for_after_training_is_told_of_before():
    learner = trainer().learner
    with pytest.raises(
        ValueError, match="a source of data has event_shape and draw, and Linear lacks event_shape"
    ):
        Trainer(learner, torch.nn.Linear(1, 1), SCHEDULE)
    with pytest.raises(
        ValueError, match="a learner has stages and sample, and Linear lacks stages and sample"
    ):
        Trainer(torch.nn.Linear(1, 1), Ring(), SCHEDULE)
