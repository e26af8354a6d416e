"""The command line: train, and the commands of `COMMANDS`.

Options are the typed keywords of a command (`commands`), or of the recipe that `train` runs. A user's
mistake is one sentence on standard error, never a traceback. Exit codes:

    0     done
    1     the run diverged, or memory ran out
    2     a mistake in what was asked for, or a file or disk that refuses
    3     another process of the same run was lost; the checkpoints are whole
    124   --max-minutes are over; a checkpoint is saved, unless the state is suspect (the code that timeout(1) gives)
    129   stopped as the terminal was closed, 130 by Ctrl-C, 141 as nobody reads the output any more, 143 by SIGTERM;
          a checkpoint is saved if training had begun
"""

import inspect
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch

import evolvent
from evolvent.cli.commands import COMMANDS
from evolvent.cli.options import run_command
from evolvent.cli.terminal import UNREAD, drop_output, flush, printable, show_every_letter
from evolvent.cli.train import train
from evolvent.machine import keep_freed_memory
from evolvent.processes.early import SENTENCES
from evolvent.processes.joining import LOST, joined
from evolvent.processes.ranks import RankLost, here
from evolvent.processes.stopping import Stopped, signals_raise
from evolvent.recipes.find import own_fault
from evolvent.storage.circumstances import SourceChanged
from evolvent.training.trainer import Diverged

SHARED_COMMANDS = ("sample", "evaluate")
"""What several processes do together, beside train; the rest is the first one's."""
PYTHONS_FORMAT = warnings.formatwarning
LONGEST = 1500
"""A sentence with more letters quotes something endless, which is cut in the middle."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Of the processes that torchrun starts, one tells what went wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    keep_freed_memory()
    # Pillow warns of pictures that are refused anyway, or read well enough.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = _format_warning
    show_every_letter()
    try:
        with joined() as company:
            code, sentence = _outcome(words)
            if sentence and company.first_to_say(sentence):
                _tell(sentence)
            company.leave(code)
            return code
    except ValueError as error:  # the processes did not find each other
        _tell(str(error))
        return 2


def _outcome(words: list[str]) -> tuple[int, str]:
    """The exit code, and the sentence that tells what went wrong; "" where nothing did."""
    try:
        with signals_raise():
            code = _dispatch(words)
            flush()
        return code, ""
    except Diverged as error:
        return 1, str(error)
    except RankLost as error:
        return LOST, str(error)
    except (torch.OutOfMemoryError, MemoryError):
        return 1, "the device ran out of memory: give a smaller batch size"
    except OverflowError as error:
        return 2, f"a number is too large ({error})"
    except BrokenPipeError:
        drop_output()
        return UNREAD, ""
    except OSError as error:
        drop_output()  # of a full disk, which would be tried again at the end
        return 2, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ValueError as error:
        return 2, str(error)
    except KeyboardInterrupt:
        return 130, SENTENCES[signal.SIGINT]
    except Stopped as stop:
        return 128 + stop.number, SENTENCES[signal.Signals(stop.number)]
    except SystemExit as leave:  # --help; a recipe may leave with a sentence of its own
        return (2, leave.code) if isinstance(leave.code, str) else (int(leave.code or 0), "")
    except Exception as error:
        if "can't allocate memory" in str(error):
            return 1, "the machine ran out of memory: give a smaller batch size or a smaller net"
        if (sentence := own_fault(error)) is None:
            raise
        return 2, sentence


def _format_warning(message: Warning | str, category: type[Warning], *where: Any) -> str:
    """Ours as a sentence, others' as Python has them."""
    if issubclass(category, SourceChanged):
        return f"evolvent: {printable(str(message))}\n"
    return PYTHONS_FORMAT(message, category, *where)


def _tell(sentence: str) -> None:
    line = printable(" ".join(sentence.split()))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    print("evolvent:", line, file=sys.stderr, flush=True)


def _dispatch(words: list[str]) -> int:
    name, words = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help"):
        _print_usage()
        return 0
    if name == "--version":
        print(f"evolvent {evolvent.__version__}, torch {torch.__version__}")
        return 0
    if name == "train":
        return train(words)
    if name not in COMMANDS:
        raise ValueError(f'there is no command "{name}": there are train, {", ".join(COMMANDS)}')
    if name not in SHARED_COMMANDS and not here().first:
        return 0
    run_command(COMMANDS[name], f"evolvent {name}", words)
    return 0


def _print_usage() -> None:
    print("usage: evolvent COMMAND ...\n")
    commands = {"train": train, **COMMANDS}
    width = max(map(len, commands))
    for name, command in commands.items():
        print(f"  {name:{width}}  {inspect.getdoc(command).splitlines()[0]}")
    print(
        "\n`evolvent COMMAND --help` lists a command's options, `evolvent --version` says which version this is."
    )
