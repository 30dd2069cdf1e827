"""Layers as TF-Slim computes and names them: values, gradients, statistics, names in creation order, end points.

Cases run channels-last as they stand, and channels-first transposed where they have no axis numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim

GOLDENS = Path(__file__).parents[1] / "goldens"
ARRAYS = np.load(GOLDENS / "layers.npz")
FUNCTIONS = {
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": torch.nn.functional.elu,
    "softplus": torch.nn.functional.softplus,
    "identity": lambda value: value,
}
INITIALIZERS = {name: getattr(slim, name) for name in dir(slim) if name.endswith("_initializer")}
# To channels-first, by the layout of the case.
TO_FIRST = {"NHWC": (0, 3, 1, 2), "NWC": (0, 2, 1), "NDHWC": (0, 4, 1, 2, 3)}


def exists(code: str) -> bool:
    for dotted in re.findall(r"slim((?:\.\w+)+)", code):
        value: Any = slim
        for name in dotted.strip(".").split("."):
            value = getattr(value, name, None)
        if value is None:
            return False
    return True


ALL = json.loads((GOLDENS / "layers.json").read_text())
CASES = {case["name"]: case for case in ALL if exists(case["code"])}
RAISING = sorted(name for name, case in CASES.items() if case.get("raises"))
VALUES = sorted(CASES.keys() - set(RAISING))
FIRST = sorted(
    name
    for name in VALUES
    if not CASES[name].get("layout_sensitive")
    and not {"NCHW", "NCDHW"} & set(CASES[name].get("input_layout", {}).values())
    and "data_format" not in CASES[name]["code"]
)


def assert_golden(got: torch.Tensor, key: str, case: dict[str, Any], what: str) -> None:
    value, expected = got.detach().numpy(), ARRAYS[key]
    assert value.shape == expected.shape, what
    limit = case["tolerance"] * np.abs(expected).max(initial=0) + case["atol"]
    assert np.abs(value.astype(np.float64) - expected).max(initial=0) <= limit, what


class Run:
    """One case, built and filled with the variables of the golden."""

    def __init__(self, case: dict[str, Any], data_format: str) -> None:
        self.case = case
        self.first = data_format == "NCHW"
        self.tensors = {name: torch.from_numpy(ARRAYS[key]) for name, key in case["inputs"].items()}
        self.layouts = {**case.get("input_layout", {}), **case.get("output_layout", {})}
        self.graph = slim.Graph()
        self.names: dict[str, Any] = {"slim": slim, "np": np, **FUNCTIONS, **INITIALIZERS}
        with self.graph:
            self.feeds = {}
            for name, tensor in self.tensors.items():
                value = self.to_ours(tensor, name)
                symbol = slim.placeholder((None, *value.shape[1:]) if value.ndim else (), value.dtype, name)
                self.feeds[symbol] = value.requires_grad_() if value.is_floating_point() else value
                self.names[name] = symbol
            with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=data_format):
                exec(case["code"], self.names)
            for name, key in case.get("variables", {}).items():
                variable = slim.get_unique_variable(name)
                variable.assign(variable.from_tf(torch.from_numpy(ARRAYS[key])))

    def to_ours(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        order = TO_FIRST.get(self.layouts.get(name, "flat")) if self.first else None
        return tensor.clone() if order is None else tensor.permute(order).contiguous()

    def to_golden(self, tensor: torch.Tensor, layout: str) -> torch.Tensor:
        order = TO_FIRST.get(layout) if self.first else None
        return tensor if order is None else tensor.permute(tuple(np.argsort(order)))

    def outputs(self) -> dict[str, torch.Tensor]:
        def find(name: str) -> Any:
            base, _, index = name.partition(".")[0].partition("[")
            return self.names[base][int(index[:-1])] if index else self.names[base]

        symbols = {name: find(name) for name in self.case.get("outputs", {})}
        if not symbols:
            return {}
        model = self.graph.module(tuple(symbols.values()), inputs=list(self.feeds))
        values = dict(zip(symbols, model(*self.feeds.values()), strict=True))
        return {name: part_of_sparse(value, name) for name, value in values.items()}


def part_of_sparse(value: torch.Tensor, name: str) -> torch.Tensor:
    """What TensorFlow's `SparseTensor` calls `y.indices`, `y.values` and `y.dense_shape`."""
    part = name.partition(".")[2]
    parts = {
        "indices": lambda: value.indices().t(),
        "values": value.values,
        "dense_shape": lambda: torch.tensor(value.shape),
    }
    return parts[part]() if part else value


