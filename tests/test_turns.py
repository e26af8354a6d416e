"""benchmarks/machine.py: competitors take turns, each in a process of its own."""

import gc
import math
import os
import sys
from itertools import count
from multiprocessing import active_children
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import machine

CALLS = {"strong": math.inf, "born weak": 0, "soon weak": 2}
"""How often a competitor can run; it is warm after the second time."""


def competitor(name):
    calls = count()
    return lambda: None if next(calls) < CALLS[name] else os._exit(1)


@pytest.mark.parametrize("names", [["born weak"], ["strong", "soon weak"]])
def test_a_competitor_whose_process_dies_is_named_and_the_others_leave_without_a_word(
    names, capfd, monkeypatch
):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)  # where the processes find this module
    with pytest.raises(SystemExit, match=f"the process of {names[-1]} has died"):
        machine.take_turns_apart(competitor, names, rounds=1)
    gc.collect()  # the lines, which the others wait on
    for process in active_children():
        process.join(60)
    assert not any(capfd.readouterr())
