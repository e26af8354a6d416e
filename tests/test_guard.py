"""The guard: what it lets pass, what it takes back, when it gives up; and that it edits nothing."""

import json
import math
import signal

import pytest
import torch
from tiny import Heard, Interrupted, create, same, timeless, trainer

from evolvent.data.toys import Ring
from evolvent.dynamics import Langevin
from evolvent.storage.reading import read_lines, read_model
from evolvent.storage.runs import Run
from evolvent.training.guard import Guard, Health, likely_cause, sizes
from evolvent.training.session import Session, train
from evolvent.training.trainer import Diverged, reseed

EXPLOSIVE = {"lr": 10.0, "num_steps": 60, "log_every": 5, "checkpoint_every": 5}
QUICK = Guard(warm_up=2, max_gap=1e3, shrink=1e-3)


pytestmark = pytest.mark.usefixtures("no_pictures")


def line(gap, *, step=50, force=1.0, spread=1.0, particle=2.0):
    ends = {"energy_gap": (gap, gap), "force_norm": (force, force), "gap_spread": (spread, spread)}
    ends |= {"particle_min": (-particle, -particle), "particle_max": (particle, particle)}
    extremes = {
        f"{name}@{end}": v for name, pair in ends.items() for end, v in zip(("min", "max"), pair, strict=True)
    }
    return {"step": step, "energy_gap": gap, "data_force_norm": force} | extremes


EARLY = Guard(warm_up=3)


def health(gaps, guard=EARLY):
    """A guard's memory after looks at these gaps, and its last verdict."""
    made, verdict = Health(guard), None
    for gap in gaps:
        verdict = made.examine(line(gap), finite=True, logged=True)
    return made, verdict


def test_a_sign_is_as_large_as_its_farthest_end():
    assert sizes({"energy_gap@min": -7.0, "energy_gap@max": 3.0, "force_norm@min": 1.0}) == {
        "energy_gap": 7.0
    }


def test_a_gap_above_ten_times_its_median_explodes_at_the_second_look():
    made, verdict = health([2.0, 3.0, 4.0, 31.0])
    assert "10.3 × its running median" in verdict.suspect
    assert not verdict.exploding
    assert made.examine(line(-31.0), finite=True, logged=True).exploding


def test_a_single_leap_is_forgiven_and_not_remembered():
    made, verdict = health([2.0, 3.0, 4.0, 1000.0, 3.0])
    assert (verdict.suspect, made.num_alarms) == (None, 0)
    assert made.sizes["energy_gap"] == [2.0, 3.0, 4.0, 3.0]


def test_an_energy_that_wakes_up_does_not_explode():
    """From 0.001 to 9 nats, and the force with it."""
    made, _ = health([0.001] * 5)
    assert not made.examine(line(9.0, force=500.0), finite=True, logged=True).suspect


def test_particles_and_forces_explode_as_gaps_do():
    for large in ({"particle": 30.0}, {"force": 30.0}):
        made, _ = health([12.0] * 5)
        assert made.examine(line(12.0, **large), finite=True, logged=True).suspect


def test_the_first_look_already_knows_an_absurd_gap():
    assert health([2e6])[1].suspect


@pytest.mark.parametrize("guard", [None, Guard()])
def test_a_number_that_is_not_finite_explodes_at_once_with_and_without_a_guard(guard):
    assert health([math.nan], guard)[1].exploding
    assert Health(guard).examine(line(1.0), finite=False, logged=False).exploding


def test_looks_that_are_not_logged_leave_no_memory():
    """They depend on when a session was stopped."""
    made, _ = health([2.0, 3.0, 4.0])
    before = json.dumps(made.state_dict())
    assert made.examine(line(1e3), finite=True, logged=False).suspect
    assert json.dumps(made.state_dict()) == before


