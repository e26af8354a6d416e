"""Drawing many points from a learner, so that point i depends on (seed, i) and on nothing else.

Each point has its own stream of noise (`ImageNoise`), and every chunk is run at full size, the last padded:
a matrix product may round differently at another batch size, and image 17 must not change with `num`. So may a force
where freed memory is kept (`evolvent.machine`), as the command line does and a script need not.

Where a learner knows classes (`num_classes`), point i is of the (i mod n)-th of n classes: all, or those asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from evolvent.dynamics import Dynamics, Independent, Langevin
from evolvent.learners.update import evaluating
from evolvent.machine import Precision, autocast
from evolvent.noise import ImageNoise
from evolvent.shapes import Labels, Points

MOST_IMAGES_ON_A_CPU = 64
"""A CPU gains nothing from more, and a chunk of 500, which suits a GPU, makes one sample cost as much as 500."""


def draw(
    learner: nn.Module,
    num: int,
    *,
    seed: int = 0,
    stages: Mapping[str, Dynamics] | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    classes: Sequence[int] | None = None,
    precision: Precision = "float32",
) -> Points:
    """`num` points on the CPU. Bitwise the same for the same seed, batch size and precision, whatever `num`.

    stages: the dynamics to run, by name; None for the learner's own, {} for births alone.
    classes: those to take turns, None for all that the learner knows; ValueError for one that it does not.
    precision: of the nets' forward passes, as `Schedule` has it.
    """
    check_counts(num, batch_size)
    if any(getattr(part, "unseen", False) for part in learner.modules()):
        raise ValueError(
            "this learner's reference has to see data before it can be drawn from: train it, load its weights, or call"
            " see(data) of it"
        )
    how = {"seed": seed, "stages": stages, "device": device, "classes": classes, "precision": precision}
    firsts = range(0, num, batch_size)
    return torch.cat([draw_chunk(learner, first, batch_size=batch_size, **how) for first in firsts])[:num]


def draw_chunk(
    learner: nn.Module,
    first: int,
    *,
    seed: int = 0,
    stages: Mapping[str, Dynamics] | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    classes: Sequence[int] | None = None,
    labels: Labels | None = None,
    precision: Precision = "float32",
) -> Points:
    """The `batch_size` points from number `first` on, a multiple of it; so many at once are drawn anyway.

    labels: one a point, in the place of classes in turns.
    """
    with drawing(learner, precision, device):
        noise, chosen = ImageNoise(seed, first, batch_size, device), None if stages is None else dict(stages)
        turns = torch.tensor(classes_of(learner, classes), dtype=torch.int64, device=device)
        if labels is None and len(turns):
            labels = turns[noise.images[:, 0] % len(turns)]
        given = [] if labels is None else [labels.to(device)]
        return learner.sample(batch_size, noise, chosen, *given).cpu()


@contextmanager
def drawing(learner: nn.Module, precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Where points are drawn: the learner as it samples, no gradient kept, but forces to be had."""
    with torch.inference_mode(False), torch.no_grad(), autocast(precision, device), evaluating(learner):
        yield


def moments(stages: Mapping[str, Dynamics], num: int) -> list[dict[str, Dynamics]]:
    """The stages as far as they have come at `num` moments from birth to the end, evenly over their steps.

    ValueError for fewer than 2, and for more than there are.
    As the noise of a point is one stream, what is drawn by each is what the last one passes through.
    """
    if num < 2:
        raise ValueError(f"an evolution has its birth and its end, at least 2 moments, not {num}")
    total = most_moments(stages) - 1
    if num > total + 1:
        raise ValueError(
            f"an evolution of {total} steps has {total + 1} moments, its birth among them, and {num} are asked for:"
            " take more steps, or fewer moments"
        )
    found = []
    for moment in range(num):
        left, come = round(moment * total / (num - 1)), {}
        for name, stage in stages.items():
            if taken := min(left, stage.num_steps):
                come[name] = replace(stage, num_steps=taken, final_step_size=stage.step_sizes()[taken - 1])
            left -= taken
        found.append(come)
    return found


def most_moments(stages: Mapping[str, Dynamics]) -> int:
    """The birth, and one after each step."""
    return 1 + sum(stage.num_steps for stage in stages.values())


