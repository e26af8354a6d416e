"""Processes that share a step, forked from the test: torchrun would take seconds to start them."""

import multiprocessing
import os
import pickle
import socket
import sys
import time
import traceback
from datetime import timedelta

import pytest
import torch.distributed as dist

from evolvent.cli.main import main
from evolvent.processes.ranks import Ranks

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
needs_fork = pytest.mark.skipif(FORK is None, reason="needs fork: a process takes seconds to start")


def child(rank, num, store, function, pipe, patience):
    """One process of a group: what the function returns, or the error, goes into the pipe."""
    try:
        place = dist.FileStore(str(store), num)
        dist.init_process_group("gloo", store=place, rank=rank, world_size=num, timeout=patience)
        found = function(Ranks(rank, num))
    except BaseException as error:
        found = error
    pipe.send_bytes(pickle.dumps(found))
    pipe.close()
    os._exit(0)


def begin(tmp_path, function, num=2, patience=20):
    """Start `num` processes; their pipes."""
    store = tmp_path / f"store-{time.monotonic_ns()}"
    started = []
    for rank in range(num):
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(
            target=child, args=(rank, num, store, function, theirs, timedelta(seconds=patience))
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(tmp_path, function, num=2):
    """What the function returns, or raises, in each of `num` processes."""
    found = []
    for process, pipe in begin(tmp_path, function, num):
        assert pipe.poll(60), "a process hangs"
        found.append(pickle.loads(pipe.recv_bytes()))
        process.join()
    return found


def command(tmp_path, words, num=2, *, extra=()):
    """`evolvent WORDS` as torchrun starts it: exit codes, and what was printed and told. The last has extra words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        sys.stdout = sys.__stdout__ = (tmp_path / "out").open("a", buffering=1)
        sys.stderr = (tmp_path / "err").open("a", buffering=1)
        try:
            code = main([*words, *(extra if rank == num - 1 else ())])
        except BaseException:
            traceback.print_exc()
            code = 99
        os._exit(code)

    for name in ("out", "err"):
        (tmp_path / name).write_text("")
    started = [FORK.Process(target=run, args=(rank,)) for rank in range(num)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    codes = [process.exitcode for process in started]
    return codes, (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
