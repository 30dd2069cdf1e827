"""What a record file is made of: length, checksum of the length, data, checksum of the data; over and over."""

from __future__ import annotations

import functools
import itertools
import os
import struct
from collections.abc import Iterator

from torchslim.checkpoints.tensorflow.coding import masked_crc32c
from torchslim.data.items import DataError
from torchslim.data.record_source import CompressionError, Source

__all__ = ["HEADER_BYTES", "NOTHING", "OVERHEAD", "DamagedRecordError", "find_next", "frame", "read_one", "scan"]

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
HEADER_BYTES = _HEADER.size
OVERHEAD = HEADER_BYTES + _FOOTER.size
# The part of a file that no record is in: only lengths are read.
NOTHING = (1, 1)
# Read at a time: small records come many at once, and the data of a large one that is not wanted are not read.
_BLOCK = 256 << 10


class DamagedRecordError(DataError):
    """A record is not as it was written.

    Attributes:
        file: that it is in.
        offset: of the record in the file, in bytes (decompressed ones).
        reason: what is wrong.
        next: offset of what comes behind it, where its length can be trusted.
        is_last: whether nothing can be read behind it.
    """

    file: str
    offset: int
    reason: str
    next: int | None
    is_last: bool

    @classmethod
    def at(
        cls,
        file: str | os.PathLike[str],
        offset: int,
        reason: str,
        *,
        next: int | None = None,
        is_last: bool = False,
    ) -> DamagedRecordError:
        """Makes the error.

        Example:
            >>> DamagedRecordError.at('a.tfrecord', 332, 'its data do not match their checksum')
            DamagedRecordError("RecordReader: 'a.tfrecord' is damaged: record at byte 332: its data do not match their
            checksum. Fetch the file again, or read it with on_damage='skip'.")
        """
        error = cls(
            f"RecordReader: {os.fspath(file)!r} is damaged: record at byte {offset}: {reason}. "
            "Fetch the file again, or read it with on_damage='skip'."
        )
        error.file, error.offset, error.reason = os.fspath(file), offset, reason
        error.next, error.is_last = next, is_last
        return error


def frame(data: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    """What stands before and behind the data of a record.

    Example:
        >>> header, footer = frame(b'abc')
        >>> header.hex(), footer.hex()
        ('0300000000000000b099490e', '6e57f121')
    """
    length = len(data).to_bytes(8, "little")
    return length + _FOOTER.pack(masked_crc32c(length)), _FOOTER.pack(masked_crc32c(data))


def scan(
    source: Source, file: str | os.PathLike[str], offset: int = 0, number: int = 0, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[int, int, bytes | None, DamagedRecordError | None]]:
    """Goes through the records of a file, and on behind those that are damaged.

    As in TensorFlow, fewer bytes than a header has are the end of the file.

    Args:
        source: the bytes of the file.
        file: its name, for errors.
        offset: of the record to start at.
        number: of that record.
        part: index and count: data are read and checked of the records whose number % count is index. `NOTHING`: of
            none.

    Yields:
        Offset, length, data and what is wrong with them: None, or the error. None for data that are not in the part.
    """
    numbers = itertools.count(number)
    while True:
        try:
            yield from _scan(source, file, offset, numbers, part)
        except DamagedRecordError as error:
            yield error.offset, 0, None, error
            following = find_next(source, error)
            if following is None:
                return
            offset = following
        else:
            return


def _scan(
    source: Source, file: str | os.PathLike[str], offset: int, numbers: Iterator[int], part: tuple[int, int]
) -> Iterator[tuple[int, int, bytes | None, None]]:
    """`scan` up to the first damaged record, which it raises."""
    index, count = part
    block, start = b"", offset
    while True:
        try:
            place = offset - start
            header = block[place : place + HEADER_BYTES]
            if len(header) < HEADER_BYTES:
                block, start, place = source.read_at(offset, HEADER_BYTES, _BLOCK), offset, 0
                header = block[:HEADER_BYTES]
                if len(header) < HEADER_BYTES:
                    return
            is_mine = next(numbers) % count == index
            length = _length(header)
            if length is None:
                raise _bad_length(file, offset)
            size = OVERHEAD + length
            is_here = place + size <= len(block)
            data = None
            if is_mine:
                if not is_here:
                    block, start, place = source.read_at(offset, size, _BLOCK), offset, 0
                    if len(block) < size:
                        raise _cut_off(file, offset)
                end = place + size - _FOOTER.size
                data = block[place + HEADER_BYTES : end]
                if masked_crc32c(data) != _FOOTER.unpack_from(block, end)[0]:
                    raise _bad_data(file, offset, size)
            elif not is_here and not source.read_at(offset + size - 1, 1):
                raise _cut_off(file, offset)
        except CompressionError as error:
            raise DamagedRecordError.at(file, offset, str(error), is_last=True) from error
        yield offset, length, data, None
        offset += size


def read_one(source: Source, file: str | os.PathLike[str], offset: int, length: int) -> bytes:
    """The data of the record at an offset that is known from an index.

    Raises:
        DamagedRecordError: if it is not as it was written, or of another length.
    """
    try:
        block = source.read_at(offset, OVERHEAD + length)
    except CompressionError as error:
        raise DamagedRecordError.at(file, offset, str(error), is_last=True) from error
    if len(block) < OVERHEAD + length:
        raise _cut_off(file, offset)
    found = _length(block[:HEADER_BYTES])
    if found is None:
        raise _bad_length(file, offset)
    if found != length:
        raise DamagedRecordError.at(file, offset, f"it is not the record of {length} bytes that was here")
    data = block[HEADER_BYTES : -_FOOTER.size]
    if masked_crc32c(data) != _FOOTER.unpack_from(block, HEADER_BYTES + length)[0]:
        raise _bad_data(file, offset, len(block))
    return data


def find_next(source: Source, error: DamagedRecordError) -> int | None:
    """Where to go on behind a damaged record.

    Where the length itself is damaged, the next record is the next place with a length and its checksum.

    Returns:
        An offset; None: nothing can be read behind it.
    """
    if error.next is not None or error.is_last:
        return error.next
    offset = error.offset + 1
    try:
        while len(block := source.read_at(offset, HEADER_BYTES, _BLOCK)) >= HEADER_BYTES:
            # The upper half of a length is zero below 4 GiB: this finds all other records, and finds them quickly.
            place = block.find(bytes(4), 4)
            while 0 <= place <= len(block) - 8:
                _, checksum = _HEADER.unpack_from(block, place - 4)
                if masked_crc32c(block[place - 4 : place + 4]) == checksum:
                    return offset + place - 4
                place = block.find(bytes(4), place + 1)
            offset += len(block) - HEADER_BYTES + 1
    except CompressionError:
        return None
    return None


@functools.lru_cache  # many small records have the same
def _length(header: bytes) -> int | None:
    """The length of a record; None if it is damaged."""
    length, checksum = _HEADER.unpack(header)
    return length if masked_crc32c(header[:8]) == checksum else None


def _bad_length(file: str | os.PathLike[str], offset: int) -> DamagedRecordError:
    return DamagedRecordError.at(file, offset, "its length does not match its checksum")


def _bad_data(file: str | os.PathLike[str], offset: int, size: int) -> DamagedRecordError:
    return DamagedRecordError.at(file, offset, "its data do not match their checksum", next=offset + size)


def _cut_off(file: str | os.PathLike[str], offset: int) -> DamagedRecordError:
    return DamagedRecordError.at(file, offset, "the file ends inside of it", is_last=True)
