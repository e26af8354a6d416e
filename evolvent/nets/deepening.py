"""What a deeper model begins from: weights of a shallower one, and residual blocks that do nothing yet.

    x + second(…), second = 0      the same function to the last bit, and a gradient reaches second

The rest of a new block is drawn, and alike whatever the seed of the run: runs that begin deeper from the same weights
begin from the same function and the same blocks, and have a mean (`averaging`).
"""

import copy

import torch
from torch import nn

from evolvent.nets.mapping import NormalisedBlock
from evolvent.nets.retelling import Weights
from evolvent.nets.score import ResidualBlock, wake


def with_blocks_of(learner: nn.Module, weights: Weights) -> Weights:
    """The weights, and for every residual block that they lack (`missing_blocks`) one that is the identity.

    ValueError for weights of a deeper model: no block is dropped.
    """
    _check_no_deeper(learner, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for path in missing_blocks(learner, weights):
            new = identity_like(learner.get_submodule(path)).state_dict()
            weights = weights | {f"{path}.{name}": tensor for name, tensor in new.items()}
    return weights


def missing_blocks(learner: nn.Module, weights: Weights) -> list[str]:
    """The paths of `learner`'s residual blocks that the weights lack, in stages of which they have some."""

    def known(path: str) -> bool:
        return any(name.startswith(f"{path}.") for name in weights)

    blocks = [path for path, part in learner.named_modules() if isinstance(part, ResidualBlock)]
    return [path for path in blocks if not known(path) and known(path.rpartition(".")[0])]


def identity_like(block: ResidualBlock | NormalisedBlock) -> nn.Module:
    """A residual block of that shape that is drawn anew, but for its second convolution, which is 0."""
    new = copy.deepcopy(block)
    wake(new)
    with torch.no_grad():
        for parameter in new.second.parameters():
            parameter.zero_()
    return new


def num_inside(path: str, weights: Weights) -> int:
    """How many parts the weights have in the row of them at `path`."""
    inside = (name.removeprefix(f"{path}.") for name in weights if name.startswith(f"{path}."))
    return len({name.partition(".")[0] for name in inside})


def _check_no_deeper(learner: nn.Module, weights: Weights) -> None:
    """ValueError where the weights have more residual blocks in a stage than `learner`."""
    for path, part in learner.named_modules():
        if not isinstance(part, nn.Sequential) or not all(isinstance(block, ResidualBlock) for block in part):
            continue
        num = num_inside(path, weights)
        if num > len(part):
            raise ValueError(
                f"the weights have {num} residual blocks in {path} and this model {len(part)}, and none is dropped:"
                f" begin with a depth of {num} or more"
            )
