"""Partitioned variables: where their slices belong, and putting them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.ordered_code import FULL

# Start and length in each dimension.
Extents = Sequence[tuple[int, int]]
Region = tuple[slice, ...]


def region_of(extents: Extents, shape: tuple[int, ...]) -> Region:
    """The part of a tensor that a slice is.

    Raises:
        CheckpointError: if it lies outside of `shape`.

    Example:
        >>> region_of([(0, -1), (5, 4)], (6, 9))
        (slice(0, 6, None), slice(5, 9, None))
    """
    if len(extents) == len(shape):
        ends = [
            size if length == FULL else start + length for (start, length), size in zip(extents, shape, strict=True)
        ]
        region = tuple(slice(start, end) for (start, _), end in zip(extents, ends, strict=True))
        if all(0 <= part.start <= part.stop <= size for part, size in zip(region, shape, strict=True)):
            return region
    raise CheckpointError(f"its slice {list(extents)} does not fit the shape {shape}")


def shape_of_region(region: Region) -> tuple[int, ...]:
    """The shape of a part.

    Example:
        >>> shape_of_region((slice(0, 6), slice(5, 9)))
        (6, 4)
    """
    return tuple(part.stop - part.start for part in region)


def assemble(shape: tuple[int, ...], dtype: Any, parts: Sequence[tuple[Region, Callable[[], Any]]]) -> Any:
    """Puts a tensor together from parts, of which one is read at a time.

    Args:
        shape: of the whole. Memory is taken for it, so the parts are to be known to exist.
        dtype: its type; `bytes` for strings.
        parts: where each belongs, and what reads it.

    Raises:
        CheckpointError: if they do not cover the whole, each element once.

    Example:
        >>> parts = [((slice(0, 2),), lambda: torch.ones(2)), ((slice(2, 3),), lambda: torch.zeros(1))]
        >>> assemble((3,), torch.float32, parts)
        tensor([1., 1., 0.])
    """
    count = sum(prod(shape_of_region(region)) for region, _ in parts)
    if count != prod(shape):
        raise CheckpointError(f"its slices hold {count} values for the shape {shape}")
    whole: Any = np.empty(shape, object) if dtype is bytes else torch.empty(shape, dtype=dtype)
    covered = torch.zeros(shape, dtype=torch.bool)
    for region, read in parts:
        whole[region] = read().reshape(shape_of_region(region))
        covered[region] = True
    if not covered.all():
        raise CheckpointError("its slices overlap")
    return whole
