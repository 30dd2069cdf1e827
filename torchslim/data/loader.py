"""Batches of a data set: reproducible, resumable, and clear about what went wrong."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from torchslim.data.batch_memory import BatchMemory
from torchslim.data.items import Failure, Field, Items, mix_seeds, short_name
from torchslim.learning.device import process
from torchslim.learning.processes import started
from torchslim.queues import Patience, StalledError

__all__ = ["Loader"]

_AHEAD = 2  # batches that each worker makes before they are asked for, as PyTorch's loader has it


class Loader:
    """Passes over a data set in batches, by a `torch.utils.data.DataLoader`.

    Each iteration is one pass. Its order and the random numbers that each item is made with (Python's,
    numpy's and torch's) are functions of `seed`, the number of the pass and the item, so neither the number
    of workers nor an interruption changes a run: `state_dict` tells where the last pass stands,
    `load_state_dict` goes on there. Random numbers outside are left as they are. Where `torch.distributed` is
    initialised, each process gets its own part of every pass, and together they see each item once; with `drop_last`
    all get the same number of batches. The memory of a batch that nobody has any more is used for the next ones.

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
        dynamic_pad: items may differ in size: zeros are added behind, up to the largest of a batch.
        timeout: seconds to wait for a batch from the workers; None: as long as it takes. From 30 s on, a warning says
            what each worker is at. Without workers nobody waits.

    Raises:
        TypeError: if `dataset` or its items are of another kind.
        ValueError: if there would be no batch: an empty data set, or fewer items than `batch_size` with
            `drop_last`; or an argument is negative.
        StalledError: while iterating, if no batch came in time.
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
        dynamic_pad: bool = False,
        timeout: float | None = None,
    ):
        size = _size_of(dataset)
        if batch_size < 1:
            raise ValueError(f"data.batch: `batch_size` must be positive. Got {batch_size}.")
        processes = started()[1]
        if drop_last and size // processes < batch_size:
            each = f", {size // processes} for each of {processes} processes" if processes > 1 else ""
            raise ValueError(
                f"data.batch: `drop_last` leaves no batch of `batch_size` {batch_size}: "
                f"{short_name(dataset)} has {size} items{each}."
            )
        if timeout is not None and timeout <= 0:
            raise ValueError(f"data.batch: `timeout` must be positive, or None. Got {timeout}.")
        if seed is not None and seed < 0:
            raise ValueError(f"data.batch: `seed` must not be negative. Got {seed}.")
        if seed is None:
            seed = 0 if processes > 1 else int(torch.randint(2**62, (), device="cpu"))
        self.dataset = dataset
        first = Items(dataset, seed, None)[0, 0]
        if isinstance(first, Failure):
            raise first.to_error(dataset)
        self.fields = [Field(tuple(field.shape), field.dtype) for field in first]
        self._is_on_cpu = all(field.device.type == "cpu" for field in first)
        self._batches = _Batches(size, batch_size, shuffle, drop_last, seed)
        self._items = Items(dataset, seed, self.fields, dynamic_pad)
        self._pins = torch.cuda.is_available() if pin_memory == "auto" else bool(pin_memory)
        self._timeout = timeout
        self._make_loader(num_workers)
        self._next = (0, 0)  # the pass that comes next, and how many of its batches to skip
        self._position = (0, 0)

    def prefetch(self, capacity: int, num_workers: int = 1) -> None:
        """Makes batches ahead of those that are asked for, in worker processes.

        Args:
            capacity: so many batches at least.
            num_workers: so many processes at least.
        """
        workers = max(num_workers, self._loader.num_workers)
        self._make_loader(workers, ahead=-(-capacity // workers))

    def _make_loader(self, num_workers: int, ahead: int = _AHEAD) -> None:
        self._items.watch(num_workers)
        memory = BatchMemory(self.fields, self._batches.batch_size, num_workers, ahead if num_workers else 0)
        if self._items.dynamic_pad:
            self._items.stack = functools.partial(_stack, stack_field=_pad_and_stack)
        else:
            self._items.stack = memory.stack if self._is_on_cpu else _stack
        if num_workers == 0:
            _keep_memory()
        self._loader = DataLoader(
            self._items,
            batch_sampler=self._batches,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=functools.partial(_start, memory),
            persistent_workers=num_workers > 0,
            pin_memory=self._pins,
            timeout=self._patience().piece if num_workers else 0,
            prefetch_factor=ahead if num_workers else None,
            generator=torch.Generator(),  # its own, so that a pass draws nothing from torch's
        )
        # An iterator with workers must die with its last reference: the garbage collector, which frees graphs, would
        # finalize the queues to the workers first, and torch then waits 5 s for each. This keeps it away from that.
        weakref.finalize(self, id, self._loader).atexit = False

    def __len__(self) -> int:
        """How many batches a whole pass has (in this process)."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        number, skip = self._position = self._next
        self._next = (number + 1, 0)
        self._batches.number, self._batches.skip = number, skip
        for done, batch in enumerate(self._in_time(), skip + 1):
            if isinstance(batch, Failure):
                raise batch.to_error(self.dataset)
            self._position = (number, done)
            yield batch

    def _in_time(self) -> Iterator[Any]:
        is_on_cpu = torch.get_default_device().type == "cpu"
        # PyTorch's loader draws a number on the default device, and its workers, which must not touch CUDA, keep that.
        with contextlib.nullcontext() if is_on_cpu else torch.device("cpu"):
            batches, patience = iter(self._loader), None
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
                patience = patience or self._patience()
                try:
                    patience.passed()  # the batch may still come
                except StalledError:
                    self._loader._iterator = None  # ends the workers
                    raise
            else:
                yield batch
                patience = None

    def _patience(self) -> Patience:
        what = f"data.batch: no batch of {short_name(self.dataset)} came from the workers"
        return Patience(self._timeout, what, self._items.describe)

    def state_dict(self) -> dict[str, int]:
        """Where the last pass stands: its number, how many items all processes have been given, the seed of it all."""
        number, done = self._position
        return {"pass": number, "items": done * self._batches.items_at_once(), "seed": self._items.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on where `state` was taken, with the next pass if that one was over.

        With other batches, or another number of processes, the last items may come again, but for one batch at most.
        """
        number, done = state["pass"], state["items"] // self._batches.items_at_once()
        if state["items"] >= self._batches.size:
            done = len(self)
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
        order = torch.arange(self.size, device="cpu")
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.number))
            order = torch.randperm(self.size, generator=generator, device="cpu")
        for batch in list(order[rank::processes].split(self.batch_size))[self.skip : len(self)]:
            yield [(self.number, index) for index in batch.tolist()]

    def __len__(self) -> int:
        rank, processes = process()
        if self.drop_last:  # in all processes alike
            return self.size // processes // self.batch_size
        return -(-len(range(rank, self.size, processes)) // self.batch_size)

    def items_at_once(self) -> int:
        """How many items are in the batches of all processes."""
        return self.batch_size * process()[1]


def _start(memory: BatchMemory, worker: int) -> None:
    memory.start(worker)
    _keep_memory()


def _keep_memory() -> None:
    """Lets a process keep the memory of one picture for the next, instead of having it from the system page by page."""
    # The C library keeps what is freed, up to twice the largest piece so far.
    torch.empty(16 << 20, dtype=torch.uint8, device="cpu")


def _as_it_is(batch: Any) -> Any:
    return batch


def _stack(
    items: Iterable[tuple[torch.Tensor, ...] | Failure],
    stack_field: Callable[..., torch.Tensor] = torch.stack,
) -> Any:
    made = []
    for item in items:
        if isinstance(item, Failure):
            return item
        made.append(item)
    return tuple(map(stack_field, zip(*made, strict=True)))


def _pad_and_stack(fields: Sequence[torch.Tensor]) -> torch.Tensor:
    sizes = [max(axis) for axis in zip(*(field.shape for field in fields), strict=True)]
    stacked = fields[0].new_zeros(len(fields), *sizes)
    for target, field in zip(stacked, fields, strict=True):
        target[tuple(map(slice, field.shape))] = field
    return stacked


def _size_of(dataset: Any) -> int:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"data.batch: `dataset` must have __len__ and __getitem__. Got {type(dataset).__name__}.")
    if len(dataset) == 0:
        raise ValueError(f"data.batch: `dataset` is empty: {short_name(dataset)} has no items.")
    return len(dataset)
