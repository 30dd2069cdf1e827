"""What processes that evaluate together have to agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from torchslim.learning.device import process

T = TypeVar("T")


def decided_by_first(function: Callable[[], T]) -> T:
    """What `function` returns in the first process; it is not called in the others.

    Example:
        >>> decided_by_first(lambda: 3)
        3
    """
    rank, processes = process()
    if processes == 1:
        return function()
    decided = [function() if rank == 0 else None]
    distributed.broadcast_object_list(decided, src=0)
    return decided[0]  # type: ignore[return-value]


def from_all(value: T) -> list[T]:
    """The `value` of each process, in all of them.

    Example:
        >>> from_all(3)
        [3]
    """
    processes = process()[1]
    if processes == 1:
        return [value]
    values: list[Any] = [None] * processes
    distributed.all_gather_object(values, value)
    return values
