"""V2 checkpoints: those of TensorFlow bit for bit, damaged ones, and forged ones that are put together here."""

from __future__ import annotations

import base64
import contextlib
import json
import resource
import shutil
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crc32c import crc32c

from torchslim.checkpoints import CheckpointError
from torchslim.checkpoints.tensorflow.bundle import BundleReader
from torchslim.checkpoints.tensorflow.coding import masked_crc32c
from torchslim.checkpoints.tensorflow.messages import BundleEntryProto, BundleHeaderProto
from torchslim.checkpoints.tensorflow.ordered_code import encode_slice_key
from torchslim.checkpoints.tensorflow.table_writer import TableWriter

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
EXPECTED = {path.parent.name: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*/expected.json"))}
INTACT = [name for name, expected in EXPECTED.items() if expected.get("format") == "V2"]
DAMAGED = [name for name in EXPECTED if name.startswith("corrupt_v2_")]
VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"


def opened(name: str, **kwargs: str) -> BundleReader:
    return BundleReader(GOLDENS / name / EXPECTED[name]["prefix"], **kwargs)


def listed(name: str) -> list[dict[str, Any]]:
    """The tensors that the golden lists, `many_v2` in full."""
    compact = EXPECTED[name].get("compact", {"items": []})
    common = {"dtype": compact.get("dtype"), "shape": compact.get("shape")}
    many = [{"name": head + compact["name_suffix"], "value": value, **common} for head, value in compact["items"]]
    return EXPECTED[name]["tensors"] + many


def assert_holds(found: torch.Tensor | np.ndarray, entry: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
    assert list(found.shape) == entry["shape"]
    if entry["dtype"] == "string":
        strings = found.ravel().tolist()
        if "values_base64" in entry:
            assert strings == [base64.b64decode(text) for text in entry["values_base64"]]
        else:
            assert [len(text) for text in strings] == [entry["bytes"]]
        return
    assert str(found.dtype) == f"torch.{entry['dtype']}"
    bits = found.view(torch.uint16) if found.dtype is torch.bfloat16 else found
    truth = np.array(entry["value"], entry["dtype"]) if "value" in entry else values[entry["name"]]
    assert (bits.numpy().dtype, bits.numpy().tobytes()) == (truth.dtype, truth.tobytes())


@pytest.mark.parametrize("verify", ["full", "fast", "off"])
@pytest.mark.parametrize("name", INTACT)
def test_files_of_tensorflow_bit_for_bit(name: str, verify: str) -> None:
    checkpoint = opened(name, verify=verify)
    values = np.load(GOLDENS / name / "expected.npz") if (GOLDENS / name / "expected.npz").exists() else {}
    assert checkpoint.layout == "tf"
    assert sorted(checkpoint) == sorted(entry["name"] for entry in listed(name))
    for entry in listed(name):
        stored = checkpoint[entry["name"]]
        assert list(stored.shape) == entry["shape"]
        assert stored.dtype is (bytes if entry["dtype"] == "string" else getattr(torch, entry["dtype"]))
        assert_holds(stored.read(), entry, values)


@pytest.mark.parametrize("name", [name for name in DAMAGED if EXPECTED[name]["expected"]["open"] == "error"])
def test_damaged_indices(name: str) -> None:
    index = GOLDENS / name / (EXPECTED[name]["prefix"] + ".index")
    with pytest.raises(CheckpointError, match=rf"'{index}' is damaged: (it does not end|block at) .*byte \d+"):
        opened(name)


@pytest.mark.parametrize("name", [name for name in DAMAGED if EXPECTED[name]["expected"]["open"] == "ok"])
def test_damaged_data(name: str) -> None:
    checkpoint, expected, source = opened(name), EXPECTED[name]["expected"], EXPECTED[name]["source"]
    values = np.load(GOLDENS / source / "expected.npz")
    assert sorted(checkpoint) == sorted(expected["damaged"] + expected["intact"])
    for entry in listed(source):
        if entry["name"] in expected["intact"]:
            assert_holds(checkpoint[entry["name"]].read(), entry, values)
        else:
            where = rf"{EXPECTED[name]['prefix']}' is damaged: tensor '{entry['name']}': .*\.data-0000\d-of-0000\d"
            with pytest.raises(CheckpointError, match=where):
                checkpoint[entry["name"]].read()


def test_damage_of_data_is_not_looked_for_without_verify(tmp_path: Path) -> None:
    write(tmp_path, {"w": torch.ones(2)}, crc32c=1)
    for verify in ("fast", "off"):
        assert BundleReader(tmp_path / "m", verify=verify)["w"].read().tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=r"tensor 'w': bytes 0 to 7 of 'm\.data-00000-of-00001' do not match"):
        BundleReader(tmp_path / "m")["w"].read()


@pytest.mark.parametrize("name", ["object_keras_seq", "object_keras_sgd"])
def test_variables_of_objects_have_three_names(name: str) -> None:
    checkpoint = opened(name)
    graph = [each for node in EXPECTED[name]["object_graph"] for each in node.get("attributes", [])]
    assert len(graph) == len(checkpoint) - 1
    for each in graph:
        key = each["checkpoint_key"]
        for alias in (key, key.removesuffix(VARIABLE), each["full_name"]):
            assert checkpoint.has_tensor(alias)
            assert alias in checkpoint
            assert checkpoint[alias] is checkpoint.tensors[key]
    assert "conv_a/weights" not in checkpoint
    with pytest.raises(KeyError, match="no tensor 'conv_a/weights'"):
        checkpoint["conv_a/weights"]


def test_a_damaged_object_graph_hides_no_variable(tmp_path: Path) -> None:
    for path in (GOLDENS / "object_keras_seq").glob("weights*"):
        shutil.copy(path, tmp_path)
    data = tmp_path / "weights.data-00000-of-00001"
    entry = next(
        e for e in EXPECTED["object_keras_seq"]["layout"][0]["bundle_entries"] if e["key"].startswith("_CHECK")
    )
    content = bytearray(data.read_bytes())
    content[entry["offset"] + 20] ^= 1
    data.write_bytes(content)
    checkpoint = BundleReader(tmp_path / "weights")
    key = f"model/layer_with_weights-0/kernel{VARIABLE}"
    assert checkpoint[key].read().equal(opened("object_keras_seq")[key].read())
    with pytest.raises(CheckpointError, match="tensor '_CHECKPOINTABLE_OBJECT_GRAPH': bytes "):
        checkpoint["conv_a/kernel"]


def test_a_tensor_with_the_name_of_the_object_graph(tmp_path: Path) -> None:
    write(tmp_path, {"_CHECKPOINTABLE_OBJECT_GRAPH": torch.tensor(1 << 40), f"w{VARIABLE}": torch.ones(2)})
    with little_memory():
        assert BundleReader(tmp_path / "m")["w"].read().tolist() == [1, 1]


def test_tensors_are_mapped_and_their_owner_may_write_to_them() -> None:
    prefix = GOLDENS / "lenet_v2" / "model.ckpt"
    data = Path(f"{prefix}.data-00000-of-00001")
    before = data.read_bytes()
    stored = BundleReader(prefix)["LeNet/fc3/weights"]
    first = stored.read()
    areas = [
        line.split()[0]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(data.resolve()))
    ]
    ends = [[int(end, 16) for end in area.split("-")] for area in areas]
    assert any(start <= first.data_ptr() < end for start, end in ends)
    assert first.untyped_storage().nbytes() == first.nbytes
    kept = first.clone()
    first.zero_()
    assert stored.read().equal(kept)
    assert data.read_bytes() == before


