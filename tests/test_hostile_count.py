"""docs/bad-input.md says how many bad inputs are tried, and of which kinds: here they are counted."""

import importlib
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "bad-input.md").read_text()


def tables(file):
    return importlib.import_module(file.stem).TABLES


def test_the_page_counts_the_bad_inputs_of_every_file():
    files = sorted(file for file in TESTS.glob("test_hostile_*.py") if "TABLES = (" in file.read_text())
    files.remove(Path(__file__))
    counted = {file.name: sum(map(len, tables(file))) for file in files}
    told = {name: int(number) for number, name in re.findall(r"\| (\d+) \| `tests/(\w+\.py)` \|", PAGE)}
    assert told == counted
    assert f"**{sum(counted.values())} bad inputs**" in PAGE
    assert sum(counted.values()) >= 300
