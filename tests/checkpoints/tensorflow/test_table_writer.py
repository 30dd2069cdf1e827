"""Tables: the bytes that TensorFlow writes for the same entries, and that what is written is found again."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchslim.checkpoints.tensorflow.coding import varint
from torchslim.checkpoints.tensorflow.table import FOOTER_SIZE, Table
from torchslim.checkpoints.tensorflow.table_writer import TableWriter, encode_varint

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
TABLES = ["dtypes_v2/dtypes.ckpt.index", "partitioned_v1/part.ckpt", "lenet_v1/model.ckpt", "many_v2/many.ckpt.index"]


def write(path: Path, items: list[tuple[bytes, bytes]], block_size: int = 256 << 10) -> Path:
    with path.open("wb") as file:
        table = TableWriter(file, block_size=block_size)
        for key, value in items:
            table.add(key, value)
        table.finish()
    return path


@pytest.mark.parametrize("name", TABLES)
def test_blocks_are_those_of_tensorflow(name: str, tmp_path: Path) -> None:
    """All before the index, whose keys TensorFlow shortens."""
    source = GOLDENS / name
    items = [(key, bytes(value)) for key, value in Table(source).items()]
    written = write(tmp_path / "table", items)
    footer = source.read_bytes()[-FOOTER_SIZE:]
    position = 0
    for _ in range(2):  # the handle of the block of metadata
        _, position = varint(footer, position)
    index, _ = varint(footer, position)
    assert written.read_bytes()[:index] == source.read_bytes()[:index]


@given(
    entries=st.dictionaries(st.binary(max_size=6), st.binary(max_size=20), max_size=60),
    block_size=st.integers(0, 300),
)
def test_what_is_written_is_found(entries: dict[bytes, bytes], block_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Table(write(Path(folder, "table"), sorted(entries.items()), block_size))
        assert [(key, bytes(value)) for key, value in table.items()] == sorted(entries.items())
        assert all(bytes(table.get(key) or b"") == value for key, value in entries.items())
        assert table.get(b"no such key") is None


@pytest.mark.parametrize("key", [b"", b"b"])
def test_keys_must_be_sorted(key: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"must sort behind b'b'. Got {key!r}")):
        write(tmp_path / "table", [(b"b", b""), (key, b"")])


@given(st.integers(0, 2**64 - 1))
def test_varints(number: int) -> None:
    data = encode_varint(number)
    assert varint(data, 0) == (number, len(data))
