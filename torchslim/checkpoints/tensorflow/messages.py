"""The messages in TensorFlow's checkpoints: their fields, and what their numbers of types mean.

Field numbers are those of TensorFlow's published definitions; fields that checkpoints do not use are left out, and
enumerations are plain numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from google.protobuf.message import DecodeError

from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.coding import Buffer
from torchslim.checkpoints.tensorflow.protobuf import message_classes

_DEFINITIONS = """
message Dim { int64 size = 1; string name = 2; }
message TensorShapeProto { repeated Dim dim = 2; bool unknown_rank = 3; }

message Extent { int64 start = 1; optional int64 length = 2; }
message TensorSliceProto { repeated Extent extent = 1; }

message VersionDef { int32 producer = 1; int32 min_consumer = 2; repeated int32 bad_consumers = 3; }

message BundleHeaderProto { int32 num_shards = 1; int32 endianness = 2; VersionDef version = 3; }
message BundleEntryProto {
    int32 dtype = 1; TensorShapeProto shape = 2; int32 shard_id = 3; int64 offset = 4; int64 size = 5;
    fixed32 crc32c = 6; repeated TensorSliceProto slices = 7;
}

message TensorProto {
    int32 dtype = 1; TensorShapeProto tensor_shape = 2; int32 version_number = 3; bytes tensor_content = 4;
    repeated float float_val = 5; repeated double double_val = 6; repeated int32 int_val = 7;
    repeated bytes string_val = 8; repeated float scomplex_val = 9; repeated int64 int64_val = 10;
    repeated bool bool_val = 11; repeated double dcomplex_val = 12; repeated int32 half_val = 13;
    repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17; bytes float8_val = 18;
}
message SavedSliceMeta {
    string name = 1; TensorShapeProto shape = 2; int32 type = 3; repeated TensorSliceProto slice = 4;
}
message SavedTensorSliceMeta { repeated SavedSliceMeta tensor = 1; VersionDef versions = 2; }
message SavedSlice { string name = 1; TensorSliceProto slice = 2; TensorProto data = 3; }
message SavedTensorSlices { SavedTensorSliceMeta meta = 1; SavedSlice data = 2; }

message SerializedTensor { string name = 1; string full_name = 2; string checkpoint_key = 3; }
message TrackableObject { repeated SerializedTensor attributes = 2; }
message TrackableObjectGraph { repeated TrackableObject nodes = 1; }
"""

# Numbers of types that have a counterpart in PyTorch.
TORCH_DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    8: torch.complex64,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    17: torch.uint16,
    18: torch.complex128,
    19: torch.float16,
    22: torch.uint32,
    23: torch.uint64,
    24: torch.float8_e5m2,
    25: torch.float8_e4m3fn,
    26: torch.float8_e4m3fnuz,
    28: torch.float8_e5m2fnuz,
}
STRING = 7
# ... and of those that have none; such tensors are listed and cannot be read.
OTHER_DTYPES = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant"}

_MAX_RANK = 64  # of NumPy; TensorFlow writes up to 254


_CLASSES = message_classes(_DEFINITIONS)
TensorShapeProto = _CLASSES["TensorShapeProto"]
TensorSliceProto = _CLASSES["TensorSliceProto"]
VersionDef = _CLASSES["VersionDef"]
BundleHeaderProto = _CLASSES["BundleHeaderProto"]
BundleEntryProto = _CLASSES["BundleEntryProto"]
TensorProto = _CLASSES["TensorProto"]
SavedSliceMeta = _CLASSES["SavedSliceMeta"]
SavedTensorSliceMeta = _CLASSES["SavedTensorSliceMeta"]
SavedSlice = _CLASSES["SavedSlice"]
SavedTensorSlices = _CLASSES["SavedTensorSlices"]
TrackableObjectGraph = _CLASSES["TrackableObjectGraph"]


def parse(message_class: Any, data: Buffer, what: str) -> Any:
    """Reads a message.

    Args:
        message_class: one of the classes of this module.
        data: its bytes.
        what: they are, for the error.

    Raises:
        CheckpointError: if they are no such message.

    Example:
        >>> parse(VersionDef, bytes([8, 1]), "the version of 'x.index'").producer
        1
    """
    try:
        return message_class.FromString(bytes(data))
    except DecodeError as error:
        raise CheckpointError(
            f"open_checkpoint: {what} is damaged: it is no {message_class.DESCRIPTOR.name} ({error}). "
            "Use another one, or fetch it again."
        ) from error


def dtype_of(number: int) -> Any:
    """What a number of a type means: a `torch.dtype`, `bytes` for strings, `object` for what PyTorch has not.

    Example:
        >>> dtype_of(1), dtype_of(STRING), dtype_of(20)
        (torch.float32, <class 'bytes'>, <class 'object'>)
    """
    return bytes if number == STRING else TORCH_DTYPES.get(number, object)


def unreadable(number: int, name: str, path: Path) -> CheckpointError:
    """The error to raise for a tensor of a type that PyTorch has not.

    Example:
        >>> unreadable(20, 'table', Path('model.ckpt'))
        CheckpointError("open_checkpoint: tensor 'table' of 'model.ckpt' must have a type that PyTorch has. Got the
        type 20 (resource): read the others, or restore with `exclude`.")
    """
    return CheckpointError(
        f"open_checkpoint: tensor {name!r} of {str(path)!r} must have a type that PyTorch has. Got the type {number} "
        f"({OTHER_DTYPES.get(number, 'unknown')}): read the others, or restore with `exclude`."
    )


def shape_of(message: Any, what: str) -> tuple[int, ...]:
    """The shape in a `TensorShapeProto`.

    Raises:
        CheckpointError: if it is none that a tensor can have. What it claims may still be far from what is there.

    Example:
        >>> shape_of(TensorShapeProto(dim=[{'size': 2}, {'size': 3}]), 'the shape')
        (2, 3)
    """
    shape = tuple(dim.size for dim in message.dim)
    # Sixteen bytes is the widest type, and strides count empty dimensions as 1.
    too_large = 16 * math.prod(max(size, 1) for size in shape) >= 1 << 63
    if message.unknown_rank or any(size < 0 for size in shape) or len(shape) > _MAX_RANK or too_large:
        raise CheckpointError(
            f"open_checkpoint: {what} is damaged: no tensor has the shape {shape}. Use another one, or fetch it again."
        )
    return shape


def extents_of(message: Any) -> list[tuple[int, int]]:
    """Start and length of a `TensorSliceProto` in each dimension; all of a dimension has the length -1.

    Example:
        >>> extents_of(TensorSliceProto(extent=[{}, {'start': 5, 'length': 4}]))
        [(0, -1), (5, 4)]
    """
    return [(extent.start, extent.length if extent.HasField("length") else -1) for extent in message.extent]
