"""Values before, during and after three batches as TF-Slim gave them (tests/goldens/metrics)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim import metrics

GOLDENS = Path(__file__).parents[1] / "goldens"
ARRAYS = np.load(GOLDENS / "metrics.npz")


def _exists(case: dict[str, Any]) -> bool:
    return all(hasattr(metrics, name) for name in re.findall(r"slim\.metrics\.(\w+)", case["code"]))


CASES = {case["name"]: case for case in json.loads((GOLDENS / "metrics.json").read_text()) if _exists(case)}
RAISING = {name for name, case in CASES.items() if case.get("raises")}
# Of these the first dimension may not vary, either.
KNOWS_ITS_SHAPE = r"streaming_mean_tensor|streaming_concat\(.*axis=[^0]"


def flatten(name: str, value: Any) -> dict[str, Any]:
    """The names that the goldens give to the members of lists, dicts and named tuples."""
    if fields := getattr(value.runs[0] if isinstance(value, slim.Symbol) else value, "_fields", ()):
        return {f"{name}.{field}": getattr(value, field) for field in fields}
    if isinstance(value, list | tuple):
        return {f"{name}[{i}]": item for i, item in enumerate(value)}
    if isinstance(value, dict):
        return {f"{name}{{{key}}}": item for key, item in value.items()}
    return {name: value}


def assert_golden(got: torch.Tensor, key: str, case: dict[str, Any]) -> None:
    expected = torch.from_numpy(ARRAYS[key])
    assert got.dtype == expected.dtype
    largest = expected.nan_to_num().abs().max().item() if expected.numel() else 0
    limit = case["tolerance"] * largest + case["atol"]
    torch.testing.assert_close(got, expected, rtol=0, atol=limit, equal_nan=True)


def batches_of(case: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    arrays = {name: [ARRAYS[key] for key in keys] for name, keys in case["inputs"].items()}
    return [
        {name: torch.from_numpy(values[i]) for name, values in arrays.items()}
        for i in range(len(next(iter(arrays.values()), [])))
    ]


def test_the_number_of_cases() -> None:
    assert len(CASES) == 115


@pytest.mark.parametrize("name", sorted(CASES.keys() - RAISING))
def test_on_symbols(name: str) -> None:
    case = CASES[name]
    graph = slim.get_default_graph()
    batches = batches_of(case)
    first = () if re.search(KNOWS_ITS_SHAPE, case["code"]) else (None,)
    inputs = {n: slim.placeholder((*first, *t.shape[len(first) :]), t.dtype, name=n) for n, t in batches[0].items()}
    bound: dict[str, Any] = dict(inputs)
    exec(case["code"], {"slim": slim}, bound)
    values = flatten("value", bound["value"])
    # Where TF-Slim's update has no value there is none to compare ours with.
    gives_value = not case["update_is_op"]
    updates = flatten("update", bound.get("update", [])) if gives_value else {"update": bound["update"]}

    streams = bool(updates)
    if streams:
        for key, expected in case["initial_value"].items():
            assert_golden(graph.run(values[key]), expected, case)
    for i, batch in enumerate(batches):
        feed = {inputs[n]: tensor for n, tensor in batch.items()}
        for key in updates:
            updated = graph.run(updates[key], feed)
            if gives_value:
                assert_golden(updated, case["updates"][key][i], case)
        for key in values:
            got = graph.run(values[key], {} if streams else feed)
            assert_golden(got, case["values"][key][i], case)


@pytest.mark.parametrize("name", [n for n in sorted(CASES.keys() - RAISING) if "aggregate" not in n])
def test_on_tensors(name: str) -> None:
    """Called with tensors a metric gives the value of these tensors: that of the first batch."""
    case = CASES[name]
    bound: dict[str, Any] = dict(batches_of(case)[0])
    code = case["code"].replace("value, update =", "value =")
    exec(code, {"slim": slim}, bound)
    for key, value in flatten("value", bound["value"]).items():
        assert_golden(value, case["values"][key][0], case)


@pytest.mark.parametrize("name", sorted(RAISING))
def test_errors(name: str) -> None:
    case = CASES[name]
    got = {
        "errors/aggregate_nothing": "Got 0",
        "errors/auc_bad_curve": "Got 'XYZ'",
        "errors/shape_mismatch": r"Got \[3\] and \[4\]",
    }[name]
    batch = (batches_of(case) or [{}])[0]
    with pytest.raises(ValueError, match=got):
        exec(case["code"], {"slim": slim}, dict(batch))
    inputs = {n: slim.placeholder(t.shape, t.dtype) for n, t in batch.items()}
    with pytest.raises(ValueError, match=got):
        exec(case["code"], {"slim": slim}, dict(inputs))
