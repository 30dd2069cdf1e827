"""TensorFlow's `Example` and `SequenceExample`, the usual content of records, from their published definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError

from torchslim.checkpoints.tensorflow.protobuf import message_classes
from torchslim.data.items import DataError

__all__ = [
    "BytesList",
    "Example",
    "Feature",
    "FeatureList",
    "FeatureLists",
    "Features",
    "FloatList",
    "Int64List",
    "SequenceExample",
    "make_example",
    "make_feature",
    "make_sequence_example",
    "parse",
]

_CLASSES = message_classes("""
message BytesList { repeated bytes value = 1; }
message FloatList { repeated float value = 1; }
message Int64List { repeated int64 value = 1; }
message Feature { oneof BytesList bytes_list = 1; oneof FloatList float_list = 2; oneof Int64List int64_list = 3; }
message Features { map Feature feature = 1; }
message Example { Features features = 1; }
message FeatureList { repeated Feature feature = 1; }
message FeatureLists { map FeatureList feature_list = 1; }
message SequenceExample { Features context = 1; FeatureLists feature_lists = 2; }
""")
BytesList = _CLASSES["BytesList"]
FloatList = _CLASSES["FloatList"]
Int64List = _CLASSES["Int64List"]
Feature = _CLASSES["Feature"]
Features = _CLASSES["Features"]
Example = _CLASSES["Example"]
FeatureList = _CLASSES["FeatureList"]
FeatureLists = _CLASSES["FeatureLists"]
SequenceExample = _CLASSES["SequenceExample"]


def parse(message_class: Any, data: bytes) -> Any:
    """Reads an `Example` or a `SequenceExample`.

    Raises:
        DataError: if `data` are none.

    Example:
        >>> parse(Example, make_example({'label': 3}).SerializeToString()).features.feature['label'].int64_list.value
        [3]
    """
    try:
        return message_class.FromString(bytes(data))
    except DecodeError as error:
        name = message_class.DESCRIPTOR.name
        raise DataError(
            f"data.example.parse: `data` must be a serialized {name}. Got {len(data)} bytes: {error}."
        ) from error


def make_feature(value: Any) -> Any:
    """A `Feature` of a value or of several: integers and bools, floats, or strings (`str` or `bytes`).

    Args:
        value: a number, a string, or a sequence, array or tensor of them (flattened). An empty sequence makes a feature
            without a type, which every reader takes for a missing one; an empty array has the type of its elements.

    Raises:
        TypeError: for other values, or mixed ones.

    Example:
        >>> make_feature([0.5, 2]).float_list.value
        [0.5, 2.0]
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        value = value.ravel().tolist()
    values = [value] if isinstance(value, (str, bytes)) else value
    if isinstance(values, Sequence):
        if not values:
            return Feature()
        if all(isinstance(element, (str, bytes)) for element in values):
            encoded = [element.encode() if isinstance(element, str) else element for element in values]
            return Feature(bytes_list=BytesList(value=encoded))
    numbers = np.asarray(values).ravel()
    if numbers.dtype.kind in "iub":
        return Feature(int64_list=Int64List(value=numbers.astype(np.int64).tolist()))
    if numbers.dtype.kind == "f":
        return Feature(float_list=FloatList(value=numbers.tolist()))
    raise TypeError(f"make_feature: `value` must be integers, floats or strings. Got {value!r}.")


def make_example(features: Mapping[str, Any]) -> Any:
    """An `Example` of values by name; `SerializeToString()` gives what a record holds.

    Args:
        features: name -> value, as `make_feature` takes it.

    Example:
        >>> example = make_example({'image/class/label': 3, 'image/class/text': 'cat'})
        >>> example.features.feature['image/class/text'].bytes_list.value
        [b'cat']
    """
    return Example(features=_features(features))


def make_sequence_example(context: Mapping[str, Any], sequences: Mapping[str, Sequence[Any]]) -> Any:
    """A `SequenceExample`: values of the whole, and of each of its steps.

    Args:
        context: name -> value, as `make_feature` takes it.
        sequences: name -> one such value for each step.

    Example:
        >>> message = make_sequence_example({'id': 7}, {'tokens': [[1], [2, 3]]})
        >>> [len(step.int64_list.value) for step in message.feature_lists.feature_list['tokens'].feature]
        [1, 2]
    """
    lists = {name: FeatureList(feature=[make_feature(step) for step in steps]) for name, steps in sequences.items()}
    return SequenceExample(context=_features(context), feature_lists=FeatureLists(feature_list=lists))


def _features(values: Mapping[str, Any]) -> Any:
    return Features(feature={name: make_feature(value) for name, value in values.items()})
