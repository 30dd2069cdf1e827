"""What `save_tf` writes: entry for entry what TensorFlow wrote for the same tensors, and whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim import nets
from torchslim.checkpoints import Reader, StoredTensor, open_checkpoint, save_tf
from torchslim.checkpoints.tensorflow.bundle import BundleReader
from torchslim.checkpoints.tensorflow.messages import TORCH_DTYPES, BundleEntryProto
from torchslim.checkpoints.tensorflow.table import Table
from torchslim.checkpoints.tensorflow.writer import write_bundle

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
EXPECTED = {path.parent.name: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*/expected.json"))}
CHECKPOINTS = [name for name, expected in EXPECTED.items() if "format" in expected]
DATA = ".data-00000-of-00001"


def bits(value: Any) -> Any:
    return (
        value.contiguous().flatten().view(torch.uint8).tolist() if isinstance(value, torch.Tensor) else value.tolist()
    )


def assert_same_tensors(found: Reader, wanted: Reader) -> None:
    assert set(found) == set(wanted)
    for name, stored in wanted.items():
        assert (found[name].shape, found[name].dtype) == (stored.shape, stored.dtype)
        assert bits(found[name].read()) == bits(stored.read()), name


def entries_of(path: Path) -> dict[str, tuple[Any, ...]]:
    """What an index says about every tensor but where it is."""
    entries = {key.decode(): BundleEntryProto.FromString(bytes(value)) for key, value in Table(path).items() if key}
    return {
        name: (entry.dtype, [dim.size for dim in entry.shape.dim], entry.size, entry.crc32c)
        for name, entry in entries.items()
    }


# What TensorFlow wrote, written again.


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_of_tensorflow_survives(name: str, tmp_path: Path) -> None:
    source = open_checkpoint(GOLDENS / name / EXPECTED[name]["prefix"].replace("-?????-of-00002", ""))
    write_bundle(tmp_path / "copy.ckpt", source.tensors)
    assert_same_tensors(BundleReader(tmp_path / "copy.ckpt"), source)


@pytest.mark.parametrize("name", ["dtypes_v2", "lenet_v2", "many_v2", "mini_vgg_v2", "object_keras_seq"])
def test_entries_are_those_of_tensorflow(name: str, tmp_path: Path) -> None:
    prefix = GOLDENS / name / EXPECTED[name]["prefix"]
    write_bundle(tmp_path / "copy", BundleReader(prefix).tensors)
    assert entries_of(tmp_path / "copy.index") == entries_of(prefix.with_name(f"{prefix.name}.index"))


def test_headers_are_those_of_tensorflow(tmp_path: Path) -> None:
    write_bundle(tmp_path / "copy", {})
    assert bytes(Table(tmp_path / "copy.index").get(b"") or b"") == bytes.fromhex("0801 1a02 0801")


@pytest.mark.parametrize("dtype", TORCH_DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_every_type_and_shape(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = (torch.arange(prod(shape)) % 2).to(dtype).reshape(shape)
    write_bundle(tmp_path / "model.ckpt", {"x": StoredTensor(shape, dtype, lambda: tensor)})
    found = BundleReader(tmp_path / "model.ckpt")["x"]
    assert (found.shape, found.dtype) == (shape, dtype)
    assert bits(found.read()) == bits(tensor)


def test_tensors_are_aligned_in_the_file(tmp_path: Path) -> None:
    tensors = {name: torch.ones(3, dtype=torch.uint8) for name in "abc"}
    write_bundle(tmp_path / "model.ckpt", open_checkpoint(tensors).tensors)
    table = Table(tmp_path / "model.ckpt.index")
    offsets = [BundleEntryProto.FromString(bytes(table.get(name.encode()) or b"")).offset for name in "abc"]
    assert offsets == [0, 64, 128]


# Modules.


# One of each family, with all kinds of variables; deeper ones have more of the same.
NETWORKS = [
    *("alexnet_v2", "cifarnet", "i3d", "inception_resnet_v2", "inception_v1", "inception_v2", "inception_v3"),
    *("inception_v4", "lenet", "mobilenet_edgetpu_075", "mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small"),
    *("overfeat", "resnet_v1_50", "resnet_v2_50", "s3dg", "vgg_a"),
    pytest.param("pnasnet_mobile", marks=pytest.mark.slow),
]


def build_small(name: str) -> torch.nn.Module:
    """The network, of whose large kernels only a corner is left: all names and kinds of variables, few bytes."""
    with torch.device("meta"):
        model = nets.get(name, num_classes=5)
    for variable in slim.get_variables(module=model):
        is_kernel = len(variable.shape) > 1 and not getattr(variable.module, "image", None)  # those know their image
        if is_kernel and variable._tensor.numel() > 100_000:
            corner = variable._tensor[tuple(slice(7) for _ in variable.shape[:2])]
            setattr(variable.module, variable.attribute, torch.nn.Parameter(corner))
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_every_net_comes_back(name: str, tmp_path: Path) -> None:
    model, again = build_small(name), build_small(name)
    wanted = {}
    for variable in slim.get_variables(module=model):
        values = torch.randn(variable.shape).to(variable.dtype)
        variable.assign(values)
        wanted[variable.op.name] = values
    prefix = save_tf(model, tmp_path / "model.ckpt", global_step=7)
    stored = open_checkpoint(prefix)
    assert {n: s.shape for n, s in stored.items() if n != "global_step"} == {
        variable.op.name: variable.tf_shape for variable in slim.get_variables(module=model)
    }
    assert slim.restore(again, prefix).missing == []
    for variable in slim.get_variables(module=again):
        assert torch.equal(variable.tensor, wanted[variable.op.name]), variable.op.name


def small_net(inputs: slim.Symbol) -> slim.Symbol:
    return slim.conv2d(inputs, 4, [5, 3], scope="net/conv1")


@pytest.fixture
def model() -> torch.nn.Module:
    return slim.build(small_net, torch.empty(1, 3, 9, 9))


def test_kernels_are_laid_out_as_in_tensorflow(model: torch.nn.Module, tmp_path: Path) -> None:
    prefix = save_tf(model, str(tmp_path / "model.ckpt"))
    assert prefix == str(tmp_path / "model.ckpt")
    found = open_checkpoint(prefix)["net/conv1/weights"].read()
    np.testing.assert_array_equal(found, model.net.conv1.weight.detach().numpy().transpose(2, 3, 1, 0))


def test_the_global_step(model: torch.nn.Module, tmp_path: Path) -> None:
    step = slim.get_or_create_global_step()
    step.assign(torch.tensor(2**40))
    save_tf([step], tmp_path / "own")
    save_tf([step], tmp_path / "given", global_step=3)
    save_tf(model, tmp_path / "none")
    assert int(open_checkpoint(tmp_path / "own")["global_step"].read()) == 2**40
    assert int(open_checkpoint(tmp_path / "given")["global_step"].read()) == 3
    assert open_checkpoint(tmp_path / "given")["global_step"].dtype == torch.int64
    assert "global_step" not in open_checkpoint(tmp_path / "none")


def test_variables_of_a_graph_get_their_first_value(tmp_path: Path) -> None:
    graph = slim.get_default_graph()
    slim.variable("scale", shape=[2], initializer=slim.ones_initializer())
    assert open_checkpoint(save_tf(graph, tmp_path / "model.ckpt"))["scale"].read().tolist() == [1, 1]


# The `checkpoint` file.


def state_of(folder: Path) -> list[str]:
    return re.sub(r"(timestamps: )\d+\.\d+", r"\1NOW", (folder / "checkpoint").read_text()).splitlines()


def test_the_state_file_keeps_what_it_lists(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-2"\n'
        'all_model_checkpoint_paths: "/far away/model.ckpt-1"\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
        "last_preserved_timestamp: 11.5\n"
    )
    write_bundle(tmp_path / 'é"3', {})
    write_bundle(tmp_path / "model.ckpt-2", {})
    assert state_of(tmp_path) == [
        'model_checkpoint_path: "model.ckpt-2"',
        'all_model_checkpoint_paths: "/far away/model.ckpt-1"',
        r'all_model_checkpoint_paths: "\303\251\"3"',
        'all_model_checkpoint_paths: "model.ckpt-2"',
        "all_model_checkpoint_timestamps: NOW",
        "all_model_checkpoint_timestamps: NOW",
        "all_model_checkpoint_timestamps: NOW",
        "last_preserved_timestamp: 11.5",
    ]


def test_the_folder_opens_as_what_was_written_last(tmp_path: Path) -> None:
    for value in (2, 1):
        write_bundle(tmp_path / f"model.ckpt-{value}", open_checkpoint({"x": torch.tensor(value)}).tensors)
    assert int(open_checkpoint(tmp_path)["x"].read()) == 1


# What cannot be written.


def test_variables_without_a_value(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = slim.build(small_net, torch.empty(1, 3, 9, 9))
    with pytest.raises(ValueError, match="Got 'net/conv1/weights' on the meta device"):
        save_tf(model, tmp_path / "model.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_two_variables_of_one_name(model: torch.nn.Module, tmp_path: Path) -> None:
    variables = slim.get_variables(module=model)
    with pytest.raises(ValueError, match="Got 'net/conv1/weights' twice"):
        save_tf([*variables, variables[0]], tmp_path / "model.ckpt")


def test_things_that_are_no_variables(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"must be a module, a Graph or Variables\. Got 'fc/weights'"):
        save_tf(["fc/weights"], tmp_path / "model.ckpt")  # type: ignore[list-item]


def test_a_type_that_tensorflow_does_not_have(tmp_path: Path) -> None:
    tensors = {"x": StoredTensor((1,), torch.complex32, lambda: torch.ones(1, dtype=torch.complex32))}
    with pytest.raises(TypeError, match=r"the type of 'x' must be one that TensorFlow has. Got torch.complex32"):
        write_bundle(tmp_path / "model.ckpt", tensors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "model.ckpt.index", f"model.ckpt{DATA}", "model.safetensors", "there"])
def test_a_prefix_that_is_none(name: str, model: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a V1 checkpoint")
    with pytest.raises(ValueError, match=re.escape(f"Got {str(tmp_path / name)!r}, which is")):
        save_tf(model, tmp_path / name)


def test_a_folder_that_is_gone(model: torch.nn.Module, tmp_path: Path) -> None:
    prefix = tmp_path / "gone" / "model.ckpt"
    message = re.escape(f"save_tf: cannot write {str(prefix)!r} (0.0 MB): the folder does not exist")
    with pytest.raises(FileNotFoundError, match=message):
        save_tf(model, prefix)


def tensors_of(*values: float) -> dict[str, StoredTensor]:
    return open_checkpoint({"x": torch.tensor(values)}).tensors


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model.ckpt", tensors_of(1, 2))
    return tmp_path / "model.ckpt"


def assert_untouched(prefix: Path) -> None:
    names = ["checkpoint", f"{prefix.name}{DATA}", f"{prefix.name}.index"]
    assert sorted(path.name for path in prefix.parent.iterdir()) == names
    assert BundleReader(prefix)["x"].read().tolist() == [1, 2]


def test_a_full_disk(small_disk: Path) -> None:
    prefix = small_disk / "model.ckpt"
    write_bundle(prefix, tensors_of(1, 2))
    message = re.escape(f"save_tf: cannot write {str(prefix)!r} (8.0 MB): No space left on device. No part of it")
    with pytest.raises(OSError, match=message):
        write_bundle(prefix, open_checkpoint({"x": torch.ones(2_000_000)}).tensors)
    assert_untouched(prefix)


def test_a_read_only_folder(read_only_folder: Path, saved: Path) -> None:
    with pytest.raises(PermissionError, match=re.escape(f"{str(saved)!r} (0.0 MB): Permission denied")):
        write_bundle(saved, tensors_of(3))
    assert read_only_folder == saved.parent
    assert_untouched(saved)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_fails_late(failing: int, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index, then the data, are forced to the disk before either takes its name."""
    calls = iter(range(1, 3))
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=re.escape(f"{str(saved)!r} (0.0 MB): Input/output error")):
        write_bundle(saved, tensors_of(3))
    monkeypatch.undo()
    assert_untouched(saved)


def test_an_interrupt_leaves_nothing_behind(saved: Path) -> None:
    def interrupt() -> Iterator[None]:
        raise KeyboardInterrupt("by hand")

    tensors = {"a": tensors_of(3)["x"], "x": StoredTensor((), torch.float32, interrupt)}
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        write_bundle(saved, tensors)
    assert_untouched(saved)


def test_leftovers_of_a_killed_process_are_removed(saved: Path) -> None:
    leftover = saved.with_name(f".{saved.name}{DATA}.01234567.tmp")
    leftover.write_text("half of it")
    write_bundle(saved, tensors_of(1, 2))
    assert_untouched(saved)


def test_names_are_taken_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    replace = Path.replace

    def note(source: Path, target: Path) -> Path:
        order.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", note)
    write_bundle(tmp_path / "model.ckpt", tensors_of(1))
    assert order == [f"model.ckpt{DATA}", "model.ckpt.index", "checkpoint"]
