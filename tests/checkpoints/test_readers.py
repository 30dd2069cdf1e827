"""The formats around PyTorch as mappings of lazy tensors, and a clear word about files that are none."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from torchslim.checkpoints import CheckpointError, open_checkpoint, save, save_checkpoint

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1, 2])}


def assert_holds_weights(source: Any) -> None:
    checkpoint = open_checkpoint(source)
    assert {name: (stored.shape, stored.dtype) for name, stored in checkpoint.items()} == {
        "conv.weight": ((2, 3), torch.float32),
        "conv.bias": ((2,), torch.int64),
    }
    for name, tensor in WEIGHTS.items():
        assert torch.equal(checkpoint[name].read(), tensor)
    assert checkpoint["conv.weight"][1, 2] == 5


def write_ours(path: Path) -> None:
    save(path, WEIGHTS)


def write_theirs(path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, path)


def write_torch(path: Path) -> None:
    torch.save(WEIGHTS, path)


def write_old_torch(path: Path) -> None:
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def write_nested(path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": WEIGHTS, "optimizer": {"lr": 0.1}}, path)


def write_twice_nested(path: Path) -> None:
    torch.save({"model": {"state_dict": {**WEIGHTS, "version": 2}}}, path)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_ours, "a.safetensors"),
        (write_theirs, "a.safetensors"),
        (write_torch, "a.pt"),
        (write_torch, "a.pth"),
        (write_old_torch, "a.pth"),
        (write_nested, "a.pth"),
        (write_twice_nested, "a.pt"),
    ],
)
def test_files(write: Any, name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    assert_holds_weights(tmp_path / name)
    assert_holds_weights(str(tmp_path / name))


@pytest.mark.parametrize(
    "source",
    [
        WEIGHTS,
        {name: tensor.numpy() for name, tensor in WEIGHTS.items()},
        {name: tensor.tolist() for name, tensor in WEIGHTS.items()},
        open_checkpoint(WEIGHTS),
    ],
    ids=["tensors", "arrays", "lists", "reader"],
)
def test_mappings(source: Any) -> None:
    assert_holds_weights(source)


def test_arrays_that_may_not_be_written_to() -> None:
    array = np.broadcast_to(np.float32(1), (2, 2))
    assert open_checkpoint({"x": array})["x"].read().sum() == 4


def test_of_a_training_state_the_weights_are_shown(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, {"model": WEIGHTS, "optimizer": {"state": {0: torch.ones(1)}}}, 12)
    assert_holds_weights(path)
    assert_holds_weights(tmp_path)
    assert_holds_weights(tmp_path / "model.ckpt-12")


def test_of_a_training_state_the_averages_are_shown(tmp_path: Path) -> None:
    averages = {"conv.weight": torch.ones(2, 3)}
    checkpoint = open_checkpoint(save_checkpoint(tmp_path, {"model": WEIGHTS, "ema": averages}, 12))
    assert set(checkpoint) == {"conv.weight", "conv.bias", "conv.weight/ExponentialMovingAverage"}
    assert checkpoint["conv.weight/ExponentialMovingAverage"].read().equal(torch.ones(2, 3))


def test_tensors_are_read_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"one": torch.ones(4), "two": torch.ones(4)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    checkpoint = open_checkpoint(path)
    assert checkpoint["one"].read().sum() == 4
    with pytest.raises(CheckpointError, match="tensor 'two'"):
        checkpoint["two"].read()
    for verify in ("fast", "off"):
        assert open_checkpoint(path, verify=verify)["two"].read().shape == (4,)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_files_are_mapped_and_private(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (write_torch if name == "a.pt" else write_ours)(path)
    tensor = open_checkpoint(path)["conv.weight"].read()
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    areas = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    assert any(start <= tensor.data_ptr() < end for start, end in areas)
    tensor.zero_()
    assert_holds_weights(path)


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "x": Trap(tmp_path / "sprung")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt' is refused: .*convert it once.*mkdir\.$"):
        open_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (argparse.Namespace(a=1), "is refused: it holds more than tensors.*argparse.Namespace"),
        (torch.nn.Linear(1, 1), "is refused: it holds more than tensors.*torch.nn.modules.linear.Linear"),
        ([torch.ones(1)], "must map names to tensors. Got list"),
        (torch.ones(1), "must map names to tensors. Got Tensor"),
        ({"epoch": 1, "names": ["a"]}, r"holds no tensors .* Got the keys \['epoch', 'names'\]"),
    ],
)
def test_torch_files_without_weights(value: Any, message: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path))}/a.pt' {message}"):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04 nonsense"])
@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors"])
def test_damaged_files(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / name))):
        open_checkpoint(tmp_path / name)


def test_a_truncated_torch_file(tmp_path: Path) -> None:
    write_torch(tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"a\.pt' is "):
        open_checkpoint(tmp_path / "a.pt")


# What users of TensorFlow's readers call.


def test_the_methods_of_tensorflows_readers() -> None:
    values = {"w": torch.arange(6.0).reshape(2, 3), "half": torch.tensor([0.5, -3.0], dtype=torch.bfloat16)}
    checkpoint = open_checkpoint(values)
    assert checkpoint.has_tensor("w")
    assert not checkpoint.has_tensor("v")
    assert checkpoint.get_variable_to_shape_map() == {"w": [2, 3], "half": [2]}
    assert checkpoint.get_variable_to_dtype_map() == {"w": torch.float32, "half": torch.bfloat16}
    assert checkpoint.get_tensor("w").tolist() == [[0, 1, 2], [3, 4, 5]]
    half = checkpoint.get_tensor("half")  # NumPy has no bfloat16
    assert (half.dtype, half.tolist()) == (np.float32, [0.5, -3.0])


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(KeyError, match=r"given mapping has no tensor 'conv\.weigth'\. Did you mean 'conv\.weight'"):
        open_checkpoint(WEIGHTS).get_tensor("conv.weigth")
