"""uint8 <-> [-1, 1]: what particles are made of, and nobody else makes them.

[-1, 1] is cut into 256 equal bins, and pixel value k is the k-th bin:

    k   <->   [k/128 − 1, (k + 1)/128 − 1)

`to_particles` answers with a point of the bin, its centre or (dequantised) a uniform one; `to_pixels` answers
with the bin a point is in. So the round trip is exact, dequantised or not, and dequantising moves no mean.
"""

import torch

from evolvent.shapes import Pixels, Points

UNIFORM_STEPS = 2**16
"""8 bits of pixel and 16 of uniform fill float32's 24: no sum is rounded, so none into the next bin."""


def to_particles(pixels_uint8: Pixels, *, dequantise: bool = False) -> Points:
    """Pixels as points of [-1, 1], float32, on the same device.

    `dequantise` draws each value uniformly from its bin, from torch's global generator (Uria, Murray &
    Larochelle, *RNADE*, 2013): a density on 256 isolated levels is unbounded, and a score could live off the
    gaps.
    """
    if dequantise:
        within = torch.rand(pixels_uint8.shape, device=pixels_uint8.device)
        within = within.mul_(UNIFORM_STEPS).floor_().div_(UNIFORM_STEPS)
        return within.add_(pixels_uint8).div_(128).sub_(1)
    return (pixels_uint8.float() + 0.5) / 128 - 1


def to_pixels(particles: Points) -> Pixels:
    """Particles as a screen can show them: each value's bin, 0..255.

    Values outside [-1, 1] are shown as black or full white, because a picture cannot show more. NaN and
    infinity raise ValueError: they are a diverged run, and must not come out as a grey picture.
    """
    num_broken = int((~particles.isfinite()).sum())
    if num_broken:
        raise ValueError(
            f"{num_broken} of {particles.numel()} values are NaN or infinite, and no picture shows those; "
            "the run has diverged: take an earlier checkpoint or a smaller step size"
        )
    return ((particles.float() + 1) * 128).floor().clamp(0, 255).to(torch.uint8)
