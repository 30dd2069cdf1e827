"""Record files: what TensorFlow wrote and read, damage of all kinds, parts and positions, and faults while writing."""

from __future__ import annotations

import errno
import gzip
import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchslim.checkpoints.tensorflow.coding import masked_crc32c
from torchslim.data import (
    DamagedRecordError,
    DataError,
    Loader,
    RecordReader,
    RecordWriter,
    parallel_read,
    record_source,
    records,
)
from torchslim.data.record_index import index_path, load_index, save_index

GOLDENS = Path(__file__).parents[1] / "goldens" / "tfrecords"
FOLDERS = sorted(path.parent.name for path in GOLDENS.glob("*/expected.json"))
RECORDS = [b"", b"one", b"\0" * 40, b"two" * 100, bytes(range(256))]
COMPRESSIONS = ["", "GZIP", "ZLIB"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "torchslim.data.records")


def write(path: Path, records: list[bytes], compression: str | None = None) -> Path:
    write_all(RecordWriter(path, compression), records)
    return path


def write_all(writer: RecordWriter, records: list[bytes]) -> None:
    with writer:
        for record in records:
            writer.write(record)


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def read_until_error(reader: RecordReader) -> tuple[list[bytes], DamagedRecordError | None]:
    records = []
    try:
        for record in reader:
            records.append(record)  # noqa: PERF402 - those before an error count
    except DamagedRecordError as error:
        return records, error
    return records, None


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "empty_file"])
def test_records_are_those_that_tensorflow_wrote(name: str) -> None:
    expected = json.loads((GOLDENS / name / "expected.json").read_text())
    for compression in ("auto", expected["compression"]):
        records, error = read_until_error(RecordReader(GOLDENS / name / "data.tfrecord", compression))
        hashes = [hashlib.sha1(record).hexdigest() for record in records]
        wanted = [record["sha1"] for record in expected["records"]]
        tensorflow = expected.get("tf", {"n_read": len(wanted), "error": None})
        assert hashes == wanted[: tensorflow["n_read"]]
        assert (error is None) == (tensorflow["error"] is None)
        if error:
            assert error.offset == expected["records"][tensorflow["n_read"]]["offset"]
            assert f"data.tfrecord' is damaged: record at byte {error.offset}: " in str(error)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("bad_data_byte", [0, 1, 2, 3, 4]),
        ("bad_data_crc", [0, 1, 3, 4, 5]),
        ("bad_length_crc", [0, 1, 2, 4, 5]),
        ("bad_truncated_data", [0, 1, 2, 3]),
    ],
)
def test_damaged_records_are_skipped_and_counted(name: str, kept: list[int], caplog: pytest.LogCaptureFixture) -> None:
    expected = json.loads((GOLDENS / name / "expected.json").read_text())
    reader = RecordReader(GOLDENS / name / "data.tfrecord", on_damage="skip")
    with caplog.at_level(logging.WARNING, "torchslim.data.records"):
        hashes = [hashlib.sha1(record).hexdigest() for record in reader]
    assert hashes == [expected["records"][number]["sha1"] for number in kept]
    assert (reader.skipped, len(reader)) == (1, len(kept))
    assert [hashlib.sha1(reader[number]).hexdigest() for number in range(len(kept))] == hashes
    damaged = ({*range(6)} - {*kept}).pop()
    assert f"data.tfrecord': record at byte {64 * damaged} is left out" in caplog.text
    assert list(reader) == list(reader)
    assert reader.skipped == 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("records", [RECORDS, [os.urandom(700_000), b"x" * 3_000_000, b"", os.urandom(10)]])
def test_what_is_written_is_read(tmp_path: Path, compression: str, records: list[bytes]) -> None:
    path = write(tmp_path / "a", records, compression)
    assert record_source.find_compression(path) == compression
    for reader in (RecordReader(path), RecordReader([path], compression)):
        assert list(reader) == records
        assert len(reader) == len(records)
        for index in [3, 0, 2, -1, 1, 0]:
            assert reader[index] == records[index]


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    length = struct.pack("<Q", 3)
    checksums = [struct.pack("<I", masked_crc32c(data)) for data in (length, b"abc")]
    assert write(tmp_path / "a", [b"abc"]).read_bytes() == length + checksums[0] + b"abc" + checksums[1]


