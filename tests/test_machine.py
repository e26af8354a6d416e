"""Memory that was freed is used again without asking the system for it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from evolvent.machine import keep_freed_memory
{setting}
torch.zeros(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.empty(2**24).fill_(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_second_tensor_of_64_mib_faults_no_page_in():
    """16,384 pages of 4 KiB, or 32 of 2 MiB."""
    faults = [
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(setting=setting)]))
        for setting in ("", "keep_freed_memory()")
    ]
    assert faults[1] <= 20 < 32 <= faults[0]  # python itself takes a few
