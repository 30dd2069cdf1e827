"""The messages against what TensorFlow itself writes, and the numbers of types against TensorBoard's copy of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from google.protobuf import descriptor_pool, text_format
from tensorboard.compat.proto import types_pb2

from torchslim.checkpoints import CheckpointError
from torchslim.checkpoints.tensorflow import messages
from torchslim.checkpoints.tensorflow.messages import OTHER_DTYPES, STRING, TORCH_DTYPES, dtype_of, extents_of, shape_of

# Bytes that TensorFlow 2.21 made of messages of its own, and the text of these messages.
WRITTEN = [
    (
        messages.BundleHeaderProto,
        "080310011a09080510021a0304ac02",
        "num_shards: 3 endianness: 1 version { producer: 5 min_consumer: 2 bad_consumers: [4, 300] }",
    ),
    (
        messages.BundleEntryProto,
        "0813120c12020802120608ac0212016e18012080e497d01228b00935efbeadde3a080a000a0408051004",
        'dtype: 19 shape { dim { size: 2 } dim { size: 300 name: "n" } } shard_id: 1 offset: 5000000000 size: 1200 '
        "crc32c: 3735928559 slices { extent { } extent { start: 5 length: 4 } }",
    ),
    (
        messages.SavedTensorSlices,
        "0a170a110a0177120412020802180122040a02100012020801121d0a017712040a0210021a1208011204120208022a080000803f000000c0",
        'meta { tensor { name: "w" shape { dim { size: 2 } } type: 1 slice { extent { length: 0 } } } '
        'versions { producer: 1 } } data { name: "w" slice { extent { length: 2 } } '
        "data { dtype: 1 tensor_shape { dim { size: 2 } } float_val: [1, -2] } }",
    ),
    (
        messages.TensorProto,
        "080612021801180722036162633208000000000000e03f3a0affffffffffffffffff0142017842004a080000803f00000040520109"
        "5a01016210000000000000084000000000000010406a02807882010580d0acf30e8a010a8080a0a89c94b6e6f9019201017a",
        'dtype: 6 tensor_shape { unknown_rank: true } version_number: 7 tensor_content: "abc" double_val: 0.5 '
        'int_val: -1 string_val: "x" string_val: "" scomplex_val: [1, 2] int64_val: 9 bool_val: true '
        "dcomplex_val: [3, 4] half_val: 15360 uint32_val: 4000000000 uint64_val: 18000000000000000000 "
        'float8_val: "z"',
    ),
]
OBJECT_GRAPH = (
    "0a070a05080112016b0a3d123b0a0e5641524941424c455f56414c5545120b636f6e762f6b65726e656c"
    "1a1c6b2f2e415454524942555445532f5641524941424c455f56414c5545"
)


@pytest.mark.parametrize(("message_class", "data", "text"), WRITTEN, ids=lambda value: getattr(value, "__name__", ""))
def test_messages_are_those_of_tensorflow(message_class: Any, data: str, text: str) -> None:
    message = text_format.Parse(text, message_class())
    assert messages.parse(message_class, bytes.fromhex(data), "it") == message
    assert message.SerializeToString(deterministic=True).hex() == data


def test_of_an_object_graph_the_variables_are_read() -> None:
    nodes = messages.parse(messages.TrackableObjectGraph, bytes.fromhex(OBJECT_GRAPH), "it").nodes
    found = [[(each.name, each.full_name, each.checkpoint_key) for each in node.attributes] for node in nodes]
    assert found == [[], [("VARIABLE_VALUE", "conv/kernel", "k/.ATTRIBUTES/VARIABLE_VALUE")]]


def test_the_messages_stay_in_a_pool_of_their_own() -> None:
    with pytest.raises(KeyError, match=r"torchslim\.TensorProto"):
        descriptor_pool.Default().FindMessageTypeByName("torchslim.TensorProto")


@pytest.mark.parametrize("number", sorted([STRING, *TORCH_DTYPES, *OTHER_DTYPES]))
def test_types_have_the_numbers_of_tensorflow(number: int) -> None:
    name = types_pb2.DataType.Name(number).removeprefix("DT_").lower()
    ours = dtype_of(number)
    spelling = {torch.float32: "float", torch.float64: "double", torch.float16: "half", bytes: "string"}
    assert name == OTHER_DTYPES.get(number, spelling.get(ours, str(ours).removeprefix("torch.")))
    assert (ours is object) == (number in OTHER_DTYPES)


@pytest.mark.parametrize("data", [b"\x08", b"\x1a\x7fabc", b"\xff" * 12])
def test_damaged_messages(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"the header of 'x\.index' is damaged: it is no BundleHeaderProto \("):
        messages.parse(messages.BundleHeaderProto, memoryview(data), "the header of 'x.index'")


@pytest.mark.parametrize(
    ("text", "shape"),
    [("", ()), ("dim { size: 3 } dim { }", (3, 0)), ("dim { size: 4611686018427387 }", (2**62 // 1000,))],
)
def test_shapes(text: str, shape: tuple[int, ...]) -> None:
    assert shape_of(text_format.Parse(text, messages.TensorShapeProto()), "it") == shape


@pytest.mark.parametrize(
    ("shape", "found"),
    [([-1], r"\(-1,\)"), ([1 << 62, 0], r"\(4611686018427387904, 0\)"), ([1] * 65, r"\(1, 1, "), ([1 << 33] * 2, "")],
)
def test_shapes_that_no_tensor_has(shape: list[int], found: str) -> None:
    message = messages.TensorShapeProto(dim=[{"size": size} for size in shape])
    with pytest.raises(CheckpointError, match=rf"entry of 'w' is damaged: no tensor has the shape {found}"):
        shape_of(message, "entry of 'w'")


def test_an_unknown_rank_is_no_shape() -> None:
    with pytest.raises(CheckpointError, match=r"entry of 'w' is damaged: no tensor has the shape \(\)"):
        shape_of(messages.TensorShapeProto(unknown_rank=True), "entry of 'w'")


def test_a_slice_of_length_zero_is_not_a_whole_dimension() -> None:
    message = text_format.Parse("extent { } extent { length: 0 }", messages.TensorSliceProto())
    assert extents_of(message) == [(0, -1), (0, 0)]
