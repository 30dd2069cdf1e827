"""Examples and their features: against bytes written out by hand, and TensorFlow's rules for what is missing."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from torchslim.data import (
    DataError,
    FixedLenFeature,
    FixedLenSequenceFeature,
    SparseTensorValue,
    VarLenFeature,
    make_example,
    make_sequence_example,
    parse_single_example,
    parse_single_sequence_example,
)
from torchslim.data.example import Example, Feature, FeatureList, SequenceExample, make_feature, parse
from torchslim.data.features import reshape

INT, FLOAT = torch.int64, torch.float32


def read(spec: Any, value: Any = None, **more: Any) -> Any:
    features = more if value is None else {"a": value}
    return parse_single_example(make_example(features).SerializeToString(), {"a": spec})["a"]


def read_steps(spec: Any, steps: list[Any] | None) -> Any:
    message = make_sequence_example({}, {} if steps is None else {"a": steps})
    return parse_single_sequence_example(message.SerializeToString(), None, {"a": spec})[1]["a"]


def test_bytes_are_those_of_the_published_definition() -> None:
    feature = b"\x0a\x01a" + b"\x12\x05" + b"\x1a\x03" + b"\x0a\x01\x03"  # map entry: 'a', int64_list of a packed 3
    assert make_example({"a": 3}).SerializeToString() == b"\x0a\x0c" + b"\x0a\x0a" + feature
    strings = b"\x0a\x01s" + b"\x12\x05" + b"\x0a\x03" + b"\x0a\x01x"
    assert make_example({"s": "x"}).SerializeToString() == b"\x0a\x0c\x0a\x0a" + strings
    floats = b"\x0a\x01f" + b"\x12\x08" + b"\x12\x06" + b"\x0a\x04" + np.float32(1.5).tobytes()
    assert make_example({"f": 1.5}).SerializeToString() == b"\x0a\x0f\x0a\x0d" + floats
    lists = b"\x0a\x01a" + b"\x12\x07" + b"\x0a\x05" + b"\x1a\x03" + b"\x0a\x01\x03"
    assert make_sequence_example({}, {"a": [3]}).SerializeToString() == b"\x0a\x00\x12\x0e\x0a\x0c" + lists


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        (3, "int64_list", [3]),
        (True, "int64_list", [1]),
        ([1, 2], "int64_list", [1, 2]),
        ([1, 0.5], "float_list", [1, 0.5]),
        (np.float64(2), "float_list", [2]),
        (np.zeros((2, 2), np.uint8), "int64_list", [0] * 4),
        (torch.tensor([[1.0, 2.0]]), "float_list", [1, 2]),
        (torch.empty(0, dtype=torch.int64), "int64_list", []),
        ("ä", "bytes_list", ["ä".encode()]),
        ([b"\xff", "b"], "bytes_list", [b"\xff", b"b"]),
        (np.array([b"x", b"y"], object), "bytes_list", [b"x", b"y"]),
        (np.array(["x", "y"]), "bytes_list", [b"x", b"y"]),
        ([], None, None),
    ],
)
def test_features_of_values(value: Any, kind: str | None, wanted: list[Any]) -> None:
    feature = make_feature(value)
    assert feature.WhichOneof("kind") == kind
    if kind:
        assert list(getattr(feature, kind).value) == wanted


@pytest.mark.parametrize("value", [None, 1j, [b"x", 1], {"a": 1}])
def test_values_that_are_no_feature(value: Any) -> None:
    with pytest.raises(TypeError, match=r"make_feature: `value` must be integers, floats or strings. Got "):
        make_feature(value)


def test_values_come_in_the_type_and_shape_of_the_feature() -> None:
    assert torch.equal(read(FixedLenFeature([2, 2], INT), [1, 2, 3, 4]), torch.tensor([[1, 2], [3, 4]]))
    assert torch.equal(read(FixedLenFeature((), FLOAT), 0.25), torch.tensor(0.25))
    assert read(FixedLenFeature([], bytes), "x") == b"x"
    assert read(FixedLenFeature([1], bytes), "x").tolist() == [b"x"]
    assert torch.equal(read(FixedLenFeature([0], INT), np.empty(0, np.int64)), torch.empty(0, dtype=INT))
    assert read(FixedLenSequenceFeature([2], INT, allow_missing=True), [1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    several = read(VarLenFeature(INT), [7, 8])
    assert (several.indices.tolist(), several.values.tolist(), several.dense_shape.tolist()) == (
        [[0], [1]],
        [7, 8],
        [2],
    )


# What TensorFlow 2.21 gave for each.
@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (FixedLenFeature([], INT, 7), torch.tensor(7)),
        (FixedLenFeature([2], FLOAT, [1, 2]), torch.tensor([1.0, 2.0])),
        (FixedLenFeature([], FLOAT, [0.5]), torch.tensor(0.5)),
        (FixedLenSequenceFeature([2], INT, True, 3), torch.empty(0, 2, dtype=INT)),
    ],
)
def test_what_is_missing_has_its_default(spec: Any, wanted: torch.Tensor) -> None:
    for value in (None, []):  # not there, or there without a type
        found = read(spec, value)
        assert (found.dtype, found.shape, found.tolist()) == (wanted.dtype, wanted.shape, wanted.tolist())


def test_a_default_is_given_anew_each_time() -> None:
    spec = FixedLenFeature([2], FLOAT, torch.zeros(2))
    read(spec).add_(1)
    assert read(spec).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (FixedLenFeature([], INT), None, r"feature 'a' must be there.* Got an example with \['b'\]"),
        (FixedLenFeature([], INT, 7), np.empty(0, np.int64), r"'a': a value of shape \[0\] cannot have the shape \[\]"),
        (FixedLenFeature([], INT), [1, 2], r"a value of shape \[2\] cannot have the shape \[\]"),
        (FixedLenFeature([], INT, 7), 0.5, r"'a' must be int64_list \(torch.int64\). Got float_list"),
        (FixedLenFeature([], INT, 7), np.empty(0, np.float32), r"Got float_list"),
        (VarLenFeature(bytes), [1], r"'a' must be bytes_list .* Got int64_list"),
        (FixedLenSequenceFeature([2], INT, True), [1, 2, 3], r"shape \[3\] cannot have the shape \[-1, 2\]"),
    ],
)
def test_examples_that_are_otherwise(spec: Any, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(spec, value, b=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VarLenFeature(torch.int32), r"VarLenFeature: `dtype` must be .* Got torch.int32"),
        (lambda: FixedLenFeature([None], INT), r"FixedLenFeature: `shape` must be known sizes. Got \[None\]"),
        (lambda: FixedLenFeature([3], FLOAT, 0.5), r"`default_value` must have the shape \[3\]. Got 0.5"),
        (lambda: FixedLenFeature([], INT, 0.5), r"`default_value` must be torch.int64. Got 0.5"),
        (lambda: read(FixedLenSequenceFeature([], INT), [1]), r"must have `allow_missing`. Got 'a' without"),
        (lambda: read_steps(FixedLenFeature([], INT), [1]), r"`sequence_features` must be FixedLenSequenceFeature or"),
        (
            lambda: parse_single_sequence_example(b"", {"c": FixedLenSequenceFeature([], INT, True)}),
            r"`context_features` must be FixedLenFeature or VarLenFeature. Got .* for 'c'",
        ),
    ],
)
def test_features_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("steps", [[[1, 2], [], [5]], [[1, 2], np.empty(0, np.int64), [5]]])
def test_steps_may_have_any_number_of_values(steps: list[Any]) -> None:
    ragged = read_steps(VarLenFeature(INT), steps)
    assert ragged.indices.tolist() == [[0, 0], [0, 1], [2, 0]]
    assert (ragged.values.tolist(), ragged.dense_shape.tolist()) == ([1, 2, 5], [3, 2])
    assert ragged.to_dense(-1).tolist() == [[1, 2], [-1, -1], [5, -1]]


def test_steps_of_strings() -> None:
    assert read_steps(VarLenFeature(bytes), ["x", ["y", "z"]]).to_dense("").tolist() == [[b"x", b""], [b"y", b"z"]]
    assert read_steps(FixedLenSequenceFeature([], bytes), ["x", "y"]).tolist() == [b"x", b"y"]


@pytest.mark.parametrize("steps", [None, []])
def test_steps_that_are_not_there(steps: list[Any] | None) -> None:
    assert read_steps(VarLenFeature(INT), steps).dense_shape.tolist() == [0, 0]
    assert read_steps(FixedLenSequenceFeature([2], INT, allow_missing=True), steps).shape == (0, 2)
    if steps is None:
        with pytest.raises(DataError, match=r"feature 'a' must be there, for it has no `allow_missing`"):
            read_steps(FixedLenSequenceFeature([], INT), steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([[1], []], r"1 values in each step. Got 0 in step 1"),
        ([[1, 2]], r"Got 2 in step 0"),
        ([0.5], r"Got float_list"),
    ],
)
def test_steps_that_are_otherwise(steps: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_steps(FixedLenSequenceFeature([], INT), steps)


@pytest.mark.parametrize("kind", [Example, SequenceExample])
def test_bytes_that_are_no_message(kind: Any) -> None:
    with pytest.raises(DataError, match=rf"must be a serialized {kind.DESCRIPTOR.name}. Got 2 bytes"):
        parse(kind, b"\xff\xff")


def test_dense_values_of_strings_and_more_dimensions() -> None:
    places, shape = torch.tensor([[1, 0], [0, 2]]), torch.tensor([2, 3])
    sparse = SparseTensorValue(places, torch.tensor([5, 6]), shape)
    assert sparse.to_dense(0).tolist() == [[0, 0, 6], [5, 0, 0]]
    strings = SparseTensorValue(places, np.array([b"x", b"y"], object), shape)
    assert strings.to_dense("-").tolist() == [[b"-", b"-", b"y"], [b"x", b"-", b"-"]]
    assert reshape(np.array([b"x"], object), [], "name") == b"x"


def test_noise_is_an_error_of_ours_or_a_value() -> None:
    chance = random.Random(0)
    specs = {"i": VarLenFeature(INT), "f": FixedLenFeature([2], FLOAT), "s": FixedLenFeature([], bytes, "")}
    whole = make_example({"i": [1, 2, 300], "f": [0.5, 1.5], "s": "text"}).SerializeToString()
    outcomes = set()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            outcomes.add(len(parse_single_example(bytes(data), specs)))
        except DataError:
            outcomes.add(0)
    assert outcomes == {0, 3}


def test_messages_can_be_filled_by_hand() -> None:
    example = Example()
    example.features.feature["image/class/label"].int64_list.value.append(3)
    assert example == make_example({"image/class/label": 3})
    steps = FeatureList(feature=[Feature(), make_feature([1])])
    assert len(steps.feature) == 2
