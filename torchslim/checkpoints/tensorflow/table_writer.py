"""Writes sorted tables as TensorFlow does: blocks of entries whose keys share their beginnings, an index, a footer."""

from __future__ import annotations

import struct
from typing import BinaryIO

from torchslim.checkpoints.tensorflow.coding import masked_crc32c
from torchslim.checkpoints.tensorflow.table import FOOTER_SIZE, MAGIC

# What TensorFlow takes: a block ends with the entry that reaches this size,
BLOCK_SIZE = 256 << 10
# and every so many entries a key is written in full, for the binary search in a block.
RESTART_INTERVAL = 16


class TableWriter:
    r"""Writes a table entry by entry; `finish` makes it whole.

    Args:
        file: where to; the table starts where the file stands.
        block_size: bytes at which a block ends. A lookup reads one block.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> table = TableWriter(file)
        >>> table.add(b'conv1/biases', b'zeros')
        >>> table.add(b'conv1/weights', b'ones')
        >>> table.finish()
        >>> file.getvalue()[:34]
        b'\x00\x0c\x05conv1/biaseszeros\x06\x07\x04weightsones'
    """

    def __init__(self, file: BinaryIO, *, block_size: int = BLOCK_SIZE) -> None:
        self._file = file
        self._start = file.tell()
        self._block_size = block_size
        self._block = _Block(RESTART_INTERVAL)
        self._index = _Block(1)
        self._last_key: bytes | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Adds an entry.

        Raises:
            ValueError: if `key` does not sort behind the one before.
        """
        if self._last_key is not None and key <= self._last_key:
            raise ValueError(f"TableWriter.add: `key` must sort behind {self._last_key!r}. Got {key!r}.")
        self._block.add(key, value)
        self._last_key = key
        if self._block.size >= self._block_size:
            self._end_block()

    def finish(self) -> None:
        """Writes what is left, the index and the footer."""
        if self._block.count:
            self._end_block()
        handles = self._write(_Block(1)) + self._write(self._index)  # TensorFlow keeps nothing in the first one
        self._file.write(handles.ljust(FOOTER_SIZE - len(MAGIC), b"\0") + MAGIC)

    def _end_block(self) -> None:
        self._index.add(self._block.last_key, self._write(self._block))
        self._block = _Block(RESTART_INTERVAL)

    def _write(self, block: _Block) -> bytes:
        """Writes a block, uncompressed; returns its handle: where it is and how long."""
        offset = self._file.tell() - self._start
        data = block.data + b"\0"
        self._file.write(data + struct.pack("<I", masked_crc32c(data)))
        return encode_varint(offset) + encode_varint(len(data) - 1)


class _Block:
    """Entries one behind the other, then the places of those whose key is whole."""

    def __init__(self, restart_interval: int) -> None:
        self.count = 0
        self.last_key = b""
        self._restart_interval = restart_interval
        self._entries = bytearray()
        self._restarts: list[int] = []

    @property
    def size(self) -> int:
        return len(self._entries) + 4 * len(self._restarts) + 4

    @property
    def data(self) -> bytes:
        restarts = self._restarts or [0]
        return bytes(self._entries) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))

    def add(self, key: bytes, value: bytes) -> None:
        whole = self.count % self._restart_interval == 0
        shared = 0 if whole else _shared_length(self.last_key, key)
        if whole:
            self._restarts.append(len(self._entries))
        self._entries += b"".join(map(encode_varint, (shared, len(key) - shared, len(value))))
        self._entries += key[shared:] + value
        self.last_key = key
        self.count += 1


def encode_varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first.

    Example:
        >>> encode_varint(300).hex()
        'ac02'
    """
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _shared_length(one: bytes, other: bytes) -> int:
    limit = min(len(one), len(other))
    return next((i for i in range(limit) if one[i] != other[i]), limit)
