"""Features of data that were seen before: a folder of files, each named by what its content depends on.

    key = SHA-256(pixels, detector's name, resize, layers, weights and source, kind of device)

A file that does not hold what its name says is never trusted: the features are computed anew, and a sentence
says so. The folder may be emptied at any time.
"""

import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from evolvent.cli.seeing import Together
from evolvent.metrics.features import Features, digest
from evolvent.metrics.scores import See
from evolvent.storage.files import write_whole


class Remembered:
    """Called as `evolvent.metrics.extract` is, and answers the same, from the folder where it can.

    folder: None remembers nothing. see: gives the features that are not there.
    code: of a detector in a file of the user's, whose change must be seen.
    say: is told of damaged files and of features that could not be kept.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        see: See | None = None,
        code: bytes = b"",
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.see = folder, see or Together()
        self.code, self.say = code, say

    def __call__(
        self, detector: nn.Module, pixels_uint8: Tensor, *, device: str | torch.device = "cpu"
    ) -> Features:
        if self.folder is None:
            return self.see(detector, pixels_uint8, device=device)
        key = self._key(detector, pixels_uint8, device)
        file = self.folder / f"{key}.safetensors"
        features = self._read(file, key)
        if features is None:
            features = self.see(detector, pixels_uint8, device=device)
            self._write(file, key, features.cpu().contiguous())
        return features.to(device)

    def _key(self, detector: nn.Module, pixels_uint8: Tensor, device: str | torch.device) -> str:
        found = hashlib.sha256(self.code + _source(detector))
        facts = (
            detector.name,
            getattr(detector, "resize", ""),
            detector,
            digest(detector),
            torch.__version__,
        )
        found.update(
            "\n".join(map(str, (*facts, torch.device(device).type, list(pixels_uint8.shape)))).encode()
        )
        found.update(pixels_uint8.cpu().contiguous().numpy())
        return found.hexdigest()

    def _read(self, file: Path, key: str) -> Features | None:
        if not file.is_file():
            return None
        try:
            with safetensors.safe_open(file, framework="pt") as archive:
                features, facts = archive.get_tensor("features"), archive.metadata() or {}
        except (safetensors.SafetensorError, OSError) as error:
            self.say(f"{file} is damaged ({error}): its features are computed anew")
            return None
        if (facts.get("key"), facts.get("sha256")) != (key, _sum(features)):
            self.say(f"{file} does not hold what was written: its features are computed anew")
            return None
        return features

    def _write(self, file: Path, key: str, features: Features) -> None:
        try:
            write_whole(file, save({"features": features}, {"key": key, "sha256": _sum(features)}))
        except OSError as error:
            self.say(
                f"the features of the data could not be kept in {file.parent}: {error.strerror or error}"
            )


def cache_folder(asked: str | None) -> Path | None:
    """Where features are kept: as asked, nowhere for "none", else below the user's cache folder."""
    if asked is not None:
        if os.path.lexists(asked) and not os.path.isdir(asked):
            raise ValueError(f"{asked} is no folder: give one for --cache, or none")
        return None if asked == "none" else Path(asked)
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "evolvent" / "features"


def _source(detector: nn.Module) -> bytes:
    """The file that defines the detector's class: the version of its code."""
    try:
        return Path(inspect.getfile(type(detector))).read_bytes()
    except (TypeError, OSError):  # defined in no file
        return b""


def _sum(features: Features) -> str:
    return hashlib.sha256(features.cpu().contiguous().numpy()).hexdigest()
