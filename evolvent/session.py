"""One training session: the trainer's steps, and what a run folder and a person see of them.

    advance ─► at the schedule's clocks: look (one read of the device) ─► log, picture, checkpoint

Nothing that has diverged is ever saved: the numbers are looked at before every picture and every checkpoint.
A session that is cut short (time, Ctrl-C, SIGTERM) leaves a checkpoint, and going on from it is bitwise going
straight on.
"""

import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch import nn

from evolvent import pictures
from evolvent.learners.update import Update
from evolvent.runs import Run
from evolvent.sampling import draw
from evolvent.shapes import Points
from evolvent.trainer import Diverged, Trainer

MAX_TILES = 64
"""How many images a picture shows at most."""
NUM_POINTS = 1024
"""How many points of the plane the last picture shows."""


class Watcher:
    """Whoever watches a session; this one sees and says nothing. Override what should be shown."""

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
    finite.
    """
    show = show or Watcher()
    try:
        clock = Clock(resume(run, trainer, show))
        begun_at = [*run.record.get("sessions_begun_at_step", []), trainer.step]
        run.mark("running", error=None, sessions_begun_at_step=begun_at)
        show.begin(trainer.step, trainer.schedule.num_steps)
        with caught_signals() as signals:
            line = _advance(run, trainer, clock, show, max_minutes, signals)
            seconds = clock.run()
            if trainer.finished:
                _show_samples(run, trainer)
        if not trainer.finished:
            run.mark("stopped", step=trainer.step, seconds=seconds)
            return Ending("stopped", signals[0] if signals else None, seconds, line)
        run.mark("finished", step=trainer.step, seconds=seconds)
        return Ending("finished", None, seconds, line)
    except Diverged as error:
        run.mark("diverged", step=trainer.step, error=str(error))
        raise
    except BaseException:  # a terminal that is gone leaves by SystemExit
        with suppress(OSError):  # on a full disk there is nothing left to mark
            run.mark("failed", step=trainer.step, error=traceback.format_exc())
        raise
    finally:
        show.end()


def resume(run: Run, trainer: Trainer, show: Watcher) -> float:
    """Load the newest readable checkpoint into `trainer`; the run's training time so far, in seconds."""
    state, warnings = run.load_checkpoint()
    if state is not None:
        try:
            trainer.load_state_dict(state["trainer"])
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the checkpoint does not fit the recipe as it is now ({reason})") from error
    run.cut_log(trainer.step)
    for warning in warnings:
        sentence = f"{warning}; going on from step {trainer.step}"
        run.log({"step": trainer.step, "warning": sentence})
        show.say(sentence)
    return state["seconds"] if state else 0.0


def look(trainer: Trainer, update: Update) -> dict[str, float]:
    """Losses and vital signs of an update, with one read of the device.

    Raises Diverged if one of them, a parameter or a particle is not finite.
    """
    numbers = {f"loss_{name}": loss for name, loss in update.losses.items()} | update.stats
    tensors = (*trainer.learner.parameters(), update.particles)
    finite = torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all()
    values = torch.stack(
        [torch.as_tensor(value).detach().float() for value in (finite, *numbers.values())]
    ).tolist()
    line = dict(zip(numbers, values[1:], strict=True))
    if not values[0] or not torch.tensor(values).isfinite().all():
        signs = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in line.items())
        where = "" if values[0] else " (a parameter or a particle is not finite)"
        raise Diverged(
            f"training diverged at step {trainer.step}: {signs}{where};"
            " try a smaller learning rate or step size, or a larger tau"
        )
    return line


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The list that SIGINT and SIGTERM are put into; a second one takes its usual effect."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        restore()

    for number in usual:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        restore()


def _advance(
    run: Run, trainer: Trainer, clock: Clock, show: Watcher, max_minutes: float | None, signals: list[int]
) -> dict[str, float]:
    schedule, line = trainer.schedule, {}
    stop = False
    while not (stop or trainer.finished):
        update = trainer.advance()
        step, last = trainer.step, trainer.finished
        stop = bool(signals) or (max_minutes is not None and clock.session() > 60 * max_minutes)
        logged = last or step == 1 or step % schedule.log_every == 0
        pictured = last or step % schedule.picture_every == 0
        saved = last or stop or step % schedule.checkpoint_every == 0
        show.step(step)
        if logged or pictured or saved:
            line = {"step": step, "seconds": round(clock.run(), 3)} | look(trainer, update)
        if logged:
            run.log(line)
            show.line(line)
        if pictured:
            _save_picture(update.particles, trainer, trainer.learner, run.picture_path(step))
        if saved:
            run.save_checkpoint(step, {"seconds": clock.run(), "trainer": trainer.state_dict()})
            run.save_model(step, trainer.averaged)
    return line


def _show_samples(run: Run, trainer: Trainer) -> None:
    """samples.png: what the averaged learner draws under the run's seed."""
    at_once = trainer.schedule.sampling_batch_size
    num = min(MAX_TILES, at_once) if len(trainer.data.event_shape) == 3 else NUM_POINTS
    points = draw(trainer.averaged, num, seed=trainer.seed, batch_size=at_once, device=trainer.device)
    _save_picture(points, trainer, trainer.averaged, run.path / "samples.png")


def _save_picture(points: Points, trainer: Trainer, learner: nn.Module, path: Path) -> None:
    """Points of other shapes than images and the plane have no picture, and a run goes on without."""
    if points.dim() == 4:
        pictures.save(points[:MAX_TILES], path)
    elif points.shape[1:] == (2,):
        energy = getattr(learner, "energy", None)
        # The draw disturbs nothing: the trainer reseeds the generator before every step.
        pictures.save(points, path, energy=energy, data=trainer.data.draw(len(points)))
