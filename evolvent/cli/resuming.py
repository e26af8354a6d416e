"""What a run that is gone on with keeps, and what may lie elsewhere by now: its data, and the file of its recipe."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

from evolvent.cli.options import hyphenated
from evolvent.recipes.find import DATA, RecipeFunction, defaults_of, full_reference, short_name
from evolvent.storage.circumstances import SourceChanged


def under(record: dict[str, Any], asked: str | None) -> dict[str, Any]:
    """The record under the recipe that was asked for: its own, or a function of that name in a file that was moved.

    ValueError for another recipe, and where the file is no longer at its place.
    """
    reference = full_reference(asked) if asked else record["recipe"]
    (before, _, name), (file, _, _) = record["recipe"].rpartition(":"), reference.rpartition(":")
    if reference == record["recipe"]:
        if file and not Path(file).resolve().exists():
            raise ValueError(
                f"the file {file} of the run's recipe does not exist any more: where it lies now, it is named before"
                f" --resume, as in train folder/file.py:{name} --resume"
            )
        return record
    if not (file and before and short_name(reference) == name):
        raise ValueError(f"that run is of the recipe {record['recipe']}, not {asked}: leave the recipe out")
    files = {Path(before).name: Path(file).name}
    digests = {files.get(of, of): digest for of, digest in record.get("sources", {}).items()}
    return record | {"recipe": reference, "sources": digests}


def moved_data(record: dict[str, Any], facts: dict[str, Any], recipe: RecipeFunction) -> dict[str, Any]:
    """The arguments that name another place of the data than run.json does, which is told of.

    ValueError when anything else is asked for than the run was made with: it keeps its seed and its arguments. A
    keyword that the recipe did not have yet when the run was made is at its default.
    """
    before = {"seed": record["seed"]} | defaults_of(recipe) | record["arguments"]
    after = {"seed": facts["seed"]} | facts["arguments"]
    changed = {name: value for name, value in after.items() if not _equal(before[name], value)}
    for name in changed:
        option = hyphenated(f"--{name}")
        if not _may_move(name, before[name], after[name]):
            raise ValueError(
                f"the run was made with {option} {before[name]}, and a resumed run keeps its options:"
                f" leave {option} out, or start a new run with another --out"
            )
    return changed


def check_data(arguments: dict[str, Any]) -> None:
    """ValueError, with the way out, where the data of the run are no longer at their place."""
    place = arguments.get(DATA)
    if isinstance(place, str) and os.path.isabs(place) and not os.path.exists(place):
        raise ValueError(f"{place} is not there any more: say by --{DATA} where it lies now")


def tell_moved(record: dict[str, Any], moved: dict[str, Any]) -> None:
    """Warn that the data lie elsewhere now: that they are the same nobody knows."""
    for name, place in moved.items():
        option, before = hyphenated(f"--{name}"), record["arguments"].get(name)
        sentence = f"the run was made with {option} {before} and goes on with {place}"
        warnings.warn(f"{sentence}: only the same data make it the same run", SourceChanged, stacklevel=2)


def _may_move(name: str, before: Any, after: Any) -> bool:
    """Whether both say where data lie, the new one by a path."""
    was_place = isinstance(before, str) and (name == DATA or os.path.isabs(before))
    return was_place and isinstance(after, str) and os.path.isabs(after)


def _equal(a: Any, b: Any) -> bool:
    """Of two JSON values; NaN equals itself here."""
    return a == b or json.dumps(a) == json.dumps(b)