def test_python_reads_the_compressed_files(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", RECORDS).read_bytes()
    assert gzip.decompress(write(tmp_path / "a", RECORDS, "GZIP").read_bytes()) == plain
    assert zlib.decompress(write(tmp_path / "b", RECORDS, "ZLIB").read_bytes()) == plain


def test_several_compressed_streams_are_read_as_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a", RECORDS, "GZIP")
    path.write_bytes(path.read_bytes() * 3)
    assert list(RecordReader(path)) == RECORDS * 3


def test_random_access_far_into_a_compressed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_source, "_SPACING", 4096)
    monkeypatch.setattr(record_source, "_MOST_PLACES", 8)
    records = [random.Random(number).randbytes(500) for number in range(4000)]
    reader = RecordReader(write(tmp_path / "a", records, "GZIP"))
    for index in [3999, 0, 2000, 1999, 3000, 10]:
        assert reader[index] == records[index]
    source: Any = reader._sources[0]
    assert 4 <= len(source._places) <= 8


# ------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("change", "count", "offset"),
    [
        (lambda data: data + b"x" * 11, 5, None),  # fewer bytes than a header: the end, as for TensorFlow
        (lambda data: data[:-16], 4, 407),
        (lambda data: data[:-1], 4, 407),
        (lambda data: data[: 407 + 11], 4, None),
        (lambda data: data[: 407 + 12], 4, 407),
        (lambda data: data + b"x" * 12, 5, 679),
        (lambda data: data + b"x" * 50, 5, 679),
    ],
)
def test_ends_are_tensorflows(tmp_path: Path, change: Callable[[bytes], bytes], count: int, offset: int | None) -> None:
    path = write(tmp_path / "a", RECORDS)
    path.write_bytes(change(path.read_bytes()))
    records, error = read_until_error(RecordReader(path))
    assert len(records) == count
    assert (error.offset if error else None) == offset


