"""Where particles are born: afresh from the reference, or out of a bank that outlives the step.

    x, slots = particles.start(num, noise)      before the evolution
    particles.commit(slots, end)                after it: rows go back to the slots they came from

To write another birthplace, subclass `Particles`. (Birth in hidden space needs a mapping and is part of the
learner `ggcn`.)
"""

import math

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from evolvent.noise import Noise
from evolvent.processes.ranks import shared
from evolvent.reference import Reference
from evolvent.shapes import Labelled, Labels, Points, Scalar, apart, carry, wide

Slots = Int64[Tensor, " batch"]
SlotsOfAll = Int64[Tensor, " whole_batch"]
"""Of the whole batch, where several processes share the step."""


class Particles(nn.Module):
    """A birthplace of particles over the reference's event shape.

    of_training: the buffers that sampling can do without; a model.safetensors has none of them.
    shards: the buffers with a row for each slot of which every one of N processes keeps rows rank, rank + N, …; any
        other buffer must come out the same in all of them.
    """

    of_training: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

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
    times it evolved since its birth. Where N processes share the step, each holds its shard of the bank, and the
    particles that are chosen travel; ages are few and kept by all.
    """

    of_training = ("bank", "ages")
    shards = ("bank",)

    def __init__(self, reference: Reference, num_slots: int, *, rebirth: float = 0.02) -> None:
        super().__init__(reference)
        if num_slots < 1:
            raise ValueError(f"the bank needs at least 1 slot, not {num_slots}")
        if not 0 <= rebirth <= 1:
            raise ValueError(f"rebirth is a share between 0 and 1, not {rebirth}")
        self.rebirth = rebirth
        if getattr(reference, "unseen", False):
            bank = torch.full((num_slots, *reference.event_shape), math.nan)
        else:
            bank = reference.sample(num_slots, Noise())
        self.register_buffer("bank", bank)
        self.register_buffer("ages", torch.zeros(num_slots, dtype=torch.int64))

    def see(self, data: nn.Module) -> None:
        """Fill the bank that is still empty, as the reference had to see the data before it could be drawn from."""
        if self.bank.isnan().all():
            self.bank.copy_(self.reference.sample(len(self.bank), Noise(self.bank.device)))

    def start(self, num: int, noise: Noise) -> tuple[Points, Slots]:
        ranks, num_slots = shared(), len(self.ages)
        batch = num * ranks.num
        if batch > num_slots:
            raise ValueError(f"a batch of {batch} does not fit a bank of {num_slots} slots")
        # The largest of as many uniforms: distinct slots, without leaving the device.
        slots = noise.uniform_for_all(num_slots).topk(batch).indices
        return self.hand_out(slots, num, noise)

    def hand_out(self, slots: SlotsOfAll, num: int, noise: Noise) -> tuple[Points, Slots]:
        """This rank's `num` rows of the chains in those slots, some of them born anew."""
        ranks = shared()
        reborn = noise.uniform_for_all(len(slots)) < self.rebirth
        self.ages[slots] = self.ages[slots].masked_fill(reborn, 0)
        kept = ranks.take(self.bank, slots)
        rows = wide(ranks.rows(reborn), kept)
        return torch.where(rows, self.reference.sample(num, noise), kept), ranks.rows(slots)

    def commit(self, slots: Slots, x: Points) -> None:
        ranks = shared()
        slots = ranks.whole(slots)
        ranks.put(self.bank, slots, x.detach())
        self.ages[slots] += 1

    def signs(self) -> dict[str, Scalar]:
        return {"bank_age": self.ages.float().mean()}


class PersistentByClass(Persistent):
    """A bank of chains each of one class, for points that carry their labels: slot s is of class s mod num_classes.

    A batch asks for chains of the classes of its data. It may be all of one class, so each has at least `batch` slots.
    """

    def __init__(
        self, reference: Reference, slots_per_class: int, num_classes: int, *, rebirth: float = 0.02
    ) -> None:
        super().__init__(reference, slots_per_class * num_classes, rebirth=rebirth)
        self.slots_per_class, self.num_classes = slots_per_class, num_classes

    def start_of(self, labels: Labels, noise: Noise) -> tuple[Labelled, Slots]:
        """A chain of class labels[i] for row i, which carries it, and the slots that they occupy."""
        every = shared().whole(labels)
        if len(every) > self.slots_per_class:
            raise ValueError(
                f"a batch of {len(every)} may be all of one class, of which the bank has {self.slots_per_class} chains:"
                " give each class at least as many as a batch has points"
            )
        # Row i takes the n-th in a random order of its class's slots, where n rows before it are of that class.
        keys = noise.uniform_for_all(len(self.ages)).view(self.slots_per_class, self.num_classes)
        is_of = every[:, None] == torch.arange(self.num_classes, device=every.device)
        turns = is_of.cumsum(0).gather(1, every[:, None])[:, 0] - 1
        slots = keys.argsort(0)[turns, every] * self.num_classes + every
        x, own = self.hand_out(slots, len(labels), noise)
        return carry(x, labels), own

    def commit(self, slots: Slots, x: Labelled) -> None:
        super().commit(slots, apart(x)[0])
