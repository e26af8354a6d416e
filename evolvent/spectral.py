"""A reference that has seen the data's spectrum, and the metric that comes of it.                             [derived]

Images vary a thousand times as far along their coarse waves as along their fine ones. A chain whose steps are as long
in every direction either crawls along the first or blows up along the second. One that moves in a metric A ∝ C^¾, a
power of the data's covariance, goes far where they vary much and little where they do little, and samples the same law
(`dynamics.Preconditioned`).
"""

import math

import torch
from torch import Tensor, nn

from evolvent.machine import in_full_precision
from evolvent.noise import Noise
from evolvent.reference import Reference
from evolvent.shapes import PerPoint, Points

NUM_SEEN, AT_ONCE = 20_000, 1_000
"""Points of the data that the moments are taken from, and how many of them are drawn together."""
EXPONENT = 0.75
"""Of C in the metric."""
LEAST_VARIANCE = 1e-5
"""Of a wave: some twice what rounding to 256 levels leaves in images from −1 to 1."""


class Spectral(Reference):
    """Constant density, and births that are Gaussian fields with the mean and the spectrum of the data.  [derived]

        x = μ + C^½ ξ,   ξ ~ N(0, I)              births
        A = C^¾ / s,     s such that tr A = d     the metric of `stretch`

    C is the covariance that images have where statistics are the same everywhere: at each spatial frequency one matrix
    over the channels, of which the real part is kept, as if images were as often turned by half. The energy is 0:
    image-scale chains follow exp(−Φ / T) at a low T, beside which q, at temperature 1, would hardly count, and
    `sample` is only where they begin.

    `see` takes μ and C from the data, before the first step of training; until then draws are NaN. They are saved with
    the weights. Points are [batch, channels, height, width].
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 3:
            raise ValueError(f"a spectrum is of images [channels, height, width], not of {list(event_shape)}")
        channels, height, width = self.event_shape
        matrices = (height, width // 2 + 1, channels, channels)
        self.register_buffer("mean", torch.full(self.event_shape, math.nan))
        self.register_buffer("root", torch.full(matrices, math.nan))
        """C^½ at each frequency of the real Fourier transform."""
        self.register_buffer("metric_root", torch.full(matrices, math.nan))
        """A^½ likewise."""

    @property
    def unseen(self) -> bool:
        """Whether there is nothing to draw from yet."""
        return bool(self.mean.isnan().any())

    @torch.no_grad()
    def see(self, data: nn.Module) -> None:
        """μ and C of 20,000 draws of the data, labels left aside. ValueError for points of another shape."""
        if tuple(data.event_shape) != self.event_shape:
            raise ValueError(
                f"the reference is of images {list(self.event_shape)}, the data of {list(data.event_shape)}"
            )
        mean, covariance = self._moments(data)
        if not covariance.isfinite().all():
            raise ValueError("the data have no spectrum: there are numbers among them that are not finite")
        variances, axes = torch.linalg.eigh(covariance)
        variances.clamp_(min=LEAST_VARIANCE)
        half = self.root.shape[1]

        def power(exponent: float) -> Tensor:
            return ((axes * variances[..., None, :] ** exponent) @ axes.mT)[:, :half]

        self.mean.copy_(mean)
        self.root.copy_(power(0.5))
        self.metric_root.copy_(power(EXPONENT / 2) / variances.pow(EXPONENT).mean().sqrt())

    def _moments(self, data: nn.Module) -> tuple[Tensor, Tensor]:
        """The mean image, and the channels' covariance at each frequency, [height, width, channels, channels]."""
        near = self._draw(data).mean(0)  # what is left of it rounds less
        mean, second, num = 0.0, 0.0, 0
        while num < NUM_SEEN:
            x = self._draw(data) - near
            waves = torch.fft.fft2(x, norm="ortho")
            mean = mean + x.sum(0)
            second = second + torch.einsum("nchw,ndhw->hwcd", waves, waves.conj()).real
            num += len(x)
        mean, second = mean / num, second / num
        of_mean = torch.fft.fft2(mean, norm="ortho")
        return near + mean, second - torch.einsum("chw,dhw->hwcd", of_mean, of_mean.conj()).real

    def _draw(self, data: nn.Module) -> Points:
        """Some points, without the label that each may carry behind its channels."""
        return data.draw(AT_ONCE)[:, : self.event_shape[0]]

    def energy(self, x: Points) -> PerPoint:
        return x.new_zeros(len(x))

    def sample(self, num: int, noise: Noise) -> Points:
        return self.mean + _filtered(noise.normal(num, *self.event_shape), self.root)

    def longest(self) -> float:
        return float(torch.linalg.eigvalsh(self.metric_root).max()) ** 2

    def stretch(self, x: Points) -> Points:
        return _filtered(x, self.metric_root)


def _filtered(x: Points, matrices: Tensor) -> Points:
    """Every frequency's channels times its real matrix, [height, width // 2 + 1, channels, channels]."""
    with in_full_precision(x.device):
        waves = torch.view_as_real(torch.fft.rfft2(x.to(matrices.dtype), norm="ortho"))
        waves = torch.einsum("hwcd,ndhwr->nchwr", matrices, waves).contiguous()
        return torch.fft.irfft2(torch.view_as_complex(waves), s=x.shape[-2:], norm="ortho")
