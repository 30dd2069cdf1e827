"""What the metrics that a training updates have counted so far: part of its checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map_only

from torchslim.learning.objective import Objective

if TYPE_CHECKING:
    from torchmetrics import Metric


def metric_states(objective: Objective) -> dict[str, Any]:
    """Name of a metric -> what it has counted, of those in the module, or updated by the graph, that is trained."""
    return {
        name: {"state": dict(metric.metric_state), "updates": metric.update_count}
        for name, metric in _metrics(objective).items()
    }


def load_metric_states(objective: Objective, states: Mapping[str, Any]) -> None:
    """Has the metrics go on from what `metric_states` gave; those that are not in it begin anew."""
    for name, metric in _metrics(objective).items():
        if name in states:
            for attribute, value in states[name]["state"].items():
                setattr(metric, attribute, _on(metric.device, value))
            metric._update_count, metric._computed = states[name]["updates"], None


def _on(device: torch.device, value: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), value)


def _metrics(objective: Objective) -> dict[str, Metric]:
    if "torchmetrics" not in sys.modules:  # there can be no metric, and importing it takes seconds
        return {}
    from torchmetrics import Metric

    from torchslim.metrics import MetricUpdate

    modules = objective.module.named_modules()
    found = {name: module.metric if isinstance(module, MetricUpdate) else module for name, module in modules}
    return {name: module for name, module in found.items() if isinstance(module, Metric)}
