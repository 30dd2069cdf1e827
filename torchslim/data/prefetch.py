"""Batches on the device before the step that uses them begins."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from torchslim.learning.device import place_batch, resolve_device

__all__ = ["prefetch_to_device"]


class prefetch_to_device:  # noqa: N801 - used as a function
    """Copies batches to the device ahead of their use, on a CUDA stream of their own; on the CPU it does nothing.

    While the device computes one step, the batches of the next ones are on their way: that takes page-locked memory,
    which `slim.data.batch` and `Loader` use where there is CUDA.

    Args:
        batches: an iterable of tuples of tensors, such as a `Loader`; iterated anew for each pass.
        device: where to; 'auto': CUDA if there is a device, else the CPU.
        depth: how many batches are ahead.

    Raises:
        ValueError: if `depth` is not positive, or `device` is not there.

    Example:
        >>> loader = slim.data.Loader([(torch.ones(2), 1)] * 3, batch_size=2)
        >>> [labels.tolist() for _, labels in prefetch_to_device(loader)]
        [[1, 1], [1]]
    """

    def __init__(self, batches: Iterable[Any], device: str | torch.device = "auto", *, depth: int = 2):
        if depth < 1:
            raise ValueError(f"prefetch_to_device: `depth` must be positive. Got {depth}.")
        self.batches, self.device, self.depth = batches, resolve_device(device), depth
        self._state: Any = None
        if hasattr(batches, "load_state_dict"):
            self.state_dict, self.load_state_dict = self._state_dict, self._load_state_dict

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self.device.type != "cuda":
            yield from (place_batch(batch, self.device) for batch in self.batches)
            return
        copies = torch.cuda.Stream(self.device)
        ahead: collections.deque[tuple[tuple[Any, ...], Any]] = collections.deque()
        for batch in self.batches:
            with torch.cuda.stream(copies):
                placed = place_batch(batch, self.device)
                ahead.append((placed, self._place()))
            if len(ahead) > self.depth:
                yield self._ready(*ahead.popleft(), copies)
        while ahead:
            yield self._ready(*ahead.popleft(), copies)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def _place(self) -> Any:
        """Where the batches stand, if they can say so: ahead of where the step stands."""
        return self.batches.state_dict() if hasattr(self.batches, "state_dict") else None

    def _ready(self, batch: tuple[Any, ...], place: Any, copies: torch.cuda.Stream) -> tuple[Any, ...]:
        """The batch, for the stream that computes."""
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(copies)
        for tensor in tree_leaves(batch):
            if isinstance(tensor, torch.Tensor):
                tensor.record_stream(current)
        self._state = place
        return batch

    def _state_dict(self) -> Any:
        return self.batches.state_dict() if self._state is None else self._state  # type: ignore[attr-defined]

    def _load_state_dict(self, state: Any) -> None:
        self._state = None
        self.batches.load_state_dict(state)  # type: ignore[attr-defined]
