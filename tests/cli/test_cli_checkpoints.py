"""`torchslim inspect` and `torchslim convert`, on TensorFlow's own files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchslim.checkpoints import load, open_checkpoint, save
from torchslim.cli import main

GOLDENS = Path(__file__).parents[1] / "goldens" / "checkpoints"
VGG = str(GOLDENS / "mini_vgg_v1" / "model.ckpt-4")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; gives its exit code, and what it printed and complained of."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", ["lenet_v1", "dtypes_v2", "object_keras_sgd", "sharded2_v1"])
def test_inspect_lists_what_tensorflow_lists(name: str, run: Any) -> None:
    known = json.loads((GOLDENS / name / "expected.json").read_text())["tensors"]
    code, printed, _ = run("inspect", GOLDENS / name)
    assert code == 0
    lines = {line.split()[0]: line.split() for line in printed.splitlines()[2:-1]}
    assert {name: "".join(words[1:-2]) for name, words in lines.items()} == {
        tensor["name"]: str(tensor["shape"]).replace(" ", "") for tensor in known
    }
    assert {name: words[-2] for name, words in lines.items()} == {t["name"]: t["dtype"] for t in known}
    assert printed.splitlines()[-1].startswith(f"{len(known)} tensors, ")


def test_inspect_a_tensor(run: Any, tmp_path: Path) -> None:
    values = torch.tensor([[0.0, -2.0, 4.0], [math.inf, math.nan, 6.0]])
    save(tmp_path / "a.safetensors", {"w": values, "i": torch.arange(9), "none": torch.ones(0, 2)})
    code, printed, _ = run("inspect", tmp_path / "a.safetensors", "--tensor", "w")
    assert code == 0
    assert printed.splitlines() == [
        "w  [2, 3]  float32",
        "  min -2  max 6  mean 2  std 3.16228",  # of the finite ones: 0, -2, 4, 6
        "  zeros 1 of 6, not finite 2",
        "  first 0, -2, 4, inf, nan, 6",
    ]
    assert run("inspect", tmp_path / "a.safetensors", "--tensor", "i")[1].endswith(
        "first 0, 1, 2, 3, 4, 5, 6, 7, ...\n"
    )
    assert run("inspect", tmp_path / "a.safetensors", "--tensor", "none")[1].endswith("float32\n  empty\n")
    code, _, error = run("inspect", VGG, "--tensor", "mini_vgg/fc8/weight")
    assert code == 2
    assert "has no tensor 'mini_vgg/fc8/weight'. Did you mean 'mini_vgg/fc8/weights'" in error
    assert "b''" in run("inspect", GOLDENS / "dtypes_v2", "--tensor", "s")[1]


@pytest.mark.parametrize("name", [path.name for path in sorted(GOLDENS.glob("corrupt_*"))])
def test_inspect_finds_damage(name: str, run: Any) -> None:
    known = json.loads((GOLDENS / name / "expected.json").read_text())
    code, printed, _ = run("inspect", GOLDENS / name / known["prefix"], "--verify")
    assert code == 1
    assert known["prefix"] in printed
    if known["expected"]["open"] == "ok":
        damaged = [line.split(":")[0].strip() for line in printed.splitlines() if line.startswith("  ")]
        assert sorted(damaged) == sorted(known["expected"]["damaged"])
        count = len(damaged) + len(known["expected"]["intact"])
        assert printed.endswith(f"{count} tensors read, {len(damaged)} damaged\n")


def test_inspect_whole_files(run: Any) -> None:
    for name in ("many_v2", "dtypes_v1", "snappy_v1"):
        code, printed, _ = run("inspect", GOLDENS / name, "--verify")
        assert (code, printed.splitlines()[-1].split("read, ")[1]) == (0, "0 damaged")


def test_inspect_differences(run: Any, tmp_path: Path) -> None:
    assert run("inspect", VGG, "--diff", GOLDENS / "mini_vgg_v2")[:2] == (0, "44 tensors in both; no differences\n")
    one = {
        "same": torch.tensor([math.nan, 1]),
        "shape": torch.ones(2),
        "mine": torch.ones(1),
        "value": torch.arange(4.0),
    }
    other = {
        "same": one["same"],
        "shape": torch.ones(3),
        "theirs": torch.ones(1),
        "value": torch.tensor([0, 1.5, 2, 7]),
    }
    save(tmp_path / "a.safetensors", one)
    save(tmp_path / "b.safetensors", other)
    code, printed, _ = run("inspect", tmp_path / "a.safetensors", "--diff", tmp_path / "b.safetensors")
    assert code == 1
    assert printed.splitlines() == [
        f"  only in {tmp_path}/a.safetensors: mine  [1]",
        f"  only in {tmp_path}/b.safetensors: theirs  [1]",
        "  shape: [2] and [3]",
        "  value: max |difference| 4 in 2 of 4",
        "3 tensors in both; 4 differences",
    ]
    assert run("inspect", GOLDENS / "dtypes_v1", "--diff", GOLDENS / "dtypes_v2")[0] == 1


@pytest.mark.parametrize("output", ["a.safetensors", "a.pt", "a.ckpt"])
def test_convert(output: str, run: Any, tmp_path: Path) -> None:
    code, printed, _ = run("convert", VGG, tmp_path / output)
    assert code == 0
    assert printed.startswith(f"{tmp_path}/{output}: {44 if output == 'a.ckpt' else 15} tensors\n")
    assert ("left out (29): global_step" in printed) == (output != "a.ckpt")
    found = open_checkpoint(tmp_path / output)
    name = "mini_vgg/fc8/weights" if output == "a.ckpt" else "mini_vgg.fc8.weight"
    wanted = np.load(GOLDENS / "mini_vgg_v1" / "expected.npz")["mini_vgg/fc8/weights"]
    assert np.array_equal(found.get_tensor(name), wanted if output == "a.ckpt" else wanted.transpose(3, 2, 0, 1))


def test_convert_names_and_layout(run: Any, tmp_path: Path) -> None:
    assert run("convert", VGG, tmp_path / "a.safetensors", "--names", "mini_vgg/fc8=head,mini_vgg=net")[0] == 0
    assert {"head.weight", "net.fc6.weight"} < set(load(tmp_path / "a.safetensors"))
    assert run("convert", VGG, tmp_path / "b.safetensors", "--layout", "tf")[0] == 0
    assert run("inspect", VGG, "--diff", tmp_path / "b.safetensors")[0] == 0
    code, _, error = run("convert", VGG, tmp_path / "c.npz")
    assert (code, f"Got '{tmp_path}/c.npz'" in error) == (2, True)
