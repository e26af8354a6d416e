"""How the processes that torchrun starts find each other, speak once, and leave together.

    torchrun --nproc-per-node 4 -m evolvent train …      RANK, WORLD_SIZE, LOCAL_RANK and MASTER_* in the environment

Tensors on the CPU travel by gloo, those on a GPU by NCCL. A process alone makes no group. A process that dies breaks
the connection, which the others hear of at once; of one that hangs they hear after `PATIENCE`.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from evolvent.processes.ranks import ALONE, Ranks

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one."""
LOST = 3
"""The exit code of a process that lost another one."""
FAILED, LEFT = "how many failed", "the first has left"


class Company:
    """The processes that were started together, as one of them sees them."""

    def __init__(self, ranks: Ranks, store: dist.Store | None) -> None:
        self.ranks, self.store = ranks, store

    def first_to_say(self, sentence: str) -> bool:
        """Whether no other process has said it yet: what goes wrong in all of them is told once."""
        if self.store is None:
            return True
        key = hashlib.blake2b(sentence.encode()).hexdigest()
        try:
            return self.store.add(key, 1) == 1
        except RuntimeError:  # the store went with the process that held it
            return True

    def leave(self, code: int) -> None:
        """Leave the group. In failure, outlast the first process, which writes: torchrun then ends all of them."""
        if self.store is None:
            return
        dist.destroy_process_group()  # whoever still waits for this process hears of it
        with suppress(RuntimeError):
            if code == 0:
                return
            self.store.add(FAILED, 1)
            if self.ranks.first:
                # The others may still have to speak, and the store may be this process's own.
                self._wait(lambda: self.store.add(FAILED, 0) == self.ranks.num, seconds=2)
                self.store.set(LEFT, "")
            elif code != LOST:
                self._wait(lambda: self.store.check([LEFT]), seconds=PATIENCE.total_seconds())
            time.sleep(0.3)  # for the others to hear of it, and for the first to get out of Python

    @staticmethod
    def _wait(over: Callable[[], bool], *, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not over() and time.monotonic() < until:
            time.sleep(0.05)


@contextmanager
def joined() -> Iterator[Company]:
    """The processes that this one was started with; ValueError where they do not find each other."""
    place = os.environ
    if int(place.get("WORLD_SIZE", 1)) == 1 or "RANK" not in place:
        yield Company(ALONE, None)
        return
    try:
        store, rank, num = next(dist.rendezvous("env://", timeout=PATIENCE))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=num, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"this process did not find the {place['WORLD_SIZE']} that it was started with: {error}"
        ) from error
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere) if rank else nullcontext():
            yield Company(Ranks(rank, num), dist.PrefixStore("evolvent", store))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def take_gpu() -> None:
    """Make "cuda" this process's own GPU, where torchrun started it. ValueError where the machine has too few."""
    if "LOCAL_RANK" not in os.environ:
        return
    number, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= num_gpus:
        raise ValueError(
            f"a machine with {num_gpus} GPUs has none for process {number}: give --nproc-per-node {num_gpus} to"
            " torchrun, or --device cpu"
        )
    torch.cuda.set_device(number)
