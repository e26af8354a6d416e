"""A signal in the first seconds, while Python imports: a sentence and its code, as at any later moment."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evolvent
from evolvent.processes.early import SENTENCES, of_command

ROOT = Path(evolvent.__file__).parent.parent
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
COMMAND_LINES = {
    "python -m evolvent train": True,
    "python -u -X importtime -W error -m evolvent train": True,
    "/usr/bin/python3 /usr/local/bin/evolvent sample x": True,
    "python -m pytest evolvent": False,
    "python -m torch.distributed.run -m evolvent train": False,
    "python my.py -m evolvent": False,
    "python -c x": False,
    "python": False,
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_signals_are_taken_in_the_process_of_the_command_alone(line):
    assert of_command(line.split()) == COMMAND_LINES[line]


def hears(process):
    """Whether SIGTERM has a handler by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="signals that are caught are read in /proc"
)
def test_a_signal_at_random_early_moments_is_a_sentence_and_its_code(tmp_path):
    """From the moment on that the package is reached, 20 ms after Python itself is up. Both ways to start it."""
    script = tmp_path / "evolvent"
    script.write_text("import sys\nfrom evolvent.cli.main import main\nsys.exit(main())\n")
    chance, begun = random.Random(0), []
    known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    try:
        for number in [*CODES] * 3:
            start = ["-m", "evolvent"] if len(begun) % 3 else [str(script)]
            process = subprocess.Popen(
                [sys.executable, *start, "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=known
            )
            begun.append((process, number))
            while not hears(process):
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.5))
            process.send_signal(number)
        for process, number in begun:
            _, told = process.communicate(timeout=60)
            done = process.returncode == 0 and told == b""
            assert done or (process.returncode, told.decode()) == (
                CODES[number],
                f"evolvent: {SENTENCES[number]}\n",
            )
        assert sum(process.returncode != 0 for process, _ in begun) >= 3
    finally:
        for process, _ in begun:
            process.kill()
            process.communicate()