@pytest.mark.parametrize("claimed", [1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_forged_lengths_take_no_memory(tmp_path: Path, claimed: int, compression: str) -> None:
    length = struct.pack("<Q", claimed)
    data = length + struct.pack("<I", masked_crc32c(length)) + b"abc"
    compress = {"": bytes, "GZIP": gzip.compress, "ZLIB": zlib.compress}[compression]
    path = tmp_path / "a"
    path.write_bytes(compress(data))
    for read in (list, len, lambda reader: reader[0], lambda reader: list(reader.shard(1, 2))):
        with pytest.raises(DamagedRecordError, match=r"record at byte 0: the file ends inside of it"):
            read(RecordReader(path, compression))
    assert list(RecordReader(path, compression, on_damage="skip")) == []


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_flipped_byte_goes_unnoticed(tmp_path: Path, compression: str) -> None:
    """There is an error of ours, or the records are as they were."""
    kept = [b"", b"one", bytes(range(40))]
    path = write(tmp_path / "a", kept, compression)
    whole, chance = path.read_bytes(), random.Random(0)
    for place, how in itertools.product(range(len(whole)), ("auto", compression)):
        data = bytearray(whole)
        data[place] ^= chance.randrange(1, 256)
        path.write_bytes(data)
        records, error = read_until_error(RecordReader(path, how))
        assert records == kept[: len(records)]
        assert set(RecordReader(path, how, on_damage="skip")) <= set(kept)
        if error is None:  # the compression has bits that say nothing about the data: who wrote it, and when
            assert (len(records), compression != "") == (3, True)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_cut_goes_unnoticed_but_at_the_end_of_a_record(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a", RECORDS[1:4], compression)
    whole = path.read_bytes()
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        try:
            records, error = read_until_error(RecordReader(path, compression))
        except ValueError:
            assert end < 12
            continue
        assert records == RECORDS[1 : 1 + len(records)]
        assert error is not None or compression == ""


@pytest.mark.parametrize("seed", range(3))
def test_noise_ends_in_our_errors(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = write(tmp_path / "a", RECORDS * 3, chance.choice(COMPRESSIONS))
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            place = chance.randrange(len(data))
            data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        path.write_bytes(data)
        records = list(RecordReader(path, on_damage="skip"))
        assert set(records) <= set(RECORDS)


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_another_compression_than_the_file_has(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a", RECORDS)
    with pytest.raises(DamagedRecordError, match=r"record at byte 0: its compressed data are damaged: "):
        list(RecordReader(path, compression))


def test_what_is_behind_a_damaged_length_is_found(tmp_path: Path) -> None:
    records = [os.urandom(100_000) for _ in range(8)]  # several blocks apart
    path = write(tmp_path / "a", records)
    data = bytearray(path.read_bytes())
    data[3 * 100_016 + 2] ^= 1
    path.write_bytes(data)
    reader = RecordReader(path, on_damage="skip")
    assert list(reader) == records[:3] + records[4:]
    assert [reader[4], reader.locate(4)[1], reader.skipped] == [records[5], 5 * 100_016, 1]


def test_an_error_survives_the_way_out_of_a_worker(tmp_path: Path) -> None:
    error = DamagedRecordError.at("a", 7, "why", next=9)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.file, copy.offset, copy.next) == (str(error), "a", 7, 9)


# ------------------------------------------------------------------------------------------------- files


def test_files_of_patterns_come_sorted_and_hidden_indices_do_not(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        save_index(write(tmp_path / f"train-{number}", numbers(1, number)), np.zeros((1, 2), np.int64))
    (tmp_path / "train-folder").mkdir()
    assert list(RecordReader(str(tmp_path / "train-*"))) == numbers(3)
    assert list(RecordReader([tmp_path / "train-2", str(tmp_path / "train-[01]")])) == [b"2", b"0", b"1"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("none-*", r"`files` must name files. Got '.*none-\*', which matches nothing"),
        (["a", "none"], r"Got '.*none', which matches nothing"),
        ("", r"Got '.*', a folder: add a pattern"),
        ([], r"must name at least one file. Got none"),
        ("empty*", r"`files` must hold records. Got '.*empty\*': there are none"),
    ],
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_nothing_to_read_is_an_error_at_once(tmp_path: Path, files: Any, message: str, compression: str) -> None:
    write(tmp_path / "a", RECORDS)
    write(tmp_path / "empty", [], compression)
    (tmp_path / "empty_too").touch()
    names = [str(tmp_path / name) for name in files] if isinstance(files, list) else str(tmp_path / files)
    with pytest.raises(ValueError, match=message):
        RecordReader(names)


def test_some_files_may_be_empty(tmp_path: Path) -> None:
    assert list(RecordReader([write(tmp_path / "a", []), write(tmp_path / "b", numbers(2))])) == numbers(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"compression": "LZ4"}, r"`compression` must be .* Got 'LZ4'"), ({"on_damage": "cry"}, r"Got 'cry'")],
)
def test_unknown_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecordReader(write(tmp_path / "a", RECORDS), **arguments)


@pytest.mark.parametrize("index", [5, -6])
def test_records_that_are_not_there(tmp_path: Path, index: int) -> None:
    with pytest.raises(IndexError, match=rf"must be below 5, the number of records. Got {index}"):
        RecordReader(write(tmp_path / "a", RECORDS))[index]


# ------------------------------------------------------------------------------------------------- index


def entries_of(records: list[bytes]) -> np.ndarray:
    ends = np.cumsum([len(record) + 16 for record in records])
    return np.array([[end - 16 - len(record), len(record)] for end, record in zip(ends, records, strict=True)])


def test_a_kept_index_is_used_and_renewed(tmp_path: Path) -> None:
    path = write(tmp_path / "a", RECORDS)
    save_index(path, entries_of(RECORDS)[:2])  # shorter than it should be, to see that it is used
    assert len(RecordReader(path)) == 2
    os.utime(path, ns=(0, 0))
    assert len(RecordReader(path)) == 5
    save_index(path, entries_of(RECORDS)[:2])
    write(path, RECORDS[:3])
    assert len(RecordReader(path)) == 3


def test_a_long_search_for_records_tells_how_to_spare_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "_LONG", -1.0)
    reader = RecordReader(write(tmp_path / "a", RECORDS))
    with caplog.at_level(logging.INFO, "torchslim.data.records"):
        assert [len(reader), reader[1], len(reader)] == [5, b"one", 5]
    assert [record.getMessage().split(".")[-2] for record in caplog.records] == [
        " `torchslim records index` does it once"
    ]


def test_a_wrong_index_gives_no_wrong_record(tmp_path: Path) -> None:
    path = write(tmp_path / "a", RECORDS)
    wrong = entries_of(RECORDS)
    wrong[1] += [1, 0]
    wrong[2] += [0, 1]
    wrong[3] = [1 << 60, 4]
    wrong[4] = [0, 1 << 60]
    save_index(path, wrong)
    reader = RecordReader(path)
    messages = ["its length does not match", "it is not the record of 41 bytes", "ends inside", "ends inside"]
    for index, message in enumerate(messages, 1):
        with pytest.raises(DamagedRecordError, match=message):
            reader[index]


def test_every_damaged_byte_of_an_index_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a", RECORDS)
    kept = save_index(path, entries_of(RECORDS))
    whole = kept.read_bytes()
    assert np.array_equal(load_index(path), entries_of(RECORDS))
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x10
        kept.write_bytes(data)
        assert load_index(path) is None
    for end in (0, 7, 35, len(whole) - 1):
        kept.write_bytes(whole[:end])
        assert load_index(path) is None
    assert index_path(path) == kept


# ------------------------------------------------------------------------------------------------- parts


@pytest.fixture(scope="module")
def files_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[int, ...]], list[Path]]:
    folder = tmp_path_factory.mktemp("parts")

    def make(counts: tuple[int, ...]) -> list[Path]:
        paths, start = [], 0
        for place, count in enumerate(counts):
            path = folder / f"{start}-{count}-{place % 3}"
            if not path.exists():
                write(path, numbers(count, start), COMPRESSIONS[place % 3])
            paths.append(path)
            start += count
        return paths

    return make


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    ranks=st.integers(1, 4),
    workers=st.integers(1, 3),
    by=st.sampled_from(["auto", "record"]),
)
def test_parts_are_disjoint_and_complete(files_of: Any, counts: list[int], ranks: int, workers: int, by: str) -> None:
    reader = RecordReader(files_of(tuple(counts)))
    parts = [
        reader.shard(rank, ranks, by).shard(worker, workers, by) for rank in range(ranks) for worker in range(workers)
    ]
    read = [list(part) for part in parts]
    assert sorted(itertools.chain(*read), key=int) == numbers(sum(counts))
    assert [[part[index] for index in range(len(part))] for part in parts] == read
    if by == "record":
        by_rank = [sum(map(len, read[rank * workers : (rank + 1) * workers])) for rank in range(ranks)]
        assert max(by_rank) - min(by_rank) <= 1


