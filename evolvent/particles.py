"""Where particles are born: afresh from the reference, or out of a bank that outlives the step.

    x, slots = particles.start(num, noise)      before the evolution
    particles.commit(slots, end)                after it: rows go back to the slots they came from

To write another birthplace, subclass `Particles`. (Birth in hidden space needs a mapping and is part of the
learner `ggcn`.)
"""

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from evolvent.noise import Noise
from evolvent.reference import Reference
from evolvent.shapes import Points, Scalar

Slots = Int64[Tensor, " batch"]


class Particles(nn.Module):
    """A birthplace of particles over the reference's event shape."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    def start(self, num: int, noise: Noise) -> tuple[Points, Slots]:
        """`num` starting points and the slots that they occupy."""
        raise NotImplementedError

    def commit(self, slots: Slots, x: Points) -> None:
        """Take the evolved particles back."""

    def signs(self) -> dict[str, Scalar]:
        """Vital signs of the birthplace itself."""
        return {}


class Fresh(Particles):
    """Every chain starts anew from the reference."""

    def start(self, num: int, noise: Noise) -> tuple[Points, Slots]:
        return self.reference.sample(num, noise), torch.arange(num, device=noise.device)


class Persistent(Particles):
    """A bank of chains that go on from step to step (persistent contrastive divergence; Tieleman 2008).

    A share `rebirth` of the chains handed out starts anew from the reference (Du & Mordatch 2019), which keeps
    the bank from ageing. `num_slots` is the size of the bank; a batch may not be larger. A chain's age is how many
    times it evolved since its birth.
    """

    def __init__(self, reference: Reference, num_slots: int, *, rebirth: float = 0.02) -> None:
        super().__init__(reference)
        if num_slots < 1:
            raise ValueError(f"the bank needs at least 1 slot, not {num_slots}")
        if not 0 <= rebirth <= 1:
            raise ValueError(f"rebirth is a share between 0 and 1, not {rebirth}")
        self.rebirth = rebirth
        self.register_buffer("bank", reference.sample(num_slots, Noise()))
        self.register_buffer("ages", torch.zeros(num_slots, dtype=torch.int64))

    def start(self, num: int, noise: Noise) -> tuple[Points, Slots]:
        if num > len(self.bank):
            raise ValueError(f"a batch of {num} does not fit a bank of {len(self.bank)} slots")
        # The largest of as many uniforms: distinct slots, without leaving the device.
        slots = noise.uniform(len(self.bank)).topk(num).indices
        reborn = noise.uniform(num) < self.rebirth
        self.ages[slots] = self.ages[slots].masked_fill(reborn, 0)
        rows = reborn.view(-1, *[1] * len(self.reference.event_shape))
        return torch.where(rows, self.reference.sample(num, noise), self.bank[slots]), slots

    def commit(self, slots: Slots, x: Points) -> None:
        self.bank[slots] = x.detach()
        self.ages[slots] += 1

    def signs(self) -> dict[str, Scalar]:
        return {"bank_age": self.ages.float().mean()}
