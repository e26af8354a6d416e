"""From GCN to amortised GGCN at image scale, one change at a time, at equal training time: quality and cost.

    evolvent data cifar10 --out cifar10.npz
    python benchmarks/ablation.py --data cifar10.npz --size 16 --minutes 10 --workers 2 \\
        --num 1000 --num-reference 2000 --detector-size 96 --out ablation16                # on a CPU, a core a worker
    python benchmarks/ablation.py --data cifar10.npz --size 32 --device cuda --max-minutes 8.5 --out ablation32

Killed, stopped by Ctrl-C (exit code 130) or out of its --max-minutes (124), the same command goes on where it was:
training from its last checkpoint, drawing from its last chunk, judging from the last sampling that was scored. The
report, ablation.md with its pictures, is written anew whenever a cell is done. CELLS in ablating/cells.py says what is
compared; --cells takes some of them. A cell that diverges is reported so and not repaired.
"""

# ruff: noqa: E402 (Ctrl-C is heard before what takes seconds to import)

import os
import signal
import sys
from types import FrameType

INTERRUPTED = "interrupted; the same command goes on from the last checkpoints"


def leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while Python still imports, for seconds: nothing has begun that would have to be put away."""
    os.write(2, f"ablation.py: {INTERRUPTED}\n".encode())
    os._exit(128 + number)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, leave)

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from ablating.cells import CELLS, SCALES
from ablating.judging import Sight, is_done, judge
from ablating.tables import report
from ablating.training import Cell, train
from machine import describe

from evolvent.data.readers import open_album
from evolvent.machine import keep_freed_memory
from evolvent.metrics.classes import NUM_PARTS
from evolvent.storage.files import write_whole
from evolvent.storage.runs import hold

OUT_OF_TIME = 124
LEAST = 2 * NUM_PARTS


def run(cell: Cell, sight: Sight, deadline: float) -> bool:
    """Train, draw and judge one cell on one thread; whether it is done."""
    torch.set_num_threads(1)
    keep_freed_memory()
    record = train(cell, deadline)
    if record is None:
        return False
    return bool(record["diverged"]) or judge(cell, sight, deadline)


def run_all(cells: list[Cell], sight: Sight, deadline: float, num_workers: int) -> Iterator[bool]:
    """Whether each cell is done, as they end. Every cell has a process of its own, whose memory is measured."""
    left, running = list(cells), set()
    with workers(num_workers) as pool:
        while left or running:
            while left and len(running) < num_workers and time.time() < deadline:
                with uninterrupted():
                    running.add(pool.submit(run, left.pop(0), sight, deadline))
            if not running:
                yield False
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)


@contextmanager
def workers(num: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are ended with whoever is done with them: their files appear whole or not at all."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num, mp_context=context, max_tasks_per_child=1) as pool:
        try:
            yield pool
        finally:
            for process in multiprocessing.active_children():
                process.terminate()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits; whoever is started meanwhile inherits that, and never hears of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number, whole = partial(above_zero, kind=float), partial(above_zero, kind=int)
    parser.add_argument(
        "--data", required=True, help="an .npz with uint8 train_x and test_x, or what load reads"
    )
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    parser.add_argument("--size", type=int, choices=SCALES, default=32)
    parser.add_argument("--minutes", type=number, default=10.0, help="of training a cell")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=whole, default=1, help="cells at once, a thread each")
    parser.add_argument("--cells", type=each_once, default=list(CELLS))
    parser.add_argument("--seeds", type=partial(each_once, kind=int), default=[0])
    parser.add_argument("--num", type=whole, default=10000, help="samples that are judged")
    parser.add_argument(
        "--num-reference", type=whole, default=50000, help="images of each part that judge, at most"
    )
    parser.add_argument(
        "--detector-size", type=whole, default=224, help="to which the detector brings images"
    )
    parser.add_argument("--max-minutes", type=number, default=math.inf, help="of the wall, for this call")
    arguments = parser.parse_args()
    if strange := [name for name in arguments.cells if name not in CELLS]:
        parser.error(f'there is no cell "{strange[0]}": there are {", ".join(CELLS)}')
    if min(arguments.num, arguments.num_reference) < LEAST:
        parser.error(f"--num and --num-reference are at least {LEAST}: the class score takes ten parts")
    if arguments.device != "cpu" and arguments.workers > 1:
        parser.error("cells share no GPU, or their times would be each other's: give one worker")
    try:
        for split in ("train", "test"):
            open_album(arguments.data, arguments.size, split=split)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def each_once(words: str, kind: type = str) -> list:
    """What commas part. Twice the same would be two processes that write the same files."""
    try:
        return list(dict.fromkeys(kind(word) for word in words.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{words}" are no whole numbers, such as 0,1,2') from error


def above_zero(word: str, kind: type) -> float:
    if not 0 < (value := kind(word)) < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not above 0 and finite")
    return value


def settle(arguments: argparse.Namespace) -> str | None:
    """Keep what every cell of the folder must share; a sentence where the folder was begun otherwise."""
    shared = ("data", "size", "minutes", "device", "num", "num_reference", "detector_size")
    now, file = {name: getattr(arguments, name) for name in shared}, arguments.out / "settings.json"
    before = now | (json.loads(file.read_text()) if file.is_file() else {})  # a folder of before told no data
    if odd := [f"--{name.replace('_', '-')} {before[name]}" for name in shared if before[name] != now[name]]:
        return f"{arguments.out} was begun with {', '.join(odd)}: give the same, or another --out"
    write_whole(file, json.dumps(now))
    return None


def main() -> int:
    begun, arguments, code = time.time(), parsed(), 2
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        with hold(arguments.out):
            fault = settle(arguments)
            if not fault:
                return compare(arguments, begun + 60 * arguments.max_minutes)
    except (OSError, ValueError) as error:
        fault = str(error)
    except KeyboardInterrupt:
        fault, code = INTERRUPTED, 128 + signal.SIGINT
    print(f"ablation.py: {fault}", file=sys.stderr)
    return code


def compare(arguments: argparse.Namespace, deadline: float) -> int:
    """Run the cells that are not done; the exit code."""
    torch.set_num_threads(1)
    place = arguments.size, arguments.data, arguments.device, 60 * arguments.minutes, arguments.out
    cells = [Cell(name, seed, *place) for seed in arguments.seeds for name in arguments.cells]
    sight = Sight(arguments.num, arguments.num_reference, arguments.detector_size)
    heading, all_done = describe_all(arguments), True
    left = [cell for cell in cells if not is_done(cell)]
    with closing(run_all(left, sight, deadline, arguments.workers)) as ends:
        for done in ends:
            all_done = all_done and done
            report(arguments.out, heading)
    if not left:
        report(arguments.out, heading)
    print(f"{arguments.out / 'ablation.md'}: {'all done' if all_done else 'goes on with the same command'}")
    return 0 if all_done else OUT_OF_TIME


def describe_all(arguments: argparse.Namespace) -> str:
    """What a reader must know to compare: command, commit, machine, time, counts, detector."""
    time_of = "processor time on one thread" if arguments.device == "cpu" else "wall time"
    where = "" if arguments.device == "cpu" else f", {torch.cuda.get_device_name()}"
    return (
        f"{describe(f'{arguments.minutes:g} minutes of {time_of} a cell')}{where}. {arguments.num:,} samples of the"
        f" averaged weights against as many as {arguments.num_reference:,} test images, and as many training images;"
        f" features and classes efflite0-{arguments.detector_size}, not Inception's. Where several seeds were run, ± is"
        " their standard deviation."
    )


if __name__ == "__main__":
    sys.exit(main())