def test_whole_files_where_there_are_enough(files_of: Any) -> None:
    reader = RecordReader(files_of((2, 2, 2)))
    assert list(reader.shard(1, 2)) == numbers(2, 2)
    assert list(reader.shard(1, 2, "record")) == [b"1", b"3", b"5"]
    assert list(reader.shard(0, 4)) == [b"0", b"4"]


def test_parts_of_damaged_files_are_disjoint_and_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "a", numbers(10))
    data = bytearray(path.read_bytes())
    data[17 * 2 + 12] ^= 1  # the data of record 2
    data[17 * 5] ^= 1  # the length of record 5
    path.write_bytes(data)
    kept = [number for number in numbers(10) if number not in (b"2", b"5")]
    for count in (1, 2, 3):
        parts = [RecordReader(path, on_damage="skip").shard(index, count) for index in range(count)]
        assert sorted(itertools.chain(*parts)) == kept
        assert sum(part.skipped for part in parts) == 2
        assert sorted(part[index] for part in parts for index in range(len(part))) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((2, 2), r"must be below `count`, 2. Got 2"), ((-1, 2), r"Got -1"), ((0, 3, "file"), r"Got 'file' for 3 parts")],
)
def test_parts_that_are_not_there(files_of: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecordReader(files_of((1, 1))).shard(*arguments)


# ------------------------------------------------------------------------------------------------- positions


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any),
    stops=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    part=st.sampled_from([(0, 1), (0, 2), (1, 2)]),
)
def test_going_on_equals_never_having_stopped(files_of: Any, counts: list[int], stops: list[int], part: Any) -> None:
    files = files_of(tuple(counts))
    whole, read = list(RecordReader(files).shard(*part)), []
    reader = RecordReader(files).shard(*part)
    for stop in stops:
        read += itertools.islice(reader, stop)
        state = json.loads(json.dumps(reader.state_dict()))
        if len(read) >= len(whole):
            break
        reader = RecordReader(files).shard(*part)
        reader.load_state_dict(state)
    else:
        read += reader
    assert read == whole


