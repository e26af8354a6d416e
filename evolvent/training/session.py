"""One training session: the trainer's steps, and what a run folder and a person see of them.

    advance ─► at the schedule's clocks: look (one read of the device) ─► log, picture, checkpoint
       └──◄── or back to the last checkpoint, with smaller learning rates (guard)

Nothing that has diverged is ever saved: the numbers are looked at before every picture and every checkpoint.
A session that is cut short (time, Ctrl-C, SIGTERM, a terminal or a pipe that is closed) leaves a checkpoint, and going
on from it is bitwise going straight on.
"""

import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evolvent.cost import parameters, peak_memory
from evolvent.learners.update import Update
from evolvent.processes.ranks import RankLost
from evolvent.processes.stopping import Stopped, caught_signals
from evolvent.storage.reading import read_log
from evolvent.storage.runs import Run, step_of
from evolvent.training.beginning import check_state, checkpoint_to_begin_with
from evolvent.training.checks import odd_range
from evolvent.training.guard import Health, Verdict, likely_cause
from evolvent.training.picturing import save_picture, show_samples
from evolvent.training.trainer import Diverged, Trainer, reseed


class Watcher:
    """Whoever watches a session; this one sees and says nothing. Override what should be shown."""

    gone = False
    """Whether nobody reads any more what is said: a session then stops, with a checkpoint."""

    def begin(self, step: int, num_steps: int) -> None:
        """Training goes on from `step` of `num_steps`."""

    def step(self, step: int) -> None:
        """So many steps are done."""

    def line(self, line: dict[str, float]) -> None:
        """A line was logged."""

    def say(self, sentence: str) -> None:
        """Something happened that a person should know."""

    def end(self) -> None:
        """The session is over, well or badly."""


class Ending(NamedTuple):
    """How a session ended."""

    status: str
    """"finished" or "stopped"."""
    signal: int | None
    """The signal that stopped it, if one did."""
    seconds: float
    """Training time of the whole run, all its sessions together."""
    line: dict[str, float]
    """The numbers last looked at; empty when no step was made."""


class Clock:
    """Training time: of this session, and of the run."""

    def __init__(self, before: float) -> None:
        self.before, self.begun = before, time.monotonic()

    def session(self) -> float:
        return time.monotonic() - self.begun

    def run(self) -> float:
        return self.before + self.session()


def train(
    run: Run, trainer: Trainer, *, max_minutes: float | None = None, show: Watcher | None = None
) -> Ending:
    """Take `trainer` from the run's newest checkpoint, if there is one, to the end of its schedule.

    Raises Diverged, after marking the run so, when a loss, a vital sign, a parameter or a particle is not
    finite, or the vital signs explode, and the schedule's guard has no rollback left.
    """
    session = Session(run, trainer, show or Watcher())
    try:
        session.begin()
        with caught_signals() as signals:
            session.advance(max_minutes, signals)
            seconds = session.clock.run()
        if session.unshown:
            raise session.unshown
        # All is saved: from here on a signal ends the run at once, and a resumed one draws what is missing.
        if trainer.finished and trainer.ranks.first:
            samples = run.path / "samples.png"
            with session.depicting(samples):
                show_samples(trainer, samples)
        status = "finished" if trainer.finished else "stopped"
        most = max(run.record.get("peak_memory", 0), peak_memory(trainer.device))
        run.mark(status, step=trainer.step, seconds=seconds, peak_memory=most)
        number = signals[0] if signals and not trainer.finished else None
        return Ending(status, number, seconds, session.line)
    except Diverged as error:
        run.mark("diverged", step=trainer.step, error=str(error))
        raise
    except BaseException as error:  # a terminal that is gone leaves by SystemExit
        stopped = isinstance(error, KeyboardInterrupt | Stopped)
        told = str(error) if isinstance(error, RankLost) else traceback.format_exc()
        facts = {} if stopped else {"error": told}
        # On a full disk there is nothing left to mark; torchrun ends all processes when one is lost.
        with suppress(OSError), caught_signals():
            for newest in run.checkpoints()[:1]:
                facts["step"] = step_of(newest)  # what came after is lost
            run.mark("stopped" if stopped else "failed", **facts)
        raise
    finally:
        with suppress(OSError):  # the terminal may be closed by now
            session.show.end()


