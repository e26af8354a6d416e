"""From a recipe's name to the experiment: names, files of one's own, and arguments as JSON.

A recipe is a function whose typed keywords are its options and which returns an `Experiment`. It is named by
its key in `RECIPES`, or by `path/to/file.py:function` for one that the package has never seen.
"""

import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonargparse
import torch

from evolvent.recipes import RECIPES
from evolvent.trainer import Experiment

RecipeFunction = Callable[..., Experiment]


def full_reference(reference: str) -> str:
    """The reference that still holds in another working directory: a file's path becomes absolute."""
    file, colon, name = reference.rpartition(":")
    return f"{Path(file).resolve()}:{name}" if colon else reference


def short_name(reference: str) -> str:
    """The recipe's own name, without the file it lies in."""
    return reference.rpartition(":")[2]


def find(reference: str) -> RecipeFunction:
    """The recipe function. ValueError says what there is instead when there is no such recipe."""
    if ":" in reference or reference.endswith(".py"):
        return function_in(reference)
    if reference not in RECIPES:
        close = get_close_matches(reference.replace("_", "-"), RECIPES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(RECIPES)}"
        raise ValueError(
            f'no recipe is called "{reference}": {hint} (a file of yours is named file.py:function)'
        )
    return RECIPES[reference]


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
    torch.manual_seed(seed)
    experiment = recipe(**values.as_dict())
    if not isinstance(experiment, Experiment):
        kind = type(experiment).__name__
        raise ValueError(f"the recipe {recipe.__name__} must return an evolvent.Experiment, not {kind}")
    return experiment


def to_json(recipe: RecipeFunction, values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's arguments as plain JSON values, defaults included."""
    parser = recipe_parser(recipe)
    own = {key: value for key, value in values.items() if key in inspect.signature(recipe).parameters}
    return json.loads(parser.dump(jsonargparse.Namespace(own), format="json", skip_unset=False))


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
    if not callable(found):
        own = [key for key, value in vars(module).items() if _is_own_function(value, module)]
        raise ValueError(f"{file} has no function {name}: it has {', '.join(own) or 'none'}")
    return found


def _is_own_function(value: object, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _load(path: Path) -> ModuleType:
    """Import a file by its path. An error inside it becomes a sentence that names its line."""
    if not path.suffix == ".py":
        raise ValueError(f"a function lies in a Python file, and {path.name} does not end in .py")
    specification = importlib.util.spec_from_file_location(f"recipe_file_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    # Classes defined in the file look their module up by name; its neighbours are imported as in a script.
    sys.modules[module.__name__] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        raise ValueError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    return module
