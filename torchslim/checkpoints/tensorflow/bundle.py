"""V2 checkpoints ("tensor bundles"): an `.index` table of names, and `.data-00000-of-0000N` files of plain values.

The index maps every name to an entry: type, shape, and the place of the values with their checksum. The entry of a
partitioned variable lists slices instead, each of which has an entry of its own under an encoded key.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crc32c import crc32c

from torchslim.checkpoints.readers import Reader, StoredTensor
from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.coding import damaged, masked_crc32c, varint
from torchslim.checkpoints.tensorflow.messages import (
    BundleEntryProto,
    BundleHeaderProto,
    TrackableObjectGraph,
    dtype_of,
    extents_of,
    parse,
    shape_of,
    unreadable,
)
from torchslim.checkpoints.tensorflow.ordered_code import encode_slice_key
from torchslim.checkpoints.tensorflow.slices import Extents, Region, assemble, region_of, shape_of_region
from torchslim.checkpoints.tensorflow.table import Table

VERSION = 1  # of the format
HEADER_KEY = b""
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
OBJECT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLICE_MARK = b"\0"  # keys of slices start with it, and names do not


class BundleReader(Reader):
    """A V2 checkpoint. Values are mapped: nothing is copied unless a tensor lies where its type may not.

    What TensorFlow 2 stored from objects has keys such as `model/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE`. These are
    listed; the path before `/.ATTRIBUTES` and the name that the variable itself had find them too.

    Args:
        prefix: the path without `.index`.
        verify: `'full'` compares the index and every tensor that is read with their checksums, `'fast'` the index
            only, `'off'` nothing.

    Raises:
        FileNotFoundError: if there is no `.index`.
        CheckpointError: if it is damaged, of a newer version, or of a big-endian machine. Damage of a tensor, or a
            file of data that is missing, is found when the tensor is read.

    Example:
        >>> checkpoint = BundleReader(Path('tests/goldens/checkpoints/lenet_v2/model.ckpt'))
        >>> checkpoint['LeNet/conv1/weights']
        StoredTensor(shape=(5, 5, 1, 32), dtype=torch.float32)
    """

    layout = "tf"

    def __init__(self, prefix: Path, *, verify: str = "full") -> None:
        super().__init__(str(prefix))
        table = Table(prefix.with_name(f"{prefix.name}.index"), verify=verify != "off")
        files = _Files(prefix, table, _read_header(table), verify == "full")
        for key, value in table.items():
            if key != HEADER_KEY and not key.startswith(_SLICE_MARK):
                try:
                    name = key.decode()
                except UnicodeDecodeError as error:
                    raise table.damaged(f"{key!r} is no name") from error
                tensor = _Tensor(files, name, *files.entry(key, value))
                self.tensors[name] = StoredTensor(tensor.shape, tensor.dtype, tensor.read)

    def __getitem__(self, name: str) -> StoredTensor:
        return super().__getitem__(self._key(name))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._key(name))

    def has_tensor(self, name: str) -> bool:
        """Whether there is a tensor of that name, or a variable of an object."""
        return name in self

    def _key(self, name: Any) -> Any:
        return name if name in self.tensors else self._aliases.get(name, name)

    @cached_property
    def _aliases(self) -> dict[str, str]:
        """Other names of the variables of objects -> their keys."""
        aliases: dict[str, str] = {}
        stored_graph = self.tensors.get(OBJECT_GRAPH)
        if stored_graph and (stored_graph.dtype, stored_graph.shape) == (bytes, ()):
            graph = parse(TrackableObjectGraph, stored_graph.read().item(), f"the object graph of {self.name!r}")
            stored = [attribute for node in graph.nodes for attribute in node.attributes if attribute.full_name]
            times = Counter(attribute.full_name for attribute in stored)
            aliases = {each.full_name: each.checkpoint_key for each in stored if times[each.full_name] == 1}
        return aliases | {key.removesuffix(OBJECT_SUFFIX): key for key in self.tensors if key.endswith(OBJECT_SUFFIX)}


def _read_header(table: Table) -> int:
    """The number of files of data."""
    value = table.get(HEADER_KEY)
    if value is None:
        raise table.damaged("it has no header")
    header = parse(BundleHeaderProto, value, f"the header of {str(table.path)!r}")
    version = header.version
    if header.endianness != 0:
        raise CheckpointError(
            f"open_checkpoint: {str(table.path)!r} must be of a little-endian machine. Got the byte order "
            f"{header.endianness}: restore and save it with TensorFlow on a machine of today."
        )
    if version.min_consumer > VERSION or VERSION in version.bad_consumers:
        raise CheckpointError(
            f"open_checkpoint: {str(table.path)!r} must be readable as version {VERSION} of the format. Got version "
            f"{version.producer}, for readers of version {version.min_consumer} and above: see if there is a newer "
            "torchslim."
        )
    if header.num_shards < 1:
        raise table.damaged(f"its header claims {header.num_shards} files of data")
    return header.num_shards


@dataclass(frozen=True)
class _Files:
    """The index and the files of data."""

    prefix: Path
    table: Table
    shards: int
    verify: bool

    def data(self, shard: int) -> Path:
        path = self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")
        if not 0 <= shard < self.shards or not path.is_file():
            raise CheckpointError(f"its file {path.name!r} is missing")
        return path

    def damaged(self, what: str) -> CheckpointError:
        return damaged(self.prefix, what)

    def entry(self, key: bytes, value: memoryview) -> tuple[Any, tuple[int, ...]]:
        """The entry of a tensor or slice, and its shape."""
        what = f"the entry of {key!r} in {str(self.table.path)!r}"
        entry = parse(BundleEntryProto, value, what)
        return entry, shape_of(entry.shape, what)


@dataclass(frozen=True)
class _Tensor:
    """A tensor, or a slice of one, in the files."""

    files: _Files
    name: str
    entry: Any
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        return dtype_of(self.entry.dtype)

    def read(self) -> torch.Tensor | np.ndarray:
        if self.dtype is object:
            raise unreadable(self.entry.dtype, self.name, self.files.prefix)
        try:
            return self._values()
        except CheckpointError as error:
            raise self.files.damaged(f"tensor {self.name!r}: {error}") from error

    def _values(self) -> torch.Tensor | np.ndarray:
        if self.entry.slices:
            return self._assemble()
        return self._decode_strings() if self.dtype is bytes else self._map()

    def _map(self) -> torch.Tensor:
        if self.entry.size != prod(self.shape) * self.dtype.itemsize:
            raise CheckpointError(f"{self.entry.size} bytes are not {self.dtype} of the shape {self.shape}")
        data = self._bytes()
        if self.files.verify:
            self._check(masked_crc32c(data.numpy().data))
        # TensorFlow packs tensors without gaps: behind a string or a flag they start anywhere.
        aligned = data.clone() if data.data_ptr() % self.dtype.itemsize else data
        return aligned.view(self.dtype).reshape(self.shape)

    def _decode_strings(self) -> np.ndarray:
        """Strings are stored as their lengths, a checksum of these (as numbers of fixed size), then their bytes."""
        count, data = prod(self.shape), self._bytes().numpy().tobytes()
        if count > len(data):
            raise CheckpointError(f"{len(data)} bytes are not {count} strings")
        lengths, position = [], 0
        for _ in range(count):
            length, position = varint(data, position)
            lengths.append(length)
        start = position + 4
        if start + sum(lengths) != len(data):
            raise CheckpointError(f"the lengths of its strings add up to {sum(lengths)}, with {len(data)} bytes in all")
        if self.files.verify:
            fixed = b"".join(length.to_bytes(4 if length < 1 << 32 else 8, "little") for length in lengths)
            self._check(masked_crc32c(data[position:], crc32c(fixed)))
        strings = np.empty(count, dtype=object)
        strings[:] = [data[first:last] for first, last in pairwise(accumulate(lengths, initial=start))]
        return strings.reshape(self.shape)

    def _bytes(self) -> torch.Tensor:
        """The bytes, in a private mapping of their own: whoever gets them may write to them."""
        path = self.files.data(self.entry.shard_id)
        start, end, size = self.entry.offset, self.entry.offset + self.entry.size, path.stat().st_size
        if not 0 <= start <= end <= size:
            raise CheckpointError(f"it is at bytes {start} to {end - 1} of {path.name!r}, which ends at byte {size}")
        data = torch.empty(0, dtype=torch.uint8)
        return data if start == end else data.set_(torch.UntypedStorage.from_file(str(path), False, end)[start:end])

    def _check(self, checksum: int) -> None:
        if checksum != self.entry.crc32c:
            name = self.files.data(self.entry.shard_id).name
            last = self.entry.offset + self.entry.size - 1
            raise CheckpointError(f"bytes {self.entry.offset} to {last} of {name!r} do not match their checksum")

    def _assemble(self) -> torch.Tensor | np.ndarray:
        slices = [self._slice(extents_of(message)) for message in self.entry.slices]
        paths = {self.files.data(part.entry.shard_id) for _, part in slices}
        if prod(self.shape) > sum(path.stat().st_size for path in paths):  # every value takes a byte at least
            raise CheckpointError(f"its shape {self.shape} does not fit into its files")
        return assemble(self.shape, self.dtype, [(region, part._values) for region, part in slices])

    def _slice(self, extents: Extents) -> tuple[Region, _Tensor]:
        """Where a slice belongs, and the slice."""
        region = region_of(extents, self.shape)
        key = encode_slice_key(self.name, extents)
        value = self.files.table.get(key)
        if value is None:
            raise CheckpointError(f"its slice {list(extents)} is missing")
        part = _Tensor(self.files, self.name, *self.files.entry(key, value))
        if part.entry.slices or part.dtype != self.dtype or part.shape != shape_of_region(region):
            raise CheckpointError(f"its slice {list(extents)} has the type {part.dtype} and the shape {part.shape}")
        return region, part
