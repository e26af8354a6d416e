"""GGCN: hidden space mapping. The reference becomes learnable, q_φ = g_φ # N(0, I).           [source: the idea]

    z ~ N(0, I)                          hidden space
    z ← select(z; Φ(g(z)))               selection among births, if asked for                  [derived]
    z ← evolve(z; β Φ(g(z)) + ‖z‖²/2)    evolution in hidden space, if asked for               [derived]
    x⁰ = g(z)                            birth
    x ← evolve(x⁰; Φ)                    evolution in image space, if asked for                [derived]

It is GCN with another birthplace and one more loss, the mapping's (`learners.amortized`). Both nets learn from the
same particles in the same step. Evolution in image space is a refinement, of as many steps at sampling as in training:
its energy, which has no log q_φ, draws a long chain away from the births.
"""

import math

import torch
from torch import nn

from evolvent.augmentation import Augmentation
from evolvent.dynamics import Dynamics, Evolution, at_rest
from evolvent.energy import Energy
from evolvent.flows import Flow
from evolvent.learners.amortized import Cooperative, MappingLoss
from evolvent.learners.update import Update, evaluating, require_stages, vital_signs
from evolvent.noise import Noise
from evolvent.reference import Gaussian
from evolvent.shapes import Hidden, Points

IN_HIDDEN_SPACE = ("selection", "hidden")
STAGES = (*IN_HIDDEN_SPACE, "image")
"""What particles can go through, in order; which of them a run takes is up to it.

"selection" is for `dynamics.Independent`, which goes over to other births; "hidden" moves codes on from where they are.
"""


class GGCN(nn.Module):
    """An energy, a mapping, and the stages of evolution between birth and the energy's update.

    energy: its reference is the one that image-space evolution feels; `Uniform` leaves Φ alone.
    training: the stages run in every update, a dict with any of `STAGES`. None is adversarial learning: no chain
        at all.
    sampling: the stages run by `sample`.
    beta: weight of the learned potential in hidden evolution, 0 or above; selection's is 1 over its temperature.
    augmentation: of data and particles in both losses, and nowhere else; None leaves them as they are.
    """

    def __init__(
        self,
        energy: Energy,
        mapping: nn.Module,
        *,
        flow: Flow,
        mapping_loss: MappingLoss,
        training: dict[str, Dynamics],
        sampling: dict[str, Dynamics],
        beta: float = 1.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        require_stages(training | sampling, STAGES)
        if isinstance(mapping_loss, Cooperative) and not training:
            raise ValueError(
                "a cooperative mapping follows evolved particles: give at least one stage of training"
            )
        if isinstance(mapping_loss, Cooperative) and "selection" in training:
            raise ValueError(
                "a cooperative mapping follows each code to where it evolved, and selection goes over to other codes:"
                " leave selection to sampling"
            )
        self.energy, self.mapping = energy, mapping
        self.flow, self.mapping_loss = flow, mapping_loss
        self.augmentation = augmentation
        self.hidden = Gaussian((mapping.num_hidden,))
        self.evolution_in_training, self.stages, self.beta = training, sampling, checked_weight(beta)

    def forward(self, data: Points) -> Update:
        noise = Noise(data.device)
        return self.update(data, self.hidden.sample(len(data), noise), noise)

    def update(self, data: Points, hidden: Hidden, noise: Noise) -> Update:
        """One update of both nets, from particles that are born of `hidden`."""
        births = self.mapping(hidden)
        evolution = self.evolve(hidden, births, noise)
        energy = self.augmentation.over(self.energy, noise) if self.augmentation else self.energy
        cost = self.flow(energy, data, evolution)
        losses = {"energy": cost.loss, "mapping": self.mapping_loss(energy, births, evolution, cost)}
        if not self.augmentation:
            return Update(losses, evolution.end, vital_signs(self.energy, data, evolution, cost))
        with torch.no_grad():
            at_end = self.energy.potential(evolution.end) if self.evolution_in_training else None
        signs = vital_signs(self.energy, data, evolution, cost, at_end)
        return Update(losses, evolution.end, signs | self.augmentation.follow(cost, len(data)))

    def evolve(self, hidden: Hidden, births: Points, noise: Noise) -> Evolution:
        """The stages of training, one record from birth to end."""
        stages = self.evolution_in_training
        moved = self.evolve_hidden(hidden, stages, noise)
        stays = moved is hidden
        x = births if stays else self.mapping(moved)
        evolution = (
            self.run(stages["image"], self.energy, x, noise) if "image" in stages else at_rest(self.energy, x)
        )
        return evolution if stays else evolution.since(self.energy, births)

    def evolve_hidden(self, hidden: Hidden, stages: dict[str, Dynamics], noise: Noise) -> Hidden:
        """The codes after their stages, the same tensor where there are none.

        Selection is under Φ(g(z)) + ‖z‖²/2, evolution under V(z) = β Φ(g(z)) + ‖z‖²/2, of the mapping as it draws:
        no code sees another, and what a chain passes by leaves no trace in running statistics.
        """
        with evaluating(self.mapping):
            for name, beta in zip(IN_HIDDEN_SPACE, (1.0, self.beta), strict=True):
                if name in stages:
                    pulled_back = self.energy.pullback(self.mapping, self.hidden, beta=beta)
                    hidden = self.run(stages[name], pulled_back, hidden, noise).end
        return hidden

    def run(self, dynamics: Dynamics, energy: Energy, x: Points, noise: Noise) -> Evolution:
        """One stage, under the learner's energy or the one pulled back."""
        return dynamics.evolve(energy, x, noise)

    def sample(self, num: int, noise: Noise, stages: dict[str, Dynamics] | None = None) -> Points:
        """Selection, hidden evolution, birth, image evolution, as far as `stages` names them; {} gives births."""
        return self.grow(self.hidden.sample(num, noise), noise, stages)

    def grow(self, hidden: Hidden, noise: Noise, stages: dict[str, Dynamics] | None) -> Points:
        """What comes of these codes."""
        stages = self.stages if stages is None else stages
        require_stages(stages, STAGES)
        hidden = self.evolve_hidden(hidden, stages, noise)
        with evaluating(self.mapping):
            x = self.mapping(hidden).detach()
        return self.run(stages["image"], self.energy, x, noise).end if "image" in stages else x


def checked_weight(beta: float) -> float:
    """`beta` as it is. ValueError unless it is 0 or above and finite."""
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be 0 or above and finite, not {beta}")
    return beta
