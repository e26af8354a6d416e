"""benchmarks/stability.py: what its command line refuses."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import stability


def test_a_method_that_a_scene_does_not_have_is_refused_with_those_that_it_has(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stability.py", "ring", "--methods", "GCN", "GGCN"])
    with pytest.raises(SystemExit, match="2"):
        stability.main()
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith('ring has no method "GGCN": there are "GCN", "w-GCN, path", "w-GCN, data"')
