"""A chain as machine code: the moves of a dynamics, several to a graph, compiled by torch.

Randomness is no part of a graph. It is drawn ahead, in the order in which the moves ask for it, so the particles are
those of the eager chain up to rounding, whatever the noise; and a graph holds a few moves only, so neither memory nor
the time to compile grows with the length of the chain.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from evolvent.energy import Energy
from evolvent.noise import Noise
from evolvent.reference import Reference
from evolvent.shapes import PerPoint, Points

MOVES_OF_A_LIGHT_ENERGY = 25
"""In one graph at most; where a force is arithmetic and not calls, one move is enough."""
MAX_GRAPHS = 64
"""Kept at once, for the shapes, nets and settings that one process runs."""

Call = tuple[str, tuple[int, ...]]
"""A draw: the method of `Noise`, and what it is asked for."""


class Rehearsal(Noise):
    """Notes what is asked for, and draws nothing."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.calls: list[Call] = []

    def normal(self, num: int, *event: int) -> Tensor:
        return self._note("normal", num, *event)

    def uniform(self, num: int, *event: int) -> Tensor:
        return self._note("uniform", num, *event)

    def _note(self, kind: str, *shape: int) -> Tensor:
        self.calls.append((kind, shape))
        return torch.zeros(shape, device=self.device)


class Script(Noise):
    """Hands out what was drawn ahead."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        self.drawn = iter(drawn)

    def normal(self, num: int, *event: int) -> Tensor:
        return next(self.drawn)

    def uniform(self, num: int, *event: int) -> Tensor:
        return next(self.drawn)


class Flat(Energy):
    """Nothing pulls: the stage of a rehearsal."""

    def value_and_force(self, x: Points, *, rows: int | None = None) -> tuple[PerPoint, Points]:
        return x.new_zeros(len(x)), torch.zeros_like(x)


def run_compiled(
    dynamics: Any, energy: Energy, state: Any, noise: Noise, *, light: bool
) -> tuple[Any, PerPoint]:
    """As `Dynamics.run` over all moves of the chain. ValueError where the machine or the net cannot be compiled for.

    light: whether the energy's calls cost more than its arithmetic (`Energy.load`).
    """
    draws = draws_of_a_move(dynamics, state.x.shape, state.x.device)
    # Each is filled in on the device: a CUDA graph that records the chain takes nothing from the host.
    step_sizes = torch.stack([state.x.new_full((), h) for h in dynamics.step_sizes()])
    num_graphs = math.ceil(len(step_sizes) / (MOVES_OF_A_LIGHT_ENERGY if light else 1))
    run, energies = graph(), []
    with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=MAX_GRAPHS):
        for sizes in step_sizes.chunk(num_graphs):  # of one length, or one graph more is compiled
            drawn = draw_ahead(noise, draws, len(sizes))
            state, first = _in_words(run, dynamics, energy, state, drawn, sizes)
            energies = energies or [first]
    return state, energies[0]


@lru_cache(MAX_GRAPHS)
def draws_of_a_move(dynamics: Any, shape: torch.Size, device: torch.device) -> list[Call]:
    """What one move asks a noise for, told from a move over a flat energy that is thrown away."""
    rehearsal, flat = Rehearsal(device), Flat(nn.Identity(), Reference(shape[1:]))
    state = dynamics.begin(flat, torch.zeros(shape, device=device), None)
    dynamics.step(flat, state, rehearsal, dynamics.step_size)
    return rehearsal.calls


def draw_ahead(noise: Noise, draws: list[Call], num_moves: int) -> list[Tensor]:
    """What so many moves draw, in their order: for every draw of a move, [num_moves, *shape]."""
    if [kind for kind, _ in draws] == ["normal"]:
        return [noise.normals(num_moves, *draws[0][1])]
    drawn = [[getattr(noise, kind)(*shape) for kind, shape in draws] for _ in range(num_moves)]
    return [torch.stack(each) for each in zip(*drawn, strict=True)]


@cache
def graph() -> Callable:
    """`moves`, compiled for every energy, shape and number of moves that it meets."""
    return torch.compile(moves, fullgraph=True, dynamic=False)


def moves(
    dynamics: Any, energy: Energy, state: Any, drawn: list[Tensor], step_sizes: Tensor
) -> tuple[Any, PerPoint]:
    script = Script([draw for move in zip(*(each.unbind() for each in drawn), strict=True) for draw in move])
    return dynamics.run(energy, state, script, step_sizes.unbind())


def _in_words(function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"this chain cannot be compiled here ({reason}); a C++ compiler is needed, and a net that torch.compile"
            " takes whole: leave `compiled` out to run it as it is"
        ) from error
