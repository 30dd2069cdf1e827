"""What the processes of one training decide together, so that they save, stop and fail at the same step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed

from torchslim.learning.device import process

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
        self._group = distributed.new_group(backend="gloo") if self.size > 1 else None

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
        together = torch.tensor(numbers)
        distributed.all_reduce(together, distributed.ReduceOp.MAX, self._group)
        return together.tolist()

    def gathered(self, value: object) -> list[object]:
        """The value of every process, in all of them."""
        if self._group is None:
            return [value]
        values: list[object] = [None] * self.size
        distributed.all_gather_object(values, value, self._group)
        return values