def test_a_flat_energy_is_told_once_and_not_before_its_time():
    made = Health(Guard(flat_after=100))
    assert made.flat(line(0.01, step=50, spread=0.01)) is None
    assert made.flat(line(0.01, step=100, spread=1.0)) is None
    assert "KL-vanishing" in made.flat(line(0.01, step=100, spread=0.01))
    assert made.flat(line(0.01, step=150, spread=0.01)) is None
    own_signs = line(0.01, spread=0.01)
    del own_signs["data_force_norm"]
    assert "spread 0.01): particles" in Health(Guard(flat_after=10)).flat(own_signs)


def test_the_cause_is_read_off_the_signs():
    assert "accepts 1%" in likely_cause({"acceptance": 0.01})
    assert "step size" not in likely_cause(
        {"acceptance": 0.01, "force_norm": 0.0}
    )  # selection takes no steps
    assert "the chain climbs its energy (drop -5)" in likely_cause({"energy_drop": -5.0})
    assert "learning rate" in likely_cause({"energy_drop": 5.0})


def test_what_explodes_is_brought_back_by_smaller_rates_and_finishes(tmp_path):
    heard, t = Heard(), trainer(**EXPLOSIVE, guard=QUICK)
    with create(tmp_path / "run") as run:
        assert train(run, t, show=heard).status == "finished"
    assert t.lr_scale == 1e-3
    (sentence,) = [said for said in heard.sentences if "Back to step" in said]
    assert "Back to step" in sentence and "learning rates × 0.001 (rollback 1 of 3)" in sentence
    assert sentence in [entry.get("warning") for entry in read_lines(run.path / "log.jsonl")]
    record = json.loads((run.path / "run.json").read_text())
    assert record["rollbacks"][0]["told"] == sentence
    assert record["guard"]["shrink"] == 1e-3
    gaps = [abs(entry["energy_gap"]) for entry in read_lines(run.path / "log.jsonl") if "energy_gap" in entry]
    assert max(gaps) < 10


def test_what_explodes_before_a_weight_has_moved_is_not_blamed_on_the_learning_rate(tmp_path):
    t = trainer(num_steps=30, log_every=5, guard=Guard())
    t.learner.dynamics = Langevin(1e20, 10)
    with create(tmp_path / "run") as run, pytest.raises(Diverged, match="so it is the chain"):
        train(run, t)
    assert run.record["rollbacks"] == []


def test_a_limit_of_time_counts_the_steps_that_were_taken_back(tmp_path, monkeypatch):
    t, sessions = trainer(**EXPLOSIVE, guard=QUICK), []
    heard = Session.asked_to_stop
    monkeypatch.setattr(
        Session,
        "asked_to_stop",
        lambda self, *asked: sessions.append(self.clock.session()) or heard(self, *asked),
    )
    with create(tmp_path / "run") as run:
        train(run, t)
        assert len(run.record["rollbacks"]) == 1
    assert sessions == sorted(sessions)


def test_a_flat_energy_is_reported_once_on_the_terminal_and_in_the_log(tmp_path):
    heard, t = Heard(), trainer(lr=1e-9, num_steps=30, log_every=5, guard=Guard(flat_after=10))
    torch.nn.init.zeros_(t.learner.energy.net[2].weight)
    with create(tmp_path / "run") as run:
        train(run, t, show=heard)
    warnings = [entry for entry in read_lines(run.path / "log.jsonl") if "warning" in entry]
    assert [entry["step"] for entry in warnings] == [10]
    assert heard.sentences == [warnings[0]["warning"]]
    assert "flat" in heard.sentences[0]


def test_without_a_guard_it_stops_as_diverged_when_a_number_is_not_finite(tmp_path):
    with (
        create(tmp_path / "run") as run,
        pytest.raises(Diverged, match=r"diverged at step .*energy gap .*force norm"),
    ):
        train(run, trainer(**EXPLOSIVE | {"lr": 1e30}, guard=None))
    assert run.record["status"] == "diverged"
    assert run.record["guard"] is None


