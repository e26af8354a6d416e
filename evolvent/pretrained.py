"""Weights that travel: those inside the package, those on a hub, and the form in which a run's are passed on.

    evolvent sample cifar10                     weights that come with the package, as do those of digits
    evolvent sample somebody/their-model        from the Hugging Face hub, extra `hub`, kept in its cache
    evolvent export runs/digits-1 --out mine    model.safetensors in half precision, and a model card to fill in

A folder so exported is what `huggingface-cli upload somebody/their-model mine` puts on the hub.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evolvent.dynamics import Dynamics
from evolvent.model_card import model_card
from evolvent.recipes.find import build, find, full_reference, portable, portable_arguments
from evolvent.sampling import draw, needed, num_at_once
from evolvent.shapes import Points
from evolvent.storage.circumstances import recipe_file, warn_of_changes
from evolvent.storage.files import check_new_folder, folder_whole, write_whole
from evolvent.storage.reading import (
    CHECKPOINT,
    MODEL,
    read_model,
    read_model_with_sum,
    read_record,
    read_scores,
)
from evolvent.storage.sealed import pack_weights
from evolvent.training.schedule import Experiment

SHIPPED = Path(__file__).parent / "weights"
"""<name>.safetensors and <name>.md, its model card."""


def shipped() -> list[str]:
    """The names of the weights that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.safetensors"))


def model_file(source: Path | str) -> Path:
    """Where the weights that `source` names lie: a run, a file, a shipped name, or owner/name on the hub."""
    path = Path(source)
    if path.exists():
        return path
    if str(source) in shipped():
        return SHIPPED / f"{source}.safetensors"
    # runs/digits-7 that is not there is a slip of the pen, and no model of an owner called runs.
    if re.fullmatch(r"[\w-]+/[\w.-]+", str(source)) and path.parts[0] != "runs":
        return _from_hub(str(source))
    if close := get_close_matches(str(source), shipped(), n=1, cutoff=0.8):
        raise ValueError(f"{source} holds no weights: there is no such file; did you mean {close[0]}?")
    return path


