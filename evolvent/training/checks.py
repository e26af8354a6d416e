"""What a learner, its data and a schedule must have for each other, held together before the first step, or at it."""

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations

from torch import Tensor, nn

from evolvent.shapes import shows


def require(part: nn.Module, what: str, members: Sequence[str]) -> None:
    """ValueError where it lacks what is asked of it at the end of training, when it would be told of too late."""
    if lacking := [name for name in members if not hasattr(part, name)]:
        raise ValueError(
            f"a {what} has {' and '.join(members)}, and {type(part).__name__} lacks {' and '.join(lacking)}"
        )


def check_apart(trained: Iterable[str]) -> None:
    """ValueError where one submodule lies within another: its parameters would take two steps at once."""
    for outer, inner in permutations(trained, 2):
        if inner.startswith(f"{outer}.") or not outer:
            raise ValueError(
                f'schedule.adam trains "{inner}" twice, as "{outer}" holds it: name one of the two'
            )


def check_losses(losses: Iterable[str], trained: Iterable[str]) -> None:
    """ValueError for a loss that trains nothing, and for a submodule without a loss, its own or of a part."""
    losses, trained = [*losses], [*trained]
    trains = {(loss, name) for loss in losses for name in trained if f"{loss}.".startswith(f"{name}.")}
    if idle := [loss for loss in losses if all(loss != named for named, _ in trains)]:
        raise ValueError(f'nothing trains "{idle[0]}", which has a loss: schedule.adam names {trained}')
    if lacking := [name for name in trained if all(name != named for _, named in trains)]:
        raise ValueError(
            f'schedule.adam trains "{lacking[0]}", which has no loss: there are losses of {losses}; leave it out, or'
            " return one of its name"
        )


def odd_range(draw: Callable[[], Tensor], event_shape: Sequence[int]) -> str | None:
    """What to say of images that do not look like [−1, 1], as references, mappings and pictures have them.

    draw: called for images alone; a batch, with a channel more than `event_shape` where it carries labels.
    """
    if not shows(event_shape):
        return None
    low, high = (float(end) for end in draw()[:, : event_shape[0]].aminmax())
    if low != low or (low >= -1.5 and high <= 1.5 and not (low >= 0 and high > 0.5)):
        return None  # what is not a number is told of at the first look
    return f"the first images reach from {low:.3g} to {high:.3g}, where [−1, 1] is expected: bytes are x / 127.5 − 1"
