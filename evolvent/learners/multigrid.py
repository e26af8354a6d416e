"""Multi-grid GGCN: from one hidden point to the finest image, grid by grid.                  [source: the idea]

    1×1      z ~ N(0, I)
    4×4      x⁰ = g₄(z),          x ← evolve(x⁰; Φ₄)
    16×16    x⁰ = g₁₆(x, noise),  x ← evolve(x⁰; Φ₁₆)       x: the evolved particles of the grid below
    …

Each grid has an energy of its own, which meets the data averaged down to that grid, and a trainable upsampling.
All of them learn in the same step from the same particles.                                            [derived]
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from evolvent.dynamics import Dynamics, Evolution, at_rest
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.amortized import MappingLoss
from evolvent.learners.update import Update, evaluating, require_stages, vital_signs
from evolvent.noise import Noise
from evolvent.reference import Gaussian
from evolvent.shapes import Points


class MultiGrid(nn.Module):
    """`energies` and `mappings`, coarse to fine: mappings[0] takes hidden codes, the others a grid and noise."""

    def __init__(
        self,
        energies: list[Energy],
        mappings: list[nn.Module],
        *,
        flow: KL,
        mapping_loss: MappingLoss,
        dynamics: Dynamics,
    ) -> None:
        super().__init__()
        if len(energies) != len(mappings):
            raise ValueError(
                f"{len(energies)} energies and {len(mappings)} mappings do not pair up into grids"
            )
        self.energies, self.mappings = nn.ModuleList(energies), nn.ModuleList(mappings)
        self.flow, self.mapping_loss = flow, mapping_loss
        self.hidden = Gaussian((mappings[0].num_hidden,))
        self.stages = {"image": dynamics}

    def forward(self, data: Points) -> Update:
        noise = Noise(data.device)
        below = self.hidden.sample(len(data), noise)
        losses, stats = {}, {}
        for k, energy in enumerate(self.energies):
            births, evolution = self.climb(k, below, noise, self.stages)
            coarse = adaptive_avg_pool2d(data, energy.reference.event_shape[-2:])
            cost = self.flow(energy, coarse, evolution)
            losses[f"energies.{k}"] = cost.loss
            losses[f"mappings.{k}"] = self.mapping_loss(energy, births, evolution, cost)
            signs = vital_signs(energy, coarse, evolution, cost)
            stats |= {f"{name}@{coarse.shape[-1]}": sign for name, sign in signs.items()}
            below = evolution.end
        return Update(losses, below, stats | signs)

    def climb(
        self, k: int, below: Tensor, noise: Noise, stages: dict[str, Dynamics]
    ) -> tuple[Points, Evolution]:
        """Births on grid k, from what evolved on the grid below, and their evolution."""
        if k > 0:
            below = torch.cat([below, noise.normal(len(below), 1, *below.shape[-2:])], dim=1)
        births = self.mappings[k](below)
        if "image" in stages:
            return births, stages["image"].evolve(self.energies[k], births, noise)
        return births, at_rest(self.energies[k], births)

    def sample(self, num: int, noise: Noise, stages: dict[str, Dynamics] | None = None) -> Points:
        """`num` images of the finest grid; without the stage "image", births upon births."""
        stages = self.stages if stages is None else stages
        require_stages(stages, self.stages)
        x = self.hidden.sample(num, noise)
        with evaluating(self.mappings):
            for k in range(len(self.energies)):
                x = self.climb(k, x, noise, stages)[1].end
        return x
