"""Initial values of layers, and regularizers inside of graphs, as TF-Slim has them.

Random values are compared by their statistics. Layers run channels-last as they stand, and channels-first transposed.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim

GOLDENS = Path(__file__).parents[1] / "goldens"
ARRAYS = np.load(GOLDENS / "initreg.npz")
ALL = json.loads((GOLDENS / "initreg.json").read_text())
INITIALIZERS = {name: getattr(slim, name) for name in dir(slim) if name.endswith("_initializer")}


def exists(code: str) -> bool:
    return all(hasattr(slim, name) for name in re.findall(r"slim\.(\w+)", code))


LAYERS = {case["name"]: case for case in ALL if case["kind"] == "layer" and exists(case["code"])}
EXACT = {case["name"]: case for case in ALL if case["kind"] == "exact" and not case.get("raises")}
RAISING = {case["name"]: case for case in ALL if case.get("raises")}


def run_code(case: dict[str, Any], inputs: dict[str, Any], data_format: str) -> dict[str, Any]:
    names = {"slim": slim, "np": np, "relu": torch.relu, "tanh": torch.tanh, **INITIALIZERS, **inputs}
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=data_format):
        exec(case["code"], names)
    return names


def assert_distributed_as(values: np.ndarray, stats: dict[str, Any]) -> None:
    if stats["distribution"] == "constant":
        assert np.array_equal(values, np.full(values.shape, stats["value"], np.float32))
        return
    n, std = values.size, stats["std"]
    assert abs(values.std() / std - 1) < 6 / math.sqrt(n) + 6 / math.sqrt(stats["n"])
    assert abs(values.mean() - stats["mean"]) < 6 * std * (1 / math.sqrt(n) + 1 / math.sqrt(stats["n"]))
    for probability, quantile in stats["quantiles"]:
        spread = math.sqrt(probability * (1 - probability)) * (1 / math.sqrt(n) + 1 / math.sqrt(stats["n"]))
        assert abs((values < quantile).mean() - probability) < 6 * spread
    if stats["distribution"] != "normal":
        # How far the ends of two samples are from the end of the distribution, where it has few values (cut normal).
        near = (stats["max"] - stats["min"]) * 50 * (1 / n + 1 / stats["n"])
        assert values.min() == pytest.approx(stats["min"], abs=near)
        assert values.max() == pytest.approx(stats["max"], abs=near)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", LAYERS)
def test_initial_values_of_layers(name: str, data_format: str) -> None:
    case = LAYERS[name]
    with slim.Graph():
        inputs = {}
        for key, shape in case["input_shapes"].items():
            if len(shape) == 4 and data_format == "NCHW":
                shape = [shape[0], shape[3], *shape[1:3]]
            inputs[key] = slim.placeholder((None, *shape[1:]))
        run_code(case, inputs, data_format)
        variables = {variable.op.name: variable for variable in slim.get_variables()}
    assert {key: list(variable.tf_shape) for key, variable in variables.items()} == case["variable_shapes"]
    assert list(variables) == list(case["variable_shapes"])
    torch.manual_seed(1)
    for key, stats in case["stats"].items():
        variable = variables[key]
        draws = []
        for _ in range(case["draws"]):
            variable.initialize()
            draws.append(variable.to_tf(variable.tensor.detach()).clone().numpy())
        if stats["distribution"] == "deterministic":
            for draw in draws:
                np.testing.assert_allclose(draw, np.array(stats["values"]), rtol=1e-6)
        else:
            assert_distributed_as(np.stack(draws), stats)


def assert_close(got: torch.Tensor, key: str, case: dict[str, Any]) -> None:
    expected = ARRAYS[key]
    limit = case["tolerance"] * np.abs(expected).max(initial=0) + case["atol"]
    assert got.shape == expected.shape
    assert np.abs(got.detach().numpy().astype(np.float64) - expected).max(initial=0) <= limit


@pytest.mark.parametrize("name", EXACT)
def test_exact_values(name: str) -> None:
    case = EXACT[name]
    with slim.Graph() as graph:
        values = {key: torch.from_numpy(ARRAYS[array]).requires_grad_() for key, array in case["inputs"].items()}
        symbols = {key: slim.placeholder(value.shape, name=key) for key, value in values.items()}
        names = run_code(case, symbols, "NHWC")
        assert [v.op.name for v in slim.get_variables()] == case["variable_order"]
        assert [v.op.name for v in slim.get_trainable_variables()] == case["trainable"]
        for key, array in case["variables"].items():
            variable = slim.get_unique_variable(key)
            variable.assign(variable.from_tf(torch.from_numpy(ARRAYS[array])))
        losses = slim.losses.get_regularization_losses()
    for key, value in case.get("python_values", {}).items():
        assert names[key] == value
    if not case["outputs"]:
        return
    model = graph.module([{key: names[key] for key in case["outputs"]}, losses], inputs=list(symbols.values()))
    outputs, losses = model(*values.values())
    assert [loss.item() for loss in losses] == pytest.approx(case.get("regularization_losses", []), rel=1e-5)
    for key, array in case["outputs"].items():
        assert_close(outputs[key], array, case)
    total = sum((outputs[key] * torch.from_numpy(ARRAYS[array])).sum() for key, array in case["probes"].items())
    variables = graph.variables
    for key, array in case["gradients"].items():
        leaf = values[key] if key in values else variables[key].tensor
        (gradient,) = torch.autograd.grad(total, leaf, retain_graph=True)
        assert_close(gradient if key in values else variables[key].to_tf(gradient), array, case)


@pytest.mark.parametrize("name", RAISING)
def test_errors(name: str) -> None:
    with pytest.raises(ValueError, match="Got "):
        run_code(RAISING[name], {}, "NHWC")


def test_how_many_cases_run() -> None:
    layers = sum(case["kind"] == "layer" for case in ALL)
    print(f"{len(LAYERS)} of {layers} cases of layers in both layouts, {len(EXACT)} exact, {len(RAISING)} errors")
    assert len(LAYERS) == layers
