"""One model out of several: the mean of the weights of runs that began from the same weights.

    w = Σ_k w_k / n                                           [source: model soups, Wortsman et al. 2022]

Runs from one beginning that differ in their seed walk apart where training hardly cares, and the mean undoes the walk:
machines that hear nothing of each other train one model. Weights that were drawn apart have no mean that means
anything, which their correlation tells: it is near 0, and near 1 after a common beginning.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from evolvent.pretrained import model_file
from evolvent.recipes.find import short_name
from evolvent.storage.reading import read_model_with_sum

LEAST_CORRELATION = 0.5
"""Of two weights with a common beginning: 0.92 after 11,000 steps apart (docs/results.md)."""


def mean_of(sources: Sequence[Path | str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The mean weights, in float32, and the metadata of the first with `averaged`, what they are of.

    Counters are the first's. ValueError for fewer than two sources, of different recipes or nets, or without a common
    beginning.
    """
    if len(sources) < 2:
        raise ValueError("a mean is of two models or more: name the others, too")
    read = [(str(source), *read_model_with_sum(model_file(source))) for source in sources]
    (first, weights, metadata, _), *others = read
    for source, other, about, _ in others:
        _check_same_nets(first, weights, metadata["recipe"], source, other, about["recipe"])
        _check_common_beginning(first, weights, source, other)
    mean = {
        name: sum(of[name].double() for _, of, *_ in read).div(len(read)).float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }
    told = [{"source": source, "step": int(about["step"]), "sha256": sum_} for source, _, about, sum_ in read]
    return mean, metadata | {"averaged": json.dumps(told)}


def _check_same_nets(
    first: str, weights: dict[str, Tensor], recipe: str, source: str, other: dict[str, Tensor], its: str
) -> None:
    if recipe != its:
        raise ValueError(
            f"{source} is of the recipe {short_name(its)} and {first} of {short_name(recipe)}: one model has one recipe"
        )
    shapes, its_shapes = ({name: tensor.shape for name, tensor in of.items()} for of in (weights, other))
    if shapes != its_shapes:
        odd = next(name for name in (*shapes, *its_shapes) if shapes.get(name) != its_shapes.get(name))
        there, here = (list(of[odd]) if odd in of else "absent" for of in (its_shapes, shapes))
        raise ValueError(f"the nets differ: {odd} is {there} in {source} and {here} in {first}")


def _check_common_beginning(
    first: str, weights: dict[str, Tensor], source: str, other: dict[str, Tensor]
) -> None:
    learned = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim > 1]
    ours, theirs = (torch.cat([of[name].float().flatten() for name in learned]) for of in (weights, other))
    correlation = functional.cosine_similarity(ours, theirs, dim=0).item()
    if not correlation > LEAST_CORRELATION:
        raise ValueError(
            f"the weights of {source} and {first} have a correlation of {correlation:.2f}, where training on from the"
            " same weights leaves more than a half: a mean of models that began apart is none"
        )
