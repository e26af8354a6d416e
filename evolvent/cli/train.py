"""The command train: a recipe's keywords as options, and where a run begins.

    evolvent train RECIPE --width 64      from weights that are drawn, in runs/RECIPE-N
    evolvent train --init-from WEIGHTS    in a run of its own, from weights that were trained before
    evolvent train --resume --out RUN     where RUN stopped, bitwise

Nothing is made before all is found to be in order: a mistake leaves no folder behind.
"""

import argparse
import inspect
import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace
from torch import nn

from evolvent.cli.drawing import Device, settle_device
from evolvent.cli.options import Parser, parse
from evolvent.cli.resuming import check_data, moved_data, tell_moved, under
from evolvent.cli.terminal import clock, drop_output, print_table, vital_signs, watch
from evolvent.nets.deepening import missing_blocks, with_blocks_of
from evolvent.nets.enlarging import doublings, with_stages_of
from evolvent.nets.retelling import known_by, with_classes_of
from evolvent.pretrained import load_weights, weights_and_origin
from evolvent.processes.ranks import here
from evolvent.recipes import RECIPES
from evolvent.recipes.find import (
    CLASSES,
    RecipeFunction,
    build,
    defaults_of,
    find,
    full_reference,
    keywords_of,
    lasting,
    recipe_parser,
    short_name,
    to_json,
)
from evolvent.sampling import classes_of
from evolvent.storage.circumstances import sources, warn_of_changes
from evolvent.storage.reading import read_record
from evolvent.storage.runs import Run, Shadow, next_free
from evolvent.training.guard import Guard
from evolvent.training.session import Ending
from evolvent.training.session import train as train_session
from evolvent.training.trainer import Trainer

DEFAULT_RECIPE = next(iter(RECIPES))
OUT_OF_TIME = 124


class Origin(NamedTuple):
    """What the words name to begin from: a run to go on with, weights, or nothing."""

    record: dict[str, Any] | None = None
    """run.json of the run to go on with."""
    weights: dict[str, torch.Tensor] | None = None
    """To begin from."""
    init_from: dict[str, Any] | None = None
    """Where they come from, as run.json keeps it."""

    @property
    def made(self) -> dict[str, Any]:
        """The recipe and the arguments that the run, or the weights, were made with."""
        return self.record or self.init_from or {"recipe": DEFAULT_RECIPE, "arguments": {}}

    def arguments(self, recipe: RecipeFunction) -> dict[str, Any]:
        """Those that it was made with; classes are those of the new run's data."""
        known = self.made["arguments"]
        if self.record or known.get(CLASSES) is None or defaults_of(recipe).get(CLASSES, 0) is not None:
            return known
        return known | {CLASSES: None}


def train(words: list[str]) -> int:
    """Train a recipe (the default: digits), begin from weights by --init-from, or go on by --resume --out DIR."""
    reference, words = (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)
    origin = here().on_first(lambda: _origin(words))
    if origin.record:
        origin = origin._replace(record=under(origin.record, reference))
        reference = None
    record, made_by = origin.record, origin.made["recipe"]
    reference = full_reference(reference) if reference is not None else made_by
    recipe = find(reference)
    defaults = origin.arguments(recipe) if made_by == reference else {}
    values = parse(_train_parser(reference, recipe, defaults), words)
    _check_limits(values.max_minutes, values.threads)
    if values.out is not None and not values.out.strip():
        raise ValueError("--out is empty: give the run's folder, or leave it out")
    facts = {
        "recipe": reference,
        "arguments": lasting(to_json(recipe, values.as_dict())),
        "seed": (record["seed"] if record else 0) if values.seed is None else values.seed,
        "device": settle_device(values.device or (record["device"] if record else "auto")),
    }
    if record:
        return _go_on(record, recipe, facts, values)
    facts["init_from"] = origin.init_from
    trainer = _trainer(recipe, facts, values.guard, origin.weights)
    del origin  # the weights, which the learner has now
    facts["arguments"] = _with_classes(facts["arguments"], trainer.learner)
    return _start(trainer, values.out, facts, values.max_minutes)


