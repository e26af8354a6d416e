"""Our Adam against torch's own."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from evolvent.training.adam import FusedAdam

SETTINGS = {"lr": 1e-2, "betas": (0.3, 0.95)}


def nets():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 1), nn.Linear(5, 1))
    net = net.to(memory_format=torch.channels_last)  # the last layer never has a gradient
    return net, copy.deepcopy(net)


def train(net, optimiser, num_steps, seed):
    torch.manual_seed(seed)
    for _ in range(num_steps):
        net.zero_grad()
        net[:3](torch.randn(4, 2, 4, 4)).square().sum().backward()
        optimiser.step()


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_it_is_torchs_fused_adam_to_the_last_bit():
    ours, theirs = nets()
    train(ours, FusedAdam(ours.parameters(), **SETTINGS), 7, seed=1)
    train(theirs, torch.optim.Adam(theirs.parameters(), fused=True, **SETTINGS), 7, seed=1)
    assert same(ours, theirs)


@pytest.mark.parametrize("from_torch", [True, False])
def test_each_goes_on_from_what_the_other_saved(from_torch):
    ours, theirs = nets()
    own, torchs = (
        FusedAdam(ours.parameters(), **SETTINGS),
        torch.optim.Adam(theirs.parameters(), fused=True, **SETTINGS),
    )
    train(ours, own, 3, seed=1)
    train(theirs, torchs, 3, seed=1)
    assert own.state_dict().keys() == torchs.state_dict().keys()
    assert own.state_dict()["param_groups"] == torchs.state_dict()["param_groups"]
    saved = copy.deepcopy((torchs if from_torch else own).state_dict())
    (own if from_torch else torchs).load_state_dict(saved)
    train(ours, own, 3, seed=2)
    train(theirs, torchs, 3, seed=2)
    assert same(ours, theirs)


def test_state_of_other_parameters_is_refused():
    net, _ = nets()
    state = FusedAdam(net.parameters(), **SETTINGS).state_dict()
    with pytest.raises(ValueError, match="remembers 6 parameters, and there are 2"):
        FusedAdam(net[0].parameters(), **SETTINGS).load_state_dict(state)
    with pytest.raises(ValueError, match="nothing to train"):
        FusedAdam([], **SETTINGS)


def test_training_imports_no_compiler():
    script = """
import sys
from evolvent.recipes import RECIPES
from evolvent.training.trainer import Trainer
experiment = RECIPES["toy-ring"](batch_size=8)
Trainer(experiment.learner, experiment.data(), experiment.schedule).advance()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
