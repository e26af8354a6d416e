"""Public sets by their names, through Hugging Face `datasets` (pip install 'evolvent[hub]'), in its own cache.

    load("cifar10")    load("mnist", 28, split="test")    evolvent data celeba --size 64 --out celeba64.npz

What comes is never taken on trust: the number of pictures is checked at every load, and of the sets that are
lossless also every pixel and label (`checksum`). CelebA and LSUN are JPEG, whose pixels differ by a level from one
decoder to the next, so of those only the number is. To add a set, add a line to `NAMED`.
"""

import hashlib
import importlib
import importlib.util
import io
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsInt

import numpy as np

from evolvent.data.album import Album, album_of_files
from evolvent.data.arrays import array_album
from evolvent.data.packaged import framed

SECONDS_TO_ANSWER = 5.0
"""How long the hub may take to answer before it counts as out of reach."""


@dataclass(frozen=True)
class Named:
    """A set on the hub.

    hub: its id there. image, label: its columns; label None for a set without.
    num: pictures of each split. size: (width, height) in px; None where it varies. channels: 1 or 3.
    licence: whose it is. local: which files of it, downloaded from its authors, can be given in place of the word.
    checksums: of each split, for a set that is lossless. num_classes: of its labels.
    """

    hub: str
    image: str
    label: str | None
    num: Mapping[str, int]
    size: tuple[int, int] | None
    channels: int
    licence: str
    local: str
    checksums: Mapping[str, str] = field(default_factory=dict)
    num_classes: int = 0


NAMED = {
    "cifar10": Named(
        hub="uoft-cs/cifar10",
        image="img",
        label="label",
        num={"train": 50_000, "test": 10_000},
        size=(32, 32),
        channels=3,
        licence="Krizhevsky, Learning multiple layers of features from tiny images, 2009; no licence is stated",
        local="an .npz of its uint8 arrays train_x, train_y, test_x, test_y",
        checksums={"train": "4c2c7f0f9bd3a044", "test": "e4c877cb9ae7eed4"},
        num_classes=10,
    ),
    "cifar100": Named(
        hub="uoft-cs/cifar100",
        image="img",
        label="fine_label",
        num={"train": 50_000, "test": 10_000},
        size=(32, 32),
        channels=3,
        licence="Krizhevsky, Learning multiple layers of features from tiny images, 2009; no licence is stated",
        local="an .npz of its uint8 arrays train_x, train_y, test_x, test_y",
        checksums={"train": "5c5142c00188ce44", "test": "374d3656aa142e4c"},
        num_classes=100,
    ),
    "mnist": Named(
        hub="ylecun/mnist",
        image="image",
        label="label",
        num={"train": 60_000, "test": 10_000},
        size=(28, 28),
        channels=1,
        licence="LeCun, Cortes & Burges, The MNIST database of handwritten digits, 1998; MIT on the hub",
        local="a folder with train-images-idx3-ubyte.gz and its three companions",
        checksums={"train": "f0a6b2d726f84a50", "test": "d69b96459e590d36"},
        num_classes=10,
    ),
    "fashion-mnist": Named(
        hub="zalando-datasets/fashion_mnist",
        image="image",
        label="label",
        num={"train": 60_000, "test": 10_000},
        size=(28, 28),
        channels=1,
        licence="Xiao, Rasul & Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017; MIT",
        local="a folder with train-images-idx3-ubyte.gz and its three companions (Debian: dataset-fashion-mnist)",
        checksums={"train": "708e051b33ade898", "test": "be9a5e7d28ad2125"},
        num_classes=10,
    ),
    "celeba": Named(
        hub="flwrlabs/celeba",
        image="image",
        label=None,
        num={"train": 162_770, "valid": 19_867, "test": 19_962},
        size=(178, 218),
        channels=3,
        licence="Liu, Luo, Wang & Tang, Deep learning face attributes in the wild, 2015; for research only",
        local="its img_align_celeba.zip",
    ),
    "lsun-bedroom": Named(
        hub="pcuenq/lsun-bedrooms",
        image="image",
        label=None,
        num={"train": 287_968, "test": 15_157},
        size=None,
        channels=3,
        licence="Yu et al., LSUN, arXiv:1506.03365, 2015; a fifth of its bedrooms",
        local="a folder or a ZIP of its pictures",
    ),
}
"""The numbers are those of the sets' own descriptions; lsun-bedroom is a sample of LSUN's bedrooms."""


