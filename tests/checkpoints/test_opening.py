"""The one door to checkpoints: every spelling of a path, folders, and a clear word about everything else.

The files are TensorFlow's own; `expected.json` and `expected.npz` beside them say what it read from them.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import CheckpointError, Reader, open_checkpoint, save, save_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "checkpoints"
INTACT = sorted(path.name for path in GOLDENS.iterdir() if not path.name.startswith(("corrupt", "state")))
WEIGHTS = {"w": torch.ones(2)}


def expected(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / name / "expected.json").read_text())


def spellings(name: str) -> list[str]:
    """Every way to say it: the folder, the prefix, each of its files."""
    known = expected(name)
    of_this = known["prefix"].split("-?????")[0]
    files = [file for file in known["files"] if file.startswith(of_this)]
    return [".", known["prefix"], *files, *([of_this] if of_this != known["prefix"] else [])]


def assert_holds(checkpoint: Reader, name: str) -> None:
    """Every tensor is what TensorFlow read, bit for bit."""
    known = expected(name)
    tensors, values = known["tensors"] or [], GOLDENS / name / "expected.npz"
    assert {tensor["name"] for tensor in tensors} <= set(checkpoint)
    assert checkpoint.layout == "tf"
    arrays = np.load(values) if values.exists() else {}
    for tensor in tensors:
        stored = checkpoint[tensor["name"]]
        assert list(stored.shape) == tensor["shape"]
        if tensor["dtype"] == "string":
            assert stored.dtype is bytes
        elif tensor["name"] in arrays:
            found = stored.read()
            found = (found.view(torch.int16) if found.dtype == torch.bfloat16 else found).numpy()
            wanted = arrays[tensor["name"]]
            assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("name", "spelling"), [(name, spelling) for name in INTACT for spelling in spellings(name)])
def test_every_spelling_of_an_intact_checkpoint(name: str, spelling: str) -> None:
    assert_holds(open_checkpoint(GOLDENS / name / spelling), name)


@pytest.mark.parametrize("verify", ["full", "fast", "off"])
def test_what_is_verified(verify: str) -> None:
    assert_holds(slim.checkpoints.open(str(GOLDENS / "lenet_v2" / "model.ckpt"), verify=verify), "lenet_v2")
    damaged = GOLDENS / "corrupt_v2_data_flip" / "part.ckpt-3"
    tensor = open_checkpoint(damaged, verify=verify)["emb/weights"]
    if verify == "full":
        with pytest.raises(CheckpointError, match="'emb/weights'"):
            tensor.read()
    else:
        assert tensor.read().shape == (10, 4)


def test_verify_is_one_of_three() -> None:
    with pytest.raises(ValueError, match=r"`verify` must be one of .*Got True"):
        open_checkpoint(WEIGHTS, verify=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [path.name for path in sorted(GOLDENS.glob("corrupt_*"))])
def test_damage_is_named(name: str) -> None:
    known = expected(name)
    prefix = GOLDENS / name / known["prefix"]

    def read_all() -> None:
        for stored in open_checkpoint(prefix).values():
            stored.read()

    with pytest.raises(CheckpointError, match=f"{name}/{known['prefix']}"):
        read_all()


def test_what_stands_in_the_graph_of_objects_is_found_by_its_names() -> None:
    checkpoint = open_checkpoint(GOLDENS / "object_keras_seq")
    key = "model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert checkpoint.get_tensor(key).tobytes() == np.load(GOLDENS / "object_keras_seq" / "expected.npz")[key].tobytes()


def test_strings() -> None:
    strings = {tensor["name"]: tensor for tensor in expected("dtypes_v2")["tensors"] if tensor["dtype"] == "string"}
    checkpoint = open_checkpoint(GOLDENS / "dtypes_v2")
    assert strings
    for name, tensor in strings.items():
        wanted = [base64.b64decode(text) for text in tensor["values_base64"]]
        assert checkpoint.get_tensor(name).reshape(-1).tolist() == wanted


# Folders.


def copy(name: str, folder: Path) -> Path:
    shutil.copytree(GOLDENS / name, folder, dirs_exist_ok=True)
    return folder


def step(folder: Path) -> int:
    return int(open_checkpoint(folder).get_tensor("global_step"))


@pytest.mark.parametrize("name", ["state_relative", "state_v1_custom"])
def test_the_newest_of_a_folder(name: str) -> None:
    known = expected(name)
    assert open_checkpoint(GOLDENS / name).name == str(GOLDENS / name / known["latest_checkpoint"])
    assert step(GOLDENS / name) == 4000


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ("model.ckpt-20", 20),
        ("/elsewhere/model.ckpt-300", 300),  # the folder has moved
        (r"\155odel.ckpt-20", 20),
        ("model.ckpt-19", 4000),  # it is gone
        (r"\xzz", 4000),
    ],
)
def test_what_the_state_file_names(named: str, wanted: int, tmp_path: Path) -> None:
    copy("state_relative", tmp_path)
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    assert step(tmp_path) == wanted


def test_a_state_file_that_names_another_folder(tmp_path: Path) -> None:
    there = copy("state_relative", tmp_path / "thäre")
    here = tmp_path / "here"
    here.mkdir()
    quoted = str(there / "model.ckpt-20").encode().decode("latin-1").encode("unicode_escape").decode()
    assert "\\" in quoted
    (here / "checkpoint").write_text(f'model_checkpoint_path: "{quoted}"\n')
    assert step(here) == 20
    (here / "checkpoint").write_text('model_checkpoint_path: "../thäre/model.ckpt-300"\n', "utf-8")
    assert step(here) == 300


def test_without_a_state_file_the_highest_step_counts(tmp_path: Path) -> None:
    copy("state_relative", tmp_path)
    (tmp_path / "checkpoint").unlink()
    assert step(tmp_path) == 4000
    save(tmp_path / "model.ckpt-5000.safetensors", {"global_step": torch.tensor(5000)})
    assert step(tmp_path) == 5000
    copy("sharded2_v1", tmp_path / "shards")
    (tmp_path / "shards" / "checkpoint").unlink()
    assert_holds(open_checkpoint(tmp_path / "shards"), "sharded2_v1")


def test_ours_and_theirs_in_one_folder(tmp_path: Path) -> None:
    copy("state_relative", tmp_path)
    (tmp_path / "checkpoint").unlink()
    path = save_checkpoint(tmp_path, {"model": WEIGHTS}, 1)
    assert open_checkpoint(tmp_path).name == path
    (tmp_path / "checkpoint").unlink()
    assert step(tmp_path) == 4000


@pytest.mark.parametrize("damage", ["data", "index", "cut"])
def test_damaged_ones_are_passed_over(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy("state_relative", tmp_path)
    name = "model.ckpt-4000.index" if damage == "index" else "model.ckpt-4000.data-00000-of-00001"
    data = bytearray((tmp_path / name).read_bytes())
    data[3] ^= 1
    (tmp_path / name).write_bytes(data[:5] if damage == "cut" else data)
    with caplog.at_level(logging.WARNING, "torchslim"):
        assert step(tmp_path) == 300
    assert f"using '{tmp_path}/model.ckpt-300'. Passed over: " in caplog.text
    assert f"{tmp_path}/model.ckpt-4000" in caplog.text
    assert name in caplog.text
    for other in tmp_path.glob("model.ckpt-[23]*"):
        other.unlink()
    with pytest.raises(CheckpointError, match=f"no checkpoint in '{tmp_path}' is whole. .*{name}"):
        open_checkpoint(tmp_path)


# What cannot be opened.


@pytest.mark.parametrize("name", ["a.h5", "weights", "a.npz"])
def test_unknown_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"data")
    with pytest.raises(CheckpointError, match=rf"\.safetensors file, .* Got '{tmp_path}/{name}'; .* byte 4, is not"):
        open_checkpoint(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no file '{tmp_path}/none'.*\.safetensors file, "):
        open_checkpoint(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=f"no checkpoint .* in '{tmp_path}'"):
        open_checkpoint(tmp_path)
    with pytest.raises(TypeError, match="Got int"):
        open_checkpoint(3)


def test_parts_of_a_checkpoint(tmp_path: Path) -> None:
    copy("sharded2_v2", tmp_path)
    (tmp_path / "shard.ckpt-77.index").rename(tmp_path / "list")
    with pytest.raises(CheckpointError, match=r"Name it 'list\.index', with its data beside it"):
        open_checkpoint(tmp_path / "list")
    with pytest.raises(CheckpointError, match=r"of tensors, 'shard\.ckpt-77\.index', is not beside it"):
        open_checkpoint(tmp_path / "shard.ckpt-77.data-00001-of-00002")
    copy("sharded2_v1", tmp_path)
    os.unlink(tmp_path / "shard.ckpt-77-00001-of-00002")
    for spelling in ("shard.ckpt-77", "shard.ckpt-77-00000-of-00002", "shard.ckpt-77-?????-of-00002"):
        with pytest.raises(CheckpointError, match=r"in 2 files, and 1 are missing: shard\.ckpt-77-00001-of-00002"):
            open_checkpoint(tmp_path / spelling)


def test_any_name_will_do_for_a_single_file(tmp_path: Path) -> None:
    for name in ("vgg_16", "a.pt", "x-00000-of-00001", "model.ckpt.index"):
        shutil.copy(GOLDENS / "lenet_v1" / "model.ckpt", tmp_path / name)
        assert_holds(open_checkpoint(tmp_path / name), "lenet_v1")
