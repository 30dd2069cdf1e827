"""Whole training trajectories of TF-Slim's `create_train_op` and `optimize_loss`, replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def train_op_of(case: dict[str, Any], total_loss: slim.Symbol) -> slim.learning.TrainOp:
    if case["api"] == "optimize_loss":
        return slim.optimize_loss(total_loss, slim.get_or_create_global_step(), **case["optimize_loss_kwargs"])
    kwargs = dict(case["optimizer"]["kwargs"])
    if schedule := case.get("learning_rate_schedule"):
        kwargs["learning_rate"] = getattr(slim.optimizers, schedule["name"])(**schedule["kwargs"])
    average = case.get("ema", {})
    return slim.learning.create_train_op(
        total_loss,
        getattr(slim.optimizers, case["optimizer"]["name"])(**kwargs),
        **case["train_kwargs"],
        ema_decay=average.get("decay"),
        ema_num_updates=bool(average.get("num_updates")),
    )


def assert_close(got: torch.Tensor | float, expected: Any, case: dict[str, Any], tolerance: float) -> None:
    expected = np.asarray(expected)
    got = np.asarray(torch.as_tensor(got).detach())
    assert got.shape == expected.shape
    limit = tolerance * np.abs(expected).max() + case["atol"]
    assert np.abs(got.astype(np.float64) - expected).max() <= limit


def assert_variables(
    got: Mapping[str, torch.Tensor],
    expected: dict[str, str],
    variables: dict[str, slim.Variable],
    case: dict[str, Any],
) -> None:
    for name, key in expected.items():
        assert_close(variables[name].to_tf(got[name]), ARRAYS[key], case, case["tolerance"])


def tensors(variables: dict[str, slim.Variable]) -> dict[str, torch.Tensor]:
    return {name: variable.tensor for name, variable in variables.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_trajectory(case: dict[str, Any]) -> None:
    with slim.Graph() as graph:
        batches = {name: [torch.tensor(ARRAYS[key]) for key in keys] for name, keys in case["inputs"].items()}
        symbols = {name: slim.placeholder((None, *v[0].shape[1:]), v[0].dtype, name) for name, v in batches.items()}
        code = dict(NAMES, **symbols)
        with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
            exec(case["code"], code)
        train_op = train_op_of(case, code["total_loss"])
        step = slim.get_global_step()
    variables = {v.op.name: v for v in slim.get_variables(module=graph)}
    assert step is not None
    assert [name for name in variables if name != "global_step"] == case["variable_order"]
    for name, key in case["variables"].items():
        variables[name].assign(variables[name].from_tf(ARRAYS[key]))

    for i in range(case["steps"]):
        loss = train_op(*(batches[symbol.name][i] for symbol in train_op.objective.inputs))
        assert_close(loss, case["loss"][i], case, case["loss_tolerance"])
        if i == 0:
            assert_variables(tensors(variables), case["after_step1"], variables, case)
    assert_variables(tensors(variables), case["final"], variables, case)
    for slot, expected in case["slots"].items():
        slots = {name: train_op.optimizer.get_slot(variables[name].tensor, slot) for name in expected}
        assert_variables(slots, expected, variables, case)
    if average := case.get("ema"):
        averages = {name: train_op.ema.averages[variables[name].key] for name in average["variables"]}
        assert_variables(averages, average["variables"], variables, case)
    assert int(step.tensor) == train_op.global_step == case["global_step"]
