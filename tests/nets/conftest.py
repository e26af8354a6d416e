from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evolvent.cli.main import main


@pytest.fixture
def begun_from_small(tmp_path) -> Callable[..., list[str]]:
    """Trains a narrow run `out` on images of `side` px, by these words more; those of one that begins from it."""

    def train(out: Path, side: int, *words: str) -> list[str]:
        pixels = np.random.default_rng(0).integers(0, 256, (20, side, side, 3), dtype=np.uint8)
        np.save(tmp_path / "few.npy", pixels)
        narrow = "--batch-size 2 --width 2 --mapping-width 2 --num-hidden 2 --num-steps 1 --threads 1"
        line = ["train", "images", "--data", str(tmp_path / "few.npy"), *narrow.split(), *words]
        assert main([*line, "--out", str(out)]) == 0
        return ["train", "--init-from", str(out)]

    return train
