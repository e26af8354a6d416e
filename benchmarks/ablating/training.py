"""Training for an equal time, in pieces: a cell that was cut short goes on from its last checkpoint.

Time is that of the processor on a CPU (what other work on the machine takes does not count) and of the wall on a GPU.
It takes the place of the number of steps: learning rates hold for the first half of the time and then fall linearly to
zero. So a cell has the time that it was given to a second or two, and no two runs are bitwise the same.
"""

import json
import math
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import Memory
from torch import nn

from ablating.cells import CHANNELS, SCALES, experiment_of
from evolvent.cost import Tally, parameters
from evolvent.energy import scores_of
from evolvent.shapes import carry
from evolvent.storage.files import open_whole, write_whole
from evolvent.training.trainer import Trainer

LOOK = 10
"""Steps between two looks at the clock and at the vital signs."""
SAVE = 120
"""Seconds of training between two checkpoints."""
MAX_GAP, MAX_REACH = 1000.0, 10.0
"""Beyond this energy gap, in nats, or this far from grey (data reach 1) a cell counts as diverged."""


@dataclass(frozen=True)
class Cell:
    """One cell of one benchmark: what, from which seed, on what, and where its files lie."""

    name: str
    seed: int
    size: int
    data: str
    device: str
    seconds: float
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / f"{self.name}-{self.seed}"

    def clock(self) -> float:
        """Seconds of the processor, or of the wall once a GPU has done what it was asked."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def gradients_of_a_step(name: str, size: int, num: int = 8) -> float:
    """Gradients through the score in one training step, for each of its data images."""
    learner = experiment_of(name, size, "").learner
    data = torch.rand(num, CHANNELS, size, size) * 2 - 1
    if hasattr(learner, "num_classes"):
        data = carry(data, torch.arange(num) % learner.num_classes)
    with Tally(scores_of(learner)) as tally:
        update = learner(data)
        for module, loss in update.losses.items():
            loss.backward(inputs=list(learner.get_submodule(module).parameters()))
    return tally.num / num


def train(cell: Cell, deadline: float) -> dict | None:
    """The record of the trained cell, from its file if there is one; None where the wall clock passed `deadline`."""
    file = cell.folder / "training.json"
    if file.is_file():
        return json.loads(file.read_text())
    torch.manual_seed(cell.seed)
    experiment = experiment_of(cell.name, cell.size, cell.data)
    data = experiment.data()
    memory = Memory(cell.device)
    trainer = Trainer(experiment.learner, data, experiment.schedule, seed=cell.seed, device=cell.device)
    spent, log, peak = _load(trainer, cell.folder / "state.pt")
    begun, saved = cell.clock() - spent, spent
    fault = diverged(log[-1]) if log else None
    while spent < cell.seconds and not fault:
        trainer.lr_scale = min(1.0, 2 * (1 - spent / cell.seconds))
        line = _some_steps(trainer)
        spent = cell.clock() - begun
        log.append(line | {"seconds": spent})
        fault, late = diverged(log[-1]), is_over(deadline)
        if late or fault or spent >= cell.seconds or spent > saved + SAVE:
            peak, saved = max(peak, memory.peak()), spent
            _save(trainer, cell.folder / "state.pt", spent=spent, log=log, peak=peak)
        if late and not fault and spent < cell.seconds:
            return None
    write_whole(cell.folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    record = _record(cell, trainer) | {"seconds": spent, "peak_mib": peak, "diverged": fault}
    write_whole(file, json.dumps(record, indent=1))
    return record


def _some_steps(trainer: Trainer) -> dict[str, float]:
    """Train until the next look; the step and what the signs were."""
    for _ in range(LOOK):
        trainer.advance()
    line = {"step": trainer.step} | trainer.signs.read()
    trainer.signs.clear()
    return line


def trained(cell: Cell) -> nn.Module:
    """The learner with its averaged weights."""
    learner = experiment_of(cell.name, cell.size, cell.data).learner
    state = torch.load(cell.folder / "state.pt", map_location="cpu", weights_only=True)
    learner.load_state_dict(state["trainer"]["averaged"])
    return learner.to(cell.device).eval().requires_grad_(False)


def is_over(deadline: float) -> bool:
    """Whether the wall clock passed `deadline`, or who started this process is gone: two must not write one cell."""
    parent = multiprocessing.parent_process()
    return time.time() > deadline or (parent is not None and not parent.is_alive())


def diverged(line: dict[str, float]) -> str | None:
    """Why these numbers are those of a run that has diverged; nothing is repaired or taken back."""
    if not all(map(math.isfinite, line.values())):
        return f"step {line['step']}: a number is not finite"
    gap, reach = line["energy_gap"], max(-line["particle_min@min"], line["particle_max@max"])
    if abs(gap) > MAX_GAP or reach > MAX_REACH:
        return f"step {line['step']}: energy gap {gap:.3g}, particles out to {reach:.3g}"
    return None


def _record(cell: Cell, trainer: Trainer) -> dict:
    learner = trainer.learner
    return {
        "cell": cell.name,
        "seed": cell.seed,
        "steps": trainer.step,
        "images": trainer.step * SCALES[cell.size].batch_size,
        "parameters": parameters(learner),
        "gradients_per_image": gradients_of_a_step(cell.name, cell.size),
    }


def _save(trainer: Trainer, file: Path, **facts: object) -> None:
    with open_whole(file) as whole:
        torch.save({"trainer": trainer.state_dict()} | facts, whole)


def _load(trainer: Trainer, file: Path) -> tuple[float, list[dict], float]:
    """Seconds spent, log and peak memory of a cell that was cut short; the trainer goes on where it was."""
    if not file.is_file():
        return 0.0, [], 0.0
    state = torch.load(file, map_location="cpu", weights_only=True)
    trainer.load_state_dict(state["trainer"])
    return state["spent"], state["log"], state["peak"]
