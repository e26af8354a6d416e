"""Augmentation of both sides: data and particles pass through a random T of one law before the energy compares them.

    losses of the energy and of the mapping      Φ(T(x)), T drawn anew for every image and every call
    the chain of evolution                       Φ(x)

An energy that learns a small data set by heart knows its pixels; under T no image comes twice. Both sides see T, the
particles and in the mapping's loss the births, so particles are asked to look like data *after* T. Where each transform
leaves enough images as they are, the law of T(x) tells the law of x: T does not leak into what is made. For these
transforms p below 3/4 is enough, and at some p above it shifts of small images lose a direction.        [derived]
                          [source: DiffAugment, arXiv 2006.10738; p < 1 and its control: ADA, arXiv 2006.06676]

T shifts by up to 1/8 of the size in whole pixels, mirrored at the border; cuts out a square of half the size; and
changes brightness, saturation and contrast where there are three channels: each transform at each image with
probability p. It does not flip: a recipe whose data are symmetric does.

The JKO flow's kinetic energy is then that of Φ∘T. For the mean potential E_T Φ(T(x)), which the losses descend, it is
an upper bound: ‖E ∇(Φ∘T)‖² ≤ E ‖∇(Φ∘T)‖².                                              [derived: Jensen]

To write another T, subclass `Augmentation`; `GGCN(augmentation=…)` takes it.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evolvent.energy import Energy
from evolvent.flows import Cost
from evolvent.noise import Noise
from evolvent.processes.ranks import shared
from evolvent.shapes import PerPoint, Points, Scalar

Augment = float | Literal["adaptive"]
"""What a recipe takes: 0 none, up to 1 a fixed probability, "adaptive" one that follows the energy."""
Share = Float[Tensor, "batch 1 1 1"]
"""Uniform on [0, 1), one for each image: how far a transform goes."""


class Augmentation(nn.Module):
    """T at a fixed probability. Its randomness comes from the noise that it is handed."""

    of_training = ("probability",)

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"images are augmented with a probability from 0 to 1, not {probability}")
        self.register_buffer("probability", torch.tensor(float(probability)))

    def forward(self, x: Points, noise: Noise) -> Points:
        """T(x) of images [batch, channels, height, width]; what no transform takes comes back as it is, to the bit."""
        for transform in (*COLOURS, *PLACES) if x.shape[1] == 3 else PLACES:
            gate, first, second = noise.uniform(len(x), 3, 1, 1, 1).unbind(1)
            x = torch.where(gate < self.probability, transform(x, first, second), x)
        return x

    def over(self, energy: Energy, noise: Noise) -> Energy:
        """The energy that the losses see."""
        return Augmented(energy, partial(self, noise=noise))

    @torch.no_grad()
    def follow(self, cost: Cost, batch_size: int) -> dict[str, Scalar]:
        """Take in what an update came to; the vital signs."""
        return {"augmentation": self.probability.clone()}


class AdaptiveAugmentation(Augmentation):
    """p grows while the energy tells particles from data more often than `target` says, and shrinks while it does not.

    r = E sign(Φ(T(particle)) − Φ(T(data))), smoothed over some ten steps: 0 where the two cannot be told apart, 1 where
    every particle lies above its datum. It is ADA's r_t for potentials that are compared in pairs.   [derived]

    num_images: of the data, in which p would go from 0 to 1, if `most` did not hold it.
    """

    exchanges = True
    of_training = ("probability", "separation")
    target, smoothing = 0.6, 0.9
    """Of r: where it is held, and what a step keeps of it."""
    most = 0.7
    """Of p, below 3/4: shifts by a pixel have eigenvalues from −1/3 on, and 1 − p − p/3 must be above 0.   [derived]"""

    def __init__(self, num_images: int) -> None:
        super().__init__(0.0)
        if num_images < 1:
            raise ValueError(f"an adaptive augmentation needs at least 1 image to move in, not {num_images}")
        self.num_images = num_images
        self.register_buffer("separation", torch.zeros(()))

    @torch.no_grad()
    def follow(self, cost: Cost, batch_size: int) -> dict[str, Scalar]:
        """Move p by one batch's share of the way; nothing waits for the device."""
        ranks = shared()
        now = cost.separation.clone()
        ranks.add([now])
        self.separation.lerp_(now / ranks.num, 1 - self.smoothing)
        way = torch.sign(self.separation - self.target) * (batch_size * ranks.num / self.num_images)
        self.probability.add_(way).clamp_(0, self.most)
        return super().follow(cost, batch_size) | {"separation": self.separation.clone()}


class Augmented(Energy):
    """Φ∘T over the same net and reference."""

    def __init__(self, energy: Energy, transform: Callable[[Points], Points]) -> None:
        super().__init__(energy.net, energy.reference)
        self.energy, self.transform = energy, transform

    def potential(self, x: Points) -> PerPoint:
        return self.energy.potential_after(self.transform, x)

    def pull(self, x: Points) -> PerPoint:
        return self.energy.pull(x)


def augmentation(augment: Augment, num_images: int) -> Augmentation | None:
    """As a recipe's `augment` says, for a run of `num_images`.

    An adaptive p would go from 0 to 1 in a quarter of the run, or in ADA's 500,000 images if those are fewer.
    """
    if augment == "adaptive":
        return AdaptiveAugmentation(max(1, min(num_images // 4, 500_000)))
    return Augmentation(augment) if augment else None


def brightened(x: Points, first: Share, second: Share) -> Points:
    """By −0.5 to 0.5, a quarter of the range of pixels."""
    return x + (first - 0.5)


def saturated(x: Points, first: Share, second: Share) -> Points:
    """The distance from grey, pixel by pixel, times 0 to 2."""
    grey = x.mean(1, keepdim=True)
    return grey + (x - grey) * (2 * first)


def contrasted(x: Points, first: Share, second: Share) -> Points:
    """The distance from the image's mean times 0.5 to 1.5."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + first)


def shifted(x: Points, first: Share, second: Share) -> Points:
    """By up to 1/8 of the size down and across; what comes in is the image in a mirror."""
    return _shifted_along(_shifted_along(x, first, 2), second, 3)


def _shifted_along(x: Points, share: Share, dim: int) -> Points:
    size = x.shape[dim]
    reach = size // 8
    shift = (share * (2 * reach + 1)).long() - reach
    row = (_places(x, dim) - shift).abs()
    row = size - 1 - (size - 1 - row).abs()
    return x.gather(dim, row.expand_as(x))


def cut(x: Points, first: Share, second: Share) -> Points:
    """A square of half the size turns grey; its centre lies anywhere in the image."""
    return x.masked_fill(_within(x, first, 2) & _within(x, second, 3), 0)


def _within(x: Points, share: Share, dim: int) -> Tensor:
    side = x.shape[dim] // 2
    begin = (share * (x.shape[dim] + 1)).long() - side // 2
    places = _places(x, dim)
    return (places >= begin) & (places < begin + side)


def _places(x: Points, dim: int) -> Tensor:
    """0, 1, … along an axis of the images."""
    shape = [1, 1, 1, 1]
    shape[dim] = -1
    return torch.arange(x.shape[dim], device=x.device).view(shape)


COLOURS = brightened, saturated, contrasted
PLACES = shifted, cut
