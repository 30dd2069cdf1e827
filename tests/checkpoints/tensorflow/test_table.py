"""Tables against tables that are put together here, byte by byte, and against those of TensorFlow."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cramjam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchslim.checkpoints import CheckpointError
from torchslim.checkpoints.tensorflow.coding import masked_crc32c, varint
from torchslim.checkpoints.tensorflow.table import Table

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
MAGIC = bytes.fromhex("57fb808b247547db")
Entries = Sequence[tuple[bytes, bytes]]


def message_id(value: object) -> str:
    return value if isinstance(value, str) else ""


def number(value: int) -> bytes:
    """A varint."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + number(value // 128)


def entry(shared: int, key: bytes, value: bytes) -> bytes:
    return number(shared) + number(len(key)) + number(len(value)) + key + value


def block(entries: Entries, restart_interval: int = 2) -> bytes:
    data, restarts, previous = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart_interval == 0:
            restarts.append(len(data))
        else:
            shared = next(n for n in range(len(key), -1, -1) if previous.startswith(key[:n]))
        data += entry(shared, key[shared:], value)
        previous = key
    return data + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def sealed(data: bytes, kind: int = 0) -> bytes:
    """A block with what stands behind it."""
    data += bytes([kind])
    return data + struct.pack("<I", masked_crc32c(data))


def table(blocks: Sequence[tuple[bytes, bytes]], *, snappy: bool = False) -> bytes:
    """A table of blocks, each with its last key."""
    file, index = b"", []

    def add(data: bytes) -> bytes:
        nonlocal file
        data = bytes(cramjam.snappy.compress_raw(data)) if snappy else data
        handle = number(len(file)) + number(len(data))
        file += sealed(data, int(snappy))
        return handle

    for last_key, data in blocks:
        index.append((last_key, add(data)))
    handles = add(block([])) + add(block(index, 1))
    return file + handles.ljust(40, b"\0") + MAGIC


def opened(tmp_path: Path, data: bytes, *, verify: bool = True) -> Table:
    path = tmp_path / "a.index"
    path.write_bytes(data)
    return Table(path, verify=verify)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=5), st.binary(max_size=5))
def test_varint(value: int, before: bytes, behind: bytes) -> None:
    data = before + number(value)
    assert varint(data + behind, len(before)) == (value, len(data))
    with pytest.raises(CheckpointError, match=rf"whole number of at most 64 bits at {len(before)}\. Got '"):
        varint(data[:-1], len(before))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00"])
def test_numbers_of_more_than_64_bits(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=rf"Got '{data[:10].hex(' ')}'"):
        varint(memoryview(data), 0)


def test_masked_checksums() -> None:
    assert masked_crc32c(b"") == 0xA282EAD8
    # The checksums before the mask are those of RFC 3720, appendix B.4.
    for data, checksum in [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)]:
        bits = f"{checksum:032b}"
        assert masked_crc32c(data) == (int(bits[-15:] + bits[:-15], 2) + 0xA282EAD8) % 2**32
    assert masked_crc32c(bytes(20), 0x8A9136AA) == masked_crc32c(bytes(52))


