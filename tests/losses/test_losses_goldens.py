"""Values, gradients and collections as TF-Slim gave them (tests/goldens/losses), on Symbols and on tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim import losses

GOLDENS = Path(__file__).parents[1] / "goldens"
ARRAYS = np.load(GOLDENS / "losses.npz")
NAMES = {"slim": slim, "tf_losses": slim.tf_losses}
CASES = {case["name"]: case for case in json.loads((GOLDENS / "losses.json").read_text())}
RAISING = {
    "errors/shape_mismatch": r"Got \[4, 3\] and \[4, 2\]",
    "errors/cosine_without_axis": "Got None and None",
}
ON_TENSORS = [name for name in CASES if name not in RAISING and "losses.get_" not in CASES[name]["code"]]


def assert_golden(got: Any, key: str, case: dict[str, Any]) -> None:
    got, expected = np.asarray(got), ARRAYS[key]
    assert got.shape == expected.shape
    limit = case["tolerance"] * np.abs(expected).max() + case["atol"]
    assert np.abs(got.astype(np.float64) - expected).max() <= limit


def tensors_of(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    tensors = {name: torch.from_numpy(ARRAYS[key]) for name, key in case["inputs"].items()}
    return {name: t.requires_grad_() if t.is_floating_point() else t for name, t in tensors.items()}


def named(values: dict[str, Any]) -> dict[str, Any]:
    """The bound names as the goldens have them: `ls[0]` for members of lists."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(
            {f"{name}[{i}]": item for i, item in enumerate(value)} if isinstance(value, list) else {name: value}
        )
    return flat


def assert_gradients(case: dict[str, Any], outputs: dict[str, torch.Tensor], tensors: dict[str, Any]) -> None:
    total = sum((outputs[name] * torch.from_numpy(ARRAYS[key])).sum() for name, key in case["probes"].items())
    for name, key in case["gradients"].items():
        wanted = tensors[name]
        tensor = wanted.tensor if isinstance(wanted, slim.Variable) else wanted
        (gradient,) = torch.autograd.grad(total, tensor, retain_graph=True)
        assert_golden(wanted.to_tf(gradient) if isinstance(wanted, slim.Variable) else gradient, key, case)
    for name in case.get("gradients_none") or []:
        assert torch.autograd.grad(total, tensors[name], allow_unused=True, retain_graph=True) == (None,)


def test_the_number_of_cases() -> None:
    assert len(CASES) == 75
    assert len(ON_TENSORS) == 68
    assert {name for name, case in CASES.items() if case.get("raises")} == RAISING.keys()


@pytest.mark.parametrize("name", sorted(CASES.keys() - RAISING))
def test_on_symbols(name: str) -> None:
    case = CASES[name]
    graph = slim.get_default_graph()
    tensors = tensors_of(case)
    inputs = {n: slim.placeholder((None, *t.shape[1:]), t.dtype, name=n) for n, t in tensors.items()}
    bound: dict[str, Any] = dict(inputs)
    exec(case["code"], NAMES, bound)
    collected = losses.get_losses()
    outputs = {key: symbol for key, symbol in named(bound).items() if key in case["outputs"]}

    model = graph.module({"outputs": outputs, "losses": collected}, list(inputs.values()))
    variables = {v.op.name: v for v in slim.get_variables(module=model)}
    assert variables.keys() == set(case["variables"])
    for key, variable in variables.items():
        variable.assign(variable.from_tf(torch.from_numpy(ARRAYS[case["variables"][key]])))
    got = model(*tensors.values())

    for key, value in got["outputs"].items():
        assert_golden(value.detach(), case["outputs"][key], case)
    scalars = [value for value in got["losses"] if value.ndim == 0]  # the goldens have only those
    for value, expected in zip(scalars, case.get("losses", []), strict=True):
        assert value.item() == pytest.approx(expected, rel=case["tolerance"], abs=case["atol"])
    for key, value in case.get("python_values", {}).items():
        assert bound[key] == value
    assert_gradients(case, got["outputs"], tensors | variables)


@pytest.mark.parametrize("name", sorted(ON_TENSORS))
def test_on_tensors(name: str) -> None:
    case = CASES[name]
    tensors = tensors_of(case)
    bound: dict[str, Any] = dict(tensors)
    exec(case["code"], NAMES, bound)
    for key, expected in case["outputs"].items():
        assert_golden(bound[key].detach(), expected, case)
    assert_gradients(case, bound, tensors)
    assert losses.get_losses() == []


@pytest.mark.parametrize("name", sorted(RAISING))
def test_errors(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ValueError, match=RAISING[name]):
        exec(case["code"], NAMES, dict(tensors_of(case)))
    inputs = {n: slim.placeholder(t.shape, t.dtype) for n, t in tensors_of(case).items()}
    with pytest.raises(ValueError, match=RAISING[name]):
        exec(case["code"], NAMES, dict(inputs))
