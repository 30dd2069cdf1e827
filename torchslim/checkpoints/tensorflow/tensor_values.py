"""The values in TensorFlow's `TensorProto`, taken from the bytes: no element becomes a Python object.

A type has its own field there, with fixed-width numbers, varints or strings; a field may come in several pieces, each
of one number or of many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from torchslim.checkpoints.tensorflow.coding import varint

_CONTENT, _STRINGS = 4, 8
# Type -> the field of its values, and whether they are varints there.
_FIELDS = {
    torch.float32: (5, False),
    torch.float64: (6, False),
    torch.int32: (7, True),
    torch.int16: (7, True),
    torch.int8: (7, True),
    torch.uint8: (7, True),
    torch.uint16: (7, True),
    torch.complex64: (9, False),
    torch.int64: (10, True),
    torch.bool: (11, True),
    torch.complex128: (12, False),
    torch.float16: (13, True),
    torch.bfloat16: (13, True),
    torch.uint32: (16, True),
    torch.uint64: (17, True),
}
_VARINT_BYTES = 10
# Varints are decoded in pieces of this size: the tables for it are ten times as large.
_PIECE = 1 << 20


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    r"""The fields of a message in their order: number, and the bytes of its content.

    Raises:
        ValueError: if the bytes are no message.

    Example:
        >>> [(number, bytes(content)) for number, content in fields(memoryview(b'\x08\x96\x01\x12\x02hi'))]
        [(1, b'\x96\x01'), (2, b'hi')]
    """
    position = 0
    while position < len(message):
        tag, start = varint(message, position)
        match tag & 7:
            case 0:
                end = varint(message, start)[1]
            case 1:
                end = start + 8
            case 2:
                length, start = varint(message, start)
                end = start + length
            case 5:
                end = start + 4
            case kind:
                raise ValueError(f"byte {position} has the wire type {kind}")
        if end > len(message):
            raise ValueError(f"the field at byte {position} ends at {end} of {len(message)}")
        yield tag >> 3, message[start:end]
        position = end


def content_of(message: memoryview, number: int) -> memoryview:
    r"""The content of the field `number`: all its pieces in one, as a message or a packed list is put together.

    Raises:
        ValueError: if the bytes are no message.

    Example:
        >>> bytes(content_of(memoryview(b'\x0a\x01a\x12\x01b\x0a\x01c'), 1))
        b'ac'
    """
    pieces = [content for found, content in fields(message) if found == number]
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def read_values(proto: memoryview, dtype: Any, count: int) -> torch.Tensor | np.ndarray:
    r"""The values of a `TensorProto`, in one dimension.

    Args:
        proto: its bytes.
        dtype: its type; `bytes` for strings, which come as an array of objects.
        count: how many values it must have.

    Raises:
        ValueError: if it has more or fewer, or is damaged.

    Example:
        >>> read_values(memoryview(b'\x3a\x03\x01\x80\x02'), torch.int32, 2)
        tensor([  1, 256], dtype=torch.int32)
    """
    if dtype is bytes:
        return _strings([content for number, content in fields(proto) if number == _STRINGS], count)
    number, varints = _FIELDS.get(dtype, (_CONTENT, False))
    data = content_of(proto, number)
    if not data:  # then the values are in one piece, as they are in memory
        data, varints = content_of(proto, _CONTENT), False
    return _decode_varints(data, dtype, count) if varints else _copy(data, dtype, count)


def _strings(pieces: list[memoryview], count: int) -> np.ndarray:
    _check_count(len(pieces), count)
    strings = np.empty(count, object)
    strings[:] = [bytes(piece) for piece in pieces]
    return strings


def _copy(data: memoryview, dtype: torch.dtype, count: int) -> torch.Tensor:
    _check_count(len(data) / dtype.itemsize, count)
    values = torch.empty(count, dtype=dtype)  # numbers in a message are not aligned
    values.view(torch.uint8).numpy()[:] = np.frombuffer(data, np.uint8)
    return values


def _decode_varints(data: memoryview, dtype: torch.dtype, count: int) -> torch.Tensor:
    codes = np.frombuffer(data, np.uint8)
    _check_count(int(np.count_nonzero(codes < 0x80)), count)
    bits = torch.int16 if dtype.is_floating_point else dtype  # halves are stored as their bits
    values = torch.empty(count, dtype=bits)
    position = done = 0
    while position < len(codes):
        numbers, size = _whole_varints(codes[position : position + _PIECE])
        values[done : done + len(numbers)] = torch.from_numpy(numbers)
        position, done = position + size, done + len(numbers)
    return values.view(dtype)


def _whole_varints(codes: np.ndarray) -> tuple[np.ndarray, int]:
    """The numbers that end in `codes`, as int64, and how many bytes they take."""
    ends = np.flatnonzero(codes < 0x80) + 1
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts[: len(ends)]
    if not len(ends) or lengths.max() > _VARINT_BYTES:
        raise ValueError("a number has no end")
    numbers = (codes[starts] & 0x7F).astype(np.uint64)
    for place in range(1, lengths.max()):
        longer = np.flatnonzero(lengths > place)
        digits = (codes[starts[longer] + place] & 0x7F).astype(np.uint64)
        numbers[longer] |= digits << np.uint64(7 * place)
    return numbers.view(np.int64), int(ends[-1])


def _check_count(found: float, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"it has {found:g} values instead of {wanted}")
