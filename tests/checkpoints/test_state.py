"""Packing a training state: real optimizers go on as if nothing had happened, and nothing is pickled."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchslim.checkpoints import load, pack, rng_state, save, set_rng_state, unpack
from torchslim.checkpoints.store import SafetensorsFile


def through_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "state.safetensors"
    save(path, *pack(state))
    return unpack(load(path), SafetensorsFile(path).metadata)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> torch.Tensor:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.rand(4, 3)).square().sum().backward()
        optimizer.step()
    return torch.cat([parameter.flatten() for parameter in model.parameters()]).detach()


OPTIMIZERS: dict[str, Callable[[torch.nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda model: torch.optim.Adam(
        [{"params": [model[0].weight]}, {"params": [model[0].bias], "lr": 0.5}], betas=(0.8, 0.9), amsgrad=True
    ),
    "rprop": lambda model: torch.optim.Rprop(model.parameters()),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_training_goes_on_as_if_nothing_had_happened(
    make: Callable[[torch.nn.Module], torch.optim.Optimizer], tmp_path: Path
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    optimizer = make(model)
    train(model, optimizer, 3)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng_state()}
    state = through_a_file(state, tmp_path)
    wanted = train(model, optimizer, 3)

    resumed = torch.nn.Sequential(torch.nn.Linear(3, 2))
    resumed.load_state_dict(state["model"])
    optimizer = make(resumed)
    optimizer.load_state_dict(state["optimizer"])
    set_rng_state(state["rng"])
    assert torch.equal(train(resumed, optimizer, 3), wanted)


def test_structure_and_types_survive(tmp_path: Path) -> None:
    state = {
        "int keys": {0: "a", 1: None},
        "nested": [(1, 2.5), [True, {"x": ()}], {}],
        "floats": [float("inf"), -0.0, 1e-300],
        "array": np.arange(3, dtype=np.uint32),
        "number": np.float64(0.1),
    }
    found = through_a_file(state, tmp_path)
    np.testing.assert_array_equal(found.pop("array"), state.pop("array"))
    assert found == state
    assert isinstance(found["nested"][0], tuple)
    assert type(found["number"]) is float


def test_the_file_is_text_and_tensors(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", *pack({"model": {"w": torch.ones(1)}, "rng": rng_state()}))
    for text in SafetensorsFile(tmp_path / "a.safetensors").metadata.values():
        assert len(text) == 8 or json.loads(text)


def test_generators_go_back() -> None:
    def draw() -> list[float]:
        return [torch.rand(1).item(), float(np.random.rand()), random.random()]

    before = rng_state()
    first = draw()
    assert draw() != first
    set_rng_state(before)
    assert draw() == first


def test_arrays_that_may_not_be_written_to(tmp_path: Path) -> None:
    array = np.arange(4.0)
    array.flags.writeable = False
    assert through_a_file({"a": array}, tmp_path)["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"optimizer": {"hook": print}}, "Got builtin_function_or_method at 'optimizer/hook'"),
        ({"a": [{1.5: 2}]}, "Got dict at 'a/0'"),
        ({"a": {"x", "y"}}, "Got set at 'a'"),
    ],
)
def test_what_cannot_be_packed(state: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        pack(state)


def test_two_tensors_of_one_name() -> None:
    with pytest.raises(ValueError, match="two tensors of `state` would have the name 'a/b'"):
        pack({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)})


def test_weights_alone_are_no_state() -> None:
    with pytest.raises(ValueError, match=re.escape("Got ['note']")):
        unpack({"w": torch.ones(1)}, {"note": "x"})
