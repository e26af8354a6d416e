"""Who may import whom: the method reads downwards, and no import points up."""

import ast
import importlib.util
from pathlib import Path

import pytest

import evolvent

ROOT = Path(evolvent.__file__).parent
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

LAYERS = [
    {"shapes", "machine", "processes.ranks", "processes.leading"},
    {"noise"},
    {"reference"},
    {"spectral"},
    {"energy", "conditional"},
    {"compiled"},
    {"dynamics"},
    {"particles", "flows"},
    {"augmentation"},
    {"learners", "training.signs", "training.guard", "training.adam", "training.schedule", "training.checks"},
    {"training.captured"},
    {"training.trainer"},
    {"storage.files", "storage.sealed", "storage.reading", "pictures", "sampling", "observed", "views", "likelihood",
     "annealing", "interpolation", "storage.circumstances", "processes.stopping"},
    {"storage.runs", "cost"},
    {"training.beginning", "training.picturing"},
    {"training.session"},
    {"recipes"},
    {"model_card"},
    {"pretrained"},
    {"averaging"},
    {"processes.joining", "cli.terminal", "cli.options", "cli.drawing", "cli.given",
     "cli.seeing", "cli.remembering", "cli.writing", "cli.data", "cli.resuming", "cli.annealing", "cli.rows"},
    {"cli.evaluate", "cli.report", "cli.complete", "cli.evolve", "cli.interpolate", "cli.energy"},
    {"cli.commands", "cli.train"},
    {"cli.main", "processes.early"},
    {"__main__"},
]  # fmt: skip
"""From the ground up; a module may import what stands below it, and its own kind."""

ASIDE = {"nets", "data", "metrics"}
"""Stand beside the tower on shapes alone; from recipes, pictures and runs on, everyone may use them."""

QUIET_BELOW = "recipes"
"""Nothing below it reads the command line or the environment."""


SHELVES = {"cli", "training", "storage", "processes"}
"""Folders whose files stand in different layers, each by its own name."""


def parts():
    files = (path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__")
    return sorted(path for path in files if path.stem != "__init__" or path.parent.name not in SHELVES)


def part_of(path):
    return named(".".join(path.relative_to(ROOT).with_suffix("").parts))


def named(module):
    """The part that a module below evolvent belongs to: its file on a shelf, else what lies right under the root."""
    first, *more = module.split(".")
    return f"{first}.{more[0]}" if first in SHELVES else first


def imports(path):
    """Every part of evolvent that the file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "evolvent":
            holds_files = node.module in {"evolvent", *(f"evolvent.{shelf}" for shelf in SHELVES)}
            names = [f"{node.module}.{alias.name}" for alias in node.names] if holds_files else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("evolvent.")]
        else:
            continue
        found |= {named(name.removeprefix("evolvent.")) for name in names if "." in name}
    return found


def height(part):
    return next((level for level, layer in enumerate(LAYERS) if part in layer), None)


@pytest.mark.parametrize("path", parts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_points_up(path):
    part = part_of(path)
    if part in ASIDE:
        assert imports(path) <= {part, "shapes"}
        return
    assert height(part) is not None, f"{part} has no layer: give it one in LAYERS"
    for other in imports(path) - ASIDE - {"__version__"}:
        assert height(other) is not None
        assert height(other) <= height(part), f"{part} imports {other}, which stands above it"
    if height(part) < height("training.trainer"):
        assert not imports(path) & ASIDE, f"{part} is the method; nets, data and metrics are not its business"


@pytest.mark.parametrize("path", parts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_below_the_recipes_reads_the_surroundings(path):
    part = part_of(path)
    if part in ASIDE or height(part) < height(QUIET_BELOW):
        text = path.read_text()
        assert "os.environ" not in text
        assert "sys.argv" not in text
    if part not in ASIDE and height(part) <= height("training.trainer"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [n for n in calls if getattr(n.func, "id", "") == "print"]


@pytest.mark.parametrize("path", parts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_under_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_trainer_never_says_what_it_trains():
    assert "energy" not in (ROOT / "training" / "trainer.py").read_text().lower()


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.name)
def test_a_benchmark_imports_what_there_is(path):
    """Nothing else runs them all."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "evolvent":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