@dataclass(frozen=True)
class Saved:
    """A trained learner and where it comes from."""

    learner: nn.Module
    """The averaged weights, in eval mode, without gradients; what only training needs is as at its first step."""
    experiment: Experiment
    recipe: str
    step: int
    device: torch.device | str

    @cached_property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point that the learner draws: of one at its birth, which costs no chain."""
        (born,) = draw(self.learner, 1, stages={}, batch_size=1, device=self.device)
        return tuple(born.shape)

    @property
    def at_once(self) -> int:
        """How many points are drawn together: what the recipe says, of images on a CPU 64 at most."""
        return num_at_once(self.experiment.schedule.sampling_batch_size, self.event_shape, self.device)

    def draw(
        self,
        num: int,
        *,
        classes: Sequence[int] | None = None,
        seed: int = 0,
        stages: Mapping[str, Dynamics] | None = None,
    ) -> Points:
        """`num` points on the CPU, images in [−1, 1], in batches and the precision of `evolvent sample`.

        Fewer than a batch cost no more than they are. A point depends on (seed, its number), and in its last bits on
        the batch size, as a product of matrices rounds otherwise at another: those of draw(4) are what
        `evolvent sample --batch-size 4` draws, and the first four of draw(64) may differ from them, after a long chain
        visibly. For a batch size of your own there is `evolvent.draw`.

        classes, stages: as `evolvent.draw` has them.
        """
        how = {"seed": seed, "stages": stages, "classes": classes, "device": self.device}
        how["precision"] = self.experiment.schedule.precision
        return draw(self.learner, num, batch_size=min(num, self.at_once), **how)


@torch.inference_mode(False)
def from_pretrained(source: Path | str, *, device: torch.device | str = "cpu") -> Saved:
    """The learner of a run, a model.safetensors, a shipped name or owner/name, rebuilt by the recipe in its header.

    Warns where that recipe's file was changed since. ValueError when the file cannot be read or its weights do not fit
    what the recipe builds.
    """
    return rebuilt(*read_model(model_file(source)), source, device=device)


def rebuilt(
    weights: dict[str, torch.Tensor],
    metadata: dict[str, str],
    source: Path | str,
    *,
    device: torch.device | str = "cpu",
) -> Saved:
    """The same of weights and metadata that are read already, from `source`."""
    try:
        recipe = find(metadata["recipe"])
    except ValueError as error:
        file = metadata["recipe"].rpartition(":")[0]
        way_out = ": put the recipe's file there" if file and not os.path.exists(file) else ""
        raise ValueError(f"{source} was trained by {metadata['recipe']}: {error}{way_out}") from error
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # whose weights are drawn in vain
        experiment = build(recipe, json.loads(metadata["arguments"]))
    learner = experiment.learner
    load_weights(learner, weights, source)
    warn_of_changes(json.loads(metadata["sources"]), recipe_file(metadata["recipe"]), source)
    learner.to(device).eval().requires_grad_(False)
    return Saved(learner, experiment, metadata["recipe"], int(metadata["step"]), device)


def load_weights(learner: nn.Module, weights: dict[str, torch.Tensor], source: Path | str) -> None:
    """Put the weights that `source` named into a learner, but for what only training needs.

    ValueError when the learner's nets are not those of the weights.
    """
    kept = needed(learner)
    of_training = learner.state_dict().keys() - kept.keys()
    weights = {name: tensor for name, tensor in weights.items() if name not in of_training}
    if odd := difference(kept, weights):
        name, here, there = odd
        raise ValueError(
            f"the weights in {source} do not fit the recipe: {name} is {there} in the file and {here} in the recipe"
        )
    learner.load_state_dict(weights, strict=False)


def difference(
    ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]
) -> tuple[str, list[int] | str, list[int] | str] | None:
    """The first name whose shapes differ and both, "absent" where there is none; None where all are alike."""
    shapes = [{name: list(tensor.shape) for name, tensor in side.items()} for side in (ours, theirs)]
    for name in (*ours, *theirs):
        here, there = (side.get(name, "absent") for side in shapes)
        if here != there:
            return name, here, there
    return None


def weights_to_pass_on(source: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
    """The weights that `source` names without what only training needs, their metadata, and their file's SHA-256."""
    file = model_file(source)
    weights, metadata, digest = read_model_with_sum(file)
    if file.suffix == CHECKPOINT:
        weights = {
            name: tensor.clone().contiguous()
            for name, tensor in needed(rebuilt(weights, metadata, source).learner).items()
        }
    return weights, metadata, digest


def weights_and_origin(source: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights that `source` names, and where they come from: recipe, arguments, step, and their file's SHA-256."""
    weights, metadata, digest = read_model_with_sum(model_file(source))
    origin = {
        "source": str(source),
        "recipe": full_reference(metadata["recipe"]),
        "arguments": json.loads(metadata["arguments"]),
        "step": int(metadata["step"]),
        "sha256": digest,
    }
    return weights, origin


def save_pretrained(source: Path | str, out: Path | str, *, half: bool = True) -> None:
    """Write a run's averaged weights, or a file's, and a model card into the folder `out`, new or empty."""
    source, out = Path(source), Path(out)
    check_new_folder(out)
    record = None if source.is_file() else read_record(source)
    scores = [] if record is None else read_scores(source / "scores.jsonl")
    weights, metadata, _ = weights_to_pass_on(source)
    if half:
        weights = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()
        }
        _check_range(weights)
    metadata["recipe"] = portable(metadata["recipe"])
    metadata["arguments"] = json.dumps(portable_arguments(json.loads(metadata["arguments"])))
    with folder_whole(out) as folder:
        write_whole(folder / MODEL, pack_weights(weights, metadata))
        write_whole(folder / "README.md", model_card(record, scores, metadata, name=out.name, half=half))


def _check_range(weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(
                f"{name} holds numbers beyond half precision's 65,504: export it with --half false"
            )


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ValueError(
            f"there is no run or file {name}; to take it from the Hugging Face hub: pip install 'evolvent[hub]'"
        ) from None
    try:
        return Path(hf_hub_download(name, MODEL))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"there is no run or file {name}, and the hub does not give it ({reason})"
        ) from error
