"""Whole training trajectories of TF-Slim's `create_train_op`, replayed."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torchslim as slim

GOLDENS = Path(__file__).parents[1] / "goldens"
CASES = json.loads((GOLDENS / "learning.json").read_text())
ARRAYS = np.load(GOLDENS / "learning.npz")
# The other optimizers have formulas of their own in TensorFlow.
SAME_FORMULA = ("GradientDescent", "Momentum")
NAMES = {
    "slim": slim,
    "np": np,
    "relu": torch.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "softplus": F.softplus,
    "identity": lambda x: x,
}


def replayable(case: dict[str, Any]) -> bool:
    return case["api"] == "create_train_op" and case["optimizer"]["name"] in SAME_FORMULA


def sgd(kwargs: dict[str, Any]) -> functools.partial[torch.optim.SGD]:
    names = {"learning_rate": "lr", "use_nesterov": "nesterov"}
    return functools.partial(torch.optim.SGD, **{names.get(name, name): value for name, value in kwargs.items()})


def assert_close(got: torch.Tensor | float, expected: Any, case: dict[str, Any], tolerance: float) -> None:
    expected = np.asarray(expected)
    got = np.asarray(torch.as_tensor(got).detach())
    assert got.shape == expected.shape
    limit = tolerance * np.abs(expected).max() + case["atol"]
    assert np.abs(got.astype(np.float64) - expected).max() <= limit


@pytest.mark.parametrize("case", [c for c in CASES if replayable(c)], ids=lambda case: case["name"])
def test_trajectory(case: dict[str, Any]) -> None:
    with slim.Graph() as graph:
        batches = {name: [torch.tensor(ARRAYS[key]) for key in keys] for name, keys in case["inputs"].items()}
        symbols = {name: slim.placeholder((None, *v[0].shape[1:]), v[0].dtype, name) for name, v in batches.items()}
        code = dict(NAMES, **symbols)
        with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
            exec(case["code"], code)
        schedule = case.get("learning_rate_schedule")
        train_op = slim.learning.create_train_op(
            code["total_loss"],
            sgd({"learning_rate": 0.0, **case["optimizer"]["kwargs"]}),
            **case["train_kwargs"],
        )
        step = slim.get_global_step()
    variables = {v.op.name: v for v in slim.get_variables(module=graph)}
    assert step is not None
    assert [name for name in variables if name != "global_step"] == case["variable_order"]
    for name, key in case["variables"].items():
        variables[name].assign(variables[name].from_tf(ARRAYS[key]))

    for i in range(case["steps"]):
        if schedule:
            train_op.prepare()
            train_op.optimizer.param_groups[0]["lr"] = exponential_decay(i, **schedule["kwargs"])
        loss = train_op(*(batches[name][i] for name in (symbol.name for symbol in train_op.objective.inputs)))
        assert_close(loss, case["loss"][i], case, case["loss_tolerance"])
        for name, key in case["after_step1"].items() if i == 0 else ():
            assert_close(variables[name].to_tf(variables[name].tensor), ARRAYS[key], case, case["tolerance"])
    for name, key in case["final"].items():
        assert_close(variables[name].to_tf(variables[name].tensor), ARRAYS[key], case, case["tolerance"])
    for name, key in case["slots"].get("momentum", {}).items():
        momentum = train_op.optimizer.state[variables[name].tensor]["momentum_buffer"]
        assert_close(variables[name].to_tf(momentum), ARRAYS[key], case, case["tolerance"])
    assert int(step.tensor) == train_op.global_step == case["global_step"]


def exponential_decay(
    step: int, *, learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool
) -> float:
    passed = step / decay_steps
    return learning_rate * decay_rate ** (int(passed) if staircase else passed)
