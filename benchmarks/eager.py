"""The Langevin loop that anybody would write: what benchmarks compare a chain with."""

import math

import torch
from torch import nn


def by_hand(energy: nn.Module, x: torch.Tensor, num_steps: int, step_size: float) -> torch.Tensor:
    """`num_steps` steps x ← x − h ∇U(x) + √(2 h) ε from the points `x`."""
    noise = math.sqrt(2 * step_size)
    for _ in range(num_steps):
        x = x.detach().requires_grad_()
        (force,) = torch.autograd.grad(energy(x).sum(), x)
        x = x.detach() - step_size * force + noise * torch.randn_like(x)
    return x