def test_behind_a_whole_pass_comes_the_next(files_of: Any) -> None:
    reader = RecordReader(files_of((2, 1)))
    assert list(reader) == numbers(3)
    other = RecordReader(files_of((2, 1)))
    other.load_state_dict(reader.state_dict())
    assert [list(other), list(other)] == [numbers(3)] * 2


def test_skipped_records_are_counted_once_over_an_interruption(tmp_path: Path) -> None:
    path = write(tmp_path / "a", numbers(6))
    data = bytearray(path.read_bytes())
    for number in (0, 3):
        data[17 * number + 12] ^= 1
    path.write_bytes(data)
    reader = RecordReader(path, on_damage="skip")
    assert list(itertools.islice(reader, 2)) == [b"1", b"2"]
    other = RecordReader(path, on_damage="skip")
    other.load_state_dict(reader.state_dict())
    assert (list(other), other.skipped) == ([b"4", b"5"], 2)


def test_positions_of_other_files_are_refused(files_of: Any) -> None:
    state = RecordReader(files_of((2, 1))).state_dict()
    with pytest.raises(ValueError, match=r"must be of the same files .* Got \['0-2-0', '2-1-1'\] \[0, 1\]"):
        RecordReader(files_of((3, 1))).load_state_dict(state)


def test_another_process_reads_the_same(files_of: Any) -> None:
    reader = RecordReader(files_of((4, 4)))
    assert reader[5] == b"5"
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy[5], list(copy)) == (b"5", numbers(8))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(reader.__getitem__, range(8)) == numbers(8)


class Numbered(Dataset[int]):
    """The records of `numbers` as items for batches."""

    def __init__(self, reader: RecordReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> int:
        return int(self.reader[index])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_records_are_disjoint_complete_and_resumable(files_of: Any, num_workers: int) -> None:
    """Files x ranks x workers x batch x drop_last, with up to three interruptions anywhere in several passes."""

    @settings(max_examples=2 if num_workers else 40, deadline=None)
    @given(
        counts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
        ranks=st.integers(1, 3),
        batch_size=st.integers(1, 5),
        drop_last=st.booleans(),
        shuffle=st.booleans(),
        stops=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    )
    def check(counts: list[int], ranks: int, batch_size: int, drop_last: bool, shuffle: bool, stops: list[int]) -> None:
        size, passes = sum(counts), []
        assume(size >= ranks * (batch_size if drop_last else 1))
        with pytest.MonkeyPatch.context() as patch:
            for rank in range(ranks):
                patch.setattr(torch.distributed, "is_initialized", lambda: True)
                patch.setattr(torch.distributed, "get_world_size", lambda: ranks)
                patch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)

                def loader(workers: int = num_workers) -> Loader:
                    records = Numbered(RecordReader(files_of(tuple(counts))))
                    options = {"drop_last": drop_last, "shuffle": shuffle, "seed": 5, "num_workers": workers}
                    return Loader(records, batch_size, **options)

                whole = loader(0)
                passes.append([[numbers.tolist() for (numbers,) in whole] for _ in range(2)])
                read: list[list[int]] = []
                current = loader()
                for stop in stops:
                    read += itertools.islice(without_end(current), stop)
                    state = json.loads(json.dumps(current.state_dict()))
                    current = loader()
                    current.load_state_dict(state)
                read += (numbers.tolist() for (numbers,) in current)
                assert read == list(itertools.islice(without_end(loader(0)), len(read)))
        for number in range(2):
            batches = [batch for rank in passes for batch in rank[number]]
            read = sorted(itertools.chain(*batches))
            if drop_last:
                assert {len(batch) for batch in batches} == {batch_size}
                assert len({len(rank[number]) for rank in passes}) == 1
                assert len(set(read)) == len(read) > size - ranks * batch_size
            else:
                assert read == list(range(size))

    check()