def test_tensors_that_are_not_aligned_are_copied(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.ones(1, dtype=torch.uint8), "b": torch.arange(3.0)})
    tensor = BundleReader(tmp_path / "m")["b"].read()
    assert tensor.tolist() == [0, 1, 2]
    assert tensor.data_ptr() % 4 == 0


@pytest.mark.parametrize(
    "dtype", [torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz], ids=str
)
def test_types_of_eight_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    bits = torch.arange(256, dtype=torch.uint8)
    number = {torch.float8_e5m2: 24, torch.float8_e4m3fn: 25, torch.float8_e4m3fnuz: 26, torch.float8_e5m2fnuz: 28}
    write(tmp_path, {"w": bits}, dtype=number[dtype])
    tensor = BundleReader(tmp_path / "m")["w"].read()
    assert tensor.dtype == dtype
    assert tensor.view(torch.uint8).equal(bits)


@pytest.mark.parametrize(("number", "name"), [(20, "resource"), (21, "variant"), (11, "qint8"), (99, "unknown")])
def test_types_that_pytorch_has_not_are_listed(number: int, name: str, tmp_path: Path) -> None:
    write(tmp_path, {"w": torch.ones(2, dtype=torch.uint8)}, dtype=number)
    stored = BundleReader(tmp_path / "m")["w"]
    assert (stored.shape, stored.dtype) == ((2,), object)
    with pytest.raises(CheckpointError, match=rf"tensor 'w' of '{tmp_path}/m' .* Got the type {number} \({name}\)"):
        stored.read()


