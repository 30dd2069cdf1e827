"""Metrics in a graph: TF-Slim's `(value, update)` pairs, each backed by a `torchmetrics.Metric`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any

import torch
from torch import fx, nn
from torchmetrics import Metric

from torchslim.graph import Graph, Symbol, Variable, name_scope
from torchslim.metrics.batch import accuracy

Pair = tuple[Symbol, Symbol]
Streamed = Any  # a Pair for Symbols, the value now for tensors
Collections = str | Sequence[str] | None


class MetricUpdate(nn.Module):
    """Takes one batch into a metric, and gives its value after it: what `update` is in a graph.

    Attributes:
        metric: the metric. It is no submodule: it belongs to the evaluation, not to the model's parameters.
    """

    metric: Metric

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.__dict__["metric"] = metric

    def forward(self, *inputs: Any) -> Any:
        """Updates the metric with `inputs`."""
        if any(isinstance(value, torch.Tensor) and value.is_meta for value in inputs):
            return _on_meta(self.metric, inputs, _result_of_update)
        self.metric.to(next(value.device for value in inputs if isinstance(value, torch.Tensor)))
        self.metric.update(*inputs)
        return _result_of_update(self.metric)


class MetricValue(nn.Module):
    """Gives the value of a metric: what `value` is in a graph.

    Attributes:
        metric: the metric; no submodule, as in `MetricUpdate`.
        example: a `meta` tensor like its value.
    """

    metric: Metric
    example: torch.Tensor

    def __init__(self, metric: Metric, example: torch.Tensor) -> None:
        super().__init__()
        self.__dict__["metric"] = metric
        self.example = example

    def forward(self) -> Any:
        """The value now; before the first update, that of no data."""
        if torch.get_default_device().type == "meta":  # the graph asks for the shape
            return self.example
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was called before the ``update`` method")
            return self.metric.compute()


def _result_of_update(metric: Metric) -> Any:
    """What an update gives: the value after it, or what the metric has TF-Slim's pair give instead."""
    return getattr(metric, "compute_update", metric.compute)()


def _on_meta(metric: Metric, inputs: tuple[Any, ...], result: Callable[[Metric], Any]) -> Any:
    # A metric may look at numbers (`torch.unique`, an assertion), so it gets some: zeros, which every metric
    # takes.
    trial = copy.deepcopy(metric).to("cpu")
    trial.distributed_available_fn = None
    with torch.device("cpu"):
        trial.reset()
        trial.update(*(torch.zeros(v.shape, dtype=v.dtype) if isinstance(v, torch.Tensor) else v for v in inputs))
        return torch.utils._pytree.tree_map_only(torch.Tensor, lambda value: value.to("meta"), result(trial))


