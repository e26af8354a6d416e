"""Adam over torch's fused operator: `torch.optim.Adam(fused=True)` to the last bit, its state dict included.

Building any optimiser of torch imports torch's compiler, 1.3 s of a processor that a run without compiled chains never
needs.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

EPS = 1e-8
CONSTANT = {
    "eps": EPS, "weight_decay": 0, "amsgrad": False, "maximize": False, "foreach": None, "capturable": False,
    "differentiable": False, "fused": True, "decoupled_weight_decay": False,
}  # fmt: skip
"""What torch's state dict says besides; runs that were saved by either are read by both."""


MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What is kept of a parameter, by torch's names: the number of its steps, m and v."""


class FusedAdam:
    """m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ − lr · m̂ / (√v̂ + ε); `lr` may change at any step."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float]) -> None:
        self.parameters, self.lr, self.betas = list(parameters), lr, betas
        self.state: dict[int, dict[str, Tensor]] = {}
        """Of every parameter that has had a gradient, by its place."""
        if not self.parameters:
            raise ValueError("there is nothing to train: a submodule of schedule.adam has no parameters")

    @torch.no_grad()
    def step(self) -> None:
        moved = [k for k, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for k in moved:
            if k not in self.state:
                self.state[k] = _begin(self.parameters[k])
        for dtype in {self.parameters[k].dtype for k in moved}:
            self._step([k for k in moved if self.parameters[k].dtype == dtype])

    def _step(self, places: list[int]) -> None:
        parameters = [self.parameters[k] for k in places]
        steps, means, squares = ([self.state[k][name] for k in places] for name in MOMENTS)
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters, [parameter.grad for parameter in parameters], means, squares, [], steps,
            lr=self.lr, beta1=self.betas[0], beta2=self.betas[1], eps=EPS,
            weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        places = list(range(len(self.parameters)))
        group = {"lr": self.lr, "betas": self.betas} | CONSTANT | {"params": places}
        return {"state": {k: dict(kept) for k, kept in self.state.items()}, "param_groups": [group]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `saved`, learning rate and betas included. ValueError where it is not of these parameters."""
        (group,) = saved["param_groups"]
        if len(group["params"]) != len(self.parameters):
            raise ValueError(
                f"the optimiser remembers {len(group['params'])} parameters, and there are {len(self.parameters)}"
            )
        self.lr, self.betas = group["lr"], tuple(group["betas"])
        self.state = {k: _moved(kept, self.parameters[k]) for k, kept in saved["state"].items()}


def _begin(parameter: nn.Parameter) -> dict[str, Tensor]:
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return dict(zip(MOMENTS, (step, torch.zeros_like(parameter), torch.zeros_like(parameter)), strict=True))


def _moved(kept: dict[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
    """To the parameter's device. ValueError for moments of another shape."""
    for name in MOMENTS[1:]:
        if kept[name].shape != parameter.shape:
            raise ValueError("the optimiser remembers parameters of another shape")
    dtypes = (torch.float32, parameter.dtype, parameter.dtype)
    return {
        name: kept[name].to(parameter.device, dtype, copy=True)
        for name, dtype in zip(MOMENTS, dtypes, strict=True)
    }