# --- forged files -------------------------------------------------------------------------------------------------

DTYPES = {torch.float32: 1, torch.uint8: 4, torch.int64: 9}


def dims(*shape: int) -> dict[str, Any]:
    return {"dim": [{"size": size} for size in shape]}


def extents(*given: tuple[int, int]) -> dict[str, Any]:
    return {"extent": [{"start": start, "length": length} for start, length in given]}


def write_index(folder: Path, entries: Mapping[bytes, Any], **header: Any) -> None:
    with (folder / "m.index").open("wb") as file:
        table = TableWriter(file)
        table.add(b"", BundleHeaderProto(**{"num_shards": 1, "version": {"producer": 1}, **header}).SerializeToString())
        for key, entry in sorted(entries.items()):
            table.add(key, entry if isinstance(entry, bytes) else BundleEntryProto(**entry).SerializeToString())
        table.finish()


def write(
    folder: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any] | None = None, **forged: Any
) -> None:
    """A bundle in one file of data; `forged` is said of every tensor."""
    data, entries = b"", {}
    for name, tensor in tensors.items():
        content = tensor.numpy().tobytes()
        entry = {"dtype": DTYPES[tensor.dtype], "shape": dims(*tensor.shape), "offset": len(data), "size": len(content)}
        entries[name.encode()] = {**entry, "crc32c": masked_crc32c(content), **forged}
        data += content
    (folder / "m.data-00000-of-00001").write_bytes(data)
    write_index(folder, entries, **(header or {}))


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Lets the process have 256 MB more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"there is no file '{tmp_path}/m\.index'"):
        BundleReader(tmp_path / "m")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"endianness": 1}, r"must be of a little-endian machine\. Got the byte order 1"),
        (
            {"version": {"producer": 7, "min_consumer": 2}},
            r"must be readable as version 1 .*Got version 7, for readers of version 2 and",
        ),
        (
            {"version": {"producer": 3, "bad_consumers": [1]}},
            r"must be readable as version 1 of the format\. Got version 3",
        ),
        ({"num_shards": 0}, r"is damaged: its header claims 0 files"),
        ({"num_shards": -1}, r"is damaged: its header claims -1 files"),
    ],
)
def test_headers(header: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, {"w": torch.ones(2)}, header)
    with pytest.raises(CheckpointError, match=rf"'{tmp_path}/m\.index' {message}"):
        BundleReader(tmp_path / "m")


