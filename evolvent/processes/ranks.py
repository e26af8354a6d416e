"""Many processes, one batch: which rows are this process's, and what the processes exchange.

Of N processes (ranks) each draws the data and the noise of the *whole* batch from (seed, step), which is cheap, and
keeps the rows rank, rank + N, rank + 2N, …; the rest of the step, which is dear, it does for its own rows. So every
row has its own noise, and N processes compute what one computes, up to the order of a sum:

    rows        r, r + N, …: the first share of every rank's rows is the first share of the batch
    gradients   local backward → sum over ranks in buckets → / N → the same optimiser step everywhere
    bank        slot s lives on rank s mod N; chosen particles travel to the rows' ranks and back
    batch norm  statistics of the whole batch, by a sum over ranks that is differentiated through

A process alone takes none of these ways: `ALONE` returns what it is given, and no process group is made.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from evolvent.shapes import wide

BUCKET = 2**23
"""Elements that travel at once: 32 MB of float32."""
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Found = TypeVar("Found")


class RankLost(Exception):
    """Another process died, or has been silent for too long."""


@dataclass(frozen=True)
class Ranks:
    """This process among `num`. Every method that exchanges something must be called by all of them."""

    rank: int
    num: int

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Inside, `Noise` and `Persistent` are those of this rank's rows (`shared`)."""
        token = SHARED.set(self)
        try:
            yield
        finally:
            SHARED.reset(token)

    def check_batch(self, batch_size: int) -> None:
        if batch_size % self.num:
            raise ValueError(
                f"a batch of {batch_size} cannot be split evenly over {self.num} processes: give a batch size that"
                f" is a multiple of {self.num}, or start another number of processes"
            )

    def rows(self, whole: Tensor) -> Tensor:
        """This rank's rows of what has a row for each point of the batch."""
        return whole if self.num == 1 else whole[self.rank :: self.num].contiguous()

    def whole(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in the order of the batch."""
        if self.num == 1:
            return rows
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(self.num)]
        with told_when_lost():
            dist.all_gather(parts, rows)
        return torch.stack(parts, 1).flatten(0, 1)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Sum every tensor over the ranks, in place, in buckets."""
        if self.num == 1:
            return
        with torch.no_grad():
            on_the_way = [(bucket, *_send(bucket)) for bucket in buckets(tensors)]
            for bucket, flat, work in on_the_way:
                with told_when_lost():
                    work.wait()
                for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                    tensor.copy_(part.view_as(tensor))

    def beside(self, mine: Tensor) -> Tensor:
        """[num, …]: zeros but for this rank's row; added up it holds what each rank has."""
        table = mine.new_zeros(self.num, *mine.shape)
        table[self.rank] = mine
        return table

    def greatest(self, number: int) -> int:
        """The greatest of the ranks' numbers; the device is not waited for."""
        if self.num == 1:
            return number
        found = torch.tensor(number)
        with told_when_lost():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def on_first(self, function: Callable[[], Found]) -> Found:
        """What the function returns, or raises as a mistake, on the first rank: the others do not call it."""
        if self.num == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = function()
            except ValueError as error:
                outcome[1] = ValueError(str(error))
            except OSError as error:
                outcome[1] = error
        with told_when_lost():
            dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def take(self, shard: Tensor, slots: Tensor) -> Tensor:
        """This rank's rows of bank[slots], where slot s is row s // num of the shard of rank s % num."""
        if self.num == 1:
            return shard[slots]
        own = wide(slots % self.num == self.rank, shard)
        found = torch.where(own, shard[(slots // self.num).clamp(max=len(shard) - 1)], 0)
        self.add([found])
        return self.rows(found)

    def put(self, shard: Tensor, slots: Tensor, rows: Tensor) -> None:
        """bank[slots] = rows, for the slots of the whole batch and the rows of this rank."""
        if self.num == 1:
            shard[slots] = rows
            return
        own = slots % self.num == self.rank
        shard[slots[own] // self.num] = self.whole(rows)[own]

    def joined(self, shard: Tensor, num_slots: int) -> Tensor:
        """The whole bank, of the shards of all ranks."""
        bank = shard.new_zeros(num_slots, *shard.shape[1:])
        bank[self.rank :: self.num] = shard
        self.add([bank])
        return bank

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Every tensor as the first rank has it."""
        with torch.no_grad(), told_when_lost():
            for tensor in tensors:
                sent = tensor.contiguous()
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    def check_equal(self, tensors: dict[str, Tensor]) -> None:
        """ValueError where the ranks hold different bits under one name."""
        digests = torch.stack([_digest(tensor) for tensor in tensors.values()])
        ends = torch.stack([digests, -digests])
        with told_when_lost():
            dist.all_reduce(ends, dist.ReduceOp.MAX)
        for name, greatest, minus_least in zip(tensors, *ends.tolist(), strict=True):
            if greatest != -minus_least:
                raise ValueError(
                    f"the processes no longer agree on {name}: what a learner keeps of its own rows between steps"
                    " must be named in `shards`, as in evolvent/particles.py:Persistent"
                )


ALONE = Ranks(0, 1)
SHARED: ContextVar[Ranks] = ContextVar("the ranks that share the step under way", default=ALONE)


def shared() -> Ranks:
    """The ranks that share the step under way; `ALONE` outside a step of several processes."""
    return SHARED.get()


def here() -> Ranks:
    """This process among those that were started together."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


@contextmanager
def told_when_lost() -> Iterator[None]:
    """RankLost in place of what the network says when a process is gone."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RankLost(
            "another process of this run is gone, or has been silent for too long; what it said last tells why."
            " Every checkpoint that was saved is whole: go on with --resume"
        ) from error


def buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors of one dtype together, up to `BUCKET` elements or one tensor."""
    made: dict[torch.dtype, list[list[Tensor]]] = {}
    for tensor in tensors:
        filling = made.setdefault(tensor.dtype, [[]])
        if filling[-1] and sum(t.numel() for t in filling[-1]) + tensor.numel() > BUCKET:
            filling.append([])
        filling[-1].append(tensor)
    return [bucket for filling in made.values() for bucket in filling]


def _send(bucket: list[Tensor]) -> tuple[Tensor, dist.Work]:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    with told_when_lost():
        return flat, dist.all_reduce(flat, async_op=True)


def _digest(tensor: Tensor) -> Tensor:
    bits = tensor.detach().contiguous().reshape(-1)
    bits = bits.char() if bits.dtype == torch.bool else bits.view(BITS[bits.element_size()])
    places = torch.arange(1, len(bits) + 1, device=bits.device)  # rows in another order differ
    return (bits.long() * places).sum()


class Sum(torch.autograd.Function):
    """Σ over ranks, to be differentiated as often as one likes: its derivative is the same sum."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone(memory_format=torch.contiguous_format)
        with told_when_lost():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return Sum.apply(slope)


def share_statistics(learner: nn.Module, ranks: Ranks) -> None:
    """Let every batch norm of the learner see the whole batch while it trains."""
    for norm in batch_norms(learner):
        norm.forward = partial(normalise, norm, ranks)


def batch_norms(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def normalise(norm: nn.modules.batchnorm._BatchNorm, ranks: Ranks, x: Tensor) -> Tensor:
    """(x − mean) / √(variance + ε) · weight + bias, over the batch of all ranks; running statistics follow."""
    if not norm.training:
        return type(norm).forward(norm, x)
    full, others = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x, [0, *range(2, x.dim())]
    channels = (1, -1, *[1] * (x.dim() - 2))
    count = ranks.num * x.numel() // x.shape[1]
    mean = Sum.apply(full.sum(others)) / count
    centred = full - mean.view(channels)
    variance = Sum.apply(centred.square().sum(others)) / count
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(variance * count / (count - 1), momentum)
    y = centred * (variance + norm.eps).rsqrt().view(channels)
    if norm.affine:
        y = y * norm.weight.view(channels) + norm.bias.view(channels)
    return y.to(x.dtype)
