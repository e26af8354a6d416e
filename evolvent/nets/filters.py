"""FRAME's score: a given filter bank, and learned potentials of its rectified responses.

FRAME (filters, random fields and maximum entropy; Zhu, Wu, Mumford 1998) chooses filters and learns only what
to make of their responses. Its score sums rectified responses over filters k, rectifiers j and positions:

    f(x) = Σ_k Σ_j w_kj S_kj(x),      S_kj(x) = Σ_position relu(±u_k − b_j),      u_k = (⟨x, F_k⟩ − m_k) / s_k

For each filter, Σ_j w_kj relu(±u − b_j) is a piecewise-linear potential of the response u with bends at ±b_j.
Since f is linear in w, maximum likelihood is moment matching and its gradient is exact:

    ∂f/∂w = S,    so learning rests where  E_data[S] = E_particles[S]

which matches the histogram of every filter's response, up to the spacing of the bends. Zero weights are a
zero score and leave the reference as it is; of all laws with these histograms, FRAME is nearest to the
reference, so where no filter looks the particles are the reference's noise.

Three things are given: the filters, in groups of one support each (`filter_bank`); the `BENDS` b_j; and each
response's centre m_k and deviation s_k, which `FilterScore.calibrate` reads from data. To look at images
through other filters, pass another list of kernels [num_filters, 1, size, size] to `FilterScore`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from evolvent.shapes import PerPoint

Images = Float[Tensor, "_ channel height width"]
Kernels = Float[Tensor, "filter 1 size size"]
Responses = Float[Tensor, "batch plane filter rows columns"]
Statistics = Float[Tensor, "batch plane filter rectifier"]

BENDS = (0.0, 0.5, 1.0, 2.0)
"""The b_j ≥ 0, in units of a response's deviation; each serves both signs."""


def gabor_pairs(size: int, *, num_orientations: int = 6) -> Kernels:
    """Gabor filters, first the even (cosine) and then the odd (sine) half of each pair: 2 · num_orientations.

    Filter i is a wave of size / 2 pixels that travels along (cos θ, sin θ), x to the right and y down, at
    θ = π i / num_orientations. Its Gaussian window has deviation size / 5 along the wave and, as simple cells
    have, a wider one across it: size / 3.5. (At size 3 the pairs are second and first differences.)
    """
    down, right = _grid(size)
    angle = torch.arange(num_orientations)[:, None, None] * (math.pi / num_orientations)
    along = right * angle.cos() + down * angle.sin()
    across = down * angle.cos() - right * angle.sin()
    window = torch.exp(-((along / (size / 5)) ** 2 + (across / (size / 3.5)) ** 2) / 2)
    phase = 2 * math.pi * along / (size / 2)
    return torch.cat([_normalised(phase.cos() * window, window), _normalised(phase.sin() * window, window)])


def laplacian(size: int) -> Kernels:
    """The Laplacian of a Gaussian of deviation size / 6, positive at its centre: it answers to blobs."""
    down, right = _grid(size)
    radius_squared = (down**2 + right**2) / (size / 6) ** 2
    window = torch.exp(-radius_squared / 2)[None]
    return _normalised((2 - radius_squared) * window, window)


def filter_bank(sizes: Sequence[int] = (3, 5, 9, 17)) -> list[Kernels]:
    """FRAME's filters, a group for each support: the pixel, then Gabor pairs and a Laplacian of each size.

    Every filter has unit L2 norm, so white noise of deviation 1 gives it responses of deviation 1; every
    filter but the pixel has zero mean, so brightness gives it none. Size 3 is what sees the finest noise.
    """
    if wrong := [size for size in sizes if size < 3 or size % 2 == 0]:
        raise ValueError(
            f"a filter needs a centre and sides: give odd sizes of at least 3 instead of {wrong}"
        )
    pixel = torch.ones(1, 1, 1, 1)
    return [pixel, *(torch.cat([gabor_pairs(size), laplacian(size)]) for size in sizes)]


def opponents(num_channels: int) -> Float[Tensor, "plane channel"]:
    """The planes that filters look at, as rows of unit norm: of colour luminance, red-green, yellow-blue.

    The rows are orthonormal, so no colour is lost; any other number of channels is taken one by one.
    """
    if num_channels != 3:
        return torch.eye(num_channels)
    return functional.normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]), dim=1)


