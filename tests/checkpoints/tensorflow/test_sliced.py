"""V1 files: those that TensorFlow wrote, bit for bit, and files that claim what is not so."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchslim.checkpoints import CheckpointError
from torchslim.checkpoints.tensorflow.messages import SavedTensorSlices
from torchslim.checkpoints.tensorflow.ordered_code import encode_slice_key
from torchslim.checkpoints.tensorflow.sliced import SlicedReader
from torchslim.checkpoints.tensorflow.table_writer import TableWriter

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
EXPECTED = {path.parent.name: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*/expected.json"))}
WHOLE = [name for name, expected in EXPECTED.items() if expected.get("format") == "V1"]
DAMAGED = [name for name in EXPECTED if name.startswith("corrupt_v1_")]


def open_golden(name: str, **options: Any) -> SlicedReader:
    files = [file for file in EXPECTED[name]["files"] if file != "checkpoint"]
    return SlicedReader([GOLDENS / name / file for file in files], **options)


def bits(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@pytest.mark.parametrize("name", WHOLE)
def test_what_tensorflow_wrote(name: str) -> None:
    checkpoint = open_golden(name)
    values = np.load(GOLDENS / name / "expected.npz")
    assert sorted(checkpoint) == [tensor["name"] for tensor in EXPECTED[name]["tensors"]]
    for tensor in EXPECTED[name]["tensors"]:
        stored = checkpoint[tensor["name"]]
        found = stored.read()
        assert list(stored.shape) == list(found.shape) == tensor["shape"]
        if tensor["dtype"] == "string":
            assert stored.dtype is bytes
            assert [base64.b64encode(string).decode() for string in found.flat] == tensor["values_base64"]
        else:
            assert stored.dtype == found.dtype == getattr(torch, tensor["dtype"])
            assert bits(found).tobytes() == values[tensor["name"]].tobytes(), tensor["name"]


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found(name: str) -> None:
    expected = EXPECTED[name]["expected"]
    damaged = re.escape(f"{EXPECTED[name]['prefix']}' is damaged: ") + r".*\bbytes?\b"
    if expected["open"] == "error":
        with pytest.raises(CheckpointError, match=damaged):
            open_golden(name)
        return
    checkpoint = open_golden(name)
    for tensor in expected["damaged"]:
        with pytest.raises(CheckpointError, match=damaged):
            checkpoint[tensor].read()
    for tensor in expected["intact"]:
        assert checkpoint[tensor].read().shape == checkpoint[tensor].shape


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(repr(str(tmp_path / "none.ckpt")))):
        SlicedReader([tmp_path / "none.ckpt"])


@pytest.mark.parametrize("verify", ["full", "fast", "off"])
def test_a_flipped_bit_in_a_value(verify: str, tmp_path: Path) -> None:
    source = GOLDENS / "lenet_v1" / "model.ckpt"
    values = np.load(source.parent / "expected.npz")["LeNet/fc3/weights"]
    data = bytearray(source.read_bytes())
    data[data.index(values.tobytes())] ^= 1
    path = tmp_path / "model.ckpt"
    path.write_bytes(data)
    if verify == "off":
        found = SlicedReader([path], verify=verify)["LeNet/fc3/weights"].read()
        assert (found.numpy() != values).sum() == 1
    else:
        with pytest.raises(CheckpointError, match="block at byte 0 does not match its checksum"):
            SlicedReader([path], verify=verify)["LeNet/fc3/weights"].read()


@pytest.mark.parametrize("verify", ["full", "off"])
def test_any_flipped_bit_ends_in_our_error_or_in_nothing(verify: str, tmp_path: Path) -> None:
    """With checksums nothing wrong is ever read; without, what is read has the shape that is claimed."""
    source = GOLDENS / "partitioned_v1" / "part.ckpt"
    wanted = np.load(source.parent / "expected.npz")
    path = tmp_path / "part.ckpt"
    for position, byte in enumerate(source.read_bytes()):
        data = bytearray(source.read_bytes())
        data[position] = byte ^ (1 << position % 8)
        path.write_bytes(data)
        try:
            found = {name: (stored, stored.read()) for name, stored in SlicedReader([path], verify=verify).items()}
        except CheckpointError:
            continue
        assert all(value.shape == stored.shape for stored, value in found.values())
        if verify == "full":
            assert {name: value.numpy().tobytes() for name, (_, value) in found.items()} == {
                name: wanted[name].tobytes() for name in wanted
            }


# Files made by hand.

FLOAT, RESOURCE, STRING = 1, 20, 7
Slices = list[tuple[list[tuple[int, int]], dict[str, Any]]]


def write_v1(path: Path, shape: list[int], slices: Slices, *, kind: int = FLOAT, listed: Any = None) -> Path:
    """A file with the tensor `w`; `listed`: extents in its list of tensors, if not those of `slices`."""
    listed = [extents for extents, _ in slices] if listed is None else listed
    header, entries = SavedTensorSlices(), {}
    tensor = header.meta.tensor.add(name="w", type=kind, shape={"dim": [{"size": size} for size in shape]})
    for extents in listed:
        tensor.slice.add(extent=[{"start": a, "length": b} if b >= 0 else {} for a, b in extents])
    for extents, values in slices:
        entries[encode_slice_key("w", extents)] = SavedTensorSlices(data={"name": "w", "data": values})
    with path.open("wb") as file:
        table = TableWriter(file)
        for key, message in [(b"", header), *sorted(entries.items())]:
            table.add(key, message.SerializeToString())
        table.finish()
    return path


def values(*numbers: float) -> dict[str, Any]:
    return {"float_val": numbers}


def test_slices_in_two_files_are_put_together(tmp_path: Path) -> None:
    paths = [
        write_v1(tmp_path / "b", [2, 3], [([(0, -1), (1, 2)], values(2, 3, 5, 6))]),
        write_v1(tmp_path / "a", [2, 3], [([(0, 2), (0, 1)], values(1, 4))]),
    ]
    checkpoint = SlicedReader(paths)
    assert checkpoint.name == f"{paths[0]} and 1 more"
    assert checkpoint["w"].read().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_partitioned_strings(tmp_path: Path) -> None:
    slices: Slices = [([(0, 1)], {"string_val": [b"one"]}), ([(1, 2)], {"string_val": [b"", b"\xff"]})]
    found = SlicedReader([write_v1(tmp_path / "a", [3], slices, kind=STRING)])["w"].read()
    assert found.tolist() == [b"one", b"", b"\xff"]


@pytest.mark.parametrize(
    ("shape", "slices", "listed", "message"),
    [
        ([2], [([(0, -1)], values(1))], None, "tensor 'w': it has 1 values instead of 2"),
        ([2], [([(0, -1)], values(1, 2, 3))], None, "tensor 'w': it has 3 values instead of 2"),
        ([2**40], [([(0, -1)], values(1))], None, f"tensor 'w': it has 1 values instead of {2**40}"),
        (
            [2**40],
            [([(0, 1)], values(1)), ([(1, 2**40 - 1)], {})],
            None,
            f"too few bytes for the shape ({2**40},)",
        ),
        ([2**62, 2**62], [([(0, -1), (0, -1)], values(1))], None, "no tensor has the shape"),
        ([-2], [([(0, -1)], values(1))], None, "no tensor has the shape (-2,)"),
        ([3], [([(0, 1)], values(1)), ([(2, 1)], values(3))], None, "its slices hold 2 values for the shape (3,)"),
        ([3], [([(0, 2)], values(1, 2)), ([(1, 1)], values(2))], None, "tensor 'w': its slices overlap"),
        ([3], [([(0, 4)], values(1, 2, 3, 4))], None, "its slice [(0, 4)] does not fit the shape (3,)"),
        ([3], [([(-1, 3)], values(1, 2, 3))], None, "its slice [(-1, 3)] does not fit the shape (3,)"),
        ([3], [([(0, 3), (0, 1)], values(1, 2, 3))], None, "its slice [(0, 3), (0, 1)] does not fit the shape (3,)"),
        ([3], [([(0, 3)], values(1, 2, 3))], [[(0, -1)]], "tensor 'w': its slice [(0, -1)] is missing"),
        ([3], [([(0, 3)], values(1, 2, 3))], [], "its slices have too few bytes for the shape (3,)"),
    ],
)
def test_claims_that_do_not_hold(shape: list[int], slices: Slices, listed: Any, message: str, tmp_path: Path) -> None:
    path = write_v1(tmp_path / "a.ckpt", shape, slices, listed=listed)
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        SlicedReader([path])["w"].read()
    assert str(path) in str(caught.value)


def test_types_without_a_counterpart_are_listed(tmp_path: Path) -> None:
    path = write_v1(tmp_path / "a", [], [([], {})], kind=RESOURCE)
    checkpoint = SlicedReader([path])
    assert checkpoint["w"].shape == ()
    with pytest.raises(CheckpointError, match=re.escape(f"'w' of {str(path)!r} must have a type that PyTorch has.")):
        checkpoint["w"].read()


def test_files_that_disagree(tmp_path: Path) -> None:
    paths = [write_v1(tmp_path / name, [size], [([(0, -1)], values(1))]) for name, size in (("a", 1), ("b", 2))]
    with pytest.raises(CheckpointError, match=re.escape(f"{str(paths[1])!r} is damaged: tensor 'w' is of another")):
        SlicedReader(paths)


def test_a_table_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        table = TableWriter(file)
        table.add(b"w", b"")
        table.finish()
    with pytest.raises(CheckpointError, match=re.escape(f"{str(path)!r} is damaged: it has no list of tensors")):
        SlicedReader([path])
