"""One process leads and the others answer: work whose order and end the first one alone knows.

    first     function(ask):   ask([one task a process]) ─► [one answer a process], in that order, as often as it likes
    others    answer(task), again and again, until the first is done

A mistake (ValueError, OSError) of any of them ends all of them with that sentence. Between two questions the first
may take its time, hours if it must; a process that is gone is missed by the others at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from evolvent.processes.ranks import Ranks, told_when_lost

PATIENCE = timedelta(days=30)
"""How long the others wait for the next question, or the first for an answer."""
Task, Answer = TypeVar("Task"), TypeVar("Answer")
Ask = Callable[[Sequence[Task]], list[Answer]]
"""At most as many tasks as there are processes; as many answers."""


@dataclass(frozen=True)
class Over:
    """The first is done, or this is the mistake that it ends with."""

    mistake: Exception | None


def turns(num: int, batch_size: int, ranks: Ranks) -> Iterator[Sequence[int]]:
    """The first number of every batch of `num` things, as many at a time as there are processes."""
    firsts = range(0, num, batch_size)
    for i in range(0, len(firsts), ranks.num):
        yield firsts[i : i + ranks.num]


def led(ranks: Ranks, function: Callable[[Ask], None], answer: Callable[[Task], Answer]) -> None:
    """Call `function` on the first process, whose questions all processes answer. All of them must call this."""
    if ranks.num == 1:
        function(lambda tasks: [answer(task) for task in tasks])
        return
    with told_when_lost():
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        _lead(ranks, function, answer, group) if ranks.first else _follow(answer, group)
    finally:
        dist.destroy_process_group(group)


def _lead(ranks: Ranks, function: Callable, answer: Callable, group: dist.ProcessGroup) -> None:
    def ask(tasks: Sequence) -> list:
        assert 1 <= len(tasks) <= ranks.num, f"{len(tasks)} tasks for {ranks.num} processes"
        sent = [[task] for task in tasks]
        mine = _received(sent + [[]] * (ranks.num - len(sent)), group)
        found: list[Any] = [None] * ranks.num
        with told_when_lost():
            dist.gather_object(_answers(answer, mine), found, group=group)
        for one in found:
            if isinstance(one, Exception):
                raise one
        return [one for answers in found for one in answers]

    try:
        function(ask)
    except (ValueError, OSError) as error:
        _end(Over(_plain(error)), ranks, group)
        raise
    _end(Over(None), ranks, group)


def _end(over: Over, ranks: Ranks, group: dist.ProcessGroup) -> None:
    _received([over] * ranks.num, group)
    with told_when_lost():
        dist.barrier(group)  # all have heard it, before this process goes


def _follow(answer: Callable, group: dist.ProcessGroup) -> None:
    while not isinstance(task := _received(None, group), Over):
        with told_when_lost():
            dist.gather_object(_answers(answer, task), group=group)
    with told_when_lost():
        dist.barrier(group)
    if task.mistake is not None:
        raise task.mistake


def _received(sent: list | None, group: dist.ProcessGroup) -> Any:
    """What the first sends to this process."""
    got = [None]
    with told_when_lost():
        dist.scatter_object_list(got, sent, group=group)
    return got[0]


def _answers(answer: Callable, tasks: list) -> list | Exception:
    try:
        return [answer(task) for task in tasks]
    except (ValueError, OSError) as error:
        return _plain(error)


def _plain(mistake: Exception) -> Exception:
    """A mistake that can travel."""
    return mistake if isinstance(mistake, OSError) else ValueError(str(mistake))
