"""Tables: files of sorted keys and values in blocks, as TensorFlow writes them (`.index` files, and V1 checkpoints).

A file is data blocks, then a block of metadata (empty here), an index block (the last key of every data block -> where
it is) and a footer with the places of these two. A block is entries, then the positions of those entries whose key
is stored whole; behind it stand one byte for its compression and the masked CRC-32C of all that. The other keys
leave out what they share with the key before.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from cramjam import DecompressionError, snappy

from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.coding import damaged, masked_crc32c, varint

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER_SIZE = 48
TRAILER_SIZE = 5  # compression and checksum
RAW, SNAPPY = 0, 1

# How much larger than what is stored something may claim to be. Snappy copies at most 64 bytes by an instruction of 3;
# keys grow by what they share, and TensorFlow stores every 16th whole.
_SNAPPY_GROWTH = 22
_KEY_GROWTH = 64
_RECENT = 4

Handle = tuple[int, int]  # where a block starts, and its size without the trailer
Block = dict[bytes, memoryview]


class Table:
    """A table file: a sorted mapping of bytes to bytes, of which only the index is read before it is asked for.

    Args:
        path: the file; it is mapped into memory.
        verify: compare the blocks with their checksums.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is no table, or is damaged; it names the file and the place. Damage of a data block is
            found when something in it is asked for.

    Example:
        >>> table = Table(Path('tests/goldens/checkpoints/lenet_v2/model.ckpt.index'))
        >>> list(table)[:3]
        [b'', b'LeNet/conv1/biases', b'LeNet/conv1/weights']
        >>> len(table.get(b'LeNet/conv1/biases'))
        16
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"open_checkpoint: there is no file {str(path)!r}.")
        self.path = path
        self.verify = verify
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < FOOTER_SIZE:
                raise self.damaged(f"it has {size} bytes, fewer than the {FOOTER_SIZE} that end a table")
            self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._recent: tuple[tuple[Handle, Block], ...] = ()
        self._end = len(self._data) - FOOTER_SIZE
        index = self._read_block(self._index_handle())
        self._last_keys = list(index)
        self._handles = [self._handle(value, f"the index entry of {key!r}")[0] for key, value in index.items()]

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def keys(self) -> Iterator[bytes]:
        """The keys in their order."""
        return iter(self)

    def items(self) -> Iterator[tuple[bytes, memoryview]]:
        """Keys and values in the order of the keys.

        Raises:
            CheckpointError: when it comes to a damaged block.
        """
        for handle in self._handles:
            yield from self._block(handle).items()

    def get(self, key: bytes) -> memoryview | None:
        """The value of `key`, or None. One block is read.

        Raises:
            CheckpointError: if the block where it would be is damaged.
        """
        at = bisect_left(self._last_keys, key)
        return self._block(self._handles[at]).get(key) if at < len(self._handles) else None

    def damaged(self, what: str) -> CheckpointError:
        """The error to raise when something in this file, as `what` says, is not as it was written."""
        return damaged(self.path, what)

    def _index_handle(self) -> Handle:
        footer = self._data[self._end :]
        if footer[-len(MAGIC) :] != MAGIC:
            raise self.damaged(f"it does not end as a table does (byte {len(self._data) - len(MAGIC)})")
        _, position = self._handle(footer, "the footer")
        return self._handle(footer[position:], "the footer")[0]

    def _handle(self, data: memoryview, what: str) -> tuple[Handle, int]:
        """The place of a block as it is written at the start of `data`, and the position behind."""
        try:
            start, position = varint(data, 0)
            size, position = varint(data, position)
        except CheckpointError as error:
            raise self.damaged(f"{what} has no place of a block ({error})") from error
        if start + size + TRAILER_SIZE > self._end:
            raise self.damaged(f"{what} names a block of {size} bytes at byte {start}, beyond the end")
        return (start, size), position

    def _block(self, handle: Handle) -> Block:
        for known, block in self._recent:
            if known == handle:
                return block
        block = self._read_block(handle)
        self._recent = ((handle, block), *self._recent[: _RECENT - 1])
        return block

    def _read_block(self, handle: Handle) -> Block:
        start, size = handle
        end = start + size
        stored = int.from_bytes(self._data[end + 1 : end + TRAILER_SIZE], "little")
        if self.verify and masked_crc32c(self._data[start : end + 1]) != stored:
            raise self.damaged(f"block at byte {start} does not match its checksum")
        try:
            return _entries(_decompress(self._data[start:end], self._data[end]))
        except (CheckpointError, DecompressionError) as error:
            raise self.damaged(f"block at byte {start} cannot be read ({str(error).rstrip('.')})") from error


def _decompress(data: memoryview, compression: int) -> memoryview:
    if compression == RAW:
        return data
    if compression != SNAPPY:
        raise CheckpointError(f"its compression {compression} is not known")
    size = snappy.decompress_raw_len(data)
    if size > _SNAPPY_GROWTH * len(data):
        raise CheckpointError(f"its {len(data)} bytes claim to hold {size}")
    return memoryview(snappy.decompress_raw(data))


def _entries(block: memoryview) -> Block:
    """The entries of a block. What the list of whole keys says is not needed to read them all."""
    end = len(block) - 4
    if end >= 0:
        end -= 4 * int.from_bytes(block[end:], "little")
    if end < 0:
        raise CheckpointError(f"the {len(block)} bytes are too few for its list of whole keys")
    entries: Block = {}
    key, position, room = b"", 0, _KEY_GROWTH * len(block)
    while position < end:
        start = position
        shared, position = varint(block, position)
        unshared, position = varint(block, position)
        size, position = varint(block, position)
        value = position + unshared
        if shared > len(key) or value + size > end:
            raise CheckpointError(f"the entry at {start} of its {len(block)} bytes does not fit")
        previous, key = key, key[:shared] + bytes(block[position:value])
        room -= len(key)
        if room < 0 or (entries and key <= previous):
            raise CheckpointError(f"the key at {start} of its {len(block)} bytes is not one that follows {previous!r}")
        position = value + size
        entries[key] = block[value:position]
    return entries
