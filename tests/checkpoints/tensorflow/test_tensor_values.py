"""The values of a `TensorProto` against protobuf, which makes an object of each; and messages that are none."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchslim.checkpoints.tensorflow import tensor_values
from torchslim.checkpoints.tensorflow.messages import TensorProto
from torchslim.checkpoints.tensorflow.tensor_values import content_of, fields, read_values

INTEGERS = {
    torch.int8: "int_val",
    torch.uint8: "int_val",
    torch.int16: "int_val",
    torch.uint16: "int_val",
    torch.int32: "int_val",
    torch.int64: "int64_val",
    torch.uint32: "uint32_val",
    torch.uint64: "uint64_val",
}


def encoded(**values: Any) -> memoryview:
    return memoryview(TensorProto(**values).SerializeToString())


@pytest.mark.parametrize(("dtype", "field"), INTEGERS.items(), ids=str)
@given(data=st.data())
def test_integers(dtype: torch.dtype, field: str, data: st.DataObject) -> None:
    limits = torch.iinfo(dtype)
    numbers = data.draw(st.lists(st.integers(limits.min, limits.max), max_size=20))
    found = read_values(encoded(**{field: numbers}), dtype, len(numbers))
    assert found.dtype == dtype
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    ("dtype", "field", "numbers"),
    [
        (torch.float32, "float_val", [1.5, -0.0, float("inf")]),
        (torch.float64, "double_val", [1e300, -0.0, float("-inf")]),
        (torch.bool, "bool_val", [True, False, True]),
        (torch.uint8, "tensor_content", bytes([1, 255])),
    ],
    ids=str,
)
def test_other_numbers(dtype: torch.dtype, field: str, numbers: Any) -> None:
    found = read_values(encoded(**{field: numbers}), dtype, len(numbers))
    assert found.dtype == dtype
    assert found.tolist() == list(numbers)


def test_a_type_without_a_field_is_stored_as_it_is_in_memory() -> None:
    assert read_values(encoded(tensor_content=bytes([0x3C])), torch.float8_e5m2, 1).float().tolist() == [1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_stored_as_their_bits(dtype: torch.dtype) -> None:
    wanted = torch.tensor([1.5, -2.0, float("-inf"), 0.0], dtype=dtype)
    bits = wanted.view(torch.uint16).tolist()
    assert torch.equal(read_values(encoded(half_val=bits), dtype, 4), wanted)


@pytest.mark.parametrize(("dtype", "field"), [(torch.complex64, "scomplex_val"), (torch.complex128, "dcomplex_val")])
def test_complex_numbers_are_pairs(dtype: torch.dtype, field: str) -> None:
    assert read_values(encoded(**{field: [1, 2, -3, 4]}), dtype, 2).tolist() == [1 + 2j, -3 + 4j]


def test_numbers_are_decoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_values, "_PIECE", 11)
    numbers = [7**i * (-1) ** i for i in range(22)]
    assert read_values(encoded(int64_val=numbers), torch.int64, 22).tolist() == numbers


def test_fields_that_come_in_pieces() -> None:
    single = bytes([7 << 3, 1, 7 << 3, 0x96, 1])  # each number a field of its own
    packed = bytes(encoded(int_val=[-2, 3]))
    assert read_values(memoryview(single + packed), torch.int32, 4).tolist() == [1, 150, -2, 3]
    assert read_values(memoryview(bytes([5 << 3 | 5, 0, 0, 128, 63])), torch.float32, 1).tolist() == [1.0]
    assert read_values(memoryview(bytes([6 << 3 | 1, 0, 0, 0, 0, 0, 0, 240, 63])), torch.float64, 1).tolist() == [1.0]


def test_strings() -> None:
    assert read_values(encoded(string_val=[b"", b"\xff\0"]), bytes, 2).tolist() == [b"", b"\xff\0"]


@pytest.mark.parametrize(
    ("dtype", "data", "count", "message"),
    [
        (torch.float32, encoded(float_val=[1, 2]), 3, "it has 2 values instead of 3"),
        (torch.float32, encoded(float_val=[1, 2]), 1, "it has 2 values instead of 1"),
        (torch.float32, encoded(), 1, "it has 0 values instead of 1"),
        (torch.float64, encoded(tensor_content=b"12345678abcd"), 1, "it has 1.5 values instead of 1"),
        (torch.int64, encoded(int64_val=[1, 2]), 2**50, f"it has 2 values instead of {2**50}"),
        (bytes, encoded(string_val=[b"a"]), 2**50, f"it has 1 values instead of {2**50}"),
        (torch.int64, memoryview(b"\x52\x0b" + b"\x80" * 10 + b"\x01"), 1, "a number has no end"),
        (torch.int64, memoryview(b"\x52\x03\x01\x80\x80"), 1, "a number has no end"),
        (torch.int64, memoryview(b"\x52\x7f\x01"), 1, "the field at byte 0 ends at 129 of 3"),
        (torch.int64, memoryview(b"\x08\x01\x53"), 0, "byte 2 has the wire type 3"),
        (torch.int64, memoryview(b"\x08\xff"), 0, "Got 'ff'"),
    ],
)
def test_damaged_values(dtype: Any, data: memoryview, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_values(data, dtype, count)


@given(st.binary(max_size=30))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    try:
        found = list(fields(memoryview(data)))
    except ValueError:
        return
    assert sum(len(content) for _, content in found) <= len(data)
    for number, _ in found:
        assert bytes(content_of(memoryview(data), number)) == b"".join(bytes(part) for n, part in found if n == number)