def _go_on(record: dict[str, Any], recipe: RecipeFunction, facts: dict[str, Any], values: Namespace) -> int:
    """With the run in --out, whose run.json is `record`."""
    guard = values.guard
    if guard is None and "guard" in record:  # not there yet where the run was stopped before its first step
        guard = record["guard"] is not None
    moved = moved_data(record, facts, recipe)
    if record["status"] == "finished":
        print(f"{values.out} is finished: `evolvent sample {values.out}` draws from it")
        return 0
    check_data(facts["arguments"])
    if here().first:
        warn_of_changes(record.get("sources", {}), sources(facts["recipe"]), values.out)
        tell_moved(record, moved)
    with _taken(lambda: _opened(values.out)) as run:
        run.record |= {"device": facts["device"], "arguments": record["arguments"] | moved}
        run.record |= {name: record[name] for name in ("recipe", "sources") if name in record}
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


def _opened(out: str) -> Run:
    """The run to go on with. ValueError for one that would begin from other weights than run.json says."""
    run = Run.open(out)
    origin = run.record.get("init_from")
    if origin and not run.checkpoints():
        run.close()
        raise ValueError(
            f"{out} has no checkpoint, and began from weights that it has no copy of: start a new run by --init-from"
            f" {origin['source']} with another --out"
        )
    return run


def _taken(take: Callable[[], Run]) -> Run:
    """The run: the first process holds its folder, the others hear of it."""
    held: list[Run] = []

    def of_first() -> tuple[Path, dict[str, Any]]:
        held.append(take())
        return held[0].path, held[0].record

    path, record = here().on_first(of_first)
    return held[0] if held else Shadow(path, record)


def _trainer(
    recipe: RecipeFunction,
    facts: dict[str, Any],
    guard: bool | None,
    weights: dict[str, torch.Tensor] | None = None,
) -> Trainer:
    """The recipe's trainer; with guard True or False in place of what its schedule says."""
    experiment = build(recipe, facts["arguments"], seed=facts["seed"])
    if weights is not None:
        _begin_from(weights, experiment.learner, facts)
    data, schedule = experiment.data(), experiment.schedule
    if guard is not None:
        schedule = replace(schedule, guard=(schedule.guard or Guard()) if guard else None)
    seed, device = facts["seed"], facts["device"]
    return Trainer(experiment.learner, data, schedule, seed=seed, device=device, ranks=here())


def _with_classes(arguments: dict[str, Any], learner: nn.Module) -> dict[str, Any]:
    """With the number that the recipe counted, which holds when the data are elsewhere."""
    num_classes = len(classes_of(learner))
    counted = num_classes and arguments.get(CLASSES, num_classes) is None
    return arguments | {CLASSES: num_classes} if counted else arguments


def _begin_from(weights: dict[str, torch.Tensor], learner: nn.Module, facts: dict[str, Any]) -> None:
    """With classes that the weights do not know, with blocks and stages that they lack, and a word of each."""
    source, known = facts["init_from"]["source"], known_by(weights)
    retold = with_classes_of(learner, weights)
    begun = with_blocks_of(learner, with_stages_of(learner, retold))
    try:
        load_weights(learner, begun, source)
    except ValueError as error:
        raise ValueError(
            f"{error}; without a recipe and options of its nets, --init-from has those that they were made with"
        ) from None
    _tell_of_lost(known, classes_of(learner), source, facts["arguments"])
    if (new := missing_blocks(learner, retold)) and here().first:
        print(f"{len(new)} residual blocks that the weights in {source} lack begin as the identity")
    if (times := doublings(learner, retold)) and here().first:
        print(
            f"images have {2**times} times the side of those of {source}, and begin without any detail of their own"
        )


def _tell_of_lost(known: int, own: list[int], source: str, arguments: dict[str, Any]) -> None:
    """Say that classes of the weights do not go on: of as many others nobody knows."""
    if known in (0, len(own)) or not here().first:
        return
    if own:
        print(
            f"the weights in {source} know {known} classes, this run {len(own)} others: it begins from their mean"
        )
        return
    words = ["--labels"] if "labels" in arguments else []
    if words and arguments.get(CLASSES) not in (None, known):
        words.append(f"--num-classes {known}")
    keep = f"give {' '.join(words)} to keep them" if words else "it begins from their mean"
    print(f"the weights in {source} know {known} classes and this run none: {keep}")


