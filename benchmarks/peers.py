"""Two kept libraries' persistent contrastive divergence, on our energy and data, with our averaging and clocks.

What is theirs: sampler, bank and loss. What is ours, as a recipe has it: energy, data, batch, averaged weights, and the
fall of the learning rate over the second half of the run.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from ebm.buffer import ReplayBuffer
from ebm.losses import ContrastiveDivergence
from ebm.samplers import LangevinDynamics as EbmkitLangevin
from torchebm.core import BaseModel
from torchebm.losses import PersistentContrastiveDivergence
from torchebm.samplers import LangevinDynamics as TorchebmLangevin

from evolvent.energy import Energy
from evolvent.training.schedule import Experiment

Library = Literal["ebmkit", "TorchEBM"]
SAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class Chain:
    """How a peer trains: its Langevin chain, its bank and what its loss adds.

    noise: its standard deviation a step. squared: weight of the squared energies in the loss. cut: of every component
    of a force (ebmkit alone). clamp: where a chain is held.
    """

    step_size: float
    noise: float
    num_steps: int
    num_slots: int
    rebirth: float = 0.05
    squared: float = 0.0
    cut: float | None = None
    clamp: tuple[float, float] | None = None
    betas: tuple[float, float] = (0.9, 0.999)


class AsModel(BaseModel):
    """Our energy as a peer wants it, without the reference's constant, which a peer's loss would square."""

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy
        self.constant = float(energy.reference.energy(torch.zeros(1, *energy.reference.event_shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.energy(x) - self.constant


class Peer:
    """One training run of `library` on what `experiment` learns from; `advance` is a step, `sample` draws."""

    def __init__(self, library: Library, chain: Chain, experiment: Experiment, *, lr: float) -> None:
        self.library, self.chain, self.experiment, self.lr, self.step = library, chain, experiment, lr, 0
        self.data, self.shape = experiment.data(), experiment.learner.energy.reference.event_shape
        self.model = AsModel(experiment.learner.energy)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.loss_at = self._ebmkit() if library == "ebmkit" else self._torchebm()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=lr, betas=chain.betas, fused=True)

    def _births(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Normal on the plane; images are born uniform in [−1, 1]."""
        return torch.randn(shape) if len(shape) == 2 else torch.rand(shape) * 2 - 1

    def _sampler(self, model: AsModel) -> EbmkitLangevin | TorchebmLangevin:
        h, noise, clamp = self.chain.step_size, self.chain.noise, self.chain.clamp
        if self.library == "ebmkit":
            return EbmkitLangevin(
                h, self.chain.num_steps, noise_scale=noise, grad_clip=self.chain.cut, clamp=clamp
            )
        # Its noise is noise_scale · √(2 step_size).
        return TorchebmLangevin(model, step_size=h, noise_scale=noise / (2 * h) ** 0.5, clamp=clamp)

    def _ebmkit(self) -> Callable:
        bank = ReplayBuffer(self.chain.num_slots, self.shape, self.chain.rebirth, init_fn=self._births)
        loss = ContrastiveDivergence(self._sampler(self.model), bank, energy_reg=self.chain.squared)
        return lambda data: loss(self.model, data).loss

    def _torchebm(self) -> Callable:
        # By default it moves its whole bank 100 times first: minutes for 10,000 images, so we spare it that.
        loss = PersistentContrastiveDivergence(
            self.model, self._sampler(self.model), k_steps=self.chain.num_steps, buffer_size=self.chain.num_slots,
            new_sample_ratio=self.chain.rebirth, energy_reg_weight=self.chain.squared, init_steps=0,
        )  # fmt: skip
        return lambda data: loss(data)[0]

    def advance(self) -> None:
        schedule = self.experiment.schedule
        loss = self.loss_at(self.data.draw(schedule.batch_size))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.param_groups[0]["lr"] = self.lr * schedule.lr_factor(self.step)
        self.optimiser.step()
        self.step += 1
        decay = min(schedule.averaging, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)

    def sample(self, num: int, num_steps: int) -> torch.Tensor:
        """Chains of the averaged weights from fresh births."""
        sampler, parts = self._sampler(self.averaged), []
        for first in range(0, num, SAMPLES_AT_ONCE):
            x = self._births((min(SAMPLES_AT_ONCE, num - first), *self.shape))
            if self.library == "ebmkit":
                parts.append(sampler.sample(self.averaged, x, steps=num_steps).detach())
            else:
                parts.append(sampler.sample(x, n_steps=num_steps))
        return torch.cat(parts)
