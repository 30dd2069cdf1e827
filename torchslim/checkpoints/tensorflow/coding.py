"""What all of TensorFlow's checkpoint files are made of: numbers of variable length and masked checksums."""

from __future__ import annotations

from pathlib import Path

from crc32c import crc32c

from torchslim.checkpoints.store import CheckpointError

Buffer = bytes | bytearray | memoryview

_MASK = 0xA282EAD8
_VARINT_BYTES = 10  # of a number of 64 bits, 7 in each


def varint(data: Buffer, position: int) -> tuple[int, int]:
    """Reads a number that is stored 7 bits a byte, the lowest first; the high bit says that more follow.

    Args:
        data: bytes.
        position: where in them the number starts.

    Returns:
        The number, below 2**64, and the position behind it.

    Raises:
        CheckpointError: if `data` ends inside of the number, or it has more than 64 bits.

    Example:
        >>> varint(bytes([7, 0xAC, 0x02]), 1)
        (300, 3)
    """
    value = 0
    for index, byte in enumerate(data[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + index + 1
    found = bytes(data[position : position + _VARINT_BYTES]).hex(" ")
    raise CheckpointError(f"varint: `data` must hold a whole number of at most 64 bits at {position}. Got {found!r}.")


def masked_crc32c(data: Buffer, start: int = 0) -> int:
    """The CRC-32C of `data` as the files store it: turned and shifted, since data may itself hold checksums.

    Args:
        data: bytes.
        start: the (unmasked) CRC-32C of what comes before them.

    Example:
        >>> hex(masked_crc32c(b'123456789'))
        '0xc78ab0e5'
    """
    checksum = crc32c(data, start)
    return ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF


def damaged(path: Path, what: str) -> CheckpointError:
    """The error to raise for a file that is not as it was written.

    Args:
        path: the file.
        what: is wrong with it, and where.

    Example:
        >>> damaged(Path('x.index'), 'block at byte 1234 does not match its checksum')
        CheckpointError("open_checkpoint: 'x.index' is damaged: block at byte 1234 does not match its checksum.
        Use another one, or fetch it again.")
    """
    return CheckpointError(f"open_checkpoint: {str(path)!r} is damaged: {what}. Use another one, or fetch it again.")
