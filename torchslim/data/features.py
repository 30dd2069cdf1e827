"""What the features of an `Example` are like, and reading them by that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from torchslim.data.example import Example, SequenceExample, parse
from torchslim.data.items import DataError

__all__ = [
    "FeatureSpec",
    "FixedLenFeature",
    "FixedLenSequenceFeature",
    "SparseTensorValue",
    "Value",
    "VarLenFeature",
    "parse_single_example",
    "parse_single_sequence_example",
    "reshape",
    "string_array",
]

# Strings: one is `bytes`, several are an array of them.
Value = torch.Tensor | np.ndarray | bytes

_LISTS = {torch.int64: "int64_list", torch.float32: "float_list", bytes: "bytes_list"}
_ARRAYS = {torch.int64: np.int64, torch.float32: np.float32, bytes: object}


@dataclass(frozen=True)
class SparseTensorValue:
    """Values that are at some places of a tensor.

    Attributes:
        indices: int64 `[values, rank]`: their places.
        values: `[values]`: a tensor, or for strings an array of `bytes`.
        dense_shape: int64 `[rank]`: shape of the whole.
        is_whole: whether there is a value at every place, in their order.
    """

    indices: torch.Tensor
    values: Any
    dense_shape: torch.Tensor
    is_whole: bool = False

    def to_dense(self, default_value: Any = 0) -> torch.Tensor | np.ndarray:
        """The whole, with `default_value` where there are no values.

        Raises:
            DataError: if two values have one place, or a place is outside.

        Example:
            >>> SparseTensorValue(torch.tensor([[2]]), torch.tensor([7]), torch.tensor([4])).to_dense(-1)
            tensor([-1, -1,  7, -1])
        """
        shape = tuple(self.dense_shape.tolist())
        if self.is_whole:
            return reshape(self.values, shape, "SparseTensorValue.to_dense")
        strides = torch.tensor([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
        places = (self.indices * strides).sum(1)
        is_inside = bool(((self.indices >= 0) & (self.indices < self.dense_shape)).all())
        if not is_inside or len(places.unique()) != len(self.values):
            raise DataError(
                "SparseTensorValue.to_dense: `indices` must be places in the shape "
                f"{list(shape)}, one for each value. Got {self.indices.tolist()} for {len(self.values)} values."
            )
        if isinstance(self.values, torch.Tensor):
            dense = torch.full((math.prod(shape),), default_value, dtype=self.values.dtype)
            dense[places] = self.values
            return dense.reshape(shape)
        strings = np.full(math.prod(shape), _encode(default_value or b""), object)
        strings[places.numpy()] = self.values
        return strings.reshape(shape)


@dataclass(frozen=True)
class FixedLenFeature:
    """A feature that has one shape in every example.

    Attributes:
        shape: the shape; `[]`: one value.
        dtype: `torch.int64`, `torch.float32` or `bytes`.
        default_value: what an example without the feature has: a value, or as many as `shape` has. None: it must be
            there.

    Raises:
        ValueError: if the dtype is another one, or shape and default do not fit.
    """

    shape: Sequence[int]
    dtype: Any
    default_value: Any = None

    def __post_init__(self) -> None:
        _check(self)
        if self.default_value is not None:
            default = self.default()
            size = 1 if isinstance(default, bytes) else math.prod(default.shape)
            if size != math.prod(self.shape):
                raise ValueError(
                    f"FixedLenFeature: `default_value` must have the shape {list(self.shape)}. Got "
                    f"{self.default_value!r}."
                )

    def default(self) -> Value:
        """The default value, in the shape of the feature."""
        if self.dtype is bytes:
            strings = np.asarray(self.default_value, object)
            encoded = [_encode(string) for string in strings.ravel()]
            return string_array(encoded, self.shape if len(encoded) == math.prod(self.shape) else [len(encoded)])
        values = torch.as_tensor(self.default_value)
        if values.is_floating_point() and values.numel() and self.dtype is torch.int64:
            raise ValueError(f"FixedLenFeature: `default_value` must be {self.dtype}. Got {self.default_value!r}.")
        values = values.to(self.dtype, copy=True)
        return values.reshape(tuple(self.shape)) if values.numel() == math.prod(self.shape) else values


@dataclass(frozen=True)
class VarLenFeature:
    """A feature with any number of values, which is read as a `SparseTensorValue`.

    Attributes:
        dtype: `torch.int64`, `torch.float32` or `bytes`.
    """

    dtype: Any

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class FixedLenSequenceFeature:
    """A feature with any number of values of one shape: `[steps, *shape]`.

    In a `SequenceExample` each step is a feature of its own. In an `Example` all are in one, which may be missing.

    Attributes:
        shape: of a step.
        dtype: `torch.int64`, `torch.float32` or `bytes`.
        allow_missing: whether the feature may be missing: there are no steps then.
        default_value: for TF-Slim's sake; it fills up batches, and there is nothing to fill up in one example.
    """

    shape: Sequence[int]
    dtype: Any
    allow_missing: bool = False
    default_value: Any = None

    def __post_init__(self) -> None:
        _check(self)


FeatureSpec = FixedLenFeature | VarLenFeature | FixedLenSequenceFeature


def parse_single_example(
    serialized: bytes, features: Mapping[str, FeatureSpec]
) -> dict[str, Value | SparseTensorValue]:
    """Reads an `Example`, as `tf.io.parse_single_example` does.

    Args:
        serialized: its bytes.
        features: name -> what the feature is like.

    Returns:
        Name -> tensor; `bytes` or an array of them for strings; a `SparseTensorValue` for a `VarLenFeature`.

    Raises:
        DataError: if it is no Example, or a feature is missing or otherwise than `features` say.
        ValueError: for a `FixedLenSequenceFeature` without `allow_missing`.

    Example:
        >>> from torchslim.data import make_example
        >>> serialized = make_example({'label': 3, 'name': 'cat'}).SerializeToString()
        >>> parse_single_example(serialized, {'label': FixedLenFeature([], torch.int64),
        ...                                   'name': FixedLenFeature([], bytes),
        ...                                   'side': FixedLenFeature([], torch.int64, 224)})
        {'label': tensor(3), 'name': b'cat', 'side': tensor(224)}
    """
    function = "parse_single_example"
    return _read_features(parse(Example, serialized).features.feature, features, function)


def parse_single_sequence_example(
    serialized: bytes,
    context_features: Mapping[str, FeatureSpec] | None = None,
    sequence_features: Mapping[str, FeatureSpec] | None = None,
) -> tuple[dict[str, Value | SparseTensorValue], dict[str, Value | SparseTensorValue]]:
    """Reads a `SequenceExample`, as `tf.io.parse_single_sequence_example` does.

    Args:
        serialized: its bytes.
        context_features: name -> what a feature of the whole is like: `FixedLenFeature` or `VarLenFeature`.
        sequence_features: name -> what a feature of the steps is like: `FixedLenSequenceFeature` or `VarLenFeature`,
            which is read as `[steps, most values in a step]`.

    Returns:
        Name -> value for the context, and for the steps.

    Raises:
        DataError: if it is no SequenceExample, or a feature is missing or otherwise than said.
        ValueError: for another kind of feature.
    """
    function = "parse_single_sequence_example"
    for argument, specs, kinds in (
        ("context_features", context_features or {}, (FixedLenFeature, VarLenFeature)),
        ("sequence_features", sequence_features or {}, (FixedLenSequenceFeature, VarLenFeature)),
    ):
        for name, spec in specs.items():
            if not isinstance(spec, kinds):
                allowed = " or ".join(kind.__name__ for kind in kinds)
                raise ValueError(f"{function}: `{argument}` must be {allowed}. Got {spec!r} for {name!r}.")
    message = parse(SequenceExample, serialized)
    context = _read_features(message.context.feature, context_features or {}, function)
    lists, sequences = message.feature_lists.feature_list, {}
    for name, spec in (sequence_features or {}).items():
        steps = lists[name].feature if name in lists else None
        sequences[name] = _read_steps(steps, name, cast(VarLenFeature | FixedLenSequenceFeature, spec), function)
    return context, sequences


def reshape(value: Any, shape: Sequence[int], what: str) -> Any:
    """Reshapes a tensor or strings.

    Raises:
        DataError: if there are more or fewer values than that; it begins with `what`.

    Example:
        >>> reshape(b'cat', [1], 'name')
        array([b'cat'], dtype=object)
    """
    array = string_array([value], [1]) if isinstance(value, bytes) else value
    try:
        array = array.reshape(tuple(shape))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{what}: a value of shape {list(array.shape)} cannot have the shape {list(shape)}.") from error
    return array if isinstance(array, torch.Tensor) or array.ndim else array[()]


def string_array(strings: Sequence[Any], shape: Sequence[int]) -> Any:
    """Strings as an array; of no dimension: the string itself.

    Example:
        >>> string_array([b'cat', b'dog'], [2])
        array([b'cat', b'dog'], dtype=object)
    """
    array = np.empty(len(strings), object)
    array[:] = strings
    array = array.reshape(tuple(shape))
    return array if array.ndim else array[()]


def _read_features(
    messages: Mapping[str, Any], features: Mapping[str, FeatureSpec], function: str
) -> dict[str, Value | SparseTensorValue]:
    read: dict[str, Value | SparseTensorValue] = {}
    for name, spec in features.items():
        message = messages.get(name)
        values = _values(message, name, spec, function)
        if isinstance(spec, VarLenFeature):
            read[name] = _all_of(_empty(spec) if values is None else values)
        elif isinstance(spec, FixedLenSequenceFeature):
            if not spec.allow_missing:
                raise ValueError(
                    f"{function}: a FixedLenSequenceFeature must have `allow_missing`. Got {name!r} without."
                )
            values = _empty(spec) if values is None else values
            read[name] = reshape(values, [-1, *spec.shape], f"{function}: feature {name!r}")
        elif values is not None:
            read[name] = reshape(values, spec.shape, f"{function}: feature {name!r}")
        elif spec.default_value is not None:
            read[name] = spec.default()
        else:
            raise DataError(
                f"{function}: feature {name!r} must be there, for it has no `default_value`. Got an example with "
                f"{sorted(messages)}."
            )
    return read


def _read_steps(
    steps: Sequence[Any] | None, name: str, spec: VarLenFeature | FixedLenSequenceFeature, function: str
) -> Value | SparseTensorValue:
    read = [_values(step, name, spec, function) for step in steps or ()]
    if isinstance(spec, VarLenFeature):
        return _ragged([_empty(spec) if values is None else values for values in read], spec)
    if steps is None and not spec.allow_missing:
        raise DataError(f"{function}: feature {name!r} must be there, for it has no `allow_missing`. Got none.")
    for number, values in enumerate(read):
        count = 0 if values is None else len(values)
        if count != math.prod(spec.shape) or values is None:
            raise DataError(
                f"{function}: feature {name!r} must have {math.prod(spec.shape)} values in each step. Got {count} in "
                f"step {number}."
            )
    return reshape(_joined(read, spec), [len(read), *spec.shape], function)


def _values(message: Any, name: str, spec: FeatureSpec, function: str) -> torch.Tensor | np.ndarray | None:
    """The values in a `Feature`; None if it is missing, or has no type."""
    kind = message.WhichOneof("kind") if message is not None else None
    if kind is None:
        return None
    if kind != _LISTS[spec.dtype]:
        raise DataError(f"{function}: feature {name!r} must be {_LISTS[spec.dtype]} ({spec.dtype}). Got {kind}.")
    values = getattr(message, kind).value
    if spec.dtype is bytes:
        return string_array(list(values), [len(values)])
    return torch.from_numpy(np.array(values, _ARRAYS[spec.dtype]))


def _empty(spec: FeatureSpec) -> torch.Tensor | np.ndarray:
    return string_array([], [0]) if spec.dtype is bytes else torch.empty(0, dtype=spec.dtype)


def _all_of(values: torch.Tensor | np.ndarray) -> SparseTensorValue:
    """All values of a list, as a sparse tensor."""
    return SparseTensorValue(torch.arange(len(values))[:, None], values, torch.tensor([len(values)]), is_whole=True)


def _ragged(rows: list[torch.Tensor | np.ndarray], spec: FeatureSpec) -> SparseTensorValue:
    lengths = [len(row) for row in rows]
    places = [[step, place] for step, length in enumerate(lengths) for place in range(length)]
    indices = torch.tensor(places, dtype=torch.int64).reshape(-1, 2)
    shape = torch.tensor([len(rows), max(lengths, default=0)])
    return SparseTensorValue(indices, _joined(rows, spec), shape, is_whole=len(set(lengths)) <= 1)


def _joined(rows: Sequence[Any], spec: FeatureSpec) -> Any:
    if not rows:
        return _empty(spec)
    return np.concatenate(rows) if spec.dtype is bytes else torch.cat(list(rows))


def _encode(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _check(spec: FeatureSpec) -> None:
    name = type(spec).__name__
    if spec.dtype not in _LISTS:
        raise ValueError(f"{name}: `dtype` must be torch.int64, torch.float32 or bytes. Got {spec.dtype!r}.")
    shape = getattr(spec, "shape", ())
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(
            f"{name}: `shape` must be known sizes. Got {shape!r}: a VarLenFeature has any number of values."
        )
