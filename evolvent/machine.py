"""What a process asks of the machine that it runs on, once, at its start."""

import ctypes
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch

Precision = Literal["float32", "bfloat16"]
"""Of the nets' forward passes; particles and weights are float32 in either."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in glibc's malloc.h."""
LARGEST, LARGEST_OF_OLD = 2**31 - 1, 2**25
"""What mallopt takes; glibc before 2.35 takes no larger blocks into its heap than 32 MiB."""


_kept: list[bool] = []
"""Of this process, as glibc's own setting is, which cannot be asked for."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next tensor of that size; elsewhere nothing is done.

    By default it gives large blocks back to the system after each use, and the next pass of a deep net spends up to
    40 % of its time on faulting the same pages in again (benchmarks/results.md). The price is that a process
    stays as large as it was at its largest. The setting belongs to the process, so a program makes it and a library
    does not: the command line calls this, your own script may.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # Without the first the second would do harm: it ends glibc's own adapting, and every tensor would be mapped anew.
    whole = mallopt(M_MMAP_THRESHOLD, LARGEST)
    if whole or mallopt(M_MMAP_THRESHOLD, LARGEST_OF_OLD):
        mallopt(M_TRIM_THRESHOLD, LARGEST)
    if whole:
        _kept.append(True)


def keeps_freed_memory() -> bool:
    """Whether `keep_freed_memory` has had its way in this process, with blocks of any size."""
    return bool(_kept)


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster there than float32: on a GPU of Ampere's generation or a later one, on a CPU with AMX,
    and on one of AMD's with AVX512-BF16.

    Older GPUs, such as T4 and V100, emulate it. Intel's AVX512-BF16 without AMX, as a virtual machine may show it, is
    slower than float32 by half (benchmarks/results.md); other CPUs emulate it, slower still.
    """
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and not _is_intels())


@cache
def _is_intels() -> bool:
    """Whether Linux says that the CPU is of Intel's make; where nobody says so it counts as another's."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def check_precision(precision: str) -> None:
    """ValueError for one that there is not."""
    if precision not in get_args(Precision):
        raise ValueError(f"a precision is {' or '.join(get_args(Precision))}, not {precision!r}")


def computed_in(precision: Precision, device: torch.device | str) -> Precision:
    """What nets compute in there when `precision` is asked for: bfloat16 only where it is faster than float32."""
    check_precision(precision)
    return precision if gains_from_bfloat16(torch.device(device)) else "float32"


def in_full_precision(device: torch.device) -> AbstractContextManager:
    """The context in which nothing is computed in less than what it is held in, whatever stands around it."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def autocast(precision: Precision, device: torch.device | str) -> torch.autocast:
    """The context in which nets compute in `precision`, as `computed_in` has it."""
    bfloat16 = computed_in(precision, device) == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16)
