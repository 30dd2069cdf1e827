"""`torchslim records`, and the conversions that it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchslim.cli import main
from torchslim.data import DataError, RecordReader, RecordWriter, decode_image, make_example, make_sequence_example
from torchslim.data.example import Example, parse
from torchslim.data.record_index import load_index
from torchslim.datasets import PascalVOC, pascal_voc, sample_voc
from torchslim.datasets.record_conversion import convert_image_folder, convert_voc, write_shards

GOLDENS = Path(__file__).parents[1] / "goldens" / "tfrecords"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: object) -> tuple[int, str, str]:
        code = main(["records", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    with RecordWriter(tmp_path / "numbers.tfrecord") as writer:
        for number in range(12):
            writer.write(make_example({"number": number, "half": number / 2, "name": f"n{number}"}).SerializeToString())
    return tmp_path / "numbers.tfrecord"


@pytest.mark.parametrize("name", ["gzip", "zlib", "features", "empty_file"])
def test_verify_whole_files(name: str, run: Any) -> None:
    count = {"gzip": 5, "empty_file": 0}.get(name, 3)
    code, out, _ = run("verify", GOLDENS / name / "data.tfrecord")
    compression = {"gzip": ", GZIP", "zlib": ", ZLIB"}.get(name, "")
    assert (code, out.splitlines()[-1]) == (0, f"{count} whole records, none damaged")
    assert f"data.tfrecord: {count} whole records{compression}\n" in out


def test_verify_lists_damage(run: Any) -> None:
    code, out, _ = run("verify", GOLDENS / "bad_*" / "data.tfrecord")
    assert (code, out.splitlines()[-1]) == (1, "19 whole records, 4 damaged")
    for name, what in {
        "byte": "320: its data do not match their checksum",
        "data_crc": "128: its data do not match their checksum",
        "length_crc": "192: its length does not match its checksum",
        "truncated_data": "256: the file ends inside of it",
    }.items():
        assert any(name in line and line.endswith(f"record at byte {what}") for line in out.splitlines())


def test_verify_tells_of_stray_bytes(run: Any, numbers: Path) -> None:
    numbers.write_bytes(numbers.read_bytes() + b"abc")
    code, out, _ = run("verify", numbers)
    assert code == 0
    assert "numbers.tfrecord: 3 bytes behind the last record" in out


def test_index_is_what_readers_use(run: Any, numbers: Path) -> None:
    code, out, _ = run("index", numbers)
    assert (code, out) == (0, f"{numbers.parent / '.numbers.tfrecord.index'}: 12 records\n")
    records = list(RecordReader(numbers))
    lengths = [len(record) for record in records]
    starts = np.cumsum([0, *lengths[:-1]]) + 16 * np.arange(12)
    np.testing.assert_array_equal(load_index(numbers), np.stack([starts, lengths], 1))
    assert RecordReader(numbers)[7] == records[7]


def test_no_index_of_a_damaged_file(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((GOLDENS / "bad_data_crc" / "data.tfrecord").read_bytes())
    code, _, error = run("index", path)
    assert code == 2
    assert "record at byte 128: its data do not match" in error
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_cat_prints_features(run: Any, numbers: Path) -> None:
    code, out, _ = run("cat", numbers, "--count", 2)
    lines = [line.strip() for line in out.splitlines()]
    size = len(RecordReader(numbers)[0])
    assert code == 0
    assert lines[:4] == [
        f"{numbers}:0  {size} bytes",
        "half  float [1]  0",
        "name  bytes [1]  b'n0'",
        "number  int64 [1]  0",
    ]
    assert lines[4:6] == [f"{numbers}:{size + 16}  {size} bytes", "half  float [1]  0.5"]
    assert run("cat", numbers, "--count", -1)[1].count("number  int64") == 12


def test_cat_prints_sequences_and_what_is_neither(run: Any, tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a") as writer:
        writer.write(make_sequence_example({"id": [], "long": range(9)}, {"x": [[1, 2], []]}).SerializeToString())
        writer.write(b"\xff" * 50)
    out = run("cat", tmp_path / "a", "--sequences")[1]
    lines = [line.strip() for line in out.splitlines()]
    assert lines[1:4] == [
        "id  empty",
        "long  int64 [9]  0, 1, 2, 3, 4, 5, ...",
        "x  2 steps, the first: int64 [2]  1, 2",
    ]
    assert lines[5] == rf"no SequenceExample: {bytes([255]) * 12!r}... (50 bytes)"


@pytest.mark.parametrize("compression", [None, "GZIP", "ZLIB"])
def test_cat_writes_one_file(run: Any, numbers: Path, compression: str | None) -> None:
    words = ["--compression", compression] if compression else []
    output = numbers.parent / "all"
    code, out, _ = run("cat", numbers, numbers, "--output", output, *words)
    assert (code, out) == (0, f"{output}: 24 records\n")
    assert list(RecordReader(output, compression)) == list(RecordReader(numbers)) * 2


def test_cat_leaves_damage_out_if_wanted(run: Any, tmp_path: Path) -> None:
    bad = GOLDENS / "bad_data_crc" / "data.tfrecord"
    assert run("cat", bad, "--output", tmp_path / "a")[0] == 2
    assert list(tmp_path.iterdir()) == []
    assert run("cat", bad, "--skip-damaged", "--output", tmp_path / "a")[0] == 0
    assert len(RecordReader(tmp_path / "a")) == 5


def test_files_that_are_not_there(run: Any) -> None:
    code, _, error = run("verify", "nothing-*")
    assert code == 2
    assert "Got 'nothing-*', which matches nothing" in error


def test_converted_voc_is_voc(run: Any, tmp_path: Path) -> None:
    root = sample_voc.create(tmp_path / "voc", num_images=8)
    code, out, _ = run("convert", root, tmp_path / "records", "--kind", "voc", "--split", "train", "--shards", 2)
    assert code == 0
    names = [Path(line.partition(": ")[0]).name for line in out.splitlines()]
    assert names == [f"pascal_voc_train_0000{shard}-of-00002.tfrecord" for shard in range(2)]
    voc, split = PascalVOC(root, "train"), pascal_voc.get_split("train", tmp_path / "records")
    records = list(RecordReader(split.data_sources))
    assert len(records) == len(voc)
    for index, record in enumerate(records):
        items = ["image", "label", "object/bbox", "object/label", "object/difficult"]
        image, label, boxes, labels, difficult = split.decoder.decode(record, items)
        assert torch.equal(image, voc.image(index))
        assert torch.equal(label, voc.target(index)[0])
        height, width = image.shape[1:]
        pixels = boxes[:, [1, 0, 3, 2]] * torch.tensor([width, height, width, height])
        torch.testing.assert_close(pixels, voc.boxes(index).as_subclass(torch.Tensor))
        objects = voc.objects(index)
        assert [voc.class_names[number] for number in labels] == [one.name for one in objects]
        assert difficult.tolist() == [one.difficult for one in objects]


def make_folders(root: Path) -> Path:
    chance = np.random.default_rng(0)
    for name, count in (("cat", 3), ("dog", 2)):
        (root / "train" / name).mkdir(parents=True)
        for number in range(count):
            pixels = chance.integers(0, 256, (5, 6, 3), np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{number}.png")
    return root


def test_converted_folders_are_the_folders(run: Any, tmp_path: Path) -> None:
    root = make_folders(tmp_path / "pets")
    words = ["--kind", "imagefolder", "--split", "train", "--name", "pets", "--compression", "GZIP"]
    code, out, _ = run("convert", root, tmp_path / "records", *words)
    path = tmp_path / "records" / "pets_train_00000-of-00001.tfrecord"
    assert (code, out) == (0, f"{path}: 5 records\n")
    assert (tmp_path / "records" / "labels.txt").read_text() == "0:cat\n1:dog\n"
    files = {}
    for record in RecordReader(path, "GZIP"):
        features = parse(Example, record).features.feature
        [encoded], [name], [text], [label] = (
            getattr(features[f"image/{key}"], kind).value
            for key, kind in (
                ("encoded", "bytes_list"),
                ("filename", "bytes_list"),
                ("class/text", "bytes_list"),
                ("class/label", "int64_list"),
            )
        )
        files[text.decode(), name.decode()] = encoded
        assert ["cat", "dog"][label] == text.decode()
        assert decode_image(encoded).shape == (5, 6, 3)
    assert files == {(file.parent.name, file.name): file.read_bytes() for file in root.rglob("*.png")}


def test_a_damaged_picture_stops_the_conversion(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "pets")
    (root / "train" / "dog" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"convert: '.*dog/0.png' must be a picture"):
        convert_image_folder(root, tmp_path / "records", "train")
    assert list((tmp_path / "records").iterdir()) == []


def test_more_files_than_records(tmp_path: Path) -> None:
    root = sample_voc.create(tmp_path / "voc", num_images=6)
    with pytest.raises(ValueError, match=r"`shards` must be from 1 to the number of examples, \d. Got 9"):
        convert_voc(root, tmp_path / "records", shards=9)


def test_shards_are_alike_in_size(tmp_path: Path) -> None:
    examples = [make_example({"number": number}) for number in range(11)]
    paths = write_shards(iter(examples), 11, tmp_path / "a", shards=4)
    assert sorted(len(RecordReader(path)) for path in paths) == [2, 3, 3, 3]
    assert list(RecordReader(paths)) == [example.SerializeToString() for example in examples]
