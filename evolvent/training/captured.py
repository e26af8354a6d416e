"""A step as one CUDA graph: no Python and no launches one by one.

    three calls as they are  →  one that is recorded  →  replays         all on one stream of the learner's own GPU

A replay reads and writes the addresses that the recording did. What a step keeps must therefore stay in its place, and
what it reads must be on the GPU already. Random numbers are drawn anew, from the seed that torch's generator has then.
"""

from collections.abc import Callable

import torch
from torch import nn

from evolvent.learners.update import Update


class Captured:
    """A function of no argument on the GPU `device`, whose update every later call overwrites."""

    def __init__(self, function: Callable[[], Update], device: torch.device) -> None:
        self.function, self.device, self.calls_to_warm_up = function, device, 3
        with torch.cuda.device(device):  # graphs and streams are those of the current one
            self.graph, self.stream, self.update = torch.cuda.CUDAGraph(), torch.cuda.Stream(), None

    def __call__(self) -> Update:
        with torch.cuda.device(self.device):
            if self.calls_to_warm_up:
                self.calls_to_warm_up -= 1
                return self._aside()
            if self.update is None:
                with torch.cuda.graph(self.graph, stream=self.stream):
                    self.update = self.function()
            self.graph.replay()
            return self.update

    def _aside(self) -> Update:
        """On the stream of the recording: autograd remembers where it has added a gradient up."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            update = self.function()
        current.wait_stream(self.stream)
        return update


def check_drawn_there(data: nn.Module) -> None:
    """ValueError for a source any part of which says that it reads from a file as it draws (`reads_as_it_draws`)."""
    if any(getattr(part, "reads_as_it_draws", False) for part in data.modules()):
        raise ValueError(
            "a CUDA graph would replay one batch for ever, and this set is read from its file at every "
            "step: run without it (--captured false), or prepare a set that fits the GPU with --num"
        )


def refuse_replaced(name: str) -> None:
    """ValueError for a buffer in whose place a step put another tensor: a replay would read the old one for ever."""
    raise ValueError(
        f"a CUDA graph keeps every buffer in its place, and a step put another tensor in that of {name}: write into it"
        " (copy_, add_), or run without it (--captured false)"
    )
