"""Pictures are seen by all processes together, a batch each in turn; the first one has the features.

The batches are those of a process alone, and so are the features, in their order: to the last bit where each process
computes with as many threads. The others build the detector themselves and take the first one's weights, so one whose
weights are random is the same everywhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evolvent.cli.terminal import counted
from evolvent.metrics.features import Features, check_pixels, extract_piece
from evolvent.processes.leading import led, turns
from evolvent.processes.ranks import ALONE, Ranks
from evolvent.recipes.find import own_fault

BATCH_SIZE = 256


@dataclass(frozen=True)
class Batch:
    """Pictures from number `first` on, and the detector's weights where they are not there yet."""

    first: int
    pixels: Tensor
    weights: dict[str, Tensor] | None


class Together:
    """Called as `evolvent.metrics.extract` is, inside `led`: the same features, under a bar that counts.

    make: the detector, on the processes that follow.
    """

    def __init__(
        self, ranks: Ranks = ALONE, make: Callable[[], nn.Module] | None = None, device: str = "cpu"
    ) -> None:
        self.ranks, self.make, self.device = ranks, make, device
        self.ask = lambda batches: [self._see(batch) for batch in batches]
        self.detector: nn.Module | None = None
        self.known: list[nn.Module | None] = [None] * ranks.num
        """The detector whose weights each process has."""

    def led(self, function: Callable[[], None]) -> None:
        """Call the function on the first process, for which all of them see. All of them must call this."""

        def first(ask: Callable) -> None:
            self.ask = ask
            function()

        led(self.ranks, first, self._see)

    def __call__(
        self, detector: nn.Module, pixels_uint8: Tensor, *, device: str | torch.device = "cpu"
    ) -> Features:
        check_pixels(pixels_uint8, "the pictures")
        self.detector, self.device = detector, device
        pieces = counted(self._pieces(pixels_uint8), len(pixels_uint8))
        return torch.cat(list(pieces)).to(device)

    def _pieces(self, pixels: Tensor) -> Iterator[Features]:
        for turn in turns(len(pixels), BATCH_SIZE, self.ranks):
            yield from self.ask(
                [
                    Batch(first, pixels[first : first + BATCH_SIZE], self._weights(i))
                    for i, first in enumerate(turn)
                ]
            )

    def _weights(self, rank: int) -> dict[str, Tensor] | None:
        """What another process lacks; it has it then."""
        if rank == self.ranks.rank or self.known[rank] is self.detector:
            return None
        self.known[rank] = self.detector
        return {name: tensor.cpu() for name, tensor in self.detector.state_dict().items()}

    def _see(self, batch: Batch) -> Features:
        if self.detector is None:
            self.detector = self.make()
        if batch.weights is not None:
            self.detector.load_state_dict(batch.weights)
        try:
            features = extract_piece(self.detector, batch.pixels, num_before=batch.first, device=self.device)
        except (ValueError, OSError, OverflowError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if (sentence := own_fault(error)) is None:
                raise
            raise ValueError(sentence) from error  # a mistake, which the other processes hear of
        return features if self.ranks.num == 1 else features.cpu()