class Session:
    """One sitting of a run: it loads, advances, looks, saves, and goes back when the guard says so."""

    def __init__(self, run: Run, trainer: Trainer, show: Watcher) -> None:
        self.ranks = trainer.ranks
        self.run, self.trainer, self.show = run, trainer, show
        self.health = Health(trainer.schedule.guard)
        self.clock, self.line, self.looked_at = Clock(0.0), {}, 0
        self.unshown: OSError | None = None

    def begin(self) -> None:
        """Load the newest readable checkpoint, or make the first one: a run can always be taken back."""
        run, trainer = self.run, self.trainer
        state, warnings = self.ranks.on_first(lambda: checkpoint_to_begin_with(run))
        if state is not None:
            self.load(state)
        run.cut_log(trainer.step)
        self.tell_last_rollback()
        for warning in warnings:
            self.warn(f"{warning}; going on from step {trainer.step}")
        guard = trainer.schedule.guard
        facts = {"guard": guard and asdict(guard), "rollbacks": self.health.rollbacks}
        facts |= {"num_processes": self.ranks.num, "parameters": parameters(trainer.learner)}
        begun_at = [*run.record.get("sessions_begun_at_step", []), trainer.step]
        run.mark("running", error=None, sessions_begun_at_step=begun_at, **facts)
        if state is None:
            self.save_checkpoint()
            self.tell_odd_range()
        self.save_model()  # a process may be killed between a checkpoint and its model
        self.show.begin(trainer.step, trainer.schedule.num_steps)

    def advance(self, max_minutes: float | None, signals: list[int]) -> None:
        """Steps, until the schedule ends, time runs out or a signal comes."""
        trainer, schedule, stop = self.trainer, self.trainer.schedule, False
        while not (stop or trainer.finished):
            update = trainer.advance()
            step, last = trainer.step, trainer.finished
            stop = self.asked_to_stop(max_minutes, signals)
            logged = last or step == 1 or step % schedule.log_every == 0
            pictured = last or step % schedule.picture_every == 0
            saved = last or stop or step % schedule.checkpoint_every == 0
            with self.showing():
                self.show.step(step)
            if not (logged or pictured or saved):
                continue
            verdict = self.look(update, logged=logged)
            if verdict.exploding:
                self.roll_back(verdict)
                continue
            self.looked_at = step
            told = self.log() if logged else []
            kept = last or not verdict.suspect
            if saved and kept:
                self.save()
            if saved and verdict.suspect:
                told.append(f"step {step}: {verdict.suspect}" + ("" if kept else "; not saved"))
            self.tell(told, logged=logged)
            if pictured and self.ranks.first:
                path = self.run.picture_path(step)
                with self.depicting(path):
                    save_picture(update.particles, trainer, trainer.learner, path)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Stop with a checkpoint where nothing can be shown, as on a full disk; why is raised after that."""
        try:
            yield
        except OSError as error:
            self.unshown = error

    @contextmanager
    def depicting(self, path: Path) -> Iterator[None]:
        """Say why there is no picture, and go on: nothing that was trained is lost for want of it."""
        try:
            yield
        except (ValueError, RuntimeError) as error:
            self.warn(f"there is no {path.name} of step {self.trainer.step}: {' '.join(str(error).split())}")

    def asked_to_stop(self, max_minutes: float | None, signals: list[int]) -> bool:
        """Whether time is over or a signal came, here or in another process; its signal is taken over."""
        if self.show.gone and not signals:
            signals.append(signal.SIGPIPE)
        late = max_minutes is not None and self.clock.session() > 60 * max_minutes
        late = late or self.unshown is not None
        asked = self.ranks.greatest(signals[0] if signals else int(late))
        if asked > 1 and not signals:
            signals.append(asked)
        return asked > 0

    def look(self, update: Update, *, logged: bool) -> Verdict:
        """Read the vital signs since the last logged look, and judge them."""
        tensors = (*self.trainer.learner.parameters(), update.particles)
        finite = torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all()
        now = {"step": self.trainer.step, "seconds": round(self.clock.run(), 3)}
        self.line = now | self.trainer.signs.read()
        finite = not self.ranks.greatest(int(not finite))
        return self.health.examine(self.line, finite=finite, logged=logged)

    def log(self) -> list[str]:
        """Append the line, and the warning of a flat energy, which is returned.

        The log comes before the checkpoint of its step: it can be cut back to an older one, and not filled in.
        """
        self.run.log(self.line)
        self.trainer.signs.clear()
        sentence = self.health.flat(self.line)
        if sentence is None:
            return []
        self.run.log({"step": self.trainer.step, "warning": sentence})
        return [sentence]

    def tell(self, sentences: list[str], *, logged: bool) -> None:
        """Show what a step came to, which is saved by then."""
        with self.showing():
            if logged:
                self.show.line(self.line)
            for sentence in sentences:
                self.show.say(sentence)

    def warn(self, sentence: str) -> None:
        self.run.log({"step": self.trainer.step, "warning": sentence})
        with self.showing():
            self.show.say(sentence)

    def save(self) -> None:
        self.save_checkpoint()
        self.save_model()

    def save_model(self) -> None:
        """The averaged weights; before the first step there is nothing to draw from."""
        if self.trainer.step:
            self.run.save_model(self.trainer.step, self.trainer.averaged)

    def save_checkpoint(self) -> None:
        state = {
            "seconds": self.clock.run(),
            "trainer": self.trainer.state_dict(),
            "health": self.health.state_dict(),
        }
        self.run.save_checkpoint(self.trainer.step, state, milestones=self.trainer.schedule.milestones())

    def load(self, state: dict[str, Any]) -> None:
        """ValueError when the state is of another learner or another version."""
        try:
            check_state(state, seed=self.trainer.seed)
            self.trainer.load_state_dict(state["trainer"])
            self.health.load_state_dict(state["health"])
            self.clock, self.looked_at = Clock(state["seconds"]), self.trainer.step
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the checkpoint does not fit the recipe as it is now ({reason})") from error

    def roll_back(self, verdict: Verdict) -> None:
        """Back to the last healthy checkpoint with smaller learning rates; Diverged where that cannot help.

        Where the run got no farther than before its last rollback, it goes back past that one's checkpoint, which was
        not healthy after all.
        """
        run, trainer, health = self.run, self.trainer, self.health
        bad = _step_of_bad_data(trainer, self.looked_at)
        what = f"{_short(self.line)} ({verdict.suspect}); {_cause(self.line, bad)}"
        failed_at, clock, before = trainer.step, self.clock, health.rollbacks
        if bad is not None or failed_at == 1 or not health.may_roll_back():
            tried = (
                f" (after {len(before)} rollbacks to learning rates × {trainer.lr_scale:.3g})"
                if before
                else ""
            )
            raise Diverged(f"training diverged at step {failed_at}: {what}{tried}")
        lr_scale = trainer.lr_scale * health.guard.shrink
        again = bool(before) and failed_at <= before[-1]["step"]
        below = before[-1]["to"] if again else None
        state, warnings = self.ranks.on_first(lambda: run.load_checkpoint(below=below))
        self.load(state)
        self.clock, trainer.lr_scale = clock, lr_scale  # what was tried in vain took its time, too
        told = (
            f"step {failed_at}: {what}. Back to step {trainer.step}, learning rates × {lr_scale:.3g}"
            f" (rollback {len(before) + 1} of {health.guard.max_rollbacks})"
        )
        rollback = {"step": failed_at, "to": trainer.step, "lr_scale": lr_scale, "told": told}
        health.rollbacks = [*before, rollback]
        # In this order a process that is killed in between goes on from here, or does all of it again.
        self.save()
        run.drop_checkpoints(above=trainer.step)
        run.cut_log(trainer.step)
        for sentence in (*warnings, told):
            self.warn(sentence)
        run.mark("running", rollbacks=health.rollbacks)

    def tell_odd_range(self) -> None:
        """Of the data of the first step, which are drawn once more for it."""
        trainer = self.trainer
        if sentence := odd_range(lambda: _drawn_at(trainer, 0), trainer.data.event_shape):
            self.warn(sentence)

    def tell_last_rollback(self) -> None:
        """The last rollback's line, where the process was killed before it was logged."""
        if not self.ranks.first:
            return
        logged = [line.get("warning") for line in read_log(self.run.path / "log.jsonl")]
        if self.health.rollbacks and (told := self.health.rollbacks[-1]["told"]) not in logged:
            self.warn(told)


def _step_of_bad_data(trainer: Trainer, since: int) -> int | None:
    """The first step after `since` whose data were not finite; drawn again, as they are a function of (seed, step)."""
    for step in range(since, trainer.step):
        if not _drawn_at(trainer, step).isfinite().all():
            return step + 1
    return None


def _drawn_at(trainer: Trainer, step: int) -> torch.Tensor:
    """The data of a step, drawn again."""
    reseed(trainer.seed, step)
    return trainer.data.draw(trainer.schedule.batch_size)


def _short(line: dict[str, float]) -> str:
    """The signs that a sentence has room for."""
    names = [name for name in ("energy_gap", "force_norm", "energy_drop") if name in line]
    names = names or [name for name in line if name.startswith("loss_") and "@" not in name]
    return ", ".join(f"{name.replace('_', ' ')} {line[name]:.3g}" for name in names)


def _cause(line: dict[str, float], bad: int | None) -> str:
    """bad: the step whose data were not finite."""
    if bad is not None:
        return f"the data of step {bad} are not finite"
    if line["step"] == 1:
        return "no weight had moved yet, so it is the chain: try a smaller step size of it, or smaller initial weights"
    return likely_cause(line)