def named_album(name: str, size: int | None, *, split: str = "train", channels: int | None = None) -> Album:
    """A split of a named set, checked. MNIST and Fashion-MNIST at 32 px stand in a black frame, like the digits.

    ValueError, with the way out in one sentence, for a set that is not here and cannot be fetched, and for one of
    another number of pictures or another checksum.
    """
    about = NAMED[name]
    if split not in about.num:
        raise ValueError(f"{name} has no {split!r} part; its parts are {', '.join(about.num)}")
    if size is None and not about.checksums:
        raise ValueError(f"the pictures of {name} are cropped and resized; say to what with --size 64")
    rows, part = _fetched(name, split), f"{name}, {split}"
    _check_known(part, "{} pictures", len(rows), about.num[split])
    labels = None if about.label is None else np.asarray(rows[about.label][:])
    kept = album_of_files(
        lambda: nullcontext(lambda i: _encoded(rows[i][about.image])),
        [f"{i} of {part}" for i in range(len(rows))],
        labels,
        name=part,
        size=about.size[0] if about.checksums else size,
        channels=about.channels if about.checksums else channels or about.channels,
    )
    if not about.checksums:
        return kept
    pixels = np.concatenate(list(kept.every_piece()))
    _check_known(part, "the checksum {}", checksum(pixels, labels), about.checksums[split])
    pixels = framed(pixels[..., 0], size) if about.channels == 1 else pixels
    return array_album(pixels, labels, size=size, channels=channels, name=part)


def checksum(pixels_uint8: Iterable[np.ndarray], labels: Iterable[SupportsInt]) -> str:
    """The sum mod 2⁶⁴ of a 64-bit BLAKE2b of each picture's pixels (rows, then channels) and label: of any order."""
    total = 0
    for picture, label in zip(pixels_uint8, labels, strict=True):
        content = np.ascontiguousarray(picture).tobytes() + int(label).to_bytes(8, "little")
        total += int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return f"{total % 2**64:016x}"


def _check_known(part: str, what: str, found: int | str, known: int | str) -> None:
    """ValueError where what came is not what is known of the set."""
    if found != known:
        raise ValueError(
            f"{part}, came with {what.format(found)} and has {known}: remove it from the cache of Hugging Face"
            " datasets, and it is fetched anew"
        )


def _fetched(name: str, split: str) -> Any:
    """The set's rows, from the cache or the hub, its pictures still encoded."""
    about = NAMED[name]
    found = importlib.util.find_spec("datasets")
    if found is None or found.origin is None:  # a folder that happens to be called so has no origin
        raise ValueError(
            f"{name} comes through Hugging Face datasets, which is not here: pip install 'evolvent[hub]', or "
            f"{_way_out(name)}"
        )
    # Imported on first use: it takes a second or two, and is not required.
    datasets = importlib.import_module("datasets")
    in_reach = _in_reach()
    if not in_reach:
        # Else it tries six times, for 23 s without a name server and for minutes behind a deaf firewall.
        datasets.config.HF_HUB_OFFLINE = True
    try:
        rows = datasets.load_dataset(about.hub, split=split)
        columns = [column for column in (about.image, about.label) if column]
        return rows.select_columns(columns).cast_column(about.image, datasets.Image(decode=False))
    # It raises what its parts raise: ConnectionError, httpx's and pyarrow's errors, FileNotFoundError, …
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        reason = f"{type(error).__name__}: {reason}" if in_reach else "the hub does not answer"
        raise ValueError(
            f"{name} is not in the cache of Hugging Face datasets and cannot be fetched ({reason}): connect this "
            f"machine to the network, or {_way_out(name)}"
        ) from error


def _way_out(name: str) -> str:
    size = "" if NAMED[name].checksums else " --size 64"
    return (
        f"write it with `evolvent data {name}{size} --out {name}.npz` where it is at hand and copy that file here, "
        f'or give the path of {NAMED[name].local} in place of "{name}"'
    )


def _in_reach() -> bool:
    """Whether the hub answers, over a proxy if one is set; a few seconds at most."""
    hub = importlib.import_module("huggingface_hub")
    if hub.constants.HF_HUB_OFFLINE:
        return False
    try:
        session = importlib.import_module("huggingface_hub.utils").get_session()
        session.head(hub.constants.ENDPOINT, timeout=SECONDS_TO_ANSWER)
    except Exception:
        return False
    return True


def _encoded(cell: Mapping[str, Any]) -> Path | io.BytesIO:
    return Path(cell["path"]) if cell["bytes"] is None else io.BytesIO(cell["bytes"])
