"""A step that was recorded once and is replayed is the step itself: what a CUDA graph asks, found out without a GPU.

A tape stands for the graph. It notes every operator of one step with the tensors that it took and made, and a replay
calls them again on the same tensors: no line of the step's Python runs, so a number that Python moves on, or a buffer
in whose place it puts another, stands still. Random operators draw anew, from the seed of the step.
"""

import pytest
import torch
from each import LEARNERS, built, images, trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """The operators under it, in their order."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, made))
        return made

    def replay(self):
        for function, args, kwargs, made in self.calls:
            anew = function(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(anew), strict=True):
                if (
                    isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr()
                ):  # else a view, or in place
                    old.copy_(new)


class Recorded:
    """As `evolvent.training.captured.Captured`: as it is at first, then recorded, then replayed."""

    def __init__(self, function):
        self.function, self.calls_to_warm_up, self.tape = function, 1, None

    def __call__(self):
        if self.calls_to_warm_up:
            self.calls_to_warm_up -= 1
            return self.function()
        if self.tape is None:
            self.tape = Tape()
            with self.tape:
                self.update = self.function()
            return self.update
        with torch.no_grad():
            self.tape.replay()
        return self.update


def states(name, *, recorded, change=lambda learner: None):
    """Of the learner after each of six steps."""
    run = trainer(built(name), data=images(), num_steps=8)
    change(run.learner)
    if recorded:
        run._differentiate = Recorded(run._draw_and_differentiate)
    found = []
    for _ in range(6):
        run.advance()
        found.append({k: tensor.clone() for k, tensor in run.learner.state_dict().items()} | run.signs.read())
    return found


def same(a, b):
    return all(torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])) for name in a)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_step_that_is_replayed_is_the_step(name):
    """Weights, banks, running statistics, τ, p and vital signs, to the last bit."""
    for replayed, plain in zip(states(name, recorded=True), states(name, recorded=False), strict=True):
        assert same(replayed, plain)


def test_the_tape_holds_still_what_python_moves_on():
    """The third step is the first that is replayed."""

    def count(learner):
        forward, steps = learner.forward, []

        def moved_on(data):
            steps.append(1)
            update = forward(data)
            return update._replace(stats=update.stats | {"count": torch.zeros(()) + len(steps)})

        learner.forward = moved_on

    replayed, plain = (states("fresh", recorded=recorded, change=count) for recorded in (True, False))
    assert [same(a, b) for a, b in zip(replayed, plain, strict=True)] == [True, True, *[False] * 4]
    assert (replayed[-1]["count@max"], plain[-1]["count@max"]) == (2, 6)
