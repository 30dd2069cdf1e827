"""Reading the records of many files at a time, by threads that fill one queue."""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torchslim.data.items import DataError
from torchslim.data.records import NoRecordsError, find_files
from torchslim.queues import FIFOQueue, QueueRunner, RandomShuffleQueue

__all__ = ["ParallelReader", "get_data_files", "parallel_read", "single_pass_read"]

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class ParallelReader:
    """Readers, each in a thread, that take files from one queue and put their records into another.

    Args:
        reader_class: called with a file; gives its records when iterated: bytes, or with a method `records` what has
            `data`, `file` and `offset`, as `slim.data.RecordReader` does.
        common_queue: what the records go into, as pairs `(key, value)`: a queue of `slim.queues`.
        num_readers: how many files are read at a time.
        reader_kwargs: further arguments of `reader_class`.

    Raises:
        ValueError: if `num_readers` is not positive.

    TF-Slim: the same, with Python values for tensors.

    Example:
        >>> from torchslim.queues import FIFOQueue
        >>> reader = ParallelReader(lambda file: [file.encode() + b'!'], FIFOQueue(), num_readers=1)
        >>> files = ['a', 'b']
        >>> reader.read(files), reader.read(files)
        (('a:0', b'a!'), ('b:0', b'b!'))
    """

    def __init__(
        self,
        reader_class: Callable[..., Iterable[Any]],
        common_queue: FIFOQueue,
        num_readers: int = 4,
        reader_kwargs: dict[str, Any] | None = None,
    ):
        if num_readers < 1:
            raise ValueError(f"ParallelReader: `num_readers` must be positive. Got {num_readers}.")
        self._open = lambda file: reader_class(file, **(reader_kwargs or {}))
        self._common_queue, self._num_readers = common_queue, num_readers
        self._files: Iterator[str] | None = None
        self._lock = threading.Lock()
        self._produced, self._completed = 0, 0
        self._places = ["at the beginning"] * num_readers

    @property
    def num_readers(self) -> int:
        """How many files are read at a time."""
        return self._num_readers

    @property
    def common_queue(self) -> FIFOQueue:
        """What the records go into."""
        return self._common_queue

    def read(self, queue: Iterable[str]) -> tuple[str, bytes]:
        """Takes the next record out of the common queue.

        Args:
            queue: gives the names of the files; always the same one.

        Returns:
            Its key, `'file:offset'` (the number in the file, where the reader tells no offset), and its data.

        Raises:
            QueueClosedError: behind the last record.
            StalledError: if none came in time.
            DataError: if a file cannot be read; the message names it and the last record that was.
        """
        self._read_from(queue)
        return self._common_queue.dequeue()

    def read_up_to(self, queue: Iterable[str], num_records: int) -> list[tuple[str, bytes]]:
        """Takes that many records out, or those that are left; see `read`."""
        self._read_from(queue)
        return self._common_queue.dequeue_up_to(num_records)

    def num_records_produced(self) -> int:
        """How many records were read."""
        return self._produced

    def num_work_units_completed(self) -> int:
        """How many files were read to their ends."""
        return self._completed

    def _read_from(self, queue: Iterable[str]) -> None:
        if self._files is None:
            self._files = iter(queue)
            producers = [functools.partial(self._records, number) for number in range(self._num_readers)]
            QueueRunner(self._common_queue, producers, self._describe)

    def _describe(self) -> str:
        return f"The readers are {'; '.join(self._places)}."

    def _records(self, number: int) -> Iterator[tuple[str, bytes]]:
        """What reader `number` reads."""
        while (file := self._next_file()) is not None:
            self._places[number] = f"at the beginning of {file!r}"
            try:
                for key, data in self._records_of(file):
                    self._places[number] = f"behind the record {key!r}"
                    with self._lock:
                        self._produced += 1
                    yield key, data
            except DataError:  # tells the file and the offset itself
                raise
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise DataError(f"ParallelReader: {file!r} failed {self._places[number]}. {reason}") from error
            with self._lock:
                self._completed += 1

    def _records_of(self, file: str) -> Iterator[tuple[str, bytes]]:
        try:
            reader = self._open(file)
        except NoRecordsError:  # that no file has any is told at the end
            return
        try:
            if hasattr(reader, "records"):
                for record in reader.records():
                    yield f"{file}:{record.offset}", record.data
            else:
                for place, data in enumerate(reader):
                    yield f"{file}:{place}", data
        finally:
            if hasattr(reader, "close"):
                reader.close()

    def _next_file(self) -> str | None:
        with self._lock:
            return next(self._files or iter(()), None)


class _Stream:
    """The records that a `ParallelReader` reads, until it is exhausted, closed or forgotten."""

    def __init__(self, reader: ParallelReader, files: list[str], num_epochs: int | None, order: random.Random | None):
        self._reader, self._files = reader, files
        self._reader._read_from(_work_units(reader, files, num_epochs, order))
        weakref.finalize(self, reader.common_queue.close, discard=True)  # the threads do not know the stream

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return self

    def __next__(self) -> tuple[str, bytes]:
        try:
            return next(self._reader.common_queue)
        except StopIteration:
            if not self._reader.num_records_produced():
                raise _no_records(self._files) from None
            raise

    def close(self) -> None:
        """Stops reading, and waits for the threads."""
        runner = self._reader.common_queue.runner
        if runner is not None:
            runner.stop()


