"""Where the records of a file are: found by going through it once, and kept beside it if wanted."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from crc32c import crc32c

from torchslim.checkpoints.store import atomic_file

__all__ = ["index_path", "load_index", "save_index"]

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
