"""What SIGINT, SIGTERM and SIGHUP do: they leave a command as an exception, and training as a list that is looked at.

Before the command begins, while Python still imports, they are heard by `evolvent.processes.early`.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Any
"""What signal.getsignal returns: a function, a number, or None for one that Python did not set."""


TOGETHER = 1.0
"""Seconds in which signals count as one."""


class Stopped(BaseException):
    """SIGTERM or SIGHUP outside the loop of training, where there is nothing to be saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def heard_signals() -> dict[int, Handler]:
    """The signals that stop, but for those that are ignored as SIGINT in a shell's background, and their handlers."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    return {number: handler for number, handler in usual.items() if handler is not signal.SIG_IGN}


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Stopped, SIGINT raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    usual = heard_signals()
    for number in usual:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else leave)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The list that the first signal is put into; a second one takes its usual effect, unless it comes with the first.

    A terminal and a launcher may each send one, and what is being saved shall be saved. Another SIGHUP, which a
    terminal that is closed sends more than once, is passed over at any time.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    usual = heard_signals()

    since = 0.0

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not caught:
            since = time.monotonic()
            caught.append(number)
            if number == signal.SIGHUP:
                signal.signal(number, signal.SIG_IGN)
        elif time.monotonic() - since > TOGETHER:
            restore()
            signal.raise_signal(number)

    for number in usual:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        restore()
