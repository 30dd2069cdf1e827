"""Protobuf messages out of their definitions, without a compiler."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS = descriptor_pb2.FieldDescriptorProto


def message_classes(definitions: str) -> dict[str, Any]:
    """Makes classes of messages. They live in a pool of their own, so TensorFlow may be loaded beside them.

    Args:
        definitions: as in a `.proto` file of version 3, except that `map Feature x = 1;` stands for
            `map<string, Feature> x = 1;`, and all fields with `oneof` for one `oneof kind { ... }`.

    Returns:
        Name -> class.

    Example:
        >>> classes = message_classes('message Point { int32 x = 1; repeated float more = 2; }')
        >>> classes['Point'](x=3, more=[0.5]).SerializeToString().hex()
        '080312040000003f'
    """
    file = descriptor_pb2.FileDescriptorProto(name="messages.proto", package="torchslim", syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", definitions, re.DOTALL):
        message = file.message_type.add(name=name)
        for label, kind, field_name, number in re.findall(r"(\w+ |)(\w+) (\w+) = (\d+);", body):
            field = message.field.add(name=field_name, number=int(number), label=_KINDS.LABEL_OPTIONAL)
            _set_type(field, kind)
            if label in ("repeated ", "map "):
                field.label = _KINDS.LABEL_REPEATED
            if label == "map ":
                entry = message.nested_type.add(name=field_name.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                for number, (part, part_kind) in enumerate((("key", "string"), ("value", kind)), 1):
                    _set_type(entry.field.add(name=part, number=number, label=_KINDS.LABEL_OPTIONAL), part_kind)
                _set_type(field, f"{name}.{entry.name}")
            if label == "optional " or (label == "oneof " and not message.oneof_decl):
                # Whether the field is there counts, which a oneof of one field remembers.
                message.oneof_decl.add(name="kind" if label == "oneof " else f"has_{field_name}")
            if label in ("optional ", "oneof "):
                field.oneof_index = len(message.oneof_decl) - 1
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"torchslim.{message.name}"))
        for message in file.message_type
    }


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind[0].isupper():
        field.type, field.type_name = _KINDS.TYPE_MESSAGE, f".torchslim.{kind}"
    else:
        field.type = _KINDS.Type.Value(f"TYPE_{kind.upper()}")