def parallel_read(
    data_sources: Sources,
    reader_class: Callable[..., Iterable[Any]],
    num_epochs: int | None = None,
    num_readers: int = 4,
    reader_kwargs: dict[str, Any] | None = None,
    shuffle: bool = True,
    capacity: int = 256,
    min_after_dequeue: int = 128,
    seed: int | None = None,
    *,
    timeout: float | None = None,
) -> Iterator[tuple[str, bytes]]:
    r"""Reads the records of several files at a time.

    The threads start with the first record that is asked for (or by `slim.queues.QueueRunners`), and end with the last
    one, or when nobody has the iterator any more.

    Args:
        data_sources: files or patterns of them.
        reader_class: called with a file; `slim.data.RecordReader`, or another one (see `ParallelReader`).
        num_epochs: how often each file is read; None: again and again.
        num_readers: how many files are read at a time.
        reader_kwargs: further arguments of `reader_class`.
        shuffle: files in another order in every pass, and records mixed within the queue.
        capacity: of the queue, in records.
        min_after_dequeue: with `shuffle`: so many records wait in the queue at least. The more, the better it mixes.
        seed: of both orders; with several readers, records still come as they are read.
        timeout: seconds to wait for a record; None: as long as it takes. From 30 s on, a warning says where each reader
            is.

    Returns:
        An iterator over `(key, value)`: `'file:offset'`, and the bytes of the record.

    Raises:
        ValueError: if there are no files.
        StalledError: while reading, if no record came in time. It says where each reader is.
        DataError: while reading, if a file cannot be read, or there are no records.

    TF-Slim: gives one pair of string tensors that change with each run; PyTorch has no strings, so this is an iterator.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), 'lines.txt')
        >>> with open(path, 'wb') as file:
        ...     _ = file.write(b'first\nsecond\n')
        >>> [value for _, value in parallel_read(path, lambda file: open(file, 'rb'), num_epochs=1, shuffle=False)]
        [b'first\n', b'second\n']
    """
    files = get_data_files(data_sources)
    queue: FIFOQueue = (
        RandomShuffleQueue(capacity, min_after_dequeue, seed, timeout=timeout, name="common_queue")
        if shuffle
        else FIFOQueue(capacity, timeout=timeout, name="common_queue")
    )
    reader = ParallelReader(reader_class, queue, min(num_readers, len(files)), reader_kwargs)
    return _Stream(reader, files, num_epochs, random.Random(seed) if shuffle else None)


def single_pass_read(
    data_sources: Sources,
    reader_class: Callable[..., Iterable[Any]],
    reader_kwargs: dict[str, Any] | None = None,
    *,
    timeout: float | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Reads the records of all files once, in their order; see `parallel_read`.

    Example:
        >>> [value for _, value in single_pass_read([__file__], lambda file: [b'one', b'two'])]
        [b'one', b'two']
    """
    return parallel_read(
        data_sources, reader_class, 1, 1, reader_kwargs=reader_kwargs, shuffle=False, capacity=64, timeout=timeout
    )


def get_data_files(data_sources: Sources) -> list[str]:
    """The files that sources mean.

    Args:
        data_sources: paths, patterns (`'train-*'`), or how many parts there are (`'train@8'` is
            `'train-?????-of-00008'`); one or several of them.

    Raises:
        ValueError: if one of them names no file.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for part in range(2):
        ...     open(os.path.join(folder, f'train-{part:05d}-of-00002'), 'wb').close()
        >>> [os.path.basename(file) for file in get_data_files(os.path.join(folder, 'train@2'))]
        ['train-00000-of-00002', 'train-00001-of-00002']
    """
    if not isinstance(data_sources, str | os.PathLike):
        return [file for source in data_sources for file in get_data_files(source)] or find_files([])
    name = os.fspath(data_sources)
    parts = re.fullmatch(r"(.*)@(\d+)", name)
    if parts and not os.path.exists(name):
        name = f"{parts[1]}-?????-of-{int(parts[2]):05d}"
    return find_files(name)


def _work_units(
    reader: ParallelReader, files: list[str], num_epochs: int | None, order: random.Random | None
) -> Iterator[str]:
    """The files, pass after pass; an error where passes would never give anything."""
    for epoch in itertools.count() if num_epochs is None else range(num_epochs):
        if epoch and reader.num_work_units_completed() >= len(files) and not reader.num_records_produced():
            raise _no_records(files)
        yield from order.sample(files, len(files)) if order else files


def _no_records(files: list[str]) -> DataError:
    return DataError(f"parallel_read: `data_sources` must have records. Got {', '.join(files[:3])}: there are none.")
