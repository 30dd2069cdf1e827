"""Reading many files at a time: everything arrives, errors say where, and nobody waits for ever."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from torchslim.data import DamagedRecordError, DataError, RecordReader, RecordWriter, StalledError
from torchslim.data.parallel_reader import ParallelReader, get_data_files, parallel_read, single_pass_read
from torchslim.queues import FIFOQueue, QueueRunners, RandomShuffleQueue


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Four files of records: b'0-0', b'0-1', ..., b'3-9'."""
    paths = [tmp_path / f"part-{number:05d}-of-00004" for number in range(4)]
    for number, path in enumerate(paths):
        with RecordWriter(path) as writer:
            for record in range(10):
                writer.write(f"{number}-{record}".encode())
    return [str(path) for path in paths]


ALL = sorted(f"{number}-{record}".encode() for number in range(4) for record in range(10))


class Lines:
    """A reader of one's own: the lines of a file, without offsets."""

    def __init__(self, file: str, end: bytes = b"\n"):
        self.file, self.end = file, end
        self.is_closed = False

    def __iter__(self):
        yield from Path(self.file).read_bytes().split(self.end)

    def close(self):
        self.is_closed = True


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("common_queue")]


@pytest.mark.parametrize("num_readers", [1, 3, 9])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_record_comes_once_an_epoch(files, num_readers, shuffle):
    pairs = list(parallel_read(files, RecordReader, 3, num_readers, shuffle=shuffle, capacity=8, min_after_dequeue=4))
    assert Counter(value for _, value in pairs) == dict.fromkeys(ALL, 3)
    reader = RecordReader(files)
    expected = {f"{file}:{offset}": reader[i] for i, (file, offset) in enumerate(map(reader.locate, range(40)))}
    assert dict(pairs) == expected


def test_one_reader_without_shuffling_keeps_the_order(files):
    for pairs in (parallel_read(files, RecordReader, 1, 1, shuffle=False), single_pass_read(files, RecordReader)):
        assert [value for _, value in pairs] == ALL


def test_without_a_number_of_epochs_it_goes_on(files):
    stream = parallel_read(files[0], RecordReader, shuffle=False)
    found = [next(stream)[1] for _ in range(25)]
    assert found == [f"0-{number % 10}".encode() for number in range(25)]
    stream.close()
    assert reading_threads() == []


def test_shuffling_mixes_files_and_records(files):
    first = [value for _, value in parallel_read(files, RecordReader, 1, 1, capacity=64, min_after_dequeue=32, seed=1)]
    assert first != sorted(first)
    assert {value[:1] for value in first[:10]} != {b"0"}


def test_a_forgotten_stream_stops_its_threads(files):
    stream = parallel_read(files, RecordReader, capacity=2, shuffle=False)
    next(stream)
    assert reading_threads()
    del stream
    gc.collect()
    deadline = time.monotonic() + 10
    while reading_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reading_threads() == []


def test_queue_runners_start_and_stop_the_readers(files):
    stream = parallel_read(files, RecordReader, capacity=4, min_after_dequeue=2)
    with QueueRunners():
        assert len(reading_threads()) == 4
        assert next(stream)[1] in ALL
    assert reading_threads() == []


@pytest.mark.parametrize("common", [FIFOQueue(8), RandomShuffleQueue(8, 2)])
def test_a_parallel_reader_counts_what_it_reads(files, common):
    names = FIFOQueue()
    for file in files:
        names.enqueue(file)
    names.close()
    reader = ParallelReader(RecordReader, common, num_readers=2)
    assert (reader.num_readers, reader.common_queue) == (2, common)
    key, first = reader.read(names)
    assert key.startswith(tuple(f"{file}:" for file in files))
    rest = [value for _, value in reader.read_up_to(names, 100)]
    assert sorted([first, *rest]) == ALL
    assert (reader.num_records_produced(), reader.num_work_units_completed()) == (40, 4)


def test_readers_of_ones_own(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one|two|three")
    opened = []

    def make(file, end):
        opened.append(Lines(file, end))
        return opened[-1]

    pairs = list(single_pass_read(path, make, reader_kwargs={"end": b"|"}))
    assert pairs == [(f"{path}:0", b"one"), (f"{path}:1", b"two"), (f"{path}:2", b"three")]
    assert [reader.is_closed for reader in opened] == [True]


def test_a_damaged_record_arrives_with_file_and_offset(files):
    offset = RecordReader(files[2]).locate(4)[1]
    data = bytearray(Path(files[2]).read_bytes())
    data[offset + 13] ^= 1
    Path(files[2]).write_bytes(data)
    with pytest.raises(DamagedRecordError, match=rf"part-00002-of-00004' is damaged: record at byte {offset}:"):
        list(parallel_read(files, RecordReader, 1))
    rest = list(parallel_read(files, RecordReader, 1, reader_kwargs={"on_damage": "skip"}))
    assert len(rest) == 39


def test_another_error_arrives_with_file_and_place(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(b"")

    def numbers(file):
        yield b"first"
        raise OSError("the disk is gone")

    stream = parallel_read(path, numbers, shuffle=False)
    assert next(stream)[1] == b"first"
    with pytest.raises(DataError, match=r"numbers' failed behind the record '.*numbers:0'. OSError: the disk is gone"):
        next(stream)


def test_a_stalled_reader_is_named(tmp_path):
    path, release = tmp_path / "pipe", threading.Event()
    path.write_bytes(b"")

    def hangs(file):
        yield b"first"
        release.wait(20)

    stream = parallel_read(path, hangs, 1, shuffle=False, timeout=0.1)
    assert next(stream)[1] == b"first"
    with pytest.raises(StalledError, match=r"for 0\.1 s\. The readers are behind the record '.*pipe:0'"):
        next(stream)
    release.set()
    stream.close()


@pytest.mark.parametrize("num_epochs", [1, None])
def test_files_without_records_are_an_error(tmp_path, num_epochs):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"must have records. Got .*empty: there are none"):
        next(parallel_read(path, lambda file: [], num_epochs))


def test_no_files_are_an_error_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"Got '.*nothing-\*', which matches nothing"):
        parallel_read(str(tmp_path / "nothing-*"), RecordReader)
    with pytest.raises(ValueError, match=r"at least one file. Got none"):
        get_data_files([])
    with pytest.raises(ValueError, match=r"`num_readers` must be positive. Got 0"):
        ParallelReader(RecordReader, FIFOQueue(), num_readers=0)


def test_sources_are_files_patterns_and_numbers_of_parts(files, tmp_path):
    assert get_data_files(files[1]) == [files[1]]
    assert get_data_files(str(tmp_path / "part-*")) == files
    assert get_data_files([files[3], str(tmp_path / "part-0000[01]*")]) == [files[3], *files[:2]]
    assert get_data_files(str(tmp_path / "part@4")) == files
