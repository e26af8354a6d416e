"""From a recipe's name to the experiment: names, files of one's own, and arguments as JSON.

A recipe is a function whose typed keywords are its options and which returns an `Experiment`. It is named by
its key in `RECIPES`, or by `path/to/file.py:function` for one that the package has never seen.
"""

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonargparse
import torch

from evolvent.data.named import NAMED
from evolvent.noise import check_seed
from evolvent.recipes import RECIPES
from evolvent.training.schedule import Experiment

OWN = "recipe_file_"
"""What the modules of the user's files are called by, before the file's name."""

FOLDERS: set[Path] = set()
"""Those that the user's files were imported from."""

DATA = "data"
"""The keyword of a recipe that names its data, in every recipe of the package."""

CLASSES = "num_classes"
"""The keyword of a recipe for how many classes its data have; where it defaults to None they are counted."""

WORDS = ("digits", *NAMED)
"""What `evolvent.data.load` knows by its name."""

RecipeFunction = Callable[..., Experiment]


def full_reference(reference: str) -> str:
    """The reference that still holds in another working directory: a file's path becomes absolute."""
    file, colon, name = reference.rpartition(":")
    return f"{Path(file).resolve()}:{name}" if colon else reference


def portable(reference: str) -> str:
    """The reference for others, who have a file of one's own elsewhere: a file by its own name alone."""
    file, colon, name = reference.rpartition(":")
    return f"{Path(file).name}{colon}{name}"


