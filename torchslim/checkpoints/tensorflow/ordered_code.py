"""TensorFlow's keys of slices of tensors: bytes that sort as the name and the numbers in them do.

A key is a zero, the name, the number of dimensions, then start and length in each, all in "ordered code". Every tensor
of a V1 file has such a key, and every part of a partitioned variable in a V2 table.
"""

from __future__ import annotations

from collections.abc import Sequence

# The length of a slice that spans all of its dimension; it starts at 0.
FULL = -1
_END = b"\0\1"  # of a string; a zero inside of one is followed by 0xff


def encode_slice_key(name: str, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key of a slice.

    Args:
        name: of the tensor.
        extents: start and length in each dimension; `(0, -1)` is all of it.

    Example:
        >>> encode_slice_key('fc', [(0, -1), (5, 4)]).hex(' ')
        '00 66 63 00 01 01 02 80 7f 85 84'
    """
    text = name.encode().replace(b"\0", b"\0\xff")  # 0xff would be escaped too, but UTF-8 has none
    numbers = [_encode_number(number) for extent in extents for number in extent]
    return b"".join([_encode_size(0), text, _END, _encode_size(len(extents)), *numbers])


def _encode_size(size: int) -> bytes:
    """A number that is not negative: how many bytes it has, then these, the highest first."""
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _encode_number(number: int) -> bytes:
    """A signed number, the highest byte first, behind as many ones as it has bytes; zeros, if it is negative."""
    size = (number if number >= 0 else ~number).bit_length() // 7 + 1
    head = ((1 << size) - 1) << 7 * size
    return ((number % (1 << 8 * size)) ^ head).to_bytes(size, "big")
