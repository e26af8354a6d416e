"""Energies that know classes: p(x | y) ∝ exp(f(x, y)) q(x).                                             [derived]

Points carry their class in a channel of their own (`shapes.carry`), so slices, shares, pairs and ranks of a batch need
no care: a flow, a sign or a contrast takes labelled points as it takes others. A chain alone must not move the label.
It runs on the points without it, under the energy at their classes:

    U(x, y)                 Conditional: x carries y
    U(x | y), y fixed       Conditional.given(y): x carries nothing
    U(x)                    Conditional.class_free(): likewise, of no class
"""

from collections.abc import Callable

import torch
from torch import nn

from evolvent.energy import Energy, Load, Pullback
from evolvent.reference import Reference
from evolvent.shapes import Labels, PerPoint, Points, apart, carry


class Conditional(Energy):
    """U(x, y) = Φ(x, y) − log q(x) for a net over labelled points and a reference over points without labels."""

    def pull(self, x: Points) -> PerPoint:
        return self.reference.energy(apart(x)[0])

    def potential_after(self, transform: Callable[[Points], Points], x: Points) -> PerPoint:
        """Φ(T(x), y): a label is none of T's."""
        points, labels = apart(x)
        return self.potential(carry(transform(points), labels))

    def given(self, labels: Labels) -> "AtClasses":
        """The energy of points that carry no label, row i of class labels[i]."""
        return AtClasses(self, labels)

    def class_free(self) -> "ClassFree":
        """The energy of points whose class nobody knows; of a net that says by `num_classes` how many there are."""
        return ClassFree(self)

    def pullback(self, mapping: nn.Module, hidden: Reference, *, beta: float = 1.0) -> "Conditional":
        """V(z, y) = β Φ(g(z, y), y) − log q(z), for a mapping that hands the label on to what it bears."""
        return Conditional(Pullback(self.net, mapping, beta), hidden)


class AtClasses(Energy):
    """A conditional energy at fixed classes; a batch of another size than `labels` raises ValueError."""

    def __init__(self, joint: Conditional, labels: Labels) -> None:
        super().__init__(joint.net, joint.reference)
        self.joint, self.labels = joint, labels

    def potential(self, x: Points) -> PerPoint:
        return self.joint.potential(carry(x, self.labels))

    def value_and_force(self, x: Points, *, rows: int | None = None) -> tuple[PerPoint, Points]:
        value, force = self.joint.value_and_force(carry(x, self.labels), rows=rows)
        return value, apart(force)[0]

    def load(self, x: Points) -> Load:
        return self.joint.load(carry(x, self.labels))


class ClassFree(Energy):
    """U(x) = −log Σ_y exp(−U(x, y)), of the law that is left of p(x, y) ∝ exp(−U(x, y)) without y.       [derived]

    It is the energy that Grathwohl et al. (ICLR 2020) read off a classifier. A class weighs in it as its integral Z_y
    does, which training within classes does not level; a mixture of p(x | y) at equal weights would need log Z_y, which
    nobody knows. The net is run once a class, unless it has the scores of all classes at once (`at_every_class`).
    """

    def __init__(self, joint: Conditional) -> None:
        super().__init__(joint.net, joint.reference)
        self.joint = joint

    def potential(self, x: Points) -> PerPoint:
        """Φ(x) = −log Σ_y exp(−Φ(x, y)): the reference, which knows no classes, stands outside of the sum."""
        if hasattr(self.net, "at_every_class"):
            return -self.net.at_every_class(x).logsumexp(1)
        classes = torch.arange(self.net.num_classes, device=x.device)
        return -torch.stack([-self.joint.given(y.expand(len(x))).potential(x) for y in classes]).logsumexp(0)