def without_end(loader: Loader) -> Iterator[list[int]]:
    while True:
        yield from (numbers.tolist() for (numbers,) in loader)


# ------------------------------------------------------------------------------------------------- writing


class FullDisk:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


@pytest.mark.parametrize("room", [0, 11, 40, 200])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, room: int, compression: str, is_there: bool) -> None:
    path = tmp_path / "a"
    if is_there:
        write(path, [b"old"])
    writer = RecordWriter(path, compression)
    writer._file = FullDisk(writer._file, room)  # type: ignore[assignment]
    with pytest.raises(OSError, match=r"RecordWriter: cannot write '.*a': No space left") as caught:
        write_all(writer, [*RECORDS, os.urandom(500)])
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in tmp_path.iterdir()] == (["a"] if is_there else [])
    assert not is_there or list(RecordReader(path)) == [b"old"]
    with pytest.raises(ValueError, match=r"must be open. Got the closed one of '.*a'"):
        writer.write(b"more")


@pytest.mark.parametrize("error", [RuntimeError("why"), KeyboardInterrupt()])
def test_an_error_between_records_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), RecordWriter(tmp_path / "a") as writer:  # noqa: PT012
        writer.write(b"one")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "a")
    writer.write(b"one")
    assert not (tmp_path / "a").exists()
    writer.close()
    writer.close()
    assert list(RecordReader(tmp_path / "a")) == [b"one"]
    forgotten = RecordWriter(tmp_path / "b")
    del forgotten
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "data", [bytearray(b"abc"), memoryview(b"abc"), memoryview(np.array([[97, 98, 99]], np.uint8))]
)
def test_all_kinds_of_bytes_are_written(tmp_path: Path, data: Any) -> None:
    assert list(RecordReader(write(tmp_path / "a", [data]))) == [b"abc"]


def test_other_data_are_refused(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a") as writer, pytest.raises(TypeError, match=r"must be bytes .* Got str"):
        writer.write("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`compression` must be 'GZIP', 'ZLIB' or None. Got 'gz'"):
        RecordWriter(tmp_path / "b", "gz")
    with pytest.raises(OSError, match=r"cannot write '.*c': the folder does not exist"):
        RecordWriter(tmp_path / "nowhere" / "c")


def test_the_part_of_a_rank_and_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 2 ranks with 2 workers each."""

    class Parts(IterableDataset[bytes]):
        def __iter__(self) -> Any:
            return iter(RecordReader(path).shard_here("record"))

    path, read = write(tmp_path / "a", numbers(20)), []
    for rank in range(2):
        monkeypatch.setattr(records, "process", lambda rank=rank: (rank, 2))
        read += DataLoader(Parts(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(read, key=int) == numbers(20)


def test_an_empty_file_among_others_is_read_by_threads_too(tmp_path: Path) -> None:
    files = [write(tmp_path / "empty", [], "GZIP"), write(tmp_path / "a", numbers(2))]
    assert [data for _, data in parallel_read(files, RecordReader, 1, shuffle=False)] == numbers(2)
    with pytest.raises(DataError, match=r"empty"):
        list(parallel_read(files[:1], RecordReader, 1))
