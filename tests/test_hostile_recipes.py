"""Recipes and detectors of one's own that fail in every way that a file of Python can: the sentence names the line."""

import pickle
import sys

import pytest
from hostile import RECIPES, make_run, refused

from evolvent.recipes.find import function_in

HEAD = RECIPES + "\n\n"
PLANE = "experiment((2,), Ring(), 3, 1e-2, None)"


def recipe(body, head="x() -> Experiment", before=""):
    """A file with the recipe `x`; its body stands on the last line."""
    return f"{HEAD}{before}\ndef {head}:\n    {body}\n"


LAST = recipe("").count("\n")


def changed(**clocks):
    """A recipe whose schedule has other numbers."""
    words = ", ".join(f"{name}={value}" for name, value in clocks.items())
    return recipe(f"import dataclasses; e = {PLANE}; return dataclasses.replace("
                  f"e, schedule=dataclasses.replace(e.schedule, {words}))")  # fmt: skip


def learned(
    net="nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))",
    reference="Gaussian((2,))",
    dynamics="Langevin(0.01, 2)",
    data="Ring",
):
    return recipe(
        f"energy = Energy({net}, {reference}); learner = GCN(energy, Persistent(energy.reference, 16), {dynamics});"
        f' return Experiment(learner, {data}, Schedule(3, 8, {{"energy": Adam(1e-2)}}))'
    )


FILES = {
    "empty": (b"", "has no function x: it has none"),
    "zeros": (bytes(100), "null bytes"),
    "not UTF-8": (b"x = '\xff'\n", "SyntaxError"),
    "half a line": (b"def x(:\n", "line 1: SyntaxError"),
    "tabs and spaces": (b"def x():\n\tif 1:\n        pass\n", "line 3: TabError"),
    "deep": (b"x = " + b"(" * 5000 + b"\n", "SyntaxError"),
    "an import of nothing": (b"\nimport nowhere_at_all\n", "line 2: ModuleNotFoundError"),
    "an error": (b"\n\n1 / 0\n", "line 3: ZeroDivisionError"),
    "an exit": (b"raise SystemExit(3)\n", "line 1: SystemExit: 3"),
    "an import of itself": (b"from x import x\n", "ImportError"),
    "endless": (b"def f(): f()\nf()\n", "RecursionError"),
    "a number": (b"x = 3\n", "has no function x"),
    "a module": (b"import os as x\n", "has no function x"),
    "a type of typing": (b"from typing import Any as x\n", "Any"),
    "an object": (b"x = object()\n", "has no function x"),
}
"""The whole file; the recipe is x."""

