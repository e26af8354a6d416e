"""What a deeper model begins from: weights of a shallower one, and residual blocks that do nothing yet.

x + second(…) with second = 0 is the same function to the last bit, and hears a gradient that wakes it.
"""

import torch
from torch import nn

from evolvent.nets.mapping import NormalisedBlock
from evolvent.nets.retelling import Weights
from evolvent.nets.score import ResidualBlock


def with_blocks_of(learner: nn.Module, weights: Weights) -> Weights:
    """The weights and, of every residual block that `learner` has more in a stage, its own, as the identity."""
    for path in missing_blocks(learner, weights):
        drawn = learner.get_submodule(path).state_dict()
        still = {name: torch.zeros_like(drawn[name]) for name in drawn if name.startswith("second.")}
        weights = weights | {f"{path}.{name}": tensor for name, tensor in (drawn | still).items()}
    return weights


def missing_blocks(learner: nn.Module, weights: Weights) -> list[str]:
    """The paths of `learner`'s residual blocks that the weights lack, in stages of which they have some."""

    def known(path: str) -> bool:
        return any(name.startswith(f"{path}.") for name in weights)

    blocks = (ResidualBlock, NormalisedBlock)
    paths = [path for path, part in learner.named_modules() if isinstance(part, blocks) and not known(path)]
    return [path for path in paths if known(path.rpartition(".")[0])]
