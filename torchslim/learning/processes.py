"""How processes find each other, and what they decide together, so that they save, stop and fail at the same step."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from torchslim.learning.device import process, resolve_device

logger = logging.getLogger("torchslim")

T = TypeVar("T")

# What `torchrun` tells each process that it starts.
_STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Steps between two decisions. One takes a few tenths of a millisecond, which no step should wait for.
EVERY_STEPS = 10


class Agreement:
    """Decisions of all processes: for each, the largest number that any of them gives.

    They talk over a group of their own, on the CPU, so that nobody waits for a device. A single process agrees with
    itself at once, in every step.

    Attributes:
        rank: which process this is.
        size: how many there are.

    Example:
        >>> Agreement().on(step=7, numbers=[0, 3])
        [0, 3]
    """

    def __init__(self) -> None:
        self.rank, self.size = process()
        self._group: Any = distributed.new_group(backend="gloo") if self.size > 1 else None

    def on(self, step: int, numbers: Sequence[int]) -> list[int]:
        """The largest of each of the `numbers`, at steps that are agreed on; zeros at the others.

        Args:
            step: the global step, the same in all processes.
            numbers: what this process would have, 0 where it does not mind.
        """
        if self._group is None:
            return list(numbers)
        if step % EVERY_STEPS:
            return [0] * len(numbers)
        largest = torch.tensor(numbers)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX, self._group)
        return largest.tolist()

    def gathered(self, value: T) -> list[T]:
        """The value of every process, in all of them."""
        if self._group is None:
            return [value]
        values: list[T] = [value] * self.size
        distributed.all_gather_object(values, value, self._group)
        return values

    def mean(self, value: float) -> float:
        """The mean of the values of all processes."""
        values = self.gathered(value)
        return sum(values) / len(values)

    def of_first(self, function: Callable[[], T]) -> Callable[[], T]:
        """A function that all processes call, and that returns in all of them what it returns in the first."""
        return lambda: self.gathered(function())[0]


def warn_of_undivided(batches: Any) -> None:
    """Logs a warning where each of several processes would read all of the data by itself."""
    rank, size = process()
    for loader in getattr(batches, "loaders", [batches]) if size > 1 and rank == 0 else ():
        undivided = type(getattr(loader, "sampler", None)) in (RandomSampler, SequentialSampler)
        if undivided and type(loader.batch_sampler) is BatchSampler:
            logger.warning(
                "each process reads all of %s, not a share of it, unless it is one already: take slim.data.Loader or "
                "slim.data.batch, or give the DataLoader `sampler=torch.utils.data.DistributedSampler(dataset)`",
                type(loader.dataset).__name__,
            )


def started() -> tuple[int, int]:
    """As `process`, also before the processes that `torchrun` has started know each other.

    Example:
        >>> started()
        (0, 1)
    """
    if process()[1] == 1 and all(name in os.environ for name in _STARTED_BY_TORCHRUN) and distributed.is_available():
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return process()


@contextlib.contextmanager
def together(device: str | torch.device = "auto") -> Iterator[None]:
    """Has the processes that `torchrun` has started know each other, for as long as the context lasts.

    Nothing happens where they do already, or where there is one process.

    Args:
        device: where they compute. With `'auto'` and `'cuda'` each gets the GPU of its `LOCAL_RANK`.

    Example:
        >>> with together():
        ...     process()
        (0, 1)
    """
    rank, size = started()
    if (rank, size) == process():
        yield
        return
    place = resolve_device(device)
    if place.type == "cuda" and (device == "auto" or place.index is None):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    # Each time under names of its own: those of the time before may still be there.
    store = distributed.PrefixStore(f"torchslim/{next(_meetings)}", _store(rank, size))
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    yield
    # Not after an error: others may wait for this process, and only its end tells them and `torchrun`.
    distributed.destroy_process_group()


_meetings = itertools.count()


@functools.cache
def _store(rank: int, size: int) -> distributed.Store:
    """Where processes leave their addresses: `torchrun` has one; else the first process opens one."""
    return next(iter(distributed.rendezvous("env://", rank, size)))[0]
