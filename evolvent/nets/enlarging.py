"""What a larger model begins from: weights of a smaller one, whose images and energies it begins with.

    mapping    new stages repeat what the last one says, and its last layer K becomes T K Tᵀ for every doubling
    score      a patch of more pixels is heard as the mean of each square of them

    shrink(g_large(z)) = g(z) before its tanh, and f_large(x) = f(shrink(x)), where shrink takes the mean of 2×2 pixels

No detail is known yet, and every part that is to learn it hears a gradient. Both hold where the score's grid stays,
which a `patch` that doubles with the size brings, and the mapping's new stages are as wide as its last: doubling widths
begin at 32 px. The blocks of new stages are drawn alike whatever the seed of the run, as those of `deepening`.
"""

import torch
from torch import nn

from evolvent.nets.deepening import identity_like, num_inside
from evolvent.nets.mapping import ResidualMapping
from evolvent.nets.retelling import Weights
from evolvent.nets.score import ResidualScore

DOUBLING = torch.tensor([[2.0, 0.0, 0.0], [-1.0, 1.0, -1.0], [0.0, 0.0, 2.0]])
"""T: of a row of three taps over pixels, those over halves of pixels whose means over both halves are the same."""


def with_stages_of(learner: nn.Module, weights: Weights) -> Weights:
    """The weights as `learner` begins with them where its images are larger (`doublings`); others as they are.

    ValueError for a score that would begin on a finer grid.
    """
    if not doublings(learner, weights):
        return weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for path, part in learner.named_modules():
            if isinstance(part, ResidualMapping) and (new := missing_stages(part, path, weights)):
                weights = weights | _risen(part, path, weights, new)
            elif isinstance(part, ResidualScore):
                weights = weights | _shared_out(part, path, weights)
    return weights


def doublings(learner: nn.Module, weights: Weights) -> int:
    """How many times the side of the images of `learner`'s mapping is that of the weights' doubled."""
    mappings = ((path, part) for path, part in learner.named_modules() if isinstance(part, ResidualMapping))
    return max((len(missing_stages(part, path, weights)) for path, part in mappings), default=0)


def missing_stages(mapping: ResidualMapping, path: str, weights: Weights) -> list[int]:
    """Those of `mapping` that the weights below `path` lack, if they are as wide as the last that these have."""
    last, num_known = weights.get(f"{path}.norm.weight"), num_inside(f"{path}.stages", weights)
    new = range(num_known, len(mapping.stages))
    fits = last is not None and all(mapping.stages[k][0].first.in_channels == len(last) for k in new)
    return list(new) if fits else []


def _risen(mapping: ResidualMapping, path: str, weights: Weights, new: list[int]) -> Weights:
    """New stages that are the identity, and the last layer over what they give."""
    begun = {}
    for k in new:
        block = identity_like(mapping.stages[k][0]).state_dict()
        begun |= {f"{path}.stages.{k}.0.{name}": tensor for name, tensor in block.items()}
    kernel = weights[f"{path}.read_out.weight"].float()
    for _ in new:
        kernel = torch.einsum("ij,oajk,lk->oail", DOUBLING, kernel, DOUBLING)
    return begun | {f"{path}.read_out.weight": kernel}


def _shared_out(score: ResidualScore, path: str, weights: Weights) -> Weights:
    """The first layer of `score`, which hears the mean of several pixels where the weights' hears one."""
    if len(score.stages) > num_inside(f"{path}.stages", weights):
        raise ValueError(
            f"the energy would begin on a finer grid than that of the weights: with images of twice the side, begin"
            f" with patches of twice the side of theirs, not of {score.patch}"
        )
    stem = weights[f"{path}.stem.weight"].float()
    before = round((stem.shape[1] / score.channels) ** 0.5)
    if stem.shape[1] != score.channels * before**2:
        return {}  # of other channels: loading refuses them by name
    pixels = stem.unflatten(1, (score.channels, before, before))
    times = score.patch // before
    for side in (2, 3):
        pixels = pixels.repeat_interleave(times, side) / times
    return {f"{path}.stem.weight": pixels.flatten(1, 3)}
