"""The loop around a learner: optimisers, averaging, clocks. It knows losses by name and nothing of what they mean.

A training step runs one way, with no hook:

    reseed from (seed, step) → draw data → learner → every backward → every optimiser step → average

Each loss is backpropagated into the submodule that it is named after, and into nothing else; all backwards come
before all steps, so the updates are simultaneous. Several processes share a step by rows (`ranks`): gradients and
signs are then those of the whole batch before any optimiser moves.
"""

import copy
import hashlib
from typing import Any

import torch
from torch import nn

from evolvent.learners.update import Update, require_separate
from evolvent.machine import autocast
from evolvent.processes.ranks import ALONE, Ranks, batch_norms, share_statistics
from evolvent.training.adam import FusedAdam
from evolvent.training.captured import Captured, check_drawn_there, refuse_replaced
from evolvent.training.checks import check_apart, check_losses, require
from evolvent.training.schedule import Schedule, Source
from evolvent.training.signs import Signs

OF_THE_LOG = frozenset({"step", "seconds", "warning"})


class Diverged(RuntimeError):
    """Training produced a number that is not finite, or exploded, and no rollback is left."""


class Trainer:
    """Trains `learner` on `data`: its state is a function of where it started, of the seed and of `step`.

    It reseeds torch's global generator at its own start and at every step. `lr_scale` multiplies every learning rate;
    `signs` gathers the losses, the gradient's norm for each, and the learner's vital signs, until somebody reads and
    clears them.

    ranks: the processes that share every step; `state_dict` must then be called by all, and is the one that a process
        alone would have.
    """

    def __init__(
        self,
        learner: nn.Module,
        data: Source,
        schedule: Schedule,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        ranks: Ranks = ALONE,
    ) -> None:
        ranks.check_batch(schedule.batch_size)
        check_apart(schedule.adam)
        require(learner, "learner", ("stages", "sample"))
        require_separate(learner)
        require(data, "source of data", ("event_shape", "draw"))
        self.ranks, self.shards = ranks, {}
        self.device, self.schedule, self.seed, self.step = torch.device(device), schedule, seed, 0
        self.lr_scale, self.signs = 1.0, Signs()
        self.captured = schedule.captured and self.device.type == "cuda"
        if self.captured:
            check_drawn_there(data)
        self.learner = learner.to(self.device)
        self.data = data.to(self.device)
        reseed(seed, 0)
        let_see(self.learner, self.data)
        if ranks.num > 1:
            self._join()
        self._begin_average()
        if ranks.num > 1:
            share_statistics(self.learner, ranks)
        self._differentiate = self._draw_and_differentiate
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        if self.captured:
            self._differentiate = Captured(self._draw_and_differentiate, self.device)
        self.optimisers = {
            name: FusedAdam(parameters_of(learner, name), lr=adam.lr, betas=adam.betas)
            for name, adam in schedule.adam.items()
        }

    @property
    def finished(self) -> bool:
        return self.step >= self.schedule.num_steps

    def advance(self) -> Update:
        """One training step. ValueError past the schedule's end, where learning rates would turn negative."""
        if self.finished:
            raise ValueError(
                f"the schedule ends at step {self.schedule.num_steps}: give a longer one to go on"
            )
        reseed(self.seed, self.step)
        update = self._differentiate()
        if self.ranks.num > 1:
            update = self._agree(update)
        for name, optimiser in self.optimisers.items():
            lr = self.schedule.adam[name].lr * self.schedule.lr_factor(self.step)
            optimiser.lr = lr * self.lr_scale
            optimiser.step()
        self.step += 1
        self._average()
        self.signs.add({f"loss_{name}": loss for name, loss in update.losses.items()} | update.stats)
        return update

    def _draw_and_differentiate(self) -> Update:
        """Draw data, ask the learner, leave the gradient of every loss in the submodule that it names."""
        self.learner.zero_grad()
        with autocast(self.schedule.precision, self.device), self.ranks.sharing():
            update = self.learner(self.ranks.rows(self.data.draw(self.schedule.batch_size)))
        if taken := OF_THE_LOG.intersection(update.stats):
            raise ValueError(
                f'a vital sign cannot be called "{min(taken)}", as a log says that of every line'
            )
        check_losses(update.losses, self.optimisers)
        norms = {}
        for name, loss in update.losses.items():
            parameters = parameters_of(self.learner, name)
            loss.backward(inputs=parameters)
            norms[f"gradient_norm_{name}"] = gradient_norm(parameters)
        # Without the graphs that are spent: whoever keeps an update keeps no step alive.
        losses = {name: loss.detach() for name, loss in update.losses.items()}
        return update._replace(losses=losses, stats=update.stats | norms)

    def _join(self) -> None:
        """Begin as the first rank does, and keep this rank's slots of every bank."""
        for name, module in self.learner.named_modules():
            prefix = f"{name}." if name else ""
            for buffer in getattr(module, "shards", ()):
                self.shards[prefix + buffer] = len(getattr(module, buffer))
        exchanging = any(getattr(module, "exchanges", False) for module in self.learner.modules())
        waits = exchanging or self.shards or batch_norms(self.learner)
        if self.captured and waits:
            raise ValueError(
                "a CUDA graph cannot wait for other processes, and this learner exchanges particles, statistics"
                " or an adaptive augmentation within a step: give --captured false, or train in one process"
            )
        self.ranks.greatest(0)  # who failed on the way here is missed by gloo at once, by NCCL late
        self.ranks.copy_first([*self.learner.parameters(), *self.learner.buffers()])
        for name in self.shards:
            path, _, buffer = name.rpartition(".")
            module = self.learner.get_submodule(path)
            setattr(module, buffer, self.ranks.rows(getattr(module, buffer)))

    def _agree(self, update: Update) -> Update:
        """The gradients, losses and signs of the whole batch in place of those of this rank's rows."""
        gradients = [p.grad for p in self.learner.parameters() if p.grad is not None]
        named = update.losses | update.stats
        table = self.ranks.beside(torch.stack([sign.detach().float() for sign in named.values()]))
        self.ranks.add([*gradients, table])
        torch._foreach_div_(gradients, self.ranks.num)
        whole = {name: over_ranks(name, column) for name, column in zip(named, table.unbind(1), strict=True)}
        for name in update.losses:
            whole[f"gradient_norm_{name}"] = gradient_norm(parameters_of(self.learner, name))
        losses = {name: whole.pop(name) for name in update.losses}
        return update._replace(losses=losses, stats=whole)

    def _begin_average(self) -> None:
        """Copy what is averaged, and share the rest: a bank of particles exists once."""
        shared = {id(buffer): buffer for buffer in self.learner.buffers()}
        for average in weights(self.learner):
            shared.pop(id(average), None)
        # Told before the copy, which notes in `shared` all that it copies.
        paths = [
            name.rpartition(".") for name, buffer in self.learner.named_buffers() if id(buffer) in shared
        ]
        self.averaged = copy.deepcopy(self.learner, shared).eval().requires_grad_(False)
        both = self.learner, self.averaged
        self._weights, self._averages = map(weights, both)
        self._shared = [(*(side.get_submodule(path) for side in both), name) for path, _, name in paths]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.schedule.averaging, self.step / (self.step + 10))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        self._share()

    def _share(self) -> None:
        """Point the average to what it shares, where a forward pass put another tensor in a buffer's place."""
        for ours, averaged, name in self._shared:
            if getattr(averaged, name) is not getattr(ours, name):
                if self.captured:
                    refuse_replaced(name)
                setattr(averaged, name, getattr(ours, name))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: tensors and plain containers only."""
        learner, averaged = self.learner.state_dict(), self.averaged.state_dict()
        if self.ranks.num > 1:
            self.ranks.check_equal({name: t for name, t in learner.items() if name not in self.shards})
            for name, num_slots in self.shards.items():
                learner[name] = averaged[name] = self.ranks.joined(learner[name], num_slots)
        return {
            "step": self.step,
            "seed": self.seed,
            "lr_scale": self.lr_scale,
            "signs": self.signs.state_dict(),
            "learner": learner,
            "averaged": averaged,
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`. The seed is the saved run's: it is part of what that run is."""
        self._share()
        self.step, self.seed, self.lr_scale = state["step"], state["seed"], state["lr_scale"]
        self.signs.load_state_dict(state["signs"], self.device)
        for module, saved in ((self.learner, state["learner"]), (self.averaged, state["averaged"])):
            module.load_state_dict(saved | {name: self.ranks.rows(saved[name]) for name in self.shards})
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])


