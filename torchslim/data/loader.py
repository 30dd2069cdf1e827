"""Batches of a data set: reproducible, resumable, and clear about what went wrong."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from torchslim.data.items import Failure, Field, Items, mix_seeds, short_name
from torchslim.learning.device import process

__all__ = ["Loader"]


class Loader:
    """Passes over a data set in batches, by a `torch.utils.data.DataLoader`.

    Each iteration is one pass. Its order and the random numbers that each item is made with (Python's,
    numpy's and torch's) are functions of `seed`, the number of the pass and the item, so neither the number
    of workers nor an interruption changes a run: `state_dict` tells where the last pass stands,
    `load_state_dict` goes on there. Random numbers outside are left as they are. Where `torch.distributed` is
    initialised, each process gets its own part of every pass, and together they see each item once.

    Args:
        dataset: `len(dataset)` items; an item is a tensor or a tuple (list) of tensors, arrays and numbers,
            alike in shape and dtype. Python floats become float32.
        batch_size: items in a batch.
        num_workers: processes that make items; 0: this one. They live as long as the loader.
        shuffle: a new random order in every pass.
        drop_last: leave out the last batch if it is smaller.
        seed: of order and items; None: a random one, taken from torch's generator (0 where processes must
            agree).
        pin_memory: batches in page-locked memory; 'auto': where there is CUDA.

    Raises:
        TypeError: if `dataset` or its items are of another kind.
        ValueError: if there would be no batch: an empty data set, or fewer items than `batch_size` with
            `drop_last`.
        DataError: while iterating, for an item that fails or is unlike item 0. The original error is its
            cause.

    Example:
        >>> numbers = [(torch.tensor([float(i)]), i) for i in range(5)]
        >>> for values, labels in Loader(numbers, batch_size=2):
        ...     print(values.shape, labels.tolist())
        torch.Size([2, 1]) [0, 1]
        torch.Size([2, 1]) [2, 3]
        torch.Size([1, 1]) [4]
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Sequence[Any],
        batch_size: int,
        *,
        num_workers: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        pin_memory: bool | str = "auto",
    ):
        size = _size_of(dataset)
        if batch_size < 1:
            raise ValueError(f"data.batch: `batch_size` must be positive. Got {batch_size}.")
        if drop_last and size < batch_size:
            raise ValueError(
                f"data.batch: `drop_last` leaves no batch of `batch_size` {batch_size}: "
                f"{short_name(dataset)} has {size} items."
            )
        if seed is not None and seed < 0:
            raise ValueError(f"data.batch: `seed` must not be negative. Got {seed}.")
        if seed is None:
            seed = 0 if process()[1] > 1 else int(torch.randint(2**62, ()))
        self.dataset = dataset
        first = Items(dataset, seed, None)[0, 0]
        if isinstance(first, Failure):
            raise first.to_error(dataset)
        self.fields = [Field(tuple(field.shape), field.dtype) for field in first]
        self._batches = _Batches(size, batch_size, shuffle, drop_last, seed)
        self._items = Items(dataset, seed, self.fields)
        self._loader = DataLoader(
            self._items,
            batch_sampler=self._batches,
            num_workers=num_workers,
            collate_fn=_collate,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available() if pin_memory == "auto" else bool(pin_memory),
            generator=torch.Generator(),  # its own, so that a pass draws nothing from torch's
        )
        # An iterator with workers must die with its last reference: the garbage collector, which frees graphs, would
        # finalize the queues to the workers first, and torch then waits 5 s for each. This keeps it away from that.
        weakref.finalize(self, id, self._loader).atexit = False
        self._next = (0, 0)  # the pass that comes next, and how many of its batches to skip
        self._position = (0, 0)

    def __len__(self) -> int:
        """How many batches a whole pass has (in this process)."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        number, skip = self._position = self._next
        self._next = (number + 1, 0)
        self._batches.number, self._batches.skip = number, skip
        for done, batch in enumerate(self._loader, skip + 1):
            if isinstance(batch, Failure):
                raise batch.to_error(self.dataset)
            self._position = (number, done)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the last pass stands: its number, how many of its batches were given out, and the seed of it all."""
        return {"pass": self._position[0], "batch": self._position[1], "seed": self._items.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on where `state` was taken, with the next pass if that one was over."""
        number, done = state["pass"], state["batch"]
        if state["seed"] != self._items.seed:
            self._items.seed = self._batches.seed = state["seed"]
            self._loader._iterator = None  # workers that run have the other seed
        self._position = (number, done)
        self._next = (number, done) if done < len(self) else (number + 1, 0)


class _Batches:
    """The batch sampler: lists of `(pass, index)`."""

    def __init__(self, size: int, batch_size: int, shuffle: bool, drop_last: bool, seed: int):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.shuffle, self.drop_last = shuffle, drop_last
        self.number = self.skip = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, processes = process()
        order = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.number))
            order = torch.randperm(self.size, generator=generator)
        for batch in list(order[rank::processes].split(self.batch_size))[self.skip : len(self)]:
            yield [(self.number, index) for index in batch.tolist()]

    def __len__(self) -> int:
        rank, processes = process()
        mine = len(range(rank, self.size, processes))
        return mine // self.batch_size if self.drop_last else -(-mine // self.batch_size)


def _collate(items: list[Any]) -> Any:
    for item in items:
        if isinstance(item, Failure):
            return item
    return tuple(default_collate(items))


def _size_of(dataset: Any) -> int:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"data.batch: `dataset` must have __len__ and __getitem__. Got {type(dataset).__name__}.")
    if len(dataset) == 0:
        raise ValueError(f"data.batch: `dataset` is empty: {short_name(dataset)} has no items.")
    return len(dataset)
