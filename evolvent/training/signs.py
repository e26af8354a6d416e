"""Vital signs over many steps: added up where they are made, read in one go.

A sign is one number of a step: a loss, a gap, a norm. Nothing waits for the device until somebody looks. A number
that is not finite at any one step leaves its mean not finite, so none is missed between two looks.
"""

from collections.abc import Mapping
from typing import Any

import torch

from evolvent.shapes import Scalar


class Signs:
    """Mean, least and greatest value of every sign over the steps since `clear`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.names, self.num_steps, self.table = [], 0, None

    def add(self, signs: Mapping[str, Scalar]) -> None:
        """Take in one step's signs. ValueError when they are not those of the step before."""
        values = torch.stack([torch.as_tensor(sign).detach().float() for sign in signs.values()])
        if self.table is None:
            self.names, self.table = list(signs), values.expand(3, -1).clone()
        elif self.names != list(signs):
            odd = sorted(signs.keys() ^ set(self.names)) or "their order"
            raise ValueError(f"a learner shows the same vital signs at every step; changed: {odd}")
        else:
            total, least, greatest = self.table.unbind()
            total += values
            torch.minimum(least, values, out=least)
            torch.maximum(greatest, values, out=greatest)
        self.num_steps += 1

    def read(self) -> dict[str, float]:
        """A sign's mean under its name, its extremes under name@min and name@max; one wait for the device.

        The signs of a coarser grid, name@16, come without extremes.
        """
        if self.table is None:
            return {}
        total, least, greatest = self.table.tolist()
        line = {name: value / self.num_steps for name, value in zip(self.names, total, strict=True)}
        for name, low, high in zip(self.names, least, greatest, strict=True):
            if "@" not in name:
                line |= {f"{name}@min": low, f"{name}@max": high}
        return line

    def state_dict(self) -> dict[str, Any]:
        return {"names": self.names, "num_steps": self.num_steps, "table": self.table}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        self.names, self.num_steps = list(state["names"]), state["num_steps"]
        self.table = None if state["table"] is None else state["table"].to(device, copy=True)
