"""What training begins from: weights of a model that knows classes from those of one that knows none, and back.

    told         e_y = 0, and the mapping does not hear c_y yet         every class: the energy and births of all data
    forgotten    w + mean e_y, and the mapping always hears mean c_y    the energy and births of the mean class

From some classes to others it goes by way of none.
"""

import torch
from torch import nn

from evolvent.nets.classes import ByClass, Projection

Weights = dict[str, torch.Tensor]
"""A state dict."""

READ_OUT, READ_IN, BIAS = "read_out.weight", "read_in.weight", "read_in.bias"
"""Where classes speak and are heard: the score's last layer, and the mapping's first."""


def with_classes_of(learner: nn.Module, weights: Weights) -> Weights:
    """The weights as a model with `learner`'s classes, or none, begins with them; as they are where they fit.

    ValueError for a mapping that has no layer `read_in` to hear a class with.
    """
    drawn = learner.state_dict()
    if all(name in drawn and drawn[name].shape == tensor.shape for name, tensor in weights.items()):
        return weights
    if known_by(weights) == getattr(learner, "num_classes", None):
        return weights
    return told(learner, forgotten(weights))


def known_by(weights: Weights) -> int:
    """How many classes the weights know, 0 for none."""
    return max((len(weights[name]) for name in _directions(weights)), default=0)


def told(learner: nn.Module, weights: Weights) -> Weights:
    """Weights that know no classes, as `learner`'s; its own codes are those that it was drawn with.

    Nets that the weights lack are left out: weights of another learner are not for this function to refuse.
    """
    for path, part in learner.named_modules():
        if not any(name.startswith(f"{path}.") for name in weights):
            continue
        if isinstance(part, Projection):
            weights = _moved(weights, f"{path}.", f"{path}.score.")
            weights[f"{path}.directions"] = torch.zeros_like(part.directions)
        if isinstance(part, ByClass):
            weights = _moved(weights, f"{path}.", f"{path}.mapping.")
            heard = _heard(weights, f"{path}.mapping.{READ_IN}")
            weights[f"{path}.mapping.{READ_IN}"] = torch.cat([heard, torch.zeros_like(heard)], 1)
            weights[f"{path}.codes"] = part.codes.detach().clone()
    return weights


def forgotten(weights: Weights) -> Weights:
    """Weights that know classes, as those of the mean class; others as they are."""
    for name in _directions(weights):
        path, directions = name.removesuffix("directions"), weights[name].float()
        weights = _moved(weights, f"{path}score.", path, without=name)
        weights[path + READ_OUT] = weights[path + READ_OUT].float() + directions.mean(0)
    for name in _ending(weights, "codes"):
        path, codes = name.removesuffix("codes"), weights[name].float()
        weights = _moved(weights, f"{path}mapping.", path, without=name)
        num_hidden, heard = codes.shape[1], _heard(weights, path + READ_IN).float()
        weights[path + READ_IN] = heard[:, :num_hidden]
        weights[path + BIAS] = weights[path + BIAS].float() + heard[:, num_hidden:] @ codes.mean(0)
    return weights


def _directions(weights: Weights) -> list[str]:
    """Those of a `Projection`: a net of one's own may call a tensor so, too."""
    names = _ending(weights, "directions")
    return [name for name in names if f"{name.removesuffix('directions')}score.{READ_OUT}" in weights]


def _ending(weights: Weights, last: str) -> list[str]:
    return [name for name in weights if name.rpartition(".")[2] == last]


def _moved(weights: Weights, path: str, to: str, *, without: str | None = None) -> Weights:
    """Those below `path` under their names below `to`."""
    return {
        to + name.removeprefix(path) if name.startswith(path) else name: tensor
        for name, tensor in weights.items()
        if name != without
    }


def _heard(weights: Weights, name: str) -> torch.Tensor:
    if name not in weights:
        raise ValueError(
            f"a mapping hears of classes by its first layer, and these weights have no {name}: call that layer read_in,"
            " or learn with labels from drawn weights"
        )
    return weights[name]
