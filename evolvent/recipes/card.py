"""What a recipe promises before it is run: the line that `evolvent recipes` prints for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Recipe = TypeVar("Recipe", bound=Callable)
NOT_RUN = "not yet run to its end"
"""The score of a recipe that has none yet."""


@dataclass(frozen=True)
class Card:
    """What a recipe shows, in a few words; how many minutes on which hardware; the score to expect."""

    shows: str
    minutes: float
    hardware: str
    score: str


def recipe(
    *, shows: str, minutes: float, hardware: str = "2 CPU cores", score: str = "-"
) -> Callable[[Recipe], Recipe]:
    """Decorator that hangs a `Card` on a recipe; the function itself stays as it is."""

    def with_card(function: Recipe) -> Recipe:
        function.card = Card(shows, minutes, hardware, score)
        return function

    return with_card
