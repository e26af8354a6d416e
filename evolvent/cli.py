"""The command line: train | sample | evaluate | report | recipes | data | export.

Options are the typed keywords of a command (`commands`), or of the recipe that `train` runs. A user's mistake
is one sentence on standard error, never a traceback. Exit codes:

    0     done
    1     the run diverged, or memory ran out
    2     a mistake in what was asked for, or a file or disk that refuses
    3     another process of the same run was lost; the checkpoints are whole
    124   --max-minutes are over; a checkpoint is saved (the code that timeout(1) gives)
    130   stopped by Ctrl-C, and 143 by SIGTERM; a checkpoint is saved if training had begun
"""

import argparse
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from evolvent.commands import COMMANDS
from evolvent.drawing import Device, settle_device
from evolvent.early import SENTENCES
from evolvent.guard import Guard
from evolvent.joining import LOST, joined
from evolvent.machine import keep_freed_memory
from evolvent.options import Parser, parse, run_command
from evolvent.ranks import RankLost, here
from evolvent.recipes import RECIPES
from evolvent.recipes.find import (
    RecipeFunction,
    build,
    find,
    full_reference,
    own_fault,
    short_name,
    to_json,
)
from evolvent.runs import Run, Shadow, next_free, read_record
from evolvent.session import Ending
from evolvent.session import train as train_session
from evolvent.stopping import Stopped, signals_raise
from evolvent.terminal import (
    clock,
    drop_output,
    flush,
    open_console,
    show_every_letter,
    table,
    vital_signs,
    watch,
)
from evolvent.trainer import Diverged, Trainer

DEFAULT_RECIPE = next(iter(RECIPES))
OUT_OF_TIME = 124
SHARED_COMMANDS = ("sample", "evaluate")
"""What several processes do together, beside train; the rest is the first one's."""
LONGEST = 1500
"""A sentence with more letters quotes something endless, which is cut in the middle."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Of the processes that torchrun starts, one tells what went wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    keep_freed_memory()
    # Pillow warns of pictures that are refused anyway, or read well enough.
    warnings.filterwarnings("ignore", module=r"PIL\.")
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
        return 1, ""
    except OSError as error:
        drop_output()  # of a full disk, which would be tried again at the end
        return 2, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ValueError as error:
        return 2, str(error)
    except KeyboardInterrupt:
        return 130, SENTENCES[signal.SIGINT]
    except Stopped:
        return 143, SENTENCES[signal.SIGTERM]
    except SystemExit as leave:  # --help; a recipe may leave with a sentence of its own
        return (2, leave.code) if isinstance(leave.code, str) else (int(leave.code or 0), "")
    except Exception as error:
        if "can't allocate memory" in str(error):
            return 1, "the machine ran out of memory: give a smaller batch size or a smaller net"
        if (sentence := own_fault(error)) is None:
            raise
        return 2, sentence


def _tell(sentence: str) -> None:
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(sentence.split()))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    print("evolvent:", line, file=sys.stderr, flush=True)


def _dispatch(words: list[str]) -> int:
    name, words = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help"):
        _print_usage()
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
    for name, command in {"train": train, **COMMANDS}.items():
        first_line = inspect.getdoc(command).splitlines()[0]
        print(f"  {name:10}{first_line}")
    print("\n`evolvent COMMAND --help` lists a command's options.")


def train(words: list[str]) -> int:
    """Train a recipe (the default: digits), or go on with a run by --resume --out DIR."""
    reference, words = (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)
    record = here().on_first(lambda: _record_to_resume(words))
    if record and reference and full_reference(reference) != record["recipe"]:
        raise ValueError(
            f"that run is of the recipe {record['recipe']}, not {reference}: leave the recipe out"
        )
    reference = (
        record["recipe"] if record else full_reference(DEFAULT_RECIPE if reference is None else reference)
    )
    recipe = find(reference)
    values = parse(_train_parser(reference, recipe, record), words)
    _check_limits(values.max_minutes, values.threads)
    if values.out is not None and not values.out.strip():
        raise ValueError("--out is empty: give the run's folder, or leave it out")
    facts = {
        "recipe": reference,
        "arguments": to_json(recipe, values.as_dict()),
        "seed": (record["seed"] if record else 0) if values.seed is None else values.seed,
        "device": settle_device(values.device or (record["device"] if record else "auto")),
    }
    if record is None:
        trainer = _trainer(recipe, facts, values.guard)
        return _start(trainer, values.out, facts, values.max_minutes)
    guard = record.get("guard") is not None if values.guard is None else values.guard
    _refuse_changes(record, facts, recipe)
    if record["status"] == "finished":
        print(f"{values.out} is finished: `evolvent sample {values.out}` draws from it")
        return 0
    with _taken(lambda: Run.open(values.out)) as run:
        run.record["device"] = facts["device"]
        return _train(run, _trainer(recipe, facts, guard), values.max_minutes)


def _start(trainer: Trainer, out: str | None, facts: dict[str, Any], max_minutes: float | None) -> int:
    # The trainer is there first: a mistake in an option or a data path must not leave a run folder behind.
    with _taken(lambda: Run.create(out or next_free(short_name(facts["recipe"])), **facts)) as run:
        try:
            return _train(run, trainer, max_minutes)
        except Exception as error:
            if trainer.step == 0 and not isinstance(error, OSError):
                run.discard()
            raise


def _taken(take: Callable[[], Run]) -> Run:
    """The run: the first process holds its folder, the others hear of it."""
    held: list[Run] = []

    def of_first() -> tuple[Path, dict[str, Any]]:
        held.append(take())
        return held[0].path, held[0].record

    path, record = here().on_first(of_first)
    return held[0] if held else Shadow(path, record)


def _trainer(recipe: RecipeFunction, facts: dict[str, Any], guard: bool | None) -> Trainer:
    """The recipe's trainer; with guard True or False in place of what its schedule says."""
    experiment = build(recipe, facts["arguments"], seed=facts["seed"])
    data, schedule = experiment.data(), experiment.schedule
    if guard is not None:
        schedule = replace(schedule, guard=(schedule.guard or Guard()) if guard else None)
    seed, device = facts["seed"], facts["device"]
    return Trainer(experiment.learner, data, schedule, seed=seed, device=device, ranks=here())


