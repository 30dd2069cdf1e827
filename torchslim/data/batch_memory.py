"""The memory that batches are made in.

A batch of pictures is tens of MB, and memory that is new to a process costs a fault for each of its pages. Those of the
shared memory through which workers hand over their batches take a quarter of the time that decoding the pictures does.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from torchslim.data.items import Failure, Field

__all__ = ["BatchMemory"]

_HELD = 4  # batches that the user of a loader may have at a time, before more memory is needed
_NOWHERE = -1
_FREE, _SENT, _HERE, _GIVEN_UP = range(4)  # uses of the memory of a field

_numbers = itertools.count()
_memories: weakref.WeakValueDictionary[int, BatchMemory] = weakref.WeakValueDictionary()
_forks = [0]  # how many there were of this process


def _count_fork() -> None:
    _forks[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_count_fork)


class BatchMemory:
    """Stacks items in memory that is used again as soon as nobody has the batch in it any more.

    Each worker has places for some batches, and so has a loader without workers. A place gets its memory when it is
    needed first; a worker sends it once, and then only says which one it is. If all places are in use, because somebody
    keeps batches, the next ones get memory of their own.

    Args:
        fields: what every item has.
        batch_size: the most items in a batch.
        workers: processes that make batches; 0: this one.
        ahead: batches that each makes before they are asked for.

    Example:
        >>> memory = BatchMemory([Field((2,), torch.float32)], batch_size=3)
        >>> (first,) = memory.stack([(torch.ones(2),)] * 3)
        >>> address = first.data_ptr()
        >>> del first
        >>> (second,) = memory.stack([(torch.zeros(2),)] * 2)
        >>> second.shape, second.data_ptr() == address
        (torch.Size([2, 2]), True)
    """

    def __init__(self, fields: Sequence[Field], batch_size: int, workers: int = 0, ahead: int = 0):
        self._fields, self._batch_size, self._places = fields, batch_size, ahead + _HELD
        self._worker: int | None = None  # that this process is
        self._shape = max(workers, 1) * self._places, len(fields)
        size = math.prod(self._shape)
        self._use: Any = multiprocessing.RawArray("B", size) if workers else bytearray(size)
        self._memory: dict[int, tuple[torch.Tensor, ...]] = {}  # of the places that this process knows
        self._claims: dict[int, object] = {}  # places where a batch is being made
        self._number = next(_numbers)
        _memories[self._number] = self

    def start(self, worker: int) -> None:
        """Makes this process a worker; what one before it has sent, and nobody received, is lost."""
        self._worker = worker
        self._memory.clear()
        own = self._uses()[worker * self._places : (worker + 1) * self._places]
        own[own == _SENT] = _FREE

    def stack(self, items: Iterable[tuple[torch.Tensor, ...] | Failure]) -> Any:
        """Makes a batch of items, `batch_size` at most; of a failure, itself.

        Returns:
            The batch; in a worker, what becomes the batch for who receives it.
        """
        place, count = self._claim(), 0
        try:
            known = self._memory.get(place)
            memory = self._new_memory() if known is None else known
            for item in items:
                if isinstance(item, Failure):
                    return item
                for target, field in zip(memory, item, strict=True):
                    target[count] = field.detach()
                count += 1
            if place == _NOWHERE:
                return tuple(target[:count] for target in memory)
            self._memory[place] = memory
            if self._worker is None:
                return self.lend(place, count)
            self._uses()[place] = _SENT
            return _Sent(self._number, place, count, memory if known is None else None)
        finally:
            self._claims.pop(place, None)

    def lend(self, place: int, count: int, memory: tuple[torch.Tensor, ...] | None = None) -> tuple[torch.Tensor, ...]:
        """The batch in a place, which is free again with the last of its tensors.

        Args:
            place: the number of it.
            count: items in the batch.
            memory: of the place, if it is new to this process.
        """
        if memory is not None:
            self._memory[place] = memory
        uses = self._uses()[place]
        uses[:] = _HERE
        return tuple(_watched(whole[:count], uses, field) for field, whole in enumerate(self._memory[place]))

    def _claim(self) -> int:
        """A place that is free, for this thread alone; `_NOWHERE` if there is none."""
        start = (self._worker or 0) * self._places
        for place in range(start, start + self._places):
            claim = object()
            if self._claims.setdefault(place, claim) is not claim:
                continue
            uses = set(self._uses()[place].tolist())
            if uses <= {_FREE, _GIVEN_UP}:
                if _GIVEN_UP in uses:
                    self._memory.pop(place, None)
                return place
            del self._claims[place]
        return _NOWHERE

    def _new_memory(self) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode(False):  # what is made in that mode could not be written to outside of it
            return tuple(
                torch.empty(self._batch_size, *field.shape, dtype=field.dtype, device="cpu") for field in self._fields
            )

    def _uses(self) -> np.ndarray:
        """`[places, fields]`; made of the shared bytes each time, for an array does not stay shared when it is sent."""
        return np.ndarray(self._shape, np.uint8, self._use)


class _Sent(NamedTuple):
    """A batch on its way out of a worker."""

    number_of_memory: int
    place: int
    size: int
    memory: tuple[torch.Tensor, ...] | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, tuple(self)


def _receive(number: int, *sent: Any) -> tuple[torch.Tensor, ...]:
    return _memories[number].lend(*sent)


def _watched(tensor: torch.Tensor, uses: np.ndarray, field: int) -> torch.Tensor:
    """The same tensor in a storage of its own: with its end, the use ends."""
    # A storage made from an array holds that array, and arrays tell their ends.
    array = tensor.view(-1).view(torch.uint8).numpy()
    weakref.finalize(array, _release, uses, field, os.getpid(), _forks[0]).atexit = False
    storage = torch.from_numpy(array).untyped_storage()
    return tensor.new_empty(0).set_(storage, 0, tensor.shape, tensor.stride())


def _release(uses: np.ndarray, field: int, owner: int, forks: int) -> None:
    """Ends a use; a process that was forked in the meantime may still have it, but has no say."""
    if os.getpid() == owner:
        uses[field] = _FREE if forks == _forks[0] else _GIVEN_UP
