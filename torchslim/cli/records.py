"""`torchslim records`: whether record files are whole, where their records are, what is in them, and making some."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from torchslim.data import DataError, RecordReader, RecordWriter
from torchslim.data.example import Example, SequenceExample, parse
from torchslim.data.record_format import OVERHEAD, scan
from torchslim.data.record_index import save_index
from torchslim.data.record_source import find_compression, open_source
from torchslim.data.records import find_files
from torchslim.datasets.record_conversion import convert_image_folder, convert_voc

_FIRST = 6


def records(args: argparse.Namespace) -> int:
    """Does what is asked for.

    Returns:
        The exit code: 0, or 1 if `verify` finds damage.
    """
    result = {"verify": _verify, "index": _index, "cat": _cat, "convert": _convert}[args.action](args)
    return result if isinstance(result, int) else 0


def _verify(args: argparse.Namespace) -> int:
    """Reads everything, and lists what is damaged."""
    total = damaged = 0
    for file in find_files(args.files):
        compression = find_compression(file)
        source = open_source(file, compression)
        count, end, last_error = 0, 0, None
        for offset, length, _, last_error in scan(source, file):
            if last_error:
                damaged += 1
                print(f"  {file}: record at byte {offset}: {last_error.reason}")
            else:
                count, end = count + 1, offset + OVERHEAD + length
        total += count
        print(f"{file}: {count:,} whole records{f', {compression}' if compression else ''}")
        if not last_error and (stray := len(source.read_at(end, OVERHEAD))):
            print(f"  {file}: {stray} bytes behind the last record, too few for another one: readers ignore them")
    print(f"{total:,} whole records, {damaged or 'none'} damaged")
    return 1 if damaged else 0


def _index(args: argparse.Namespace) -> None:
    """Keeps an index beside each file."""
    for file in find_files(args.files):
        # Read whole, so that an index is only kept of what is not damaged.
        entries = []
        for offset, length, _, error in scan(open_source(file, find_compression(file)), file):
            if error:
                raise error
            entries.append((offset, length))
        print(f"{save_index(file, np.array(entries, np.int64).reshape(-1, 2))}: {len(entries):,} records")


def _cat(args: argparse.Namespace) -> None:
    """Prints records, or writes them into one file."""
    reader = RecordReader(args.files, on_damage="skip" if args.skip_damaged else "raise")
    if args.output:
        with RecordWriter(args.output, args.compression) as writer:
            count = 0
            for record in reader:
                writer.write(record)
                count += 1
        print(f"{args.output}: {count:,} records")
        return
    for number, (data, file, offset) in enumerate(reader.records()):
        if number == args.count:
            break
        print(f"{file}:{offset}  {len(data):,} bytes")
        for line in _describe(data, SequenceExample if args.sequences else Example):
            print(f"  {line}")


def _describe(data: bytes, message_class: Any) -> list[str]:
    try:
        message = parse(message_class, data)
    except DataError:
        return [f"no {message_class.DESCRIPTOR.name}: {_short(data)}"]
    features = message.context.feature if message_class is SequenceExample else message.features.feature
    lines = [f"{name}  {_describe_feature(features[name])}" for name in sorted(features)]
    if message_class is SequenceExample:
        for name, steps in sorted(message.feature_lists.feature_list.items()):
            first = _describe_feature(steps.feature[0]) if steps.feature else "empty"
            lines.append(f"{name}  {len(steps.feature)} steps, the first: {first}")
    return lines


def _describe_feature(feature: Any) -> str:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return "empty"
    values = getattr(feature, kind).value
    shown = [
        _short(value) if isinstance(value, bytes) else f"{value:g}" if kind == "float_list" else str(value)
        for value in values[:_FIRST]
    ]
    return f"{kind.removesuffix('_list')} [{len(values)}]  {', '.join(shown)}{', ...' if len(values) > _FIRST else ''}"


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 40 else f"{data[:12]!r}... ({len(data):,} bytes)"


def _convert(args: argparse.Namespace) -> None:
    """Writes pictures and what they show as records."""
    options = {"shards": args.shards, "compression": args.compression}
    if args.name:
        options["name"] = args.name
    if args.kind == "voc":
        paths = convert_voc(args.source, args.output, args.split or "train", args.year, **options)
    else:
        paths = convert_image_folder(args.source, args.output, args.split, **options)
    for path in paths:
        print(f"{path}: {len(RecordReader(path)):,} records")
