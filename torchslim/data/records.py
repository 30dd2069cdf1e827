"""Reading TFRecord files: in order, at random, in parts, and on from where it was left."""

from __future__ import annotations

import glob
import logging
import operator
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from torchslim.data.record_format import HEADER_BYTES, NOTHING, OVERHEAD, DamagedRecordError, read_one, scan
from torchslim.data.record_index import load_index
from torchslim.data.record_source import COMPRESSIONS, Source, find_compression, open_source
from torchslim.learning.device import process

__all__ = ["NoRecordsError", "Record", "RecordReader", "find_files"]

logger = logging.getLogger(__name__)

Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_MOST_OPEN = 64  # files at a time, for random access
_DAMAGED = -1
_LONG = 10.0  # seconds, after which it is told how to spare them


class _Position(NamedTuple):
    """Where a pass stands: the file, the offset in it and the number among all records of what comes next."""

    place: int
    offset: int
    number: int
    skipped: int


_BEGINNING = _Position(0, 0, 0, 0)


class NoRecordsError(ValueError):
    """There is nothing to read: files without a single record."""


class Record(NamedTuple):
    """A record and where it comes from."""

    data: bytes
    file: str
    offset: int


class RecordReader(Dataset[bytes]):
    """The records of TFRecord files, as bytes.

    Iterating is one pass over the files in their order. `len(reader)` and `reader[index]` need to know where the
    records are: the first of these calls goes through the files once, or reads the indices that `torchslim records
    index` left beside them (of a file that has changed since in size or time, the index is not used). What is read is
    always compared with its checksums (CRC-32C).

    Compressed files are for reading in order. To get at `reader[index]`, 1 MiB or more is decompressed on the way.

    Args:
        files: a path, a pattern (`train-*`), or several of them. The files that match a pattern come sorted.
        compression: 'GZIP', 'ZLIB', None or '' for none, 'auto': what each file's first bytes say.
        on_damage: 'raise', or 'skip': damaged records are left out, logged and counted in `skipped`. Where a length is
            damaged, the next record is searched for.

    Attributes:
        files: the paths.
        skipped: how many records the last pass left out.

    Raises:
        ValueError: if there are no files, or an argument is unknown.
        NoRecordsError: if all files are empty; a ValueError.
        DamagedRecordError: while reading, for a record that is not as it was written. It has `file` and `offset`.

    TF-Slim: takes the place of `tf.TFRecordReader`. As there, fewer than 12 bytes behind the last record are ignored.

    Example:
        >>> import tempfile
        >>> from torchslim.data import RecordWriter
        >>> path = os.path.join(tempfile.mkdtemp(), 'numbers.tfrecord')
        >>> with RecordWriter(path) as writer:
        ...     for text in (b'one', b'two', b'three'):
        ...         writer.write(text)
        >>> reader = RecordReader(path)
        >>> list(reader), len(reader), reader[-1]
        ([b'one', b'two', b'three'], 3, b'three')
    """

    def __init__(self, files: Files, compression: str | None = "auto", on_damage: str = "raise") -> None:
        known = ("auto", "", None, *COMPRESSIONS)
        if compression not in known:
            raise ValueError(f"RecordReader: `compression` must be one of {known}. Got {compression!r}.")
        if on_damage not in ("raise", "skip"):
            raise ValueError(f"RecordReader: `on_damage` must be 'raise' or 'skip'. Got {on_damage!r}.")
        self.files = find_files(files)
        self.compression, self.on_damage = compression or "", on_damage
        self.skipped = 0
        self._part = (0, 1)  # of the records: those whose number % second is first
        self._sources: dict[int, Source] = {}
        self._entries: np.ndarray | None = None
        self._position: tuple[int, int, int, int] = _BEGINNING
        self._next = _BEGINNING
        if not any(self._may_have_records(place) for place in range(len(self.files))):
            raise NoRecordsError(f"RecordReader: `files` must hold records. Got {_shown(files)}: there are none.")

    def __repr__(self) -> str:
        more = f", and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return f"RecordReader({self.files[0]!r}{more})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sources": {}}  # another process opens the files anew

    def __iter__(self) -> Iterator[bytes]:
        return map(operator.itemgetter(0), self._pass())

    def __len__(self) -> int:
        """How many (intact) records there are."""
        return len(self._index())

    def __getitem__(self, index: int) -> bytes:
        """The data of a record; negative numbers count from the end."""
        place, offset, length = self._entry(index)
        return read_one(self._source(place), self.files[place], offset, length)

    def locate(self, index: int) -> tuple[str, int]:
        """File and offset of the record `index`."""
        place, offset, _ = self._entry(index)
        return self.files[place], offset

    def records(self) -> Iterator[Record]:
        """One pass over the records, with the places that they come from.

        It goes on where `load_state_dict` said, if that was called before.
        """
        return map(Record._make, self._pass())

    def shard(self, index: int, count: int, by: str = "auto") -> RecordReader:
        """A part of the records; the parts have no record in common, and all records together.

        Parts can be divided again: `reader.shard(rank, ranks).shard(worker, workers)`.

        Args:
            index: of the part, below `count`.
            count: of parts.
            by: 'file': each part has whole files, so that nothing is read twice; 'record': every `count`-th record, so
                that no part has more than one record more than another; 'auto': files where there are enough of them.

        Raises:
            ValueError: if there is no such part, or there are fewer files than parts for 'file'.

        Example:
            >>> import tempfile
            >>> from torchslim.data import RecordWriter
            >>> path = os.path.join(tempfile.mkdtemp(), 'numbers.tfrecord')
            >>> with RecordWriter(path) as writer:
            ...     for letter in 'abcde':
            ...         writer.write(letter.encode())
            >>> [list(RecordReader(path).shard(index, 2)) for index in range(2)]
            [[b'a', b'c', b'e'], [b'b', b'd']]
        """
        if not 0 <= index < count:
            raise ValueError(f"RecordReader.shard: `index` must be below `count`, {count}. Got {index}.")
        has_enough = self._part == (0, 1) and len(self.files) >= count
        if by not in ("auto", "file", "record") or (by == "file" and not has_enough):
            raise ValueError(
                "RecordReader.shard: `by` must be 'auto', 'record', or, if there are as many files as parts, 'file'. "
                f"Got {by!r} for {count} parts of {self!r}."
            )
        part = object.__new__(type(self))
        part.__dict__.update(self.__getstate__(), _entries=None, _position=_BEGINNING, _next=_BEGINNING, skipped=0)
        if has_enough and by != "record":
            part.files = self.files[index::count]
        else:
            first, step = self._part
            part._part = (first + step * index, step * count)
        return part

    def shard_here(self, by: str = "auto") -> RecordReader:
        """The part for this process: among the ranks of `torch.distributed`, and the workers of a `DataLoader`."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rank, ranks = process()
        return self.shard(rank * workers + number, ranks * workers, by)

    def state_dict(self) -> dict[str, Any]:
        """Where the last pass stands: behind the record that it gave out last."""
        names = [os.path.basename(file) for file in self.files]
        return {"files": names, "part": list(self._part), **_Position(*self._position)._asdict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next pass go on where `state` was taken; from the beginning, if that pass was over.

        Raises:
            ValueError: if `state` is of other files (their names count, not their folder) or another part.
        """
        here = self.state_dict()
        if (state["files"], state["part"]) != (here["files"], here["part"]):
            raise ValueError(
                "RecordReader.load_state_dict: `state` must be of the same files and part of their records, "
                f"{here['files']} {here['part']}. Got {state['files']} {state['part']}."
            )
        position = self._position = _Position(*(state[field] for field in _Position._fields))
        self.skipped = position.skipped
        self._next = _BEGINNING if position.place >= len(self.files) else position

    def _pass(self) -> Iterator[tuple[bytes, str, int]]:
        """A pass, in plain tuples: small records are read as quickly as named ones are made."""
        position, self._next = self._next, _BEGINNING
        index, count = self._part
        self._position, self.skipped = position, position.skipped
        number, start = position.number, position.offset
        for place in range(position.place, len(self.files)):
            file = self.files[place]
            for offset, length, data, error in scan(self._open(place), file, start, number, self._part):
                number += 1
                if error and (number - 1) % count == index:
                    self._leave_out(error)
                    self.skipped += 1
                if data is not None:
                    self._position = (place, offset + OVERHEAD + length, number, self.skipped)
                    yield data, file, offset
            start = 0
        self._position = (len(self.files), 0, number, self.skipped)

    def _may_have_records(self, place: int) -> bool:
        try:
            return len(self._open(place).read_at(0, HEADER_BYTES)) == HEADER_BYTES
        except ValueError:
            return True  # damaged, which reading tells

    def _open(self, place: int) -> Source:
        file = self.files[place]
        return open_source(file, find_compression(file) if self.compression == "auto" else self.compression)

    def _source(self, place: int) -> Source:
        if place not in self._sources:
            if len(self._sources) >= _MOST_OPEN:
                self._sources.clear()
            self._sources[place] = self._open(place)
        return self._sources[place]

    def _leave_out(self, error: DamagedRecordError) -> None:
        if self.on_damage == "raise":
            raise error
        logger.warning("%r: record at byte %d is left out: %s", error.file, error.offset, error.reason)

    def _entry(self, index: int) -> tuple[int, int, int]:
        entries, index = self._index(), operator.index(index)
        if not -len(entries) <= index < len(entries):
            raise IndexError(
                f"RecordReader: the index must be below {len(entries)}, the number of records. Got {index}."
            )
        place, offset, length = entries[index].tolist()
        return place, offset, length

    def _index(self) -> np.ndarray:
        """Int64 `[records, 3]`: number of the file, offset, length of the data."""
        if self._entries is None:
            (index, count), tables, number, start = self._part, [], 0, time.monotonic()
            for place, file in enumerate(self.files):
                table = load_index(file)
                if table is None:
                    table = self._scan(place, number)
                numbers = number + np.arange(len(table))
                number += len(table)
                is_mine = (numbers % count == index) & (table[:, 1] != _DAMAGED)
                tables.append(np.insert(table[is_mine], 0, place, axis=1))
            self._entries = np.concatenate(tables)
            if (seconds := time.monotonic() - start) > _LONG:
                line = "%r: looking for the records took %.0f s. `torchslim records index` does it once."
                logger.info(line, self, seconds)
        return self._entries

    def _scan(self, place: int, number: int) -> np.ndarray:
        """Int64 `[records, 2]`: offset and length of the data of each record of a file, or `_DAMAGED`."""
        # Whether data are damaged is only asked where they would be left out.
        part = self._part if self.on_damage == "skip" else NOTHING
        table = array("q")
        for offset, length, _, error in scan(self._open(place), self.files[place], 0, number, part):
            if error:
                self._leave_out(error)
            table.extend((offset, _DAMAGED if error else length))
        return np.array(table, np.int64).reshape(-1, 2)


def find_files(files: Files) -> list[str]:
    """The files that paths and patterns mean.

    Args:
        files: a path, a pattern (`*`, `?`, `[...]`), or several of them.

    Returns:
        Their paths; those that match one pattern sorted.

    Raises:
        ValueError: if one of them names no file.
    """
    names = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    if not names:
        raise ValueError("RecordReader: `files` must name at least one file. Got none.")
    found = []
    for name in [os.fspath(name) for name in names]:
        matches = [name] if os.path.isfile(name) else sorted(filter(os.path.isfile, glob.glob(name)))
        if not matches:
            what = "a folder: add a pattern" if os.path.isdir(name) else "which matches nothing"
            raise ValueError(f"RecordReader: `files` must name files. Got {name!r}, {what}.")
        found += matches
    return found


def _shown(files: Files) -> str:
    names = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    return ", ".join(repr(os.fspath(name)) for name in names[:3]) + (", ..." if len(names) > 3 else "")