def lasting(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments, as JSON, that still hold in another working directory: what names a file or folder becomes absolute.

    A bare word may be one that the recipe knows, such as brick, though a folder is called so; under `data` it is the
    folder, unless `evolvent.data.load` knows the word.
    """
    return {name: _changed(value, partial(_absolute, bare=name == DATA)) for name, value in arguments.items()}


def portable_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments for others, who have files elsewhere: an absolute path by its own name alone."""
    return _changed(arguments, lambda value: Path(value).name or value if os.path.isabs(value) else value)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed."""
    if isinstance(value, dict):
        return {name: _changed(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_changed(part, change) for part in value]
    return change(value) if isinstance(value, str) else value


def _absolute(value: str, *, bare: bool) -> str:
    place = Path(value)
    named = os.sep in value or place.suffix or (bare and value not in WORDS)
    return str(place.resolve()) if named and os.path.exists(value) else value


def short_name(reference: str) -> str:
    """The recipe's own name, without the file it lies in."""
    return reference.rpartition(":")[2]


def find(reference: str) -> RecipeFunction:
    """The recipe function. ValueError says what there is instead when there is no such recipe."""
    if ":" in reference or reference.endswith(".py"):
        return _typed(function_in(reference), reference)
    if reference not in RECIPES:
        close = get_close_matches(reference.replace("_", "-"), RECIPES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(RECIPES)}"
        raise ValueError(
            f'no recipe is called "{reference}": {hint} (a file of yours is named file.py:function)'
        )
    return RECIPES[reference]


def _typed(recipe: RecipeFunction, reference: str) -> RecipeFunction:
    """The recipe, if each keyword that must be given has a type: its option is read by that."""
    for name, parameter in inspect.signature(recipe).parameters.items():
        given = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if given and parameter.annotation is parameter.empty:
            raise ValueError(
                f"{reference} has a keyword {name} without a type: write it as {name}: float = 0.1"
            )
    return recipe


def build(recipe: RecipeFunction, arguments: dict[str, Any], *, seed: int = 0) -> Experiment:
    """Call the recipe with arguments as run.json keeps them; initial weights are drawn under `seed`."""
    parser = recipe_parser(recipe)
    try:
        values = parser.instantiate(parser.parse_object(arguments))
    except (jsonargparse.ArgumentError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the recipe no longer takes the arguments that the run was made with: {reason}"
        ) from error
    check_seed(seed)
    torch.manual_seed(seed)
    experiment = recipe(**values.as_dict())
    if not isinstance(experiment, Experiment):
        kind = type(experiment).__name__
        raise ValueError(f"the recipe {recipe.__name__} must return an evolvent.Experiment, not {kind}")
    return experiment


def to_json(recipe: RecipeFunction, values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's arguments as plain JSON values, defaults included."""
    parser = recipe_parser(recipe)
    own = jsonargparse.Namespace({key: values[key] for key in keywords_of(parser) if key in values})
    return json.loads(parser.dump(own, format="json", skip_unset=False, skip_validation=True))


def defaults_of(recipe: RecipeFunction) -> dict[str, Any]:
    """The recipe's defaults as run.json would keep them, null where there is none."""
    return to_json(recipe, recipe_parser(recipe).get_defaults(skip_validation=True).as_dict())


def keywords_of(parser: jsonargparse.ArgumentParser) -> set[str]:
    """The keywords of the recipe that a `recipe_parser` is of, those that it hands on by ** among them."""
    return {action.dest.partition(".")[0] for action in parser._actions} - {"help"}


def recipe_parser(recipe: RecipeFunction) -> jsonargparse.ArgumentParser:
    """A parser of the recipe's keywords and nothing else."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(recipe, as_positional=False)
    return parser


def function_in(reference: str) -> Callable[..., Any]:
    """The function that file.py:function names. ValueError when there is none."""
    file, _, name = reference.rpartition(":")
    if not file or not name:
        raise ValueError(f"{reference} names no function: one in a file is file.py:function")
    path = Path(file).resolve()
    if not path.is_file():
        raise ValueError(f"the file {file} does not exist")
    module = _load(path)
    found = getattr(module, name, None)
    if not (inspect.isfunction(inspect.unwrap(found)) or inspect.isclass(found)):
        own = [key for key, value in vars(module).items() if _is_own_function(value, module)]
        raise ValueError(f"{file} has no function {name}: it has {', '.join(own) or 'none'}")
    return found


def _is_own_function(value: object, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _load(path: Path) -> ModuleType:
    """Import a file by its path. An error inside it becomes a sentence that names its line."""
    if not path.suffix == ".py":
        raise ValueError(f"a function lies in a Python file, and {path.name} does not end in .py")
    specification = importlib.util.spec_from_file_location(f"{OWN}{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    # Classes defined in the file look their module up by name; its neighbours are imported as in a script.
    sys.modules[module.__name__] = module
    _look_first_in(path.parent)
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(own_fault(error)) from error
    return module


def _look_first_in(folder: Path) -> None:
    """Import from `folder` before all others: what came from the folder of another file of the user's, and has a
    namesake here, is forgotten, though who imported it keeps it.
    """
    others = FOLDERS - {folder}
    met = {name for name, module in sys.modules.items() if "." not in name and _folder_of(module) in others}
    met -= {"__main__", __name__.partition(".")[0]}
    namesakes = {name for name in met if (folder / f"{name}.py").is_file() or (folder / name).is_dir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in namesakes]:
        del sys.modules[name]
    FOLDERS.add(folder)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]


def _folder_of(module: ModuleType) -> Path | None:
    """Where a file or a package lies; None of what is built in."""
    places = [*vars(module).get("__path__", [])] or [vars(module).get("__file__")]
    return Path(places[0]).parent if places[0] else None


def own_fault(error: BaseException) -> str | None:
    """The error in a sentence, where code of the user's own takes part in this process; None where all is ours.

    It names the innermost line of the user's file, else the line of ours that the user's net, data or detector met.
    """
    own = [module.__file__ for name, module in sys.modules.items() if name.startswith(OWN)]
    if not own:
        return None
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    what = f"{type(error).__name__}: {error}"
    if within := [frame for frame in frames if frame[0] in own]:
        return f"{within[-1][0]}, line {within[-1][1]}: {what}"
    return f"what {own[-1]} returned led to {what} ({frames[-1][0]}, line {frames[-1][1]})"
