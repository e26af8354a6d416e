"""Where randomness comes from.

A sampler never draws by itself; it is handed a `Noise`. Training draws from torch's own generator, which the
trainer reseeds from (seed, step) before every step, so that an exact resume needs no saved generator. Sampling
draws from `ImageNoise`: image i sees a stream that depends on (seed, i) alone, whatever the batch size and the
device.

Where several processes share a step, each draws for the whole batch and keeps its own rows (`ranks`).

The stream of image i is counter-based (Philox4x32-10; Salmon et al., *Parallel random numbers: as easy as
1, 2, 3*, 2011): the bits are a function of (seed, image, draw, position), computed for a whole batch at once.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from evolvent.processes.ranks import shared

Words = Int64[Tensor, "..."]
"""Unsigned 32-bit words held in int64."""

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85


class Noise:
    """Randomness of torch's own generator on `device`."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def normal(self, num: int, *event: int) -> Float[Tensor, "num *event"]:
        """N(0, 1), of shape [num, *event]."""
        ranks = shared()
        return ranks.rows(torch.randn(num * ranks.num, *event, device=self.device))

    def normals(self, times: int, num: int, *event: int) -> Float[Tensor, "times num *event"]:
        """What so many calls of `normal` return, stacked."""
        blocks = self.device.type == "cpu" and num * math.prod(event) % 16 == 0
        if type(self) is Noise and blocks and shared().num == 1:
            # torch fills blocks of 16, one after the other: the same bits.
            return torch.randn(times, num, *event)
        return torch.stack([self.normal(num, *event) for _ in range(times)])

    def uniform(self, num: int, *event: int) -> Float[Tensor, "num *event"]:
        """Uniform on [0, 1), of shape [num, *event]."""
        ranks = shared()
        return ranks.rows(torch.rand(num * ranks.num, *event, device=self.device))

    def uniform_for_all(self, num: int) -> Float[Tensor, " num"]:
        """Uniform on [0, 1), the same in every process that shares the step."""
        return torch.rand(num, device=self.device)


def check_seed(seed: int) -> None:
    """ValueError for one that has no 64 bits of its own."""
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"a seed lies between -2⁶³ and 2⁶³ - 1, and {seed} does not")


class ImageNoise(Noise):
    """Randomness of the images first … first + num − 1 under `seed`: row i belongs to image first + i.

    The n-th call returns the n-th draw of every image's stream, so two runs agree when they make the same calls.
    Asking for another number of rows than `num` raises ValueError.
    """

    def __init__(self, seed: int, first: int, num: int, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        check_seed(seed)
        self.seed, self.num, self.draws = seed, num, 0
        self.images = torch.arange(first, first + num, device=self.device)[:, None]

    def normal(self, num: int, *event: int) -> Float[Tensor, "num *event"]:
        return self._draw(1, num, event, box_muller)[0]

    def normals(self, times: int, num: int, *event: int) -> Float[Tensor, "times num *event"]:
        return self._draw(times, num, event, box_muller)

    def uniform(self, num: int, *event: int) -> Float[Tensor, "num *event"]:
        return self._draw(1, num, event, torch.cat)[0]

    def uniform_for_all(self, num: int) -> Float[Tensor, " num"]:
        return self.uniform(num)

    def _draw(self, times: int, num: int, event: tuple[int, ...], shape_by: Callable) -> Tensor:
        """The next draws of every image's stream, [times, num, *event]."""
        if num != self.num:
            raise ValueError(f"this noise belongs to {self.num} images and was asked for {num} rows")
        length = math.prod(event)
        blocks = torch.arange((length + 3) // 4, device=self.device).expand(times, num, -1)
        draws = torch.arange(self.draws, self.draws + times, device=self.device)[:, None, None]
        counter = [blocks, draws, self.images & WORD, self.images >> 32]
        words = philox(
            [word.expand_as(blocks) for word in counter], (self.seed & WORD, (self.seed >> 32) & WORD)
        )
        self.draws += times
        uniforms = [((word >> 9).float() + 0.5) * 2.0**-23 for word in words]
        return shape_by(uniforms, dim=2)[..., :length].reshape(times, num, *event)


def box_muller(uniforms: list[Tensor], dim: int) -> Tensor:
    """Four arrays of uniforms into four of normals: √(−2 log u) (cos, sin)(2π v)."""
    first, second, third, fourth = uniforms
    near, far = (-2 * first.log()).sqrt(), (-2 * second.log()).sqrt()
    angle, turn = 2 * math.pi * third, 2 * math.pi * fourth
    return torch.cat([near * angle.cos(), near * angle.sin(), far * turn.cos(), far * turn.sin()], dim)


def philox(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Philox4x32-10: four counter words and two key words into four random words."""
    a, b, c, d = counter
    first_key, second_key = key
    for _ in range(10):
        # int64 products wrap like unsigned ones; the shift is arithmetic, so the high word is masked.
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            ((right >> 32) & WORD) ^ b ^ first_key,
            right & WORD,
            ((left >> 32) & WORD) ^ d ^ second_key,
            left & WORD,
        )
        first_key, second_key = (first_key + KEY_STEPS[0]) & WORD, (second_key + KEY_STEPS[1]) & WORD
    return [a, b, c, d]
