"""Memory that was freed is used again without asking the system for it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from evolvent.machine import keep_freed_memory
from evolvent.nets.score import ResidualScore
torch.set_num_threads(1)
{setting}
net, x = ResidualScore(32, 3, width=32), torch.rand(64, 3, 32, 32, requires_grad=True)
for k in range(9):
    if k == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.autograd.grad(net(x).sum(), x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_passes_of_a_deep_net_fault_few_pages_in_once_freed_memory_is_kept():
    """Four forces of a deep net, after five that found out how much memory they take."""
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(setting=setting)]))
        for setting in ("", "keep_freed_memory()")
    )
    assert kept <= max(100, given_back / 4)


ROWS = """
import torch, evolvent as ev
from evolvent.machine import keep_freed_memory
from evolvent.nets.score import ResidualScore
energy = ev.Energy(ResidualScore(32, 3, width=32), ev.Uniform((3, 32, 32)))
print(energy.load(torch.rand(64, 3, 32, 32)).rows)
keep_freed_memory()
print(energy.load(torch.rand(64, 3, 32, 32)).rows, energy.load(torch.rand(2048, 3, 32, 32)).rows)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_force_goes_over_its_points_in_slices_only_where_pages_are_faulted_in_or_memory_must_be_bounded():
    assert subprocess.check_output([sys.executable, "-c", ROWS], text=True).split() == ["32", "None", "1024"]
