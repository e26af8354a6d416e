"""What a person sees on the terminal: a live bar, or plain lines where nobody watches, and tables.

Tables and lines go to standard output; the one sentence that tells what went wrong goes to standard error.
"""

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from evolvent.training.session import Watcher

VITAL = {"energy_gap": "gap", "force_norm": "force", "energy_drop": "drop"}
"""The vital signs on the bar, and their short names."""

UNREAD = 128 + signal.SIGPIPE
"""The exit code where nobody reads the output any more."""

WHOLE = 40
"""Letters of the first column of a table that are not folded; where one of its cells has more, it may be."""


class Output(Console):
    """rich's console, which leaves with the code of any other program where nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise SystemExit(UNREAD)


class Lines(Watcher):
    """One line of text a log line, for files and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.num_steps, self.first = 0, None

    def begin(self, step: int, num_steps: int) -> None:
        self.num_steps = num_steps

    def line(self, line: Mapping[str, float]) -> None:
        if self.first is None or line["step"] < self.first["step"]:  # a run may be taken back
            self.first = line
        words = [f"step {line['step']:>{len(str(self.num_steps))}}/{self.num_steps}", vital_signs(line)]
        steps, seconds = (line[key] - self.first[key] for key in ("step", "seconds"))
        if steps and seconds:
            rate = steps / seconds
            words += [f"{rate:.3g} steps/s", f"{clock((self.num_steps - line['step']) / rate)} left"]
        self.say("  ".join(words))

    def say(self, sentence: str) -> None:
        try:
            self.console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        except SystemExit:  # `Output.on_broken_pipe`
            self.gone = True


class Rate(ProgressColumn):
    """Steps a second over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} steps/s", style="cyan")


class Bar(Watcher):
    """A bar with steps/s, time left and the vital signs."""

    def __init__(self, console: Console) -> None:
        columns = [
            BarColumn(bar_width=12),  # with the rest, 80 columns
            TextColumn("{task.completed}/{task.total}"),
            Rate(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        ]
        self.progress = Progress(*columns, console=console)

    def begin(self, step: int, num_steps: int) -> None:
        self.progress.start()
        self.task = self.progress.add_task("", total=num_steps, completed=step)

    def step(self, step: int) -> None:
        self.progress.update(self.task, completed=step)

    def line(self, line: Mapping[str, float]) -> None:
        self.progress.update(self.task, description=vital_signs(line))

    def say(self, sentence: str) -> None:
        self.progress.console.print(sentence, highlight=False, markup=False)

    def end(self) -> None:
        self.progress.stop()


def open_console() -> Console:
    """Standard output; a file or a pipe has no edge, and gets tables of full width."""
    console = Output()
    return console if console.is_terminal else Output(width=1000)


def show_every_letter() -> None:
    """Where a terminal or a pipe has no ↓ or ±, show \\u2193 and \\xb1 rather than fail after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what was printed, so that a disk or a pipe that refuses it is met here; None is a closed output."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_output() -> None:
    """Send what is still to be printed nowhere, where nothing can be printed: the interpreter's end would complain."""
    try:
        flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def watch() -> Watcher:
    """The bar where a person looks on, lines elsewhere."""
    console = open_console()
    return Bar(console) if console.is_terminal else Lines(console)


def vital_signs(line: Mapping[str, float]) -> str:
    """The vital signs of a log line, those that it has."""
    words = [f"{short} {line[name]:.3g}" for name, short in VITAL.items() if name in line]
    if line.get("acceptance", 1) != 1:
        words.append(f"accepted {line['acceptance']:.0%}")
    return "  ".join(words)


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def counted(chunks: Iterable, total: int) -> Iterable:
    """The chunks, under a bar that counts their rows where a person looks on."""
    columns = [BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn()]
    with passing(*columns) as progress:
        task = progress.add_task("", total=total)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


def passing(*columns: ProgressColumn) -> Progress:
    """A bar that is gone when its work is done, and never there where no person looks on."""
    console = open_console()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def print_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of text: no word of it, such as a folder's name or a line of a file, is markup or steers the terminal."""
    made = Table(title=Text(printable(title)), title_justify="left")
    rows = [*rows]
    whole = all(len(row[0]) <= WHOLE for row in rows)
    for i, head in enumerate(heads):
        made.add_column(Text(printable(head)), no_wrap=whole and i == 0, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    open_console().print(made)


def printable(text: str) -> str:
    """What cannot be printed as Python writes it: \\x1b for the escape character."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
