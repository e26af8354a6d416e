"""Does a long run stay small, and is what it writes readable at every moment? (Linux: it reads /proc.)

    python benchmarks/soak.py 30 --out soak

Trains `digits` on one thread for so many minutes. Every ten seconds: the process's resident memory and open files, and
whether log.jsonl, run.json, the newest checkpoint and model.safetensors can be read as they lie there. Prints the
table, and how fast memory grows over the second half, by least squares.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from evolvent.storage.reading import read_lines, read_model, read_record
from evolvent.storage.runs import step_of
from evolvent.storage.sealed import unpack_state

EVERY = 10


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def num_open(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def newest_checkpoint(run: Path) -> int | None:
    """The step of the newest checkpoint, read whole; None where there is none yet."""
    for _ in range(3):  # one may be dropped for a newer between its listing and its reading
        files = sorted((run / "checkpoints").glob("step-*.pt"))
        if not files:
            return None
        try:
            assert unpack_state(files[-1].read_bytes())["trainer"]["step"] == step_of(files[-1])
            return step_of(files[-1])
        except FileNotFoundError:
            continue
    raise FileNotFoundError("a checkpoint went three times while it was read")


def read_all(run: Path) -> tuple[int, int | None]:
    """The last logged step and the newest checkpoint's; whatever cannot be read raises."""
    lines, record = read_lines(run / "log.jsonl"), read_record(run)
    assert record["status"] == "running", record["status"]
    if (run / "model.safetensors").exists():
        read_model(run)
    return (lines[-1]["step"] if lines else 0), newest_checkpoint(run)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("--out", type=Path, default=Path("soak"))
    arguments = parser.parse_args()
    words = ["train", "digits", "--num-steps", "1000000", "--threads", "1", "--out", str(arguments.out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "evolvent", *words, "--max-minutes", str(arguments.minutes)],
        stdout=subprocess.DEVNULL,
    )
    begun, rows = time.monotonic(), []
    print("seconds  resident MiB  open files  logged step  checkpoint")
    while process.poll() is None:
        time.sleep(EVERY)
        if process.poll() is not None or not (arguments.out / "run.json").exists():
            continue
        seconds = time.monotonic() - begun
        if seconds > 60 * arguments.minutes:  # it is leaving
            process.wait()
            break
        row = (seconds, resident_mib(process.pid), num_open(process.pid), *read_all(arguments.out))
        rows.append(row)
        print(f"{row[0]:7.0f}  {row[1]:12.1f}  {row[2]:10d}  {row[3]:11d}  {row[4]}", flush=True)
    late = rows[len(rows) // 2 :]
    slope = statistics.linear_regression([row[0] for row in late], [row[1] for row in late]).slope
    files = [row[2] for row in rows]
    print(
        f"exit code {process.returncode}; memory grows by {60 * slope:.2f} MiB a minute over the second half;"
    )
    print(
        f"{min(files)} to {max(files)} open files; everything was readable at {len(rows)} of {len(rows)} moments"
    )
    return int(process.returncode != 124)


if __name__ == "__main__":
    sys.exit(main())
