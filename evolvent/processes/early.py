"""The signals that stop, while Python still imports what a command needs, for seconds: a sentence and the exit code.

evolvent/__init__.py imports this before anything else. It does something in the process of the command alone; whoever
imports evolvent for himself keeps his signals.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

WHOLE = "every checkpoint that was saved is whole, and what came after the last is lost"
SENTENCES = {
    signal.SIGINT: f"interrupted; {WHOLE}",
    signal.SIGTERM: f"stopped by SIGTERM; {WHOLE}",
    signal.SIGHUP: f"stopped as its terminal was closed; {WHOLE}",
}
WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")
"""Options of Python with a word of their own."""


def of_command(words: list[str]) -> bool:
    """Whether Python was started so as the command: its own file, or python -m evolvent."""
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, "") == "evolvent"
        if not word.startswith("-"):
            return os.path.basename(word) in ("evolvent", "evolvent.exe")
        if word in WITH_VALUE:
            next(rest, "")
    return False


def leave(number: int, frame: FrameType | None) -> None:
    """Nothing has begun that would have to be put away."""
    with suppress(OSError):  # of a terminal that is closed
        os.write(2, f"evolvent: {SENTENCES[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


if of_command(sys.orig_argv):
    for heard in SENTENCES:
        if signal.getsignal(heard) is not signal.SIG_IGN:
            signal.signal(heard, leave)
