"""What a run that is gone on with keeps, and what may lie elsewhere by now: its data."""

import json
import os
import warnings
from typing import Any

from evolvent.recipes.find import DATA, RecipeFunction, defaults_of
from evolvent.storage.circumstances import SourceChanged


def moved_data(record: dict[str, Any], facts: dict[str, Any], recipe: RecipeFunction) -> dict[str, Any]:
    """The arguments that name another place of the data than run.json does, which is told of.

    ValueError when anything else is asked for than the run was made with: it keeps its seed and its arguments. A
    keyword that the recipe did not have yet when the run was made is at its default.
    """
    before = {"seed": record["seed"]} | defaults_of(recipe) | record["arguments"]
    after = {"seed": facts["seed"]} | facts["arguments"]
    changed = {name: value for name, value in after.items() if not _equal(before[name], value)}
    for name in changed:
        option = name.replace("_", "-")
        if not _may_move(name, before[name], after[name]):
            raise ValueError(
                f"the run was made with --{option} {before[name]}, and a resumed run keeps its options:"
                f" leave --{option} out, or start a new run with another --out"
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
        option, before = name.replace("_", "-"), record["arguments"].get(name)
        sentence = f"the run was made with --{option} {before} and goes on with {place}"
        warnings.warn(f"{sentence}: only the same data make it the same run", SourceChanged, stacklevel=2)


def _may_move(name: str, before: Any, after: Any) -> bool:
    """Whether both say where data lie, the new one by a path."""
    was_place = isinstance(before, str) and (name == DATA or os.path.isabs(before))
    return was_place and isinstance(after, str) and os.path.isabs(after)


def _equal(a: Any, b: Any) -> bool:
    """Of two JSON values; NaN equals itself here."""
    return a == b or json.dumps(a) == json.dumps(b)
