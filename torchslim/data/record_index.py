"""Where the records of a file are: found by going through it once, and kept beside it if wanted."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from crc32c import crc32c

from torchslim.checkpoints.store import atomic_file
from torchslim.data.record_format import DamagedRecordError, find_next, scan
from torchslim.data.record_source import Source

__all__ = ["index_path", "load_index", "save_index", "scan_all"]

# Magic, size and time of change of the record file, number of records, checksum of the rest.
_HEADER = struct.Struct("<8sQqQI")
_MAGIC = b"slimidx1"


def index_path(file: str | os.PathLike[str]) -> Path:
    """Where the index of a record file is kept: a hidden file, so that patterns for record files do not find it.

    Example:
        >>> index_path('data/train-00000-of-00002').name
        '.train-00000-of-00002.index'
    """
    path = Path(file)
    return path.with_name(f".{path.name}.index")


def save_index(file: str | os.PathLike[str], entries: np.ndarray) -> Path:
    """Keeps offsets and lengths of all records beside their file.

    Args:
        file: the record file.
        entries: int64 `[records, 2]`: offset and length of the data.

    Returns:
        The path of the index.

    Raises:
        OSError: if it cannot be written.
    """
    status = os.stat(file)
    body = np.ascontiguousarray(entries, "<i8").tobytes()
    header = _HEADER.pack(_MAGIC, status.st_size, status.st_mtime_ns, len(entries), crc32c(body))
    with atomic_file(index_path(file), len(header) + len(body), "save_index") as output:
        output.write(header + body)
    return index_path(file)


def load_index(file: str | os.PathLike[str]) -> np.ndarray | None:
    """Reads the index that is kept beside a record file.

    Returns:
        int64 `[records, 2]`; None if there is none, it is damaged, or the file has changed (in size or time) since.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'a.tfrecord')
        >>> _ = path.write_bytes(b'')
        >>> _ = save_index(path, np.array([[0, 5], [21, 3]]))
        >>> load_index(path).tolist()
        [[0, 5], [21, 3]]
        >>> _ = path.write_bytes(b'other')
        >>> load_index(path) is None
        True
    """
    try:
        content, status = index_path(file).read_bytes(), os.stat(file)
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, size, changed, count, checksum = _HEADER.unpack_from(content)
    body = content[_HEADER.size :]
    is_ours = magic == _MAGIC and len(body) == 16 * count and crc32c(body) == checksum
    is_current = (size, changed) == (status.st_size, status.st_mtime_ns)
    return np.frombuffer(body, "<i8").reshape(-1, 2) if is_ours and is_current else None


def scan_all(
    source: Source, file: str | os.PathLike[str], offset: int = 0, number: int = 0, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[int, int, bytes | None, DamagedRecordError | None]]:
    """Goes through the records of a file, and on behind those that are damaged.

    Args:
        source: the bytes of the file.
        file: its name, for errors.
        offset: of the record to start at.
        number: of that record.
        part: index and count, as `scan` has them.

    Yields:
        Offset, length, data and what is wrong with them: None, or the error.
    """
    while True:
        try:
            for here, length, data in scan(source, file, offset, number, part):
                yield here, length, data, None
                number += 1
        except DamagedRecordError as error:
            following = find_next(source, error)
            yield error.offset, 0, None, error
            if following is None:
                return
            offset, number = following, number + 1
        else:
            return
