"""What processes that evaluate together have to agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
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


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sums of `values`, elementwise, in place.

    Example:
        >>> sum_over_processes(torch.tensor([1, 2])).tolist()
        [1, 2]
    """
    if process()[1] > 1:
        distributed.all_reduce(values)
    return values