def parameters_of(learner: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters of a submodule that are not frozen. ValueError when there is no such submodule, or all are."""
    try:
        parameters = list(learner.get_submodule(name).parameters())
    except AttributeError as error:
        there = ", ".join(child for child, _ in learner.named_children())
        raise ValueError(f'the learner has no submodule "{name}" to train; it has {there}') from error
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f'all of "{name}" is frozen, and nothing is left to train: thaw it by .requires_grad_(True)'
        )
    return [parameter for parameter in parameters if parameter.requires_grad]


def gradient_norm(parameters: list[nn.Parameter]) -> torch.Tensor:
    """√Σ g² over the parameters that have a gradient."""
    norms = torch._foreach_norm([p.grad for p in parameters if p.grad is not None])
    return torch.linalg.vector_norm(torch.stack(norms))


def over_ranks(name: str, values: torch.Tensor) -> torch.Tensor:
    """One sign of the whole batch, of each rank's own: extremes under *_min and *_max, else the mean."""
    kind = name.partition("@")[0][-4:]
    return {"_min": values.amin, "_max": values.amax}.get(kind, values.mean)()


def let_see(learner: nn.Module, data: Source) -> None:
    """Call `see(data)` of every part of the learner that has one, once, what it is made of before itself."""
    told = set()

    def tell(part: nn.Module) -> None:
        if hasattr(part, "see") and part not in told:
            part.see(data)
        told.add(part)

    learner.apply(tell)


def reseed(seed: int, step: int) -> None:
    """Set torch's generators, on every device, to a state that is a function of (seed, step)."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little", signed=True))


def weights(module: nn.Module) -> list[torch.Tensor]:
    """What is averaged: parameters, and the running means and variances that are weights in all but name."""
    running = ("running_mean", "running_var")
    return [*module.parameters(), *(b for name, b in module.named_buffers() if name.endswith(running))]
