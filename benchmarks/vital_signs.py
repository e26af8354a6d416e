"""The six signs of docs/vital-signs.md from a run's log, as one small picture.

python benchmarks/vital_signs.py RUN docs/images/signs-healthy.png
"""

import sys
from pathlib import Path

from evolvent import pictures
from evolvent.storage.reading import read_lines

SIGNS = ("energy_gap", "gap_spread", "force_norm", "data_force_norm", "energy_drop", "particle_max")


def main(run: str, out: str) -> None:
    lines = [line for line in read_lines(Path(run) / "log.jsonl") if "warning" not in line]
    image = pictures.curves({"run": lines}, SIGNS)
    pictures.save_image(image.resize((990, 990 * image.height // image.width)).quantize(48), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
