"""What every benchmark here shares: how time is taken, and which machine it was.

Time is CPU time of one thread (`time.process_time`), which other work on the machine moves far less than the wall
clock. Competitors take turns in one process, and a ratio is the median over rounds of the ratio within a round.
Other work still moves CPU time through caches and memory: run on an idle machine for figures to quote.
"""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

TURN = 0.1
"""Seconds of the processor."""


def take_turns(
    runs: Mapping[str, Callable[[], object]], *, rounds: int = 7
) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds, wall seconds) of every run in every round, after one round that does not count.

    A short run is repeated until its turn has taken `TURN`, and its mean counts: once would time the caches that the
    others left cold.
    """
    times = {name: [] for name in runs}
    repeats = {name: warm_up(run) for name, run in runs.items()}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(a_turn(run, repeats[name]))
    return times


def take_turns_apart(
    build: Callable[[str], Callable[[], object]], names: Iterable[str], *, rounds: int = 7
) -> dict[str, list[tuple[float, float]]]:
    """The same with a process for every run, as each would be used: settings of a process are then its own.

    build: `build(name)` makes the run there; it is sent to it, so it must be a module's function or a partial of one.
    """
    context, lines, times = get_context("spawn"), {}, {name: [] for name in names}
    for name in times:
        lines[name], there = context.Pipe()
        context.Process(target=_serve, args=(there, build, name), daemon=True).start()
        there.close()  # so that the line breaks, and is not waited on, where that process dies
        with _told_of(name):
            lines[name].recv()  # it is warm
    for _ in range(rounds):
        for name, line in lines.items():
            with _told_of(name):
                line.send("your turn")
                times[name].append(line.recv())
    for line in lines.values():
        line.close()
    return times


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Leave with a sentence where the process at the other end of the line has died."""
    try:
        yield
    except (EOFError, ConnectionError):
        sys.exit(f"the process of {name} has died, and nothing is compared without it")


def _serve(line: Connection, build: Callable, name: str) -> None:
    run = build(name)
    repeats = warm_up(run)
    line.send("warm")
    with suppress(EOFError, ConnectionError):  # that was all
        while line.recv() == "your turn":
            line.send(a_turn(run, repeats))


def warm_up(run: Callable[[], object]) -> int:
    """Run it twice, and tell how often it fits a turn."""
    run()
    begun = time.process_time()
    run()
    return max(1, round(TURN / max(1e-6, time.process_time() - begun)))


def a_turn(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of one run, the mean of so many."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats


def median(times: list[tuple[float, float]], clock: int = 0) -> float:
    """The median CPU time, or with clock 1 wall time, in seconds."""
    return statistics.median(pair[clock] for pair in times)


def ratio(slow: list[tuple[float, float]], fast: list[tuple[float, float]]) -> float:
    """How many times as fast `fast` is: the median of the rounds' ratios of CPU time."""
    return statistics.median(a[0] / b[0] for a, b in zip(slow, fast, strict=True))


class Memory:
    """The most that is held at once from here on, in MiB: on a CPU above what was held before, on a GPU in all."""

    def __init__(self, device: str = "cpu") -> None:
        self.on_gpu = device != "cpu"
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
            self.before = _resident("VmRSS")

    def peak(self) -> float:
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return (_resident("VmHWM") - self.before) / 1024


def _resident(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))


def describe(time_taken: str = "median of CPU time") -> str:
    """Command, commit, machine, versions: the line above a table."""
    ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    where = f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {_processor()}"
    return f"`{command}`, commit {commit}, {where}, {time_taken}"


def row(*cells: object) -> None:
    """One line of a table, at once."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def header(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor()