def test_a_table_that_is_no_bundle(tmp_path: Path) -> None:
    with (tmp_path / "m.index").open("wb") as file:
        table = TableWriter(file)
        table.add(b"a", b"")
        table.finish()
    with pytest.raises(CheckpointError, match=r"m\.index' is damaged: it has no header"):
        BundleReader(tmp_path / "m")


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        (b"w", b"\xff\xff", "entry of b'w' in '.*m.index' is damaged: it is no BundleEntryProto"),
        (b"w", {"shape": dims(-3)}, r"entry of b'w' in '.*m.index' is damaged: no tensor has the shape \(-3,\)"),
        (b"\xff", {}, r"m\.index' is damaged: b'\\xff' is no name"),
    ],
)
def test_entries_that_are_none(key: bytes, entry: Any, message: str, tmp_path: Path) -> None:
    write_index(tmp_path, {key: entry})
    with pytest.raises(CheckpointError, match=message):
        BundleReader(tmp_path / "m")


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        ({"shape": dims(1 << 40)}, rf"8 bytes are not torch\.float32 of the shape \({1 << 40},\)"),
        ({"shape": dims(3)}, r"8 bytes are not torch\.float32 of the shape \(3,\)"),
        ({"dtype": 2}, r"8 bytes are not torch\.float64 of the shape \(2,\)"),
        ({"dtype": 7, "shape": dims(1 << 40)}, f"8 bytes are not {1 << 40} strings"),
        ({"dtype": 7}, r"the lengths of its strings add up to 0, with 8 bytes in all"),
        (
            {"dtype": 7, "shape": dims(4), "offset": 4},
            "it is at bytes 4 to 11 of 'm.data-00000-of-00001', which ends at",
        ),
        ({"shape": dims(1 << 40), "size": 1 << 42}, rf"it is at bytes 0 to {(1 << 42) - 1} of '.*ends at byte 8"),
        ({"offset": 1 << 50}, f"it is at bytes {1 << 50} to "),
        ({"offset": -4}, "it is at bytes -4 to 3 of"),
        ({"size": -8, "shape": dims(0)}, "-8 bytes are not"),
        ({"shard_id": 1}, r"its file 'm\.data-00001-of-00001' is missing"),
        ({"shard_id": -1}, r"its file 'm\.data--0001-of-00001' is missing"),
    ],
)
@pytest.mark.parametrize("verify", ["full", "off"])
def test_forged_entries(forged: dict[str, Any], message: str, verify: str, tmp_path: Path) -> None:
    write(tmp_path, {"w": torch.zeros(2)}, **forged)
    checkpoint = BundleReader(tmp_path / "m", verify=verify)
    with little_memory(), pytest.raises(CheckpointError, match=rf"'{tmp_path}/m' is damaged: tensor 'w': {message}"):
        checkpoint["w"].read()


def strings_entry(content: bytes, *shape: int, lengths: list[int]) -> dict[str, Any]:
    """The entry of strings whose lengths take a byte each."""
    fixed = crc32c(np.array(lengths, "<u4").tobytes())
    checksum = masked_crc32c(content[len(lengths) :], fixed)
    return {"dtype": 7, "shape": dims(*shape), "size": len(content), "crc32c": checksum}


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2,), [1, 2], None),
        ((1, 2), [3, 0], None),
        ((), [3], None),
        ((2,), [2, 2], "the lengths of its strings add up to 4, with 9 bytes in all"),
        ((2,), [0, 0], "the lengths of its strings add up to 0, with 9 bytes in all"),
        ((2,), [200, 200], "the lengths of its strings add up to"),
    ],
)
def test_strings(shape: tuple[int, ...], lengths: list[int], message: str | None, tmp_path: Path) -> None:
    checksum = masked_crc32c(np.array(lengths, "<u4").tobytes()).to_bytes(4, "little")
    content = bytes(lengths) + checksum + b"abc"
    (tmp_path / "m.data-00000-of-00001").write_bytes(content)
    write_index(tmp_path, {b"s": strings_entry(content, *shape, lengths=lengths)})
    stored = BundleReader(tmp_path / "m")["s"]
    if message is None:
        ends = np.cumsum([0, *lengths])
        assert stored.read().ravel().tolist() == [b"abc"[a:b] for a, b in pairwise(ends)]
        assert stored.read().shape == shape
    else:
        with pytest.raises(CheckpointError, match=rf"tensor 's': {message}"):
            stored.read()


