"""One model out of several: the mean of the weights of runs that began from the same weights.

    w = Σ_k w_k / n                                           [source: model soups, Wortsman et al. 2022]

Runs from one beginning that differ in their seed walk apart where training hardly cares, and the mean undoes the walk:
machines that hear nothing of each other train one model. Weights that were drawn apart have no mean that means
anything, which their correlation tells: it is near 0, and near 1 after a common beginning.

Batch norm's statistics are no weights: what the mean net computes spreads less than what the nets compute that it is
the mean of. They are measured anew, on its own births                    [source: SWA, Izmailov et al. 2018]
"""

import json
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evolvent.pretrained import difference, rebuilt, weights_to_pass_on
from evolvent.processes.ranks import batch_norms
from evolvent.sampling import draw_chunk, needed

NUM_BIRTHS, AT_ONCE = 12_800, 64
"""On which batch norm's statistics are measured, and how many are born together; none is kept."""
LEAST_CORRELATION = 0.5
"""Of two weights with a common beginning: 0.92 after 11,000 steps apart (docs/results-cifar10.md)."""


def mean_of(sources: Sequence[Path | str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The mean weights, in float32, and the metadata of the first with `averaged`, what they are of.

    ValueError for fewer than two sources, of different nets, without a common beginning, or of which
    two hold the same weights.
    """
    if len(sources) < 2:
        raise ValueError("a mean is of two models or more: name the others, too")
    read = [(str(source), *weights_to_pass_on(source)) for source in sources]
    (first, weights, metadata, _), *others = read
    learned = dict(rebuilt(weights, metadata, first).learner.named_parameters())
    for source, other, *_ in others:
        _check_same_nets(first, weights, source, other)
        _check_common_beginning(learned, first, weights, source, other)
    for (source, of, *_), (again, its, *_) in combinations(read, 2):
        _check_other_weights(source, of, again, its)
    mean = {
        name: sum(of[name].double() for _, of, *_ in read).div(len(read)).float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }
    mean = _with_own_statistics(mean, metadata, first)
    told = [{"source": source, "step": int(about["step"]), "sha256": sum_} for source, _, about, sum_ in read]
    return mean, metadata | {"averaged": json.dumps(told)}


def _with_own_statistics(
    weights: dict[str, Tensor], metadata: dict[str, str], source: str
) -> dict[str, Tensor]:
    """The weights with the statistics that batch norm meets in births of theirs."""
    if not any(name.endswith("running_var") for name in weights):
        return weights
    learner = rebuilt(weights, metadata, source).learner
    for norm in batch_norms(learner):
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.register_forward_pre_hook(_measuring)
    for first in range(0, NUM_BIRTHS, AT_ONCE):
        draw_chunk(learner, first, stages={}, batch_size=AT_ONCE)
    return {name: tensor.clone().contiguous() for name, tensor in needed(learner).items()}


def _measuring(norm: nn.Module, _: object) -> None:
    norm.train()  # which drawing has in eval mode


def _check_same_nets(first: str, weights: dict[str, Tensor], source: str, other: dict[str, Tensor]) -> None:
    if odd := difference(weights, other):
        name, here, there = odd
        raise ValueError(f"the nets differ: {name} is {there} in {source} and {here} in {first}")


def _check_common_beginning(
    learned: Collection[str], first: str, weights: dict[str, Tensor], source: str, other: dict[str, Tensor]
) -> None:
    matrices = [name for name in learned if weights[name].ndim > 1]
    ours, theirs = (torch.cat([of[name].float().flatten() for name in matrices]) for of in (weights, other))
    correlation = functional.cosine_similarity(ours, theirs, dim=0).item()
    if not correlation > LEAST_CORRELATION:
        raise ValueError(
            f"the weights of {source} and {first} have a correlation of {correlation:.2f}, where training on from the"
            " same weights leaves more than a half: a mean of models that began apart is none"
        )


def _check_other_weights(source: str, weights: dict[str, Tensor], again: str, its: dict[str, Tensor]) -> None:
    if all(torch.equal(tensor, its[name]) for name, tensor in weights.items()):
        raise ValueError(
            f"{source} and {again} hold the same weights, which count once: name runs that differ, each with"
            " a --seed of its own"
        )