def needed(learner: nn.Module) -> dict[str, Tensor]:
    """What drawing takes of a learner's state: all but the buffers that its modules name in `of_training`."""
    kept = {
        f"{name}.{buffer}".removeprefix(".")
        for name, part in learner.named_modules()
        for buffer in getattr(part, "of_training", ())
    }
    return {name: tensor for name, tensor in learner.state_dict().items() if name not in kept}


def num_at_once(asked: int, event_shape: Sequence[int], device: torch.device | str) -> int:
    """`asked` points, but on a CPU no more than 64 images."""
    capped = len(event_shape) == 3 and torch.device(device).type == "cpu"
    return min(asked, MOST_IMAGES_ON_A_CPU) if capped else asked


def check_counts(num: int, batch_size: int) -> None:
    if num < 1 or batch_size < 1:
        raise ValueError(
            f"at least 1 sample in batches of at least 1 can be drawn, not {num} in {batch_size}"
        )


def classes_of(learner: nn.Module, asked: Sequence[int] | None = None) -> list[int]:
    """The classes that take turns: those asked, or all; [] where the learner knows none and none is asked."""
    known = getattr(learner, "num_classes", 0)
    if asked is None:
        return list(range(known))
    if not len(asked):
        raise ValueError("no class is asked for: name some, or leave them out for all to take turns")
    if not known:
        raise ValueError("this model was trained without labels, and has no classes to choose from")
    for label in asked:
        if label not in range(known):
            raise ValueError(f"there is no class {label}: this model knows 0 to {known - 1}")
    return list(asked)


def one_energy(learner: nn.Module) -> nn.Module | None:
    """The energy that a picture of its points is drawn over; None where each class or grid has one of its own."""
    return None if classes_of(learner) else getattr(learner, "energy", None)


def choose_stages(
    offered: Mapping[str, Dynamics],
    names: str | None = None,
    *,
    num_steps: int | Mapping[str, int] | None = None,
    step_size: float | Mapping[str, float] | None = None,
    temperature: float | Mapping[str, float] | None = None,
) -> dict[str, Dynamics]:
    """The stages called `names` ("hidden,image"; "none"; None for all offered), in the order of `offered`.

    A number that is given replaces that of every chosen stage, {"hidden": 25} that of the stage named. A stage that is
    not offered, because its recipe samples without it, needs all three, but "selection" none; the learner says whether
    it knows it.
    """
    given = {"num_steps": num_steps, "step_size": step_size, "temperature": temperature}
    given = {name: value for name, value in given.items() if value is not None}
    wanted = list(offered) if names is None else [name for name in names.split(",") if name != "none"]
    if given and not wanted:
        raise ValueError(f"{', '.join(given)} belong to a stage, and no stage was chosen")
    for name, value in given.items():
        if unknown := [stage for stage in value if stage not in wanted] if isinstance(value, Mapping) else []:
            raise ValueError(
                f"{name} is given for the stage {unknown[0]}, and those chosen are {', '.join(wanted)}"
            )
    order = [*(name for name in offered if name in wanted), *(name for name in wanted if name not in offered)]
    stages = {name: _stage(name, offered, _changes(given, name)) for name in order}
    steps = [stages[name] for name in order if "step_size" in _changes(given, name)]
    if steps and all(isinstance(stage, Independent) for stage in steps):
        raise ValueError("step_size is of a stage that takes steps, and selection goes from birth to birth")
    return stages


def _changes(given: Mapping[str, float | Mapping[str, float]], stage: str) -> dict[str, float]:
    """The numbers that are given for a stage."""
    own = {name: value.get(stage) if isinstance(value, Mapping) else value for name, value in given.items()}
    return {name: value for name, value in own.items() if value is not None}


def _stage(name: str, offered: Mapping[str, Dynamics], changes: dict[str, float]) -> Dynamics:
    if name in offered:
        # A schedule of step sizes ends where it was told to; one number for all steps has no end of its own.
        flat = {"final_step_size": None} if "step_size" in changes else {}
        return replace(offered[name], **changes, **flat)
    if name == "selection":
        return Independent(**changes)
    if {"num_steps", "step_size", "temperature"} <= changes.keys():
        return Langevin(**changes)
    raise ValueError(
        f'"{name}" is not among the stages that this recipe samples with ({", ".join(offered) or "none"});'
        " to add a stage that its learner has, give --num-steps, --step-size and --temperature as well"
    )
