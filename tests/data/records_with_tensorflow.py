"""Whether TensorFlow reads what torchslim writes, and the reverse; for machines that have the one or the other.

    python records_with_tensorflow.py write torchslim  FOLDER
    python records_with_tensorflow.py read  tensorflow FOLDER
    python records_with_tensorflow.py write tensorflow FOLDER
    python records_with_tensorflow.py read  torchslim  FOLDER

`read` compares every record, and every feature of its Example or SequenceExample, with what `write` put there.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMPRESSIONS = ("", "GZIP", "ZLIB")
COUNT = 300


def contents() -> Iterator[dict[str, list[Any]]]:
    """Features of all types and of many sizes."""
    chance = random.Random(0)
    for number in range(COUNT):
        size = chance.choice([0, 1, 3, 100, 5000])
        yield {
            "int": [number, -number, 2**63 - 1, -(2**63)],
            "float": [chance.randrange(-1000, 1000) / 8 for _ in range(size)] or [0.0],
            "bytes": [chance.randbytes(size), "ä".encode()],
        }


def messages(package: str) -> tuple[Any, Any]:
    """The two kinds of messages."""
    if package == "torchslim":
        from torchslim.data.example import Example, SequenceExample

        return Example, SequenceExample
    import tensorflow as tf

    return tf.train.Example, tf.train.SequenceExample


def filled(features: Any, values: dict[str, list[Any]]) -> None:
    """Puts values into features."""
    features["int"].int64_list.value.extend(values["int"])
    features["float"].float_list.value.extend(values["float"])
    features["bytes"].bytes_list.value.extend(values["bytes"])


def expected(package: str) -> list[Any]:
    """The messages, made of the same values."""
    example_class, sequence_class = messages(package)
    made = []
    for values in contents():
        example, sequence = example_class(), sequence_class()
        filled(example.features.feature, values)
        filled(sequence.context.feature, values)
        steps = sequence.feature_lists.feature_list["steps"].feature
        for value in values["float"][:20]:
            steps.add().float_list.value.append(value)
        made += [example, sequence]
    return made


def write(package: str, folder: Path) -> None:
    """Writes one file for each compression."""
    for compression in COMPRESSIONS:
        path = str(folder / f"{package}_{compression}.tfrecord")
        if package == "torchslim":
            from torchslim.data import RecordWriter

            writer: Any = RecordWriter(path, compression)
        else:
            import tensorflow as tf

            writer = tf.io.TFRecordWriter(path, compression)
        with writer:
            for message in expected(package):
                writer.write(message.SerializeToString())


def read(package: str, folder: Path) -> None:
    """Reads what the other one wrote."""
    wanted = expected(package)
    for compression in COMPRESSIONS:
        path = str(folder / f"{'tensorflow' if package == 'torchslim' else 'torchslim'}_{compression}.tfrecord")
        if package == "torchslim":
            from torchslim.data import RecordReader

            records: Any = RecordReader(path)
        else:
            import tensorflow as tf

            records = tf.data.TFRecordDataset(path, compression).as_numpy_iterator()
        found = [type(message).FromString(record) for message, record in zip(wanted, records, strict=True)]
        if found != wanted:
            sys.exit(f"{path}: other records than were written")
        print(f"{package} read {path}: {len(found)} records as they were written")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
