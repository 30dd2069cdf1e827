"""The items of a data set as the loader wants them: tuples of tensors, all alike, or what went wrong."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import pickle
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Subset, get_worker_info

__all__ = ["DataError", "Failure", "Field", "Items", "mix_seeds", "short_name", "source_of", "to_tensor"]

_NOTHING = -1  # that a worker is at


class DataError(RuntimeError):
    """An item of a data set could not be used: the message says which one, the cause why."""


class Field(NamedTuple):
    """What every item has in one of its places: a shape (without the batch) and a dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass
class Failure:
    """Takes the place of an item, and then of its batch: an error on its way out of a worker."""

    index: int
    reason: str
    error: Exception

    def to_error(self, dataset: Any) -> DataError:
        """Returns what to raise, the error itself as its cause."""
        source = source_of(dataset, self.index)
        where = f" ({source})" if source and source not in self.reason else ""
        error = DataError(f"data.batch: item {self.index}{where} of {short_name(dataset)} failed. {self.reason}")
        error.__cause__ = self.error
        return error


class _UnlikeError(ValueError):
    """An item is unlike item 0."""


class Items(Dataset[Any]):
    """The data set as the loader sees it: items are tuples of tensors, all alike, or say what is wrong.

    Attributes:
        stack: makes a batch of items.
    """

    def __init__(self, dataset: Any, seed: int, fields: list[Field] | None, dynamic_pad: bool = False):
        self.dataset, self.seed, self.fields, self.dynamic_pad = dataset, seed, fields, dynamic_pad
        self.stack: Callable[[Iterable[tuple[torch.Tensor, ...] | Failure]], Any] | None = None
        self.watch(0)

    def watch(self, workers: int) -> None:
        """Lets so many workers note what they are at, where this process sees it."""
        self._at = multiprocessing.RawArray("q", [_NOTHING] * workers)

    def describe(self) -> str:
        """What the workers are at."""
        at = [(worker, index, source_of(self.dataset, index)) for worker, index in enumerate(self._at) if index >= 0]
        if not at:
            return ""
        files = (f"{worker} at item {index}{f' ({file})' if file else ''}" for worker, index, file in at)
        return f"Worker {', worker '.join(files)}."

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, ...] | Failure:
        with _undisturbed():
            return self._watched(*key)

    def __getitems__(self, keys: list[tuple[int, int]]) -> Any:
        """Makes a batch of items."""
        assert self.stack is not None
        with _undisturbed():
            return self.stack(self._watched(*key) for key in keys)

    def _watched(self, number: int, index: int) -> tuple[torch.Tensor, ...] | Failure:
        worker = get_worker_info()
        if worker is None or worker.dataset is not self:  # one of another loader
            return self._make(number, index)
        self._at[worker.id] = index
        item = self._make(number, index)
        self._at[worker.id] = _NOTHING
        return item

    def _make(self, number: int, index: int) -> tuple[torch.Tensor, ...] | Failure:
        try:
            _seed(mix_seeds(self.seed, number, index))
            item = self.dataset[index]
            fields = tuple(map(to_tensor, item if isinstance(item, (tuple, list)) else [item]))
            self._check(fields)
        except Exception as error:
            reason = str(error) if isinstance(error, _UnlikeError) else f"{type(error).__name__}: {error}"
            return Failure(index, reason, _portable(error))
        return fields

    def _check(self, fields: tuple[torch.Tensor, ...]) -> None:
        if self.fields is None:
            return
        if len(fields) != len(self.fields):
            raise _UnlikeError(f"It has {len(fields)} fields, and item 0 has {len(self.fields)}.")
        for place, (field, like) in enumerate(zip(fields, self.fields, strict=True)):
            is_alike = field.ndim == len(like.shape) if self.dynamic_pad else field.shape == like.shape
            if not is_alike or field.dtype != like.dtype:
                raise _UnlikeError(
                    f"Its field {place} is {field.dtype} {list(field.shape)}, "
                    f"and that of item 0 {like.dtype} {list(like.shape)}. "
                    "All items of a batch must be alike: give the data set a transform that resizes or crops."
                )


def to_tensor(value: Any) -> torch.Tensor:
    """A field of an item as a tensor.

    Raises:
        TypeError: if it is neither a tensor nor an array or number.
    """
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        return torch.tensor(value)  # a float becomes float32, the precision that nets compute in
    raise TypeError(
        "An item must be a tensor or a tuple of tensors, arrays and numbers. "
        f"Got {type(value).__name__} in it: give the data set a transform that makes tensors."
    )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Leaves the random numbers outside as they were. That takes time, as much as decoding a small picture."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that would reseed CUDA too


def mix_seeds(*numbers: int) -> int:
    """One seed out of several numbers."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _portable(error: Exception) -> Exception:
    """An error that survives the way out of a worker, with the traceback that does not."""
    if get_worker_info() is None:
        return error
    error.add_note("".join(["\nIn the worker:\n", *traceback.format_exception(error)]))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        stand_in.__notes__ = error.__notes__
        return stand_in
    return error


def source_of(dataset: Any, index: int) -> str | None:
    """The file that an item comes from, where the data set tells as torchvision's do."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    if hasattr(dataset, "locate"):
        return dataset.locate(index)
    for attribute in ("samples", "images"):
        entries = getattr(dataset, attribute, None)
        if isinstance(entries, (list, tuple)) and index < len(entries):
            entry = entries[index][0] if isinstance(entries[index], tuple) else entries[index]
            return str(entry) if isinstance(entry, (str, bytes)) or hasattr(entry, "__fspath__") else None
    return None


def short_name(dataset: Any) -> str:
    """A data set in an error message: its own words if they are few, else its type."""
    text = "" if isinstance(dataset, (list, tuple)) else repr(dataset)
    is_telling = 0 < len(text) < 200 and "\n" not in text and " object at 0x" not in text
    return text if is_telling else type(dataset).__name__
