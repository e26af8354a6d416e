"""One process leads: every task is answered once, in order, and a mistake of any is the mistake of all."""

import time
from functools import partial

import pytest
from forked import needs_fork, together

from evolvent.processes.leading import led
from evolvent.processes.ranks import ALONE

pytestmark = needs_fork


def asked(function, answer, ranks):
    """What the first collected, or the kind and words of the error that this process ends with."""
    found = []
    try:
        led(ranks, lambda ask: found.extend(function(ask)), partial(answer, ranks.rank))
    except (ValueError, OSError) as error:
        return type(error), str(error)
    return found


def squares(ask, num=3):
    for first in range(0, 7, num):
        yield from ask(list(range(7))[first : first + num])


def test_answers_come_in_the_order_of_the_tasks_and_to_the_first_alone(tmp_path):
    def answer(rank, task):
        return rank, task**2

    found = together(tmp_path, partial(asked, squares, answer), num=3)
    assert found == [[(0, 0), (1, 1), (2, 4), (0, 9), (1, 16), (2, 25), (0, 36)], [], []]
    assert asked(partial(squares, num=1), answer, ALONE) == [(0, n**2) for n in range(7)]


def test_the_mistake_of_another_process_ends_all_of_them(tmp_path):
    def answer(rank, task):
        if task == 4:
            raise ValueError(f"process {rank} cannot")
        return task

    by_two = partial(squares, num=2)
    assert together(tmp_path, partial(asked, by_two, answer)) == [(ValueError, "process 0 cannot")] * 2
    assert (
        together(tmp_path, partial(asked, squares, answer), num=3) == [(ValueError, "process 1 cannot")] * 3
    )


@pytest.mark.parametrize("mistake", [ValueError("no"), OSError(28, "No space left on device", "x.npz")])
def test_the_mistake_of_the_first_ends_all_of_them(tmp_path, mistake):
    def function(ask):
        ask([1, 2])
        raise mistake

    found = together(tmp_path, partial(asked, function, lambda rank, task: task))
    assert found == [(type(mistake), str(mistake))] * 2


def test_the_others_wait_for_a_first_that_takes_its_time(tmp_path, monkeypatch):
    """Longer than `patience`, which is that of a step of training (here 20 s in forked.begin; 1 s in the group)."""

    def function(ask):
        time.sleep(2)
        yield from ask([1, 2])

    monkeypatch.setattr("forked.begin.__defaults__", (2, 1))
    assert together(tmp_path, partial(asked, function, lambda rank, task: task)) == [[1, 2], []]