@pytest.mark.parametrize(("name", "data_format"), [(n, "NHWC") for n in VALUES] + [(n, "NCHW") for n in FIRST])
def test_layer_golden(name: str, data_format: str) -> None:
    case = CASES[name]
    run = Run(case, data_format)
    known = run.graph.variables
    assert [v for v in known if known[v].kind != "local"] == case.get("variable_order", [])
    with run.graph:
        assert [v.op.name for v in slim.get_model_variables()] == case.get("model_variables", [])
        assert [v.op.name for v in slim.get_trainable_variables()] == case.get("trainable", [])
    outputs = run.outputs()
    for output, key in case.get("outputs", {}).items():
        got = run.to_golden(outputs[output], case.get("output_layout", {}).get(output, "flat"))
        assert_golden(got, key, case, output)
    check_gradients(run, outputs)
    check_updates(run)
    check_collections(run)
    for bound, value in case.get("python_values", {}).items():
        assert run.names[bound] == value, bound


def check_gradients(run: Run, outputs: dict[str, torch.Tensor]) -> None:
    case = run.case
    if not case.get("gradients"):
        return
    layout = case.get("output_layout", {})
    total: Any = 0
    for output, key in case["probes"].items():
        golden = run.to_golden(outputs[output], layout.get(output, "flat"))
        total = total + (golden * torch.from_numpy(ARRAYS[key])).sum()
    inputs = {symbol.name: value for symbol, value in run.feeds.items()}
    for name, key in case["gradients"].items():
        if name in inputs:
            (gradient,) = torch.autograd.grad(total, inputs[name], retain_graph=True)
            gradient = run.to_golden(gradient, case["input_layout"].get(name, "flat"))
        else:
            variable = run.graph.variables[name]
            (gradient,) = torch.autograd.grad(total, variable.tensor, retain_graph=True)
            gradient = variable.to_tf(gradient)
        assert_golden(gradient, key, case, f"gradient of {name}")


def check_updates(run: Run) -> None:
    # One forward in training mode has been run; a second one gives `updates2`.
    for round_ in ("updates", "updates2"):
        for name, key in run.case.get(round_, {}).items():
            variable = run.graph.variables[name]
            assert_golden(variable.to_tf(variable.tensor), key, run.case, f"{round_} of {name}")
        if run.case.get("updates2") and round_ == "updates":
            run.outputs()


def check_collections(run: Run) -> None:
    case = run.case
    for name, expected in case.get("collections", {}).items():
        found = run.names[name]
        layout = case.get("collections_layout", {}).get(name, {})
        assert list(found) == [alias for alias, _ in expected]
        for (alias, shape), symbol in zip(expected, found.values(), strict=True):
            kind = layout.get(alias) if isinstance(layout, dict) else None
            order = TO_FIRST.get(kind or {4: "NHWC", 3: "NWC", 5: "NDHWC"}.get(len(shape), ""))
            ours = [shape[i] for i in order] if run.first and order else shape
            assert list(symbol.shape)[1:] == ours[1:], alias
    if "regularization_loss" in case:
        with run.graph:
            losses = slim.losses.get_regularization_losses()
        values = run.graph.run(losses) if losses else []
        assert sum(float(v) for v in values) == pytest.approx(case["regularization_loss"], rel=1e-5)


@pytest.mark.parametrize("name", RAISING)
def test_raises(name: str) -> None:
    # The message is ours; where TF-Slim complains at the call, an unknown argument fails at the `with` as a TypeError.
    with pytest.raises((ValueError, TypeError), match=r"\w"):
        Run(CASES[name], "NHWC")


def test_how_many_cases_run() -> None:
    print(f"{len(VALUES)} of {len(ALL)} golden cases channels-last, {len(FIRST)} channels-first, {len(RAISING)} errors")
    assert len(VALUES) >= 100
