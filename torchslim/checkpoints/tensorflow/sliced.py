"""TensorFlow's older checkpoints (V1): one table file, or several, of tensors in slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchslim.checkpoints.readers import Reader, StoredTensor
from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.coding import damaged
from torchslim.checkpoints.tensorflow.messages import (
    SavedTensorSlices,
    dtype_of,
    extents_of,
    parse,
    shape_of,
    unreadable,
)
from torchslim.checkpoints.tensorflow.ordered_code import encode_slice_key
from torchslim.checkpoints.tensorflow.slices import Extents, assemble, region_of, shape_of_region
from torchslim.checkpoints.tensorflow.table import Table
from torchslim.checkpoints.tensorflow.tensor_values import content_of, read_values

# Where the values are: SavedTensorSlices.data, SavedSlice.data.
_PATH_TO_VALUES = (2, 3)


class SlicedReader(Reader):
    """A V1 checkpoint: each of its files starts with a list of tensors, their types, shapes and slices.

    Args:
        paths: the files; a saver with `sharded=True` wrote one for each device.
        verify: `'off'`: do not compare what is read with its checksums. There are only those of the table's blocks:
            `'fast'` is as good as `'full'`.

    Raises:
        FileNotFoundError: if a file is missing.
        CheckpointError: if a file is damaged. Damage of a tensor is found when it is read.

    Example:
        >>> checkpoint = SlicedReader([Path('tests/goldens/checkpoints/lenet_v1/model.ckpt')])
        >>> checkpoint['LeNet/conv1/weights']
        StoredTensor(shape=(5, 5, 1, 32), dtype=torch.float32)
    """

    layout = "tf"

    def __init__(self, paths: Sequence[Path], *, verify: str = "full") -> None:
        super().__init__(str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
        found: dict[str, _Tensor] = {}
        for path in paths:
            table = Table(path, verify=verify != "off")
            for listed in _header(table).tensor:
                shape = shape_of(listed.shape, f"the shape of {listed.name!r} in {str(path)!r}")
                tensor = found.setdefault(listed.name, _Tensor(listed.name, listed.type, shape, path))
                if (tensor.type, tensor.shape) != (listed.type, shape):
                    raise damaged(path, f"tensor {listed.name!r} is of another type or shape than in another file")
                tensor.slices += [(table, extents_of(extents)) for extents in listed.slice]
        self.tensors = {name: StoredTensor(tensor.shape, tensor.dtype, tensor.read) for name, tensor in found.items()}


def _header(table: Table) -> Any:
    """The list of tensors, under the empty key."""
    data = table.get(b"")
    if data is None:
        raise damaged(table.path, "it has no list of tensors: it is a table, but no checkpoint")
    return parse(SavedTensorSlices, data, f"the list of tensors of {str(table.path)!r}").meta


@dataclass
class _Tensor:
    """A tensor and the tables with its slices."""

    name: str
    type: int
    shape: tuple[int, ...]
    path: Path  # where it was met first, for messages
    slices: list[tuple[Table, Extents]] = field(default_factory=list)

    @property
    def dtype(self) -> Any:
        return dtype_of(self.type)

    def read(self) -> torch.Tensor | np.ndarray:
        if self.dtype is object:
            raise unreadable(self.type, self.name, self.path)
        stored = [self._stored(table, extents) for table, extents in self.slices]
        try:
            return self._decode(stored)
        except ValueError as error:
            raise damaged(self.path, f"tensor {self.name!r}: {error}") from error

    def _stored(self, table: Table, extents: Extents) -> memoryview:
        data = table.get(encode_slice_key(self.name, extents))
        if data is None:
            raise damaged(table.path, f"tensor {self.name!r}: its slice {list(extents)} is missing")
        return data

    def _decode(self, stored: list[memoryview]) -> torch.Tensor | np.ndarray:
        regions = [region_of(extents, self.shape) for _, extents in self.slices]
        parts = [partial(self._values, data, region) for data, region in zip(stored, regions, strict=True)]
        if len(parts) == 1 and shape_of_region(regions[0]) == self.shape:
            return parts[0]()
        # Every value takes a byte at least: what is claimed beyond that is not given memory.
        if prod(self.shape) > sum(map(len, stored)):
            raise CheckpointError(f"its slices have too few bytes for the shape {self.shape}")
        return assemble(self.shape, self.dtype, list(zip(regions, parts, strict=True)))

    def _values(self, data: memoryview, region: tuple[slice, ...]) -> torch.Tensor | np.ndarray:
        shape = shape_of_region(region)
        for number in _PATH_TO_VALUES:
            data = content_of(data, number)
        return read_values(data, self.dtype, prod(shape)).reshape(shape)
