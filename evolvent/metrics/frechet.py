"""The Fréchet distance: how far apart two sets of features are, if each were a normal law.

    F = ‖μ_a − μ_b‖² + tr A + tr B − 2 tr (A B)^½           the squared W₂ of N(μ_a, A) and N(μ_b, B)

The root needs no matrix root: with A = L Lᵀ and B = M Mᵀ, tr (A B)^½ is the sum of the singular values of Lᵀ
M, which is exact even where a covariance is singular. All of it is in float64.

It is biased: finite sets of one and the same law are apart, and the further the fewer they are (with fewer
points than features it is mostly bias). Compare it at equal counts only, and with the floor of real against
real.

    Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017; Dowson and Landau, 1982.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from evolvent.metrics.features import Features


class Moments(NamedTuple):
    """Count, mean and scatter Σ (f − mean)(f − mean)ᵀ of features that arrive in pieces, in float64.

    Immutable: `update` and `merge` return new moments, the same to rounding in whatever order.
    """

    num: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @classmethod
    def empty(cls, num_features: int, *, device: str | torch.device = "cpu") -> Moments:
        """The moments of nothing yet."""
        zeros = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)
        return cls(0, zeros.new_zeros(num_features), zeros)

    @classmethod
    def of(cls, features: Features) -> Moments:
        """The moments of one piece. Raises ValueError for a feature that is not finite."""
        if not features.isfinite().all():
            raise ValueError(
                "a feature is not finite: it has no moments. Look at the samples before their score"
            )
        if len(features) == 0:
            return cls.empty(features.shape[1], device=features.device)
        features = features.double()
        mean = features.mean(0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    @classmethod
    def of_pieces(cls, pieces: Iterable[Features]) -> Moments:
        """The moments of all pieces together, of which none is kept. Raises ValueError when there are none."""
        found = None
        for piece in pieces:
            found = Moments.of(piece) if found is None else found.update(piece)
        if found is None:
            raise ValueError("there are no features: nothing has no moments")
        return found

    def update(self, features: Features) -> Moments:
        """These moments and another piece."""
        return self.merge(Moments.of(features))

    def merge(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub and LeVeque, 1979)."""
        _check_width(self, other)
        num = self.num + other.num
        if num == 0:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * (other.num / num)
        between = torch.outer(step, step) * (self.num * other.num / num)
        return Moments(num, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """scatter/(num − 1). Raises ValueError for fewer than two points."""
        if self.num < 2:
            raise ValueError(f"a covariance needs at least 2 images, not {self.num}")
        return self.scatter / (self.num - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared W₂ of the two normal laws, in squared units of a feature; 0 to rounding for equal moments.

    Raises ValueError for fewer than two points on a side and for features of different number.
    """
    _check_width(a, b)
    left, right = a.covariance, b.covariance
    root = torch.linalg.svdvals(_factor(left).T @ _factor(right)).sum()
    return float((a.mean - b.mean).square().sum() + left.trace() + right.trace() - 2 * root)


def _factor(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d rank"]:
    """L with L Lᵀ the covariance, without the directions whose variance is nothing but rounding."""
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:
        # Divide and conquer may fail where most eigenvalues are equal: 40 images, 1280 features. QR does not.
        import scipy.linalg  # a quarter of a second that is needed here alone

        found = scipy.linalg.eigh(covariance.cpu().numpy(), driver="ev")
        values, vectors = (torch.from_numpy(part).to(covariance) for part in found)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    kept = values > rounding
    return vectors[:, kept] * values[kept].sqrt()


def _check_width(a: Moments, b: Moments) -> None:
    if len(a.mean) != len(b.mean):
        raise ValueError(f"moments of {len(a.mean)} and of {len(b.mean)} features: not of one detector")