def _train(run: Run, trainer: Trainer, max_minutes: float | None) -> int:
    console = open_console()
    show = watch(console)
    together = f", {trainer.ranks.num} processes" if trainer.ranks.num > 1 else ""
    show.say(f"{short_name(run.record['recipe'])} into {run.path} on {trainer.device}{together}")
    ending = train_session(run, trainer, max_minutes=max_minutes, show=show)
    if ending.status == "finished":
        _print_ending(console, run, trainer, ending)
        return 0
    why = "by a signal" if ending.signal else f"after {max_minutes:g} minutes"
    print(
        f"stopped {why} at step {trainer.step} of {trainer.schedule.num_steps}:"
        f" go on with `evolvent train --resume --out {run.path}`"
    )
    return 128 + ending.signal if ending.signal else OUT_OF_TIME


def _train_parser(reference: str, recipe: RecipeFunction, record: dict[str, Any] | None) -> Parser:
    story = (inspect.getdoc(recipe) or "Train a recipe.").partition("\n\nArgs:")[0]
    parser = Parser(f"evolvent train {short_name(reference)}", story)
    parser.add_argument("--out", type=str | None, help="the run's folder (default: runs/RECIPE-N)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, bitwise")
    parser.add_argument("--max_minutes", type=float | None, help="stop with a checkpoint after so long")
    parser.add_argument(
        "--guard", type=bool | None, help="take the run back when it explodes (default: the recipe's, true)"
    )
    parser.add_argument("--device", type=Device | None, help="auto (the GPU if there is one), cpu or cuda")
    parser.add_argument("--seed", type=int | None, help="of weights, data and noise (default: 0)")
    parser.add_argument("--threads", type=int | None, help="CPU threads (default: torch's choice)")
    taken = inspect.signature(recipe).parameters.keys() & {action.dest for action in parser._actions}
    if taken:
        raise ValueError(
            f"the recipe {reference} has a keyword {taken.pop()}, which is an option of every run: rename it"
        )
    parser.add_function_arguments(recipe, as_positional=False)
    if record:
        gone = record["arguments"].keys() - inspect.signature(recipe).parameters.keys()
        if gone:
            raise ValueError(
                f"the recipe no longer takes the arguments that the run was made with: it has no {min(gone)} now;"
                " go back to the recipe as it was, or start a new run with another --out"
            )
        parser.set_defaults(record["arguments"])
    return parser


def _record_to_resume(words: list[str]) -> dict[str, Any] | None:
    """run.json of the run that --resume names: the recipe must be known before its options can be read."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--resume", action="store_true")
    peek.add_argument("--out", nargs="?")
    try:
        known, _ = peek.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error.argument_name} takes no value") from error
    if not known.resume:
        return None
    if not known.out:
        raise ValueError("--resume needs --out DIR, the folder of the run to go on with")
    return read_record(Path(known.out))


def _refuse_changes(record: dict[str, Any], facts: dict[str, Any], recipe: RecipeFunction) -> None:
    """A resumed run keeps its seed and its arguments: ValueError when others are asked for.

    A keyword that the recipe did not have yet when the run was made is at its default.
    """
    keywords = inspect.signature(recipe).parameters
    before = {name: keyword.default for name, keyword in keywords.items()}
    before |= {"seed": record["seed"]} | record["arguments"]
    after = {"seed": facts["seed"]} | facts["arguments"]
    changed = [name for name in after if before.get(name) != after[name]]
    if changed:
        option = changed[0].replace("_", "-")
        raise ValueError(
            f"the run was made with --{option} {before.get(changed[0])}, and a resumed run keeps its options:"
            f" leave --{option} out, or start a new run with another --out"
        )


def _check_limits(max_minutes: float | None, threads: int | None) -> None:
    if max_minutes is not None and not max_minutes > 0:
        raise ValueError(f"--max-minutes must be above 0, not {max_minutes}")
    num_cpus = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= num_cpus:
        raise ValueError(f"--threads must lie between 1 and this machine's {num_cpus}, not {threads}")
    if threads is not None:
        torch.set_num_threads(threads)


def _print_ending(console: Console, run: Run, trainer: Trainer, ending: Ending) -> None:
    name, steps = short_name(run.record["recipe"]), trainer.step
    rows = [
        ("steps", f"{steps} in {clock(ending.seconds)} ({steps / max(ending.seconds, 1e-9):.3g} a second)"),
        ("vital signs", vital_signs(ending.line) or "-"),
    ]
    console.print(table(f"{name}: finished", ("what", "value"), rows))
    print(f"samples:  {run.path / 'samples.png'}")
    print(f"more:     evolvent sample {run.path} --num 64 --seed 1 --out more.png")
    print(f"scores:   evolvent evaluate {run.path}")