CALLS = {
    "nothing": (recipe("pass"), "must return an evolvent.Experiment, not NoneType"),
    "a number": (recipe("return 3"), "must return an evolvent.Experiment, not int"),
    "the class": (recipe("return Experiment"), "must return an evolvent.Experiment, not type"),
    "a list of one": (recipe(f"return [{PLANE}]"), "must return an evolvent.Experiment, not list"),
    "a generator": (recipe(f"yield {PLANE}"), "must return an evolvent.Experiment, not generator"),
    "a KeyError": (recipe("return {}['a']"), f"line {LAST}: KeyError: 'a'"),
    "a TypeError": (recipe("return 1 + 'a'"), f"line {LAST}: TypeError"),
    "an assertion": (recipe("assert 0, 'no data'"), f"line {LAST}: AssertionError: no data"),
    "a RuntimeError of torch": (recipe("torch.ones(2) @ torch.ones(3)"), f"line {LAST}: RuntimeError"),
    "a ValueError": (recipe("raise ValueError('the data are gone')"), "the data are gone"),
    "a file that is gone": (recipe("open('nowhere.npy')"), "nowhere.npy: No such file"),
    "an exit with a sentence": (recipe("raise SystemExit('no')"), "no"),
    "an endless recursion": (recipe("return x()"), "RecursionError"),
    "too much memory": (recipe("torch.empty(2**60)"), ""),
    "an untyped keyword": (recipe("pass", head="x(a) -> Experiment"), "has a keyword a without a type"),
    "many untyped keywords": (recipe("pass", head="x(*a, **b)"), ""),
    "a type of nothing": (recipe("pass", head="x(a: 'Nowhere' = 3)"), ""),
    "a default of another type": (recipe("pass", head="x(a: int = 'many')"), "a"),
    "a keyword of every run": (recipe("pass", head="x(seed: int = 3)"), "is an option of every run"),
    "num_steps=2.5": (changed(num_steps=2.5), "num_steps"),
    "num_steps=inf": (changed(num_steps="float('inf')"), "num_steps"),
    "num_steps=NaN": (changed(num_steps="float('nan')"), "num_steps"),
    "num_steps='3'": (changed(num_steps="'3'"), "num_steps"),
    "num_steps=None": (changed(num_steps=None), "num_steps"),
    "num_steps=0": (changed(num_steps=0), "num_steps must be at least 1, not 0"),
    "num_steps=2^70": (changed(num_steps=2**70), "num_steps is too large"),
    "batch_size=8.0": (changed(batch_size=8.0), "batch_size"),
    "batch_size=-8": (changed(batch_size=-8), "batch_size must be at least 1, not -8"),
    "batch_size=17": (changed(batch_size=17), "does not fit a bank of 16"),
    "log_every=0": (changed(log_every=0), "log_every must be at least 1, not 0"),
    "checkpoint_every=0.5": (changed(checkpoint_every=0.5), "checkpoint_every"),
    "averaging=1": (changed(averaging=1.0), "averaging in [0, 1)"),
    "averaging=NaN": (changed(averaging="float('nan')"), "averaging in [0, 1)"),
    "decay_from=2": (changed(decay_from=2), "decay_from must lie in [0, 1]"),
    "adam of nothing": (changed(adam="{}"), "nothing trains"),
    "adam of another": (changed(adam="{'enrgy': Adam(1e-2)}"), 'no submodule "enrgy"'),
    "adam=None": (changed(adam=None), ""),
    "lr=inf": (changed(adam="{'energy': Adam(float('inf'))}"), "a learning rate must be above 0 and finite"),
    "lr='a'": (changed(adam="{'energy': Adam('a')}"), "lr"),
    "betas above 1": (changed(adam="{'energy': Adam(1e-2, (0.0, 1.5))}"), "betas must lie in [0, 1)"),
    "one beta": (changed(adam="{'energy': Adam(1e-2, (0.5,))}"), ""),
    "a guard of nothing": (changed(guard="3"), ""),
    "no learner": (recipe("return Experiment(None, Ring, Schedule(3, 8, {'energy': Adam(1e-2)}))"), ""),
    "no data": (learned(data="lambda: None"), ""),
    "data that are no function": (learned(data="Ring()"), ""),
    "data that are NaN": (
        learned(data="type('N', (Ring,), {'draw': lambda s, n: torch.full((n, 2), torch.nan)})"),
        "the data of step 1 are not finite",
    ),
    "data of another shape": (
        learned(data="type('N', (Ring,), {'draw': lambda s, n: torch.ones(n, 3)})"),
        "",
    ),
    "data that fail": (learned(data="type('N', (Ring,), {'draw': lambda s, n: {}['a']})"), "KeyError"),
    "a net of another width": (learned("nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))"), "mat1 and mat2"),
    "a net that is no module": (learned("3"), ""),
    "a step size of NaN": (learned(dynamics="Langevin(float('nan'), 2)"), "step sizes must be above 0"),
    "a step size of inf": (learned(dynamics="Langevin(float('inf'), 2)"), "step sizes must be above 0"),
    "chain steps of 2.5": (learned(dynamics="Langevin(0.01, 2.5)"), "num_steps"),
    "a temperature below 0": (learned(dynamics="Langevin(0.01, 2, -1.0)"), "temperature must be 0 or above"),
    "a reference of no width": (learned(reference="Gaussian((2,), std=0)"), "a standard deviation above 0"),
    "an empty box": (learned(reference="__import__('evolvent').Uniform((2,), low=1, high=1)"), "is empty"),
}
"""The function x of a file."""

