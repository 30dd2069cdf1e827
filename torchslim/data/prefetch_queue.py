"""Batches that are made ahead of the step that uses them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torchslim.data.loader import Loader
from torchslim.graph import Symbol
from torchslim.graph.symbol import needed_for
from torchslim.queues import FIFOQueue, QueueRunner

__all__ = ["SymbolQueue", "prefetch_queue"]


class SymbolQueue:
    """What `prefetch_queue` gives for Symbols: `dequeue` gives the Symbols, whose batches are made ahead."""

    def __init__(self, symbols: Any, capacity: int):
        self._symbols, self.capacity = symbols, capacity

    def dequeue(self) -> Any:
        """The Symbols, as they were given."""
        return self._symbols


def prefetch_queue(
    tensors: Sequence[Symbol] | Mapping[str, Symbol] | Iterable[Any],
    capacity: int = 8,
    num_threads: int = 1,
    *,
    timeout: float | None = None,
    name: str | None = None,
) -> SymbolQueue | FIFOQueue:
    """Makes batches ahead of the step that uses them.

    Args:
        tensors: Symbols that `slim.data.batch` gave, or computed from such: their batches are then made by
            `num_threads` worker processes (or those that there are), with `capacity` batches ahead. Or any iterable:
            then threads take its elements and put them into the queue.
        capacity: so many batches, or elements.
        num_threads: so many processes, or threads.
        timeout: seconds to wait for an element of an iterable; None: as long as it takes, with warnings from 30 s on.
            Batches have that of `slim.data.batch`.
        name: what errors call the queue; default: `prefetch_queue`.

    Returns:
        A queue; `dequeue()` gives the Symbols, or the next element. The queue of an iterable can be iterated itself.

    Raises:
        ValueError: if `capacity` or `num_threads` is not positive, or Symbols do not come from `slim.data.batch`.

    TF-Slim: the same for Symbols. `dynamic_pad` is left out, as batches may differ in size anyway, and `shared_name`,
    as there are no sessions to share it.

    Example:
        >>> queue = prefetch_queue(iter('abc'), capacity=2)
        >>> queue.dequeue(), list(queue)
        ('a', ['b', 'c'])
    """
    if capacity < 1 or num_threads < 1:
        raise ValueError(
            f"prefetch_queue: `capacity` and `num_threads` must be positive. Got {capacity} and {num_threads}."
        )
    values = list(tensors.values()) if isinstance(tensors, Mapping) else tensors
    if isinstance(values, list | tuple) and values and isinstance(values[0], Symbol):
        for loader in _loaders_of(values):
            loader.prefetch(capacity, num_threads)
        return SymbolQueue(tensors, capacity)
    queue = FIFOQueue(capacity, timeout=timeout, name=name or "prefetch_queue")
    shared = _Shared(tensors)
    QueueRunner(queue, [lambda: shared] * num_threads)
    return queue


def _loaders_of(symbols: Sequence[Symbol]) -> list[Loader]:
    """What fills the placeholders that Symbols depend on."""
    nodes = needed_for(symbol.node for symbol in symbols)
    feeds = symbols[0].owner.feeds
    fillers = [loader for loader, fed in feeds if any(symbol.node in nodes for symbol in fed)]
    loaders = [loader for loader in fillers if isinstance(loader, Loader)]
    if not loaders or len(loaders) < len(fillers):
        raise ValueError(
            "prefetch_queue: Symbols must come from `slim.data.batch`. "
            f"Got {', '.join(map(repr, symbols))}: a loader of your own makes batches ahead by itself."
        )
    return loaders


class _Shared:
    """An iterator that several threads may share."""

    def __init__(self, elements: Iterable[Any]):
        self._elements, self._lock = iter(elements), threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._elements)
