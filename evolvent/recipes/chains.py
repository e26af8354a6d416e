"""Chains: their noise, their length when they sample, and the learners whose particles are chains from noise."""

import math
from dataclasses import replace

from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO
from evolvent.learners.conditional import ConditionalGCN
from evolvent.learners.gcn import GCN
from evolvent.particles import Persistent, PersistentByClass
from evolvent.recipes.labelled import conditional


def noisy_descent(
    step_size: float, num_steps: int, noise: float, *, kind: type[Langevin] = Langevin
) -> Langevin:
    """Langevin whose noise has a standard deviation of `noise` a step: the low temperature of image-scale work."""
    if not (step_size > 0 and 0 <= noise < 100):
        raise ValueError(
            f"a chain needs a step size above 0 and noise from 0 to 100, not {step_size} and {noise}"
        )
    return kind(step_size, num_steps, temperature=noise**2 / (2 * step_size))


def chains_from_noise(
    energy: Energy,
    chain: Langevin,
    *,
    flow: JKO | None,
    num_slots: int,
    rebirth: float,
    batch_size: int,
    sampling_steps: int,
    num_classes: int | None,
) -> GCN:
    """A bank of chains from the energy's reference: w-GCN under a JKO flow, GCN under None, by class or not.

    num_slots: of the bank; with classes, each has its share of them, and no fewer than a batch has points.
    sampling_steps: as many as a birth from noise needs, the last one a third as large as in training.
    """
    sampling = replace(chain, num_steps=sampling_steps, final_step_size=chain.step_size / 3)
    if num_slots < 1:
        raise ValueError(f"the bank needs at least 1 slot, not {num_slots}")
    if num_classes is not None:
        by_class = conditional(energy, num_classes)
        slots = max(math.ceil(num_slots / num_classes), batch_size)
        bank = PersistentByClass(energy.reference, slots, num_classes, rebirth=rebirth)
        return ConditionalGCN(by_class, bank, chain, flow=flow, sampling=sampling)
    bank = Persistent(energy.reference, num_slots, rebirth=rebirth)
    return GCN(energy, bank, chain, flow=flow, sampling=sampling)