class FilterGroup(nn.Module):
    """Filters of one support, applied to every plane; beyond its border the image goes on in a mirror.

    (Without the mirror few filters see the outermost pixels, which then stay the reference's noise.)
    Responses of wide filters vary slowly, so they are taken at every `stride`-th position, a quarter of the
    size, and each counts for the stride² positions around it.
    """

    def __init__(self, kernels: Kernels):
        super().__init__()
        self.register_buffer("kernels", kernels.clone())
        self.stride = max(1, kernels.shape[-1] // 4)

    def forward(self, planes: Float[Tensor, "batch plane height width"]) -> Responses:
        size, smallest = self.kernels.shape[-1], min(planes.shape[-2:])
        if smallest <= size // 2:
            raise ValueError(
                f"a filter of {size} pixels needs an image of at least {size // 2 + 1}, to mirror it at the border, "
                f"and not of {smallest}: give filter_bank smaller sizes"
            )
        mirrored = functional.pad(planes, (size // 2,) * 4, mode="reflect").flatten(0, 1)[:, None]
        responses = functional.conv2d(mirrored, self.kernels, stride=self.stride)
        return responses.unflatten(0, planes.shape[:2])


class FilterScore(nn.Module):
    """f(x) = Σ_k Σ_j w_kj Σ_position relu(±u_k − b_j), for images [batch, channel, height, width] -> [batch].

    The score is a sum over positions, not their mean: the weights then belong to the texture and hold for a larger
    canvas too. Their gradient grows with the number of positions, which Adam cancels; plain descent must divide by it.

    Until `calibrate` is called centres are 0 and deviations 1, those of white noise N(0, 1).
    """

    def __init__(self, num_channels: int, bank: Sequence[Kernels] | None = None):
        super().__init__()
        self.groups = nn.ModuleList(FilterGroup(kernels) for kernels in bank or filter_bank())
        self.group_sizes = [len(group.kernels) for group in self.groups]
        self.register_buffer("opponents", opponents(num_channels))
        num_planes, num_filters = len(self.opponents), sum(self.group_sizes)
        self.register_buffer("centres", torch.zeros(num_planes, num_filters))
        self.register_buffer("deviations", torch.ones(num_planes, num_filters))
        self.weights = nn.Parameter(torch.zeros(num_planes, num_filters, 2 * len(BENDS)))

    def forward(self, x: Images) -> PerPoint:
        return torch.einsum("npkj,pkj->n", self.statistics(x), self.weights)

    def statistics(self, x: Images) -> Statistics:
        """S(x), rectified responses summed over positions: all relu(u − b_j) and then all relu(−u − b_j)."""
        sums = []
        for group, responses, centre, deviation in zip(
            self.groups, self.responses(x), *self._units(), strict=True
        ):
            units = (responses - centre[..., None, None]) / deviation[..., None, None]
            rectified = [(u - b).relu_().sum((-2, -1)) for u in (units, -units) for b in BENDS]
            sums.append(group.stride**2 * torch.stack(rectified, dim=-1))
        return torch.cat(sums, dim=2)

    def mean_responses(self, x: Images) -> Statistics:
        """Rectified responses of each image averaged over positions, in units of their deviations."""
        return self.statistics(x) / self.num_positions(x)[:, None]

    def responses(self, x: Images) -> list[Responses]:
        """⟨x, F_k⟩ in the units of x, for each group of filters."""
        planes = torch.einsum("pc,nchw->nphw", self.opponents, x)
        return [group(planes) for group in self.groups]

    def num_positions(self, x: Images) -> Float[Tensor, " filter"]:
        """The number of positions in an image like x that each filter's statistics sum over."""
        counts = [
            group.stride**2 * math.prod(r.shape[-2:])
            for group, r in zip(self.groups, self.responses(x[:1]), strict=True)
        ]
        return x.new_tensor(counts).repeat_interleave(torch.tensor(self.group_sizes, device=x.device))

    @torch.no_grad()
    def calibrate(self, data: Images) -> None:
        """Set centres and deviations to those of the responses to data: the units of the weights."""
        if self.weights.any():
            raise ValueError("calibrating changes what learned weights mean: calibrate a new FilterScore")
        responses = self.responses(data)
        deviations = torch.cat([r.std((0, 3, 4)) for r in responses], dim=1)
        # A hundredth of a grey level of 8 bits: less is rounding.
        if num_silent := int((deviations < 1e-4).sum()):
            raise ValueError(
                f"{num_silent} of {deviations.numel()} filter responses do not vary in the data: "
                "give grey pictures as one channel, or leave these filters out"
            )
        self.deviations.copy_(deviations)
        self.centres.copy_(torch.cat([r.mean((0, 3, 4)) for r in responses], dim=1))

    def _units(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return self.centres.split(self.group_sizes, dim=1), self.deviations.split(self.group_sizes, dim=1)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    offsets = torch.arange(size) - (size - 1) / 2
    return offsets[:, None], offsets[None, :]


def _normalised(
    wave: Float[Tensor, "filter size size"], window: Float[Tensor, "filter size size"]
) -> Kernels:
    """Zero mean and unit L2 norm; the mean is taken out in the window's shape: filters still fade out."""
    balanced = wave - window * (wave.sum((1, 2), keepdim=True) / window.sum((1, 2), keepdim=True))
    return functional.normalize(balanced.flatten(1), dim=1).view(-1, 1, *wave.shape[1:])
