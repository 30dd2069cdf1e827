"""Names of devices, and what chooses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.graph.devices import to_device


@pytest.mark.parametrize(
    ("name", "device"), [("/job:ps/replica:1/task:0/device:CPU:*", "cpu"), ("/replica:3/device:GPU:*", "cuda")]
)
def test_any_device_of_a_kind(name: str, device: str) -> None:
    assert to_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["/device:CPU:0"] * 3),
        ({"device_type": "GPU"}, ["/device:GPU:0"] * 3),
        ({"num_tasks": 2}, [f"/job:ps/task:{task}/device:CPU:0" for task in (0, 1, 0)]),
        (
            {"num_tasks": 2, "replica": 1, "device_index": None},
            [f"/job:ps/replica:1/task:{task}/device:CPU:*" for task in (0, 1, 0)],
        ),
        ({"device_type": "GPU", "device_index": 2, "job_name": "w"}, ["/device:GPU:2"] * 3),
        ({"replica": 3}, ["/replica:3/device:CPU:0"] * 3),
    ],
)
def test_choosers_give_tf_slims_names(options: dict[str, Any], names: list[str]) -> None:
    """The names are those that TF-Slim gives."""
    chooser = slim.VariableDeviceChooser(**options)
    assert [chooser(None) for _ in names] == names


def test_variables_go_where_the_chooser_says() -> None:
    with slim.arg_scope([slim.variable, slim.model_variable], device=slim.VariableDeviceChooser(num_tasks=2)):
        made = [slim.variable("a", [2]), slim.model_variable("b", [2])]
    assert [variable.device.type for variable in made] == ["cpu", "cpu"]
    seen = []
    slim.variable("c", [2], device=lambda op: seen.append(op.name) or "cpu")  # type: ignore[func-returns-value]
    assert seen == ["c"]
