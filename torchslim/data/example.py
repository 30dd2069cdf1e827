"""TensorFlow's `Example` and `SequenceExample`, the usual content of records.

The messages are built from their published definitions, in a pool of their own, so TensorFlow may be loaded beside
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

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

_KIND = descriptor_pb2.FieldDescriptorProto
# Message -> fields in the order of their numbers: name, type (a message's name or protobuf's), and how often.
_MESSAGES: dict[str, list[tuple[str, str | int, str]]] = {
    "BytesList": [("value", _KIND.TYPE_BYTES, "repeated")],
    "FloatList": [("value", _KIND.TYPE_FLOAT, "repeated")],
    "Int64List": [("value", _KIND.TYPE_INT64, "repeated")],
    "Feature": [
        ("bytes_list", "BytesList", "oneof"),
        ("float_list", "FloatList", "oneof"),
        ("int64_list", "Int64List", "oneof"),
    ],
    "Features": [("feature", "Feature", "map")],
    "Example": [("features", "Features", "one")],
    "FeatureList": [("feature", "Feature", "repeated")],
    "FeatureLists": [("feature_list", "FeatureList", "map")],
    "SequenceExample": [("context", "Features", "one"), ("feature_lists", "FeatureLists", "one")],
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="torchslim", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind, often) in enumerate(fields, 1):
            field = message.field.add(name=field_name, number=number)
            field.label = _KIND.LABEL_REPEATED if often in ("repeated", "map") else _KIND.LABEL_OPTIONAL
            if often == "oneof":
                field.oneof_index = 0
            if often == "map":
                entry_name = "".join(part.capitalize() for part in field_name.split("_")) + "Entry"
                entry = message.nested_type.add(name=entry_name)
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_KIND.TYPE_STRING, label=_KIND.LABEL_OPTIONAL)
                entry.field.add(name="value", number=2, type_name=f".torchslim.{kind}", label=_KIND.LABEL_OPTIONAL)
                kind = f"{name}.{entry_name}"
            if isinstance(kind, str):
                field.type_name = f".torchslim.{kind}"
            else:
                field.type = kind
        if any(often == "oneof" for _, _, often in fields):
            message.oneof_decl.add(name="kind")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"torchslim.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()
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