def _train(run: Run, trainer: Trainer, max_minutes: float | None) -> int:
    show = watch()
    together = f", {trainer.ranks.num} processes" if trainer.ranks.num > 1 else ""
    show.say(f"{short_name(run.record['recipe'])} into {run.path} on {trainer.device}{together}")
    ending = train_session(run, trainer, max_minutes=max_minutes, show=show)
    if ending.status == "finished":
        _print_ending(run, trainer, ending)
        return 0
    if ending.signal in (signal.SIGHUP, signal.SIGPIPE):  # nobody is left to be told
        drop_output()
        return 128 + ending.signal
    why = "by a signal" if ending.signal else f"after {max_minutes:g} minutes"
    print(
        f"stopped {why} at step {trainer.step} of {trainer.schedule.num_steps}:"
        f" go on with `evolvent train --resume --out {shlex.quote(str(run.path))}`"
    )
    return 128 + ending.signal if ending.signal else OUT_OF_TIME


def _train_parser(reference: str, recipe: RecipeFunction, defaults: dict[str, Any]) -> Parser:
    story = (inspect.getdoc(recipe) or "Train a recipe.").partition("\n\nArgs:")[0]
    parser = Parser(f"evolvent train {short_name(reference)}", story)
    parser.add_argument("--out", type=str | None, help="the run's folder (default: runs/RECIPE-N)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; on a CPU bitwise")
    parser.add_argument(
        "--init_from",
        type=str | None,
        help="weights to begin from: a run, a model.safetensors, shipped weights, or owner/name on the hub; options"
        " default to those they were made with",
    )
    parser.add_argument("--max_minutes", type=float | None, help="stop with a checkpoint after so long")
    parser.add_argument(
        "--guard", type=bool | None, help="take the run back when it explodes (default: the recipe's, true)"
    )
    parser.add_argument("--device", type=Device | None, help="auto (the GPU if there is one), cpu or cuda")
    parser.add_argument("--seed", type=int | None, help="of weights, data and noise (default: 0)")
    parser.add_argument("--threads", type=int | None, help="CPU threads (default: torch's choice)")
    keywords = keywords_of(recipe_parser(recipe))
    if taken := keywords & {action.dest for action in parser._actions}:
        raise ValueError(
            f"the recipe {reference} has a keyword {taken.pop()}, which is an option of every run: rename it"
        )
    if gone := defaults.keys() - keywords:
        raise ValueError(
            f"the recipe no longer takes the arguments that the run was made with: it has no {min(gone)} now;"
            " go back to the recipe as it was, or start a new run from drawn weights with another --out"
        )
    parser.add_function_arguments(recipe, as_positional=False)
    parser.set_defaults(defaults)
    return parser


def _origin(words: list[str]) -> Origin:
    """What --resume or --init-from name: the recipe must be known before its options can be read."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--resume", action="store_true")
    peek.add_argument("--out", nargs="?")
    peek.add_argument("--init-from", "--init_from", nargs="?")
    try:
        known, _ = peek.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error.argument_name} takes no value") from error
    if known.resume and known.init_from is not None:
        raise ValueError("a run that is gone on with has its own weights: leave out --resume or --init-from")
    if known.resume and not known.out:
        raise ValueError("--resume needs --out DIR, the folder of the run to go on with")
    if known.resume:
        return Origin(record=read_record(Path(known.out)))
    if known.init_from is None:
        return Origin()
    if not known.init_from.strip():
        raise ValueError("--init-from is empty: name weights to begin from, or leave it out")
    weights, init_from = weights_and_origin(known.init_from)
    return Origin(weights=weights, init_from=init_from)


def _check_limits(max_minutes: float | None, threads: int | None) -> None:
    """ValueError for limits that cannot be kept; the threads are limited from here on."""
    if max_minutes is not None and not max_minutes > 0:
        raise ValueError(f"--max-minutes must be above 0, not {max_minutes}")
    num_cpus = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= num_cpus:
        raise ValueError(f"--threads must lie between 1 and this machine's {num_cpus}, not {threads}")
    if threads is not None:
        torch.set_num_threads(threads)


def _print_ending(run: Run, trainer: Trainer, ending: Ending) -> None:
    name, steps = short_name(run.record["recipe"]), trainer.step
    rows = [
        ("steps", f"{steps} in {clock(ending.seconds)} ({steps / max(ending.seconds, 1e-9):.3g} a second)"),
        ("vital signs", vital_signs(ending.line) or "-"),
    ]
    print_table(f"{name}: finished", ("what", "value"), rows)
    shown = (run.path / "samples.png").is_file()  # points of most shapes have no picture
    if shown:
        print(f"samples:  {run.path / 'samples.png'}")
    print(f"more:     evolvent sample {run.path} --num 64 --seed 1 --out more.{'png' if shown else 'npz'}")
    print(f"scores:   evolvent evaluate {run.path}")
