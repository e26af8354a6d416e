"""What is learned: the energy U(x) = Φ(x) − log q(x) with the potential Φ = −f.

f is the score of a bottom-up net (higher = more like data) and p(x) ∝ exp(f(x)) q(x) = exp(−U(x)). This file is
the one place where a sign turns: nets speak of f, everything else speaks of Φ and U.   [source: arXiv 1910.14216]
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evolvent.machine import keeps_freed_memory
from evolvent.reference import Reference
from evolvent.shapes import Hidden, PerPoint, Points, Scalar

FRESH_BYTES, KEPT_BYTES = 2**25, 2**30
"""What a force on a CPU should keep between its two passes: beyond the first, faulting pages in sets the pace, not
arithmetic. Where freed memory is kept (`evolvent.machine`) no page is faulted in twice: the second bounds memory."""
LIGHT_BYTES = 2**20
"""Below it a force costs less than the calls that make it up."""


class Load(NamedTuple):
    """What one force asks of the machine."""

    rows: int | None
    """Points to take at once, None for all: what they keep between the passes of a force is bounded."""
    light: bool
    """Whether the calls cost more than the arithmetic."""


class Energy(nn.Module):
    """U = Φ − log q for a score net [batch, *event] → [batch] and a reference over the same event shape."""

    def __init__(self, net: nn.Module, reference: Reference) -> None:
        super().__init__()
        self.net = net
        self.reference = reference

    def potential(self, x: Points) -> PerPoint:
        """Φ(x) = −f(x). Raises ValueError when the net does not return one number a point."""
        score = self.net(x)
        if score.shape != x.shape[:1]:
            raise ValueError(
                f"the score net must return one number a point, shape [{len(x)}]; it returned {list(score.shape)}"
                " (a trailing axis of 1 is removed by .squeeze(1))"
            )
        return -score

    def potential_after(self, transform: Callable[[Points], Points], x: Points) -> PerPoint:
        """Φ(T(x))."""
        return self.potential(transform(x))

    def forward(self, x: Points) -> PerPoint:
        """U(x) = Φ(x) − log q(x), in nats where chains run at temperature 1, up to log Z."""
        return self.potential(x) + self.pull(x)

    def pull(self, x: Points) -> PerPoint:
        """−log q(x), the reference's share of U."""
        return self.reference.energy(x)

    def value_and_force(self, x: Points, *, rows: int | None = None) -> tuple[PerPoint, Points]:
        """U(x) and ∇U(x), both cut from the graph: what a chain needs at every step.

        rows: taken at once, None for all points together; `load` knows what suits.
        """
        if rows is not None and rows < len(x):
            parts = [self.value_and_force(part) for part in x.split(rows)]
            return torch.cat([value for value, _ in parts]), torch.cat([force for _, force in parts])
        if torch.compiler.is_compiling():  # a graph has no tape to cut; its transform is the same derivative
            force, value = torch.func.grad(self._sum_and_each, has_aux=True)(x)
            return value, force
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = self(x)
            (force,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), force

    def _sum_and_each(self, x: Points) -> tuple[Scalar, PerPoint]:
        value = self(x)
        return value.sum(), value

    def load(self, x: Points) -> Load:
        """What one force at x asks of the machine. It is found out on two of the points."""
        if x.device.type != "cpu" or len(x) < 2 or any(map(_knows_rows, self.modules())):
            return Load(None, False)
        sizes = []

        def weigh(kept: Tensor) -> None:  # which is not kept: there is no way back to it
            sizes.append(kept.nbytes if kept.dim() and len(kept) == 2 else 0)

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(weigh, lambda nothing: nothing):
            self(x[:2].detach().requires_grad_())
        bytes_a_point = max(1, sum(sizes) // 2)
        room = KEPT_BYTES if keeps_freed_memory() else FRESH_BYTES
        rows = 2 ** int(math.log2(max(1, room // bytes_a_point)))
        return Load(rows if rows < len(x) else None, bytes_a_point * len(x) < LIGHT_BYTES)

    def force(self, x: Points) -> Points:
        """∇U(x)."""
        return gradient(self, x)

    def pullback(self, mapping: nn.Module, hidden: Reference, *, beta: float = 1.0) -> "Energy":
        """The energy of hidden codes, V(z) = β Φ(g(z)) − log q(z): p pulled back through the mapping g.

        With q = N(0, I) and β = 1 this is exact up to a constant: V(z) = Φ(g(z)) + ‖z‖²/2.   [derived]
        """
        return Energy(Pullback(self.net, mapping, beta), hidden)


class Pullback(nn.Module):
    """The score z ↦ β f(g(z))."""

    def __init__(self, net: nn.Module, mapping: nn.Module, beta: float) -> None:
        super().__init__()
        self.net, self.mapping, self.beta = net, mapping, beta

    def forward(self, hidden: Hidden) -> PerPoint:
        return self.beta * self.net(self.mapping(hidden))


def scores_of(learner: nn.Module) -> list[nn.Module]:
    """The net of every energy that a learner has."""
    return [part.net for part in learner.modules() if isinstance(part, Energy)]


def _knows_rows(module: nn.Module) -> bool:
    """Whether it must see all points of a batch or none: batch norm in training, and `observed.Observed`."""
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return (is_norm and module.training) or getattr(module, "by_row", False)


def gradient(function: Callable[[Points], PerPoint], x: Points, *, create_graph: bool = False) -> Points:
    """∇_x Σ function(x): the gradient of each point's own value."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=create_graph)
    return slope


def squared_norm(x: Tensor) -> PerPoint:
    """‖x‖² of every point."""
    return x.flatten(1).square().sum(1)
