"""Where the results of an evaluation go: TensorBoard's events, a file of JSON lines, words for the terminal."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# A list of more numbers than this is a curve or the like: one histogram, and not that many scalars.
MAX_SCALARS = 100
_SHOWN = 8


def write_events(writer: SummaryWriter, name: str, value: Any, step: int) -> None:
    """Writes a value of a metric under its name, and the parts of a structure under `NAME/PART`.

    A number is a scalar. Parts are the keys of a dict, the fields of a named tuple and the positions in a list; a list
    of more than 100 numbers is one histogram of those that are finite. Anything else has no place in TensorBoard.
    """
    if isinstance(value, int | float):
        writer.add_scalar(name, float(value), step)
    elif isinstance(value, list) and len(numbers := _numbers(value)) > MAX_SCALARS:
        if finite := [number for number in numbers if math.isfinite(number)]:
            writer.add_histogram(name, torch.tensor(finite, dtype=torch.float64), step)
    else:
        for key, part in _parts(value):
            write_events(writer, f"{name}/{key}", part, step)


def append_json_line(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one line of JSON to a file, in a single write: whoever reads or appends too sees whole lines.

    Numbers that JSON does not have, NaN and the infinities, become null. A line that a full disk has cut off is ended
    first.

    Raises:
        OSError: if it cannot be written; the message names the path.
    """
    line = json.dumps(_as_json(record), allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            if fcntl is not None:  # a line that another process is at must not pass for one that was cut off
                with contextlib.suppress(OSError):  # some network file systems have no locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            if file.tell() and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                line = b"\n" + line
            written = file.write(line)
    except OSError as error:
        raise OSError(error.errno, f"results: cannot append to {str(path)!r}: {error.strerror}") from error
    if written < len(line):
        raise OSError(
            errno.ENOSPC, f"results: only {written} of {len(line)} bytes went into {str(path)!r}: the disk is full"
        )


def in_words(values: Mapping[str, Any]) -> str:
    """Names and values for a line on the terminal; of a long list its beginning.

    Example:
        >>> in_words({'accuracy': 0.75, 'AP': [0.5] * 20})
        'accuracy = 0.75, AP = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ... 20 in all]'
    """
    return ", ".join(f"{name} = {_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        words = [_word(item) for item in value[:_SHOWN]]
        return f"[{', '.join(words + [f'... {len(value)} in all'] * (len(value) > _SHOWN))}]"
    if parts := _parts(value):
        return f"({', '.join(f'{key} = {_word(part)}' for key, part in parts)})"
    return str(value)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """The parts of a structure with their keys; none of what is no structure."""
    if hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _numbers(value: list[Any]) -> list[float]:
    """The numbers in a list of lists."""
    found: list[float] = []
    for item in value:
        if isinstance(item, list):
            found += _numbers(item)
        elif isinstance(item, int | float):
            found.append(item)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping) or hasattr(value, "_fields"):
        return {str(key): _as_json(part) for key, part in _parts(value)}
    if isinstance(value, list | tuple):
        return [_as_json(part) for part in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
