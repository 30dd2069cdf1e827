"""Metrics in a graph: pairs, names, collections, foreign metrics."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchmetrics

from torchslim import metrics
from torchslim.graph import get_default_graph, placeholder
from torchslim.variables import variable


def test_a_pair_belongs_to_one_metric() -> None:
    graph = get_default_graph()
    x = placeholder((None,), name="x")
    value, update = metrics.streaming_mean(x, metrics_collections="values", updates_collections=["updates", "all"])
    assert graph.get_module(update.node.target).metric is graph.get_module(value.node.target).metric
    assert graph.get_collection("values") == [value]
    assert graph.get_collection("updates") == graph.get_collection("all") == [update]
    assert isinstance(graph.get_collection("metric_variables")[0], metrics.StreamingMean)
    assert update.shape == value.shape == ()
    assert graph.run(update, {x: torch.tensor([1.0, 3.0])}) == 2
    assert graph.run(value) == graph.run(value) == 2


def test_building_a_pair_updates_nothing() -> None:
    x = placeholder((None, 3))
    metrics.streaming_mean(x)
    assert get_default_graph().get_collection("metric_variables")[0].update_count == 0


def test_names_are_unique_and_may_be_given() -> None:
    x = placeholder((None,))
    targets = [metrics.streaming_mean(x, name=name)[1].node.target for name in (None, None, "mine")]
    assert targets == ["Mean.update", "Mean_1.update", "mine.update"]


def test_a_metric_is_no_part_of_a_model() -> None:
    graph = get_default_graph()
    x = placeholder((None,), name="x")
    value, update = metrics.streaming_mean(x)
    model = graph.module((update, value))
    assert not model.state_dict()
    assert not any(isinstance(part, torchmetrics.Metric) for part in model.modules())
    model(torch.tensor([4.0]))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin(torch.tensor([2.0]))[0] == 3
    assert graph.run(value) == 4


def test_shapes_are_checked_where_the_metric_is_made() -> None:
    with pytest.raises(ValueError, match=r"Got \[8\] and \[8, 2\]"):
        metrics.streaming_accuracy(placeholder((None,)), placeholder((None, 2)))


def test_weights_that_are_numbers_or_variables() -> None:
    graph = get_default_graph()
    x = placeholder((None,), name="x")
    _, update = metrics.streaming_mean(x, weights=0.5)
    assert graph.run(update, {x: torch.tensor([1.0, 2.0])}) == 1.5
    weights = variable("here/w", initializer=torch.tensor([0.0]))
    _, update = metrics.streaming_mean(x, weights)
    assert graph.run(update, {x: torch.tensor([1.0, 2.0])}) == 0


def test_a_metric_of_torchmetrics_that_looks_at_numbers() -> None:
    graph = get_default_graph()
    p, t = placeholder((None,), name="p"), placeholder((None,), torch.long, name="t")
    reference = torchmetrics.classification.BinaryF1Score(validate_args=True)
    values, updates = metrics.aggregate_metric_map(
        {"f1": metrics.streaming_metric(copy.deepcopy(reference), p, t), "mean": metrics.streaming_mean(p)}
    )
    scores, labels = torch.rand(20), torch.randint(2, (20,))
    graph.run(updates, {p: scores, t: labels})
    torch.testing.assert_close(graph.run(values)["f1"], reference(scores, labels))


def test_a_metric_of_several_values() -> None:
    x = placeholder((None, 3))
    value, update = metrics.streaming_metric(metrics.VOCAveragePrecision(3), x, x)
    assert value.shape == update.shape == (3,)


def test_voc_in_a_graph() -> None:
    graph = get_default_graph()
    scores, labels = placeholder((None, 4), name="s"), placeholder((None, 4), torch.long, name="t")
    pair = metrics.streaming_voc_mean_average_precision(scores, labels, labels * 0, rule="2007")
    a, b = torch.rand(9, 4), torch.randint(2, (9, 4))
    for rows in torch.arange(9).split(4):
        graph.run(pair[1], {scores: a[rows], labels: b[rows]})
    expected = metrics.streaming_voc_mean_average_precision(a, b, rule="2007")
    assert graph.run(pair[0]) == expected


def test_accuracy_in_a_map_is_that_of_all_batches() -> None:
    graph = get_default_graph()
    p, t = placeholder((None,), torch.long, name="p"), placeholder((None,), torch.long, name="t")
    values, updates = metrics.aggregate_metric_map({"accuracy": metrics.accuracy(p, t)})
    zeros = torch.zeros(9, dtype=torch.long)
    graph.run(updates, {p: zeros[:9], t: zeros[:9]})
    assert graph.run(updates, {p: zeros[:1], t: zeros[:1] + 1})["accuracy"] == pytest.approx(0.9)
    assert graph.run(values)["accuracy"] == pytest.approx(0.9)


def test_what_is_no_pair() -> None:
    x = placeholder((None,), name="x")
    with pytest.raises(ValueError, match=r"must be a pair \(value, update\). Got Symbol\('x'"):
        metrics.aggregate_metric_map({"x": x})