def stream(
    metric: Metric,
    inputs: tuple[Any, ...],
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """What `streaming_metric` does, for the functions of this package; a last input of None is left out."""
    inputs = tuple(value.value if isinstance(value, Variable) else value for value in inputs)
    if inputs[-1] is None:
        inputs = inputs[:-1]
    symbol = next((value for value in inputs if isinstance(value, Symbol)), None)
    if symbol is None:
        MetricUpdate(metric)(*inputs)
        return metric.compute()
    graph = symbol.owner
    with name_scope(name, type(metric).__name__.removeprefix("Streaming")) as scope:
        update = graph.call_module(f"{scope}update", MetricUpdate(metric), *inputs)
        runs = tuple(_on_meta(metric, _run(inputs, i), methodcaller("compute")) for i in range(2))
        value = graph.call_module(f"{scope}value", MetricValue(metric, runs[0]))
        value = graph.recorder.symbol(value.node, runs)  # its shape, too, may vary with the batch
    add_to_collections(graph, "metric_variables", metric)
    add_to_collections(graph, metrics_collections, value)
    add_to_collections(graph, updates_collections, update)
    return value, update


def _run(inputs: tuple[Any, ...], which: int) -> tuple[Any, ...]:
    return tuple(value.runs[which] if isinstance(value, Symbol) else value for value in inputs)


def add_to_collections(graph: Graph, collections: Collections, value: Any) -> None:
    """Adds a value to the collections that an argument names."""
    for collection in [collections] if isinstance(collections, str) else collections or ():
        graph.add_to_collection(collection, value)


def streaming_metric(
    metric: Metric,
    *inputs: Any,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """Puts any `torchmetrics.Metric` where TF-Slim's streaming metrics go.

    Args:
        metric: a metric of this package, of torchmetrics or of your own.
        inputs: what its `update` takes, in order; at least one tensor or Symbol.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two; default: the name of the class without `Streaming`.

    Returns:
        Given Symbols, a pair of Symbols: `value` gives the metric's value now, `update` takes a batch in and
        gives the value after it. `slim.evaluation` finds the metric behind them. Given tensors, the value
        now.

    Example:
        >>> import torch, torchmetrics, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None,))
        ...     value, update = slim.metrics.streaming_metric(torchmetrics.MaxMetric(), x)
        ...     _ = graph.run(update, {x: torch.tensor([1.0, 5.0])})
        ...     _ = graph.run(update, {x: torch.tensor([3.0])})
        ...     graph.run(value)
        tensor(5.)
    """
    return stream(metric, inputs, metrics_collections, updates_collections, name)


def aggregate_metrics(*value_update_tuples: Pair) -> tuple[list[Symbol], list[Symbol]]:
    """Sorts pairs of value and update into a list of values and a list of updates.

    Args:
        value_update_tuples: what the streaming metrics give; at least one.

    Raises:
        ValueError: if there is none, or one is no pair.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x, y = slim.placeholder((None,)), slim.placeholder((None,))
        ...     values, updates = slim.metrics.aggregate_metrics(
        ...         slim.metrics.streaming_mean_absolute_error(x, y),
        ...         slim.metrics.streaming_mean_squared_error(x, y))
        >>> len(values), len(updates)
        (2, 2)
    """
    if not value_update_tuples:
        raise ValueError("aggregate_metrics: give at least one pair (value, update). Got 0.")
    values, updates = zip(*map(_pair, value_update_tuples), strict=True)
    return list(values), list(updates)


def aggregate_metric_map(names_to_tuples: Mapping[str, Pair]) -> tuple[dict[str, Symbol], dict[str, Symbol]]:
    """Sorts a dict of pairs into a dict of values and a dict of updates.

    Args:
        names_to_tuples: name -> what a streaming metric gives. The names are those of the results and of the
            events.

    Raises:
        ValueError: if it is empty, or one is no pair.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x, y = slim.placeholder((None,)), slim.placeholder((None,))
        ...     names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        ...         'eval/mean_absolute_error': slim.metrics.streaming_mean_absolute_error(x, y),
        ...         'eval/mean_squared_error': slim.metrics.streaming_mean_squared_error(x, y)})
        >>> list(names_to_updates)
        ['eval/mean_absolute_error', 'eval/mean_squared_error']
    """
    values, updates = aggregate_metrics(*names_to_tuples.values())
    for name, update in zip(names_to_tuples, updates, strict=True):
        update.aliases.append(name)  # what the evaluation calls it when it gets `names_to_updates.values()`
    return dict(zip(names_to_tuples, values, strict=True)), dict(zip(names_to_tuples, updates, strict=True))


def _pair(given: Any) -> Pair:
    if isinstance(given, Symbol) and given.node.target is accuracy:
        # The tutorials put this one in the map although it is no pair: the accuracy of all batches is what
        # they mean.
        from torchslim.metrics.means import streaming_accuracy

        inputs = [Symbol(arg, given.tracer) if isinstance(arg, fx.Node) else arg for arg in given.node.args]
        given = streaming_accuracy(*inputs)  # type: ignore[arg-type]
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"aggregate_metrics: each metric must be a pair (value, update). Got {given!r}.")
    return given[0], given[1]
