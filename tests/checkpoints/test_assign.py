"""TF-Slim's `assign_from_*` functions, as the tutorials call them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import (
    assign_from_checkpoint,
    assign_from_checkpoint_fn,
    assign_from_values,
    assign_from_values_fn,
    save,
)


@pytest.fixture
def variables() -> list[slim.Variable]:
    return [slim.variable("v1", shape=[2]), slim.variable("nested/v2", shape=[2, 3])]


def now(path: Any, variables: Any, **options: Any) -> Any:
    return assign_from_checkpoint(path, variables, **options)


def later(path: Any, variables: Any, **options: Any) -> Any:
    return assign_from_checkpoint_fn(path, variables, **options)(object())


both = pytest.mark.parametrize("assign", [now, later])
Assign = Callable[..., Any]


@both
def test_a_list_of_variables(assign: Assign, variables: list[slim.Variable], tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"v1": torch.tensor([1.0, 2.0])})
    assert assign(tmp_path / "a.safetensors", variables[:1]).restored == ["v1"]
    assert variables[0].tensor.tolist() == [1, 2]
    assert variables[1].is_meta


@both
def test_a_dict_by_name_in_the_checkpoint(assign: Assign, variables: list[slim.Variable]) -> None:
    def name_in_checkpoint(variable: slim.Variable) -> str:
        return "vgg16/" + variable.op.name

    source = {"vgg16/v1": torch.ones(2), "vgg16/nested/v2": torch.full((2, 3), 2.0), "v1": torch.zeros(2)}
    assign(source, {name_in_checkpoint(variable): variable for variable in variables})
    assert [variable.tensor.sum().item() for variable in variables] == [2, 12]
    assign({"x": torch.zeros(2)}, {"x": [variables[0]]})
    assert variables[0].tensor.sum() == 0


@both
def test_missing_variables(assign: Assign, variables: list[slim.Variable]) -> None:
    with pytest.raises(ValueError, match="Not in the checkpoint:\n  nested/v2"):
        assign({"v1": torch.ones(2)}, variables)
    assert variables[0].is_meta
    assert assign({"v1": torch.ones(2)}, variables, ignore_missing_vars=True).missing == ["nested/v2"]
    assert variables[0].tensor.tolist() == [1, 1]


def test_reshaping_on_request(variables: list[slim.Variable]) -> None:
    source = {"nested/v2": torch.arange(6.0)}
    with pytest.raises(ValueError, match=re.escape("[6] in the checkpoint, [2, 3] in the model")):
        assign_from_checkpoint_fn(source, variables[1:])()
    assign_from_checkpoint_fn(source, variables[1:], reshape_variables=True)()
    assert variables[1].tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match=re.escape("[5] in the checkpoint")):
        assign_from_checkpoint_fn({"nested/v2": torch.ones(5)}, variables[1:], reshape_variables=True)()


def test_partitioned_variables_do_not_exist_here(variables: list[slim.Variable]) -> None:
    with pytest.raises(ValueError, match="Got 2 for 'x'"):
        assign_from_checkpoint({"x": torch.ones(2)}, {"x": variables})


def test_the_file_is_opened_when_the_function_runs(variables: list[slim.Variable], tmp_path: Path) -> None:
    init_fn = assign_from_checkpoint_fn(tmp_path / "late.safetensors", variables[:1])
    with pytest.raises(FileNotFoundError, match=re.escape("late.safetensors")):
        init_fn()
    save(tmp_path / "late.safetensors", {"v1": torch.ones(2)})
    assert init_fn().restored == ["v1"]


def test_values_by_name(variables: list[slim.Variable]) -> None:
    report = assign_from_values({"v1": [3.0, 4.0], "nested.v2": torch.ones(2, 3)})
    assert report.restored == ["v1", "nested/v2"]
    assert variables[0].tensor.tolist() == [3, 4]
    assert variables[1].tensor.sum() == 6


def test_values_in_the_layout_of_tensorflow() -> None:
    x = slim.placeholder((None, 3, 8, 8))
    slim.conv2d(x, 4, [5, 3], scope="conv")
    kernel = torch.randn(5, 3, 3, 4)
    assign_from_values({"conv/weights": kernel}, layout="tf")
    torch.testing.assert_close(slim.get_variables("conv/weights")[0].tensor[3, 1], kernel[:, :, 1, 3])


def test_values_of_unknown_names_and_other_shapes(variables: list[slim.Variable]) -> None:
    with pytest.raises(ValueError, match=r"no variable 'nested/v3'\. Did you mean 'nested/v2'"):
        assign_from_values({"v1": [1.0, 2.0], "nested/v3": 1.0})
    with pytest.raises(ValueError, match=re.escape("[3] in the checkpoint, [2] in the model")):
        assign_from_values({"v1": [1.0, 2.0, 3.0]})
    assert variables[0].is_meta


def test_the_function_means_the_graph_it_was_made_in() -> None:
    with slim.Graph():
        variable = slim.variable("v", shape=[2])
        init_fn = assign_from_values_fn({"v": [1.0, 2.0]})
    with slim.Graph():
        assert init_fn("session").restored == ["v"]
    assert variable.tensor.tolist() == [1, 2]