def write_slices(
    folder: Path, shape: tuple[int, ...], slices: list[Any], parts: Mapping[int, Any] | None = None
) -> None:
    """A tensor of int64 in these slices, one element behind the other; `parts` is said of the entries of some."""
    entries: dict[bytes, Any] = {
        b"w": {"dtype": 9, "shape": dims(*shape), "slices": [extents(*each) for each in slices]}
    }
    data = b""
    for i, each in enumerate(slices):
        size = tuple(max(length, 0) for _, length in each)
        content = np.arange(len(data) // 8, len(data) // 8 + np.prod(size)).tobytes()
        entry = {"dtype": 9, "shape": dims(*size), "offset": len(data), "size": len(content)}
        entry |= {"crc32c": masked_crc32c(content)} | (parts or {}).get(i, {})
        if entry["dtype"]:
            entries[encode_slice_key("w", each)] = entry
        data += content
    (folder / "m.data-00000-of-00001").write_bytes(data)
    write_index(folder, entries)


def test_slices_are_put_where_they_belong(tmp_path: Path) -> None:
    write_slices(tmp_path, (3, 4), [[(0, 3), (0, 1)], [(0, 1), (1, 3)], [(1, 2), (1, 3)]])
    checkpoint = BundleReader(tmp_path / "m")
    assert list(checkpoint) == ["w"]
    assert checkpoint["w"].read().tolist() == [[0, 3, 4, 5], [1, 6, 7, 8], [2, 9, 10, 11]]


@pytest.mark.parametrize(
    ("shape", "slices", "parts", "message"),
    [
        ((4,), [[(0, 2)], [(3, 1)]], {}, r"its slices hold 3 values for the shape \(4,\)"),
        ((4,), [[(0, 2)], [(1, 2)]], {}, "its slices overlap"),
        ((4,), [[(0, 2)], [(2, 3)]], {}, r"its slice \[\(2, 3\)\] does not fit the shape \(4,\)"),
        ((4,), [[(-1, 2)], [(1, 3)]], {}, r"its slice \[\(-1, 2\)\] does not fit the shape \(4,\)"),
        ((4,), [[(0, 2), (0, 1)], [(2, 2), (0, 1)]], {}, r"does not fit the shape \(4,\)"),
        (
            (1 << 40,),
            [[(0, 2)], [(2, (1 << 40) - 2)]],
            {1: {"size": 8}},
            rf"\({1 << 40},\) does not fit into its files",
        ),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"dtype": 0}}, r"its slice \[\(2, 2\)\] is missing"),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"dtype": 2}}, r"its slice \[\(2, 2\)\] has the type torch\.float64"),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"shape": dims(1)}}, r"has the type torch\.int64 and the shape \(1,\)"),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"slices": [extents((0, 2))]}}, r"its slice \[\(2, 2\)\] has the type"),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"shard_id": 4}}, r"its file 'm\.data-00004-of-00001' is missing"),
        ((4,), [[(0, 2)], [(2, 2)]], {1: {"crc32c": 4}}, r"bytes 16 to 31 of 'm\.data-00000-of-00001' do not match"),
    ],
)
def test_forged_slices(shape: Any, slices: Any, parts: Any, message: str, tmp_path: Path) -> None:
    if shape[0] > 4:  # the content of such a slice is not to be made
        key, other = (encode_slice_key("w", each) for each in slices)
        full = {"dtype": 9, "shape": dims(*shape), "slices": [extents(*each) for each in slices]}
        sizes = [dims(each[0][1]) for each in slices]
        part = [{"dtype": 9, "shape": size, "size": 8} for size in sizes]
        write_index(tmp_path, {b"w": full, key: part[0], other: part[1]})
        (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(32))
    else:
        write_slices(tmp_path, shape, slices, parts)
    checkpoint = BundleReader(tmp_path / "m")
    with little_memory(), pytest.raises(CheckpointError, match=rf"'{tmp_path}/m' is damaged: tensor 'w': .*{message}"):
        checkpoint["w"].read()
