"""What a process asks of its machine: freed memory is used again, and bfloat16 where it is faster."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import evolvent.machine

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


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "intels", "gains"),
    [
        (True, True, True, True),
        (False, True, True, False),
        (False, True, False, True),
        (False, False, False, False),
    ],
)
def test_a_cpu_gains_from_bfloat16_by_amx_or_by_amds_instructions(
    monkeypatch, amx, avx512_bf16, intels, gains
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(evolvent.machine, "_is_intels", lambda: intels)
    assert evolvent.machine.gains_from_bfloat16(torch.device("cpu")) == gains
    assert evolvent.machine.computed_in("bfloat16", "cpu") == ("bfloat16" if gains else "float32")


@pytest.mark.parametrize("generation", [7, 8])
def test_a_gpu_gains_from_bfloat16_that_it_does_not_emulate(monkeypatch, generation):
    """torch says of a T4, of generation 7, that it supports bfloat16: by emulation."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    properties = SimpleNamespace(major=generation)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert evolvent.machine.gains_from_bfloat16(torch.device("cuda")) == (generation == 8)
