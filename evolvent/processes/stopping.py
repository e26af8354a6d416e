"""What SIGINT and SIGTERM do: they leave a command as an exception, and training as a list that is looked at.

Before the command begins, while Python still imports, they are heard by `evolvent.processes.early`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """SIGTERM outside the loop of training, where there is nothing to be saved."""


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM raises Stopped, and SIGINT KeyboardInterrupt, unless it is ignored as in the background of a shell."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped

    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if usual[signal.SIGINT] is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The list that SIGINT and SIGTERM are put into; a second one takes its usual effect."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        restore()

    for number in usual:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        restore()