DETECTOR = """
import torch
from torch import nn


class D(nn.Module):
    name = "d"

    def forward(self, pixels):
        return {features}


def x({head}):
    {body}
"""


def detector(features="pixels.flatten(1).float()", head="", body="return D()"):
    return DETECTOR.format(features=features, head=head, body=body)


DETECTORS = {
    "nothing": (detector(body="pass"), "must return a torch.nn.Module, not NoneType"),
    "a class": (detector(body="return D"), "must return a torch.nn.Module, not type"),
    "no name": (detector(body="return nn.Flatten()"), "needs a name"),
    "a name that is a number": (detector(body="d = D(); d.name = 3; return d"), "needs a name"),
    "arguments": (detector(head="size"), "takes arguments"),
    "an error": (detector(body="return 1 / 0"), "line 14: ZeroDivisionError"),
    "an error within": (detector("pixels @ pixels.flatten()"), "line 10: RuntimeError"),
    "features that are NaN": (detector("pixels.flatten(1) * torch.nan"), "not finite, first for picture 0"),
    "features that are infinite": (detector("pixels.flatten(1) / 0.0"), "not finite"),
    "features of other rows": (detector("pixels.flatten(1)[1:].float()"), "not [n, d]"),
    "features on four axes": (detector("pixels.float()"), "not [n, d]"),
    "no features": (detector("None"), ""),
    "features of no width": (detector("pixels.flatten(1)[:, :0].float()"), ""),
    "features that are words": (detector("'abc'"), ""),
    "a syntax error": ("def x(:", "line 1: SyntaxError"),
}
TABLES = (FILES, CALLS, DETECTORS)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("x", "recipe_file_x", "beside", "pack", "pack.inner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("content", "says"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_imported(place, capsys, content, says):
    (place / "x.py").write_bytes(content)
    refused(["train", "x.py:x"], says, capsys, watched=place)


@pytest.mark.parametrize("name", CALLS)
def test_a_recipe_that_fails(place, capsys, name):
    content, says = CALLS[name]
    (place / "x.py").write_text(content)
    code = 1 if "not finite" in says or "memory" in name else 2
    watched = place / ("elsewhere" if "not finite" in says else ".")
    refused(["train", "x.py:x", "--out", "run"], says, capsys, watched=watched, code=code)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("detectors"), "images")


@pytest.mark.parametrize(("content", "says"), DETECTORS.values(), ids=DETECTORS)
def test_a_detector_that_fails(place, run, capsys, content, says):
    (place / "x.py").write_text(content)
    words = [
        "evaluate",
        str(run),
        "--num",
        "20",
        "--cache",
        "none",
        "--measures",
        "frechet",
        "--detector",
        "x.py:x",
    ]
    refused(words, says, capsys, watched=run)


def test_files_of_two_folders_each_import_their_own_neighbours(place):
    """A module and a package by the same names; and a neighbour is the same module when its file is imported again."""
    for folder in ("a", "b"):
        (place / folder / "pack").mkdir(parents=True)
        (place / folder / "pack" / "inner.py").write_text(f"WHO = '{folder}'")
        (place / folder / "beside.py").write_text("from pack.inner import WHO\n\nclass Own:\n    who = WHO")
        (place / folder / "x.py").write_text("import beside\n\ndef x():\n    return beside.Own()")
    first, second, again = (function_in(f"{folder}/x.py:x") for folder in ("a", "b", "a"))
    assert [own().who for own in (first, second, again)] == ["a", "b", "a"]
    made = again()
    function_in("a/x.py:x")
    assert type(pickle.loads(pickle.dumps(made))) is type(made)