@given(
    st.dictionaries(st.binary(max_size=6), st.binary(max_size=200), max_size=30),
    st.integers(1, 7),
    st.integers(1, 5),
    st.booleans(),
    st.lists(st.binary(max_size=6), max_size=5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_table(
    tmp_path: Path, content: dict[bytes, bytes], size: int, interval: int, snappy: bool, others: list[bytes]
) -> None:
    entries = sorted(content.items())
    parts = [entries[start : start + size] for start in range(0, len(entries), size)]
    # What the index holds for a block is its last key, or a larger one that is not in the next block.
    blocks = []
    for part, following in pairwise([*parts, [(b"\xff" * 7, b"")]]):
        longer = part[-1][0] + b"\0"
        blocks.append((longer if longer < following[0][0] else part[-1][0], block(part, interval)))
    found = opened(tmp_path, table(blocks, snappy=snappy))
    assert [(key, bytes(value)) for key, value in found.items()] == entries
    assert list(found.keys()) == list(found) == sorted(content)
    for key in [*content, *others]:
        value = found.get(key)
        assert (None if value is None else bytes(value)) == content.get(key)


def test_tables_of_tensorflow() -> None:
    found = Table(GOLDENS / "many_v2" / "many.ckpt.index")
    keys = list(found)
    assert len(keys) == 1502
    assert keys == sorted(keys)
    items = dict(found.items())
    for key in keys[::100]:
        assert found.get(key) == items[key]
        assert found.get(key + b"\0") is None


def test_a_lookup_reads_one_block(tmp_path: Path) -> None:
    data = bytearray(
        table([(b"a", block([(b"a", b"one")])), (b"b", block([(b"b", b"two")])), (b"c", block([(b"c", b"3")]))])
    )
    data[data.index(b"two")] ^= 1
    found = opened(tmp_path, bytes(data))
    assert (found.get(b"a"), found.get(b"c"), found.get(b"d")) == (b"one", b"3", None)
    with pytest.raises(
        CheckpointError, match=r"a\.index' is damaged: block at byte 20 does not match its checksum\. Use"
    ):
        found.get(b"b")
    with pytest.raises(CheckpointError, match="block at byte 20"):
        list(found)
    assert opened(tmp_path, bytes(data), verify=False).get(b"b") == b"uwo"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"there is no file '{tmp_path}/a\.index'"):
        Table(tmp_path / "a.index")


GOOD = table([(b"a", block([(b"a", b"one")]))])
INDEX = len(GOOD) - 48 - 5 - len(block([(b"a", b"\0\x0d")], 1))  # where the index block starts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has 0 bytes, fewer than the 48 that end a table"),
        (GOOD[-47:], "it has 47 bytes, fewer than the 48"),
        (GOOD[:-1] + b"x", rf"it does not end as a table does \(byte {len(GOOD) - 8}\)"),
        (GOOD[:-20], "it does not end as a table does"),
        (bytes(40) + MAGIC, "the footer names a block of 0 bytes at byte 0, beyond the end"),
        (GOOD[:-48] + b"\xff" * 40 + MAGIC, "the footer has no place of a block .*Got 'ff ff"),
        (
            GOOD[:-48] + (b"\0\0" + number(1 << 40) + b"\5").ljust(40) + MAGIC,
            f"the footer names a block of 5 bytes at byte {1 << 40}, beyond the end",
        ),
        (
            GOOD[:-48] + (b"\0\0\0" + number(1 << 60)).ljust(40) + MAGIC,
            f"the footer names a block of {1 << 60} bytes at byte 0, beyond",
        ),
        (GOOD[:INDEX] + b"\1" + GOOD[INDEX + 1 :], f"block at byte {INDEX} does not match its checksum"),
    ],
    ids=message_id,
)
def test_damage_that_is_found_at_once(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"'{tmp_path}/a\.index' is damaged: {message}"):
        opened(tmp_path, data)


def long_keys(count: int) -> bytes:
    """Keys that grow by a byte each and are stored as that byte alone."""
    return b"".join(entry(i, b"x", b"") for i in range(count)) + struct.pack("<2I", 0, 1)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (block([(b"a", b"one")]), 7, "its compression 7 is not known"),
        (b"\xff\xff\xff\xff\x07" + b"abc", 1, r"its 8 bytes claim to hold 2147483647\)"),
        (b"\x20\xf0abc", 1, "snappy: "),
        (b"abc", 0, "the 3 bytes are too few for its list of whole keys"),
        (entry(0, b"a", b"") + struct.pack("<I", 1 << 31), 0, "too few for its list of whole keys"),
        (entry(1, b"a", b"") + struct.pack("<2I", 0, 1), 0, "the entry at 0 of its 12 bytes does not fit"),
        (b"\0\1" + number(1 << 50) + b"a" + struct.pack("<2I", 0, 1), 0, "the entry at 0 of its 19 bytes does not fit"),
        (b"\0" + number(1 << 50) + b"\1a" + struct.pack("<2I", 0, 1), 0, "the entry at 0 of its 19 bytes does not fit"),
        (b"\xff\xff" + struct.pack("<2I", 0, 1), 0, "Got|does not fit"),
        (block([(b"b", b""), (b"a", b"")]), 0, r"the key at 4 of its 16 bytes is not one that follows b'b'"),
        (block([(b"a", b""), (b"a", b"")]), 0, r"the key at 4 of its \d+ bytes is not one that follows b'a'"),
        (long_keys(3000), 0, "is not one that follows b'xxxx"),
    ],
    ids=message_id,
)
def test_damage_that_its_checksum_hides(data: bytes, kind: int, message: str, tmp_path: Path) -> None:
    """What a checksum cannot find: forged files."""
    file = sealed(data, kind)
    ends = [len(file)]
    for content in (block([]), block([(b"zz", number(0) + number(len(data)))], 1)):
        file += sealed(content)
        ends.append(len(file))
    handles = b"".join(number(start) + number(end - start - 5) for start, end in pairwise(ends))
    found = opened(tmp_path, file + handles.ljust(40, b"\0") + MAGIC)
    with pytest.raises(CheckpointError, match=rf"a\.index' is damaged: block at byte 0 cannot be read \(.*{message}"):
        found.get(b"a")


def sizes() -> Iterator[bytes]:
    for claim in (1 << 20, 1 << 31, 1 << 62):
        yield table([(b"a", b"\0\1" + number(claim) + b"a" + struct.pack("<2I", 0, 1))])
        yield table([(b"a", b"\0" + number(claim) + b"\1a" + struct.pack("<2I", 0, 1))])
        yield GOOD[:-48] + (b"\0\0\0" + number(claim)).ljust(40) + MAGIC


@pytest.mark.parametrize("data", list(sizes()), ids=message_id)
def test_forged_sizes_take_no_memory(data: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"a\.index' is damaged"):
            list(opened(tmp_path, data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()
