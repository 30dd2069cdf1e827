"""The bytes of a record file from any position on, whether the file is compressed or not."""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from bisect import bisect_right
from typing import Any, NamedTuple, Protocol

from torchslim.checkpoints.tensorflow.coding import masked_crc32c

__all__ = [
    "COMPRESSIONS",
    "CompressionError",
    "InflatedSource",
    "PlainSource",
    "Source",
    "find_compression",
    "open_source",
]

# TensorFlow's names of the formats, and zlib's numbers for them.
COMPRESSIONS = {"GZIP": 31, "ZLIB": 15}
_CHUNK = 64 << 10
# Places inside of a compressed file where reading may start: one for each of so many bytes, and no more than so many.
_SPACING = 1 << 20
_MOST_PLACES = 64


class CompressionError(ValueError):
    """Compressed bytes that cannot be decompressed."""


class Source(Protocol):
    """The (decompressed) bytes of a file."""

    def read_at(self, offset: int, least: int, most: int = 0) -> bytes:
        """At least `least` bytes from `offset` on, unless the file ends before; up to `most` where they come easily."""


class PlainSource:
    """A file that is read as it is; threads and forked processes may share it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), 'numbers')
        >>> _ = path.write_bytes(b'0123456789')
        >>> PlainSource(path).read_at(4, 3), PlainSource(path).read_at(8, 1 << 60)
        (b'456', b'89')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, least: int, most: int = 0) -> bytes:
        """Bytes from `offset` on; memory is taken for no more than the file has."""
        size = min(max(least, most), self.size - offset)
        data = os.pread(self._descriptor, size, offset) if size > 0 else b""
        while 0 < len(data) < size:  # one call gives 2 GiB at most
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


class _Place(NamedTuple):
    """Where decompressing may start: the state of the decompressor there."""

    offset: int
    fed: int
    decompressor: Any


class InflatedSource:
    """A GZIP or ZLIB file, decompressed while it is read.

    Reading on is quick. Other positions are reached from the last place before them that was noted on the way.

    Args:
        path: the file; it may hold several compressed streams, one after the other.
        compression: 'GZIP' or 'ZLIB'.

    Example:
        >>> import gzip, tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), 'numbers.gz')
        >>> _ = path.write_bytes(gzip.compress(b'01234') + gzip.compress(b'56789'))
        >>> InflatedSource(path, 'GZIP').read_at(3, 4)
        b'3456'
    """

    def __init__(self, path: str | os.PathLike[str], compression: str) -> None:
        self._file = PlainSource(path)
        self._window_bits = COMPRESSIONS[compression]
        self._lock = threading.Lock()
        self._spacing = _SPACING
        self._start = self._end = 0  # of the buffer; behind it comes what the decompressor gives next
        self._buffer = b""
        self._error: CompressionError | None = None
        self._places = [_Place(0, 0, zlib.decompressobj(self._window_bits))]
        self._go_to(self._places[0])

    def read_at(self, offset: int, least: int, most: int = 0) -> bytes:
        """Bytes from `offset` on; memory is taken as they come, whatever was asked for.

        Raises:
            CompressionError: if the compressed bytes are damaged before `least` were read.
        """
        with self._lock:
            nearest = self._places[bisect_right(self._places, offset, key=lambda place: place.offset) - 1]
            if offset < self._start or nearest.offset > self._end:
                self._go_to(nearest)
            pieces = [self._buffer[offset - self._start :]]
            try:
                while self._end < offset + max(least, most):
                    piece = self._inflate()
                    if not piece:
                        break
                    pieces.append(piece[max(0, offset - (self._end - len(piece))) :])
            except CompressionError:
                if self._end < offset + least:
                    self._go_to(self._places[0])
                    raise
            self._buffer = b"".join(pieces)
            self._start = self._end - len(self._buffer)
            return self._buffer[: max(least, most)]

    def _go_to(self, place: _Place) -> None:
        self._start = self._end = place.offset
        self._buffer = b""
        self._fed = place.fed
        self._decompressor = place.decompressor.copy()
        self._is_fresh = place.fed == 0
        self._error = None

    def _inflate(self) -> bytes:
        """The next piece; nothing at the end of the file."""
        if self._error:
            raise self._error
        while True:
            compressed = self._decompressor.unconsumed_tail
            if self._decompressor.eof:  # another stream may follow
                compressed = self._decompressor.unused_data
                self._decompressor = zlib.decompressobj(self._window_bits)
                self._is_fresh = True
            if not compressed:
                compressed = self._file.read_at(self._fed, _CHUNK)
                self._fed += len(compressed)
            if not compressed and self._is_fresh:
                return b""
            try:
                if not compressed:
                    raise zlib.error("the file ends inside of them")
                piece = self._decompressor.decompress(compressed, 16 * _CHUNK)
            except zlib.error as error:
                self._error = CompressionError(f"its compressed data are damaged: {error}")
                raise self._error from error
            self._is_fresh = False
            if piece:
                self._end += len(piece)
                self._note_place()
                return piece

    def _note_place(self) -> None:
        if self._end < self._places[-1].offset + self._spacing:
            return
        self._places.append(_Place(self._end, self._fed, self._decompressor.copy()))
        if len(self._places) > _MOST_PLACES:
            del self._places[1::2]
            self._spacing *= 2


def find_compression(path: str | os.PathLike[str]) -> str:
    """Tells by its first bytes how a record file is compressed.

    Returns:
        'GZIP', 'ZLIB' or, where it is not compressed, ''.

    Example:
        >>> import gzip, tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), 'numbers.gz')
        >>> _ = path.write_bytes(gzip.compress(b'0123456789'))
        >>> find_compression(path)
        'GZIP'
    """
    start = PlainSource(path).read_at(0, 12)
    if len(start) < 2 or masked_crc32c(start[:8]) == int.from_bytes(start[8:12], "little"):
        return ""
    if start[:3] == b"\x1f\x8b\x08":
        return "GZIP"
    # A damaged length of a record may look the same, but has zeros in its upper half, unless the record has 4 GiB.
    is_zlib = start[0] & 0x8F == 8 and int.from_bytes(start[:2], "big") % 31 == 0 and start[4:8] != bytes(4)
    return "ZLIB" if is_zlib else ""


def open_source(path: str | os.PathLike[str], compression: str) -> Source:
    """The bytes of a file.

    Args:
        path: the file.
        compression: 'GZIP', 'ZLIB' or ''.
    """
    return InflatedSource(path, compression) if compression else PlainSource(path)