def test_after_its_last_rollback_the_guard_gives_up_and_says_what_it_tried(tmp_path):
    guard = Guard(warm_up=2, shrink=0.9, max_rollbacks=2)
    with create(tmp_path / "run") as run, pytest.raises(Diverged) as caught:
        train(run, trainer(**EXPLOSIVE | {"lr": 1e30}, guard=guard))
    assert "after 2 rollbacks to learning rates × 0.81" in str(caught.value)
    assert len(run.record["rollbacks"]) == 2
    assert all(
        torch.isfinite(tensor).all() for tensor in run.load_checkpoint()[0]["trainer"]["learner"].values()
    )


def test_bad_data_are_not_answered_with_smaller_rates(tmp_path):
    t = trainer(Ring())
    healthy = t.data.draw
    t.data.draw = lambda num: healthy(num) * (torch.nan if t.step >= 7 else 1)
    with create(tmp_path / "run") as run, pytest.raises(Diverged, match="data of step 8 are not finite"):
        train(run, t)
    assert run.record["rollbacks"] == []


def test_one_bad_row_is_found_at_its_step_though_nobody_looked_then(tmp_path):
    rows = torch.randn(40, 2)
    rows[7] = torch.nan
    t = trainer(Ring(), num_steps=200, log_every=50, checkpoint_every=50)
    t.data.draw = lambda num: rows[torch.randint(40, (num,))]

    def is_bad(step):
        reseed(3, step - 1)
        return t.data.draw(8).isnan().any()

    first = next(filter(is_bad, range(1, 200)))
    assert 1 < first < 50 and not is_bad(50)
    with create(tmp_path / "run") as run, pytest.raises(Diverged, match=f"the data of step {first} are not"):
        train(run, t)
    assert run.record["rollbacks"] == []


def test_a_guard_that_never_acts_changes_no_bit(tmp_path):
    runs = []
    for name, guard in (("with", Guard()), ("without", None)):
        with create(tmp_path / name) as run:
            train(run, trainer(guard=guard))
            runs.append(run)
    states = [run.load_checkpoint()[0]["trainer"] for run in runs]
    assert same(*states)
    assert same(*(read_model(run.path)[0] for run in runs))
    assert timeless(runs[0]) == timeless(runs[1])


@pytest.mark.parametrize("stop", [8, 17, 23, 40])
def test_stopped_and_resumed_around_a_rollback_equals_straight_on_bitwise(tmp_path, stop):
    """The draws counted here include those of the attempt that was taken back."""
    with create(tmp_path / "whole") as whole:
        train(whole, trainer(**EXPLOSIVE, guard=QUICK))
    with create(tmp_path / "parts") as parts:
        ending = train(parts, trainer(Interrupted(stop, signal.SIGTERM), **EXPLOSIVE, guard=QUICK))
    assert ending.status == "stopped"
    with Run.open(tmp_path / "parts") as parts:
        train(parts, trainer(**EXPLOSIVE, guard=QUICK))
    states = [run.load_checkpoint()[0] for run in (whole, parts)]
    assert same(*(state["trainer"] for state in states))
    assert same(*(state["health"] for state in states))
    assert timeless(whole) == timeless(parts)
    assert [r["to"] for r in whole.record["rollbacks"]] == [r["to"] for r in parts.record["rollbacks"]]


def test_a_checkpoint_from_which_it_explodes_again_is_dropped_for_the_one_before(tmp_path):
    """Data leap from step 30 on, whatever the rate: the checkpoint before the leap is not what is wrong."""
    t = trainer(num_steps=60, log_every=5, checkpoint_every=5, guard=Guard(warm_up=2, patience=1))
    calm = t.data.draw
    t.data.draw = lambda num: calm(num) * (1e9 if t.step >= 30 else 1)
    with create(tmp_path / "run") as run, pytest.raises(Diverged):
        train(run, t)
    assert [rollback["to"] for rollback in run.record["rollbacks"]] == [30, 25, 20]


def test_impossible_guards_are_refused():
    for wrong in ({"factor": 1.0}, {"shrink": 1.0}, {"patience": 0}, {"max_rollbacks": -1}, {"max_gap": 1.0}):
        with pytest.raises(ValueError, match="a guard"):
            Guard(**wrong)
