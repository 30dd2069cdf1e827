"""Curves and what they are made of, against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

import torchslim as slim
from torchslim import metrics


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities on and between the thresholds 0, 1/8, ..., 1; labels; weights."""
    torch.manual_seed(seed)
    return torch.randint(17, (90,)) / 16, torch.randint(2, (90,)), torch.rand(90)


@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("weighted", [False, True])
def test_points_against_scikit_learn(curve: Any, weighted: bool) -> None:
    predictions, labels, given = random_case(0)
    weights = given if weighted else None
    points = metrics.streaming_curve_points(labels, predictions, weights, 9, curve=curve)
    assert points.shape == (9, 2)
    for (x, y), threshold in zip(points.tolist()[1:-1], np.arange(1, 8) / 8, strict=True):
        above = predictions > threshold
        tn, fp, fn, tp = sklearn_metrics.confusion_matrix(labels, above, sample_weight=weights).flatten()
        expected = (fp / (fp + tn), tp / (tp + fn)) if curve == "ROC" else (tp / (tp + fn), tp / (tp + fp))
        assert (x, y) == pytest.approx(expected, rel=1e-5)
    first, last = ([1, 1], [0, 0]) if curve == "ROC" else ([1, points[0, 1].item()], [0, 1])
    assert points[0].tolist() == pytest.approx(first, abs=1e-5)
    assert points[-1].tolist() == pytest.approx(last, abs=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_thresholds_against_scikit_learn(weighted: bool) -> None:
    predictions, labels, given = random_case(1)
    weights = given if weighted else None
    data = metrics.precision_recall_at_equal_thresholds(labels > 0, predictions, weights, num_thresholds=9)
    assert data.thresholds.tolist() == [i / 8 for i in range(9)]
    for i, threshold in enumerate(data.thresholds):
        at_least = predictions >= threshold
        tn, fp, fn, tp = sklearn_metrics.confusion_matrix(labels, at_least, sample_weight=weights).flatten()
        got = [getattr(data, name)[i].item() for name in ("tp", "fp", "tn", "fn", "precision", "recall")]
        assert got == pytest.approx([tp, fp, tn, fn, tp / (tp + fp), tp / (tp + fn)], rel=1e-5, abs=1e-6)


def test_equal_thresholds_of_nothing() -> None:
    data = metrics.precision_recall_at_equal_thresholds(torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    assert all(number.shape == (201,) for number in data)
    assert not any(getattr(data, name).any() for name in ("tp", "fp", "tn", "fn", "precision", "recall"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_dtype_of_the_predictions_is_that_of_the_values(dtype: torch.dtype) -> None:
    labels = torch.tensor([True, False])
    data = metrics.precision_recall_at_equal_thresholds(labels, torch.tensor([0.7, 0.3], dtype=dtype))
    assert {number.dtype for number in data} == {dtype}
    value, _ = metrics.precision_recall_at_equal_thresholds(
        slim.placeholder((None,), torch.bool), slim.placeholder((None,), dtype)
    )
    assert slim.get_default_graph().run(value).recall.dtype == dtype


def test_labels_that_are_not_bool() -> None:
    with pytest.raises(TypeError, match=r"`labels` must be bool. Got torch.int64"):
        metrics.precision_recall_at_equal_thresholds(torch.tensor([1]), torch.tensor([0.5]))


def test_named_values_in_a_graph() -> None:
    """The pair holds what TF-Slim's holds: `value.recall` is a Symbol like any other."""
    labels, predictions = slim.placeholder((None,), torch.bool, name="t"), slim.placeholder((None,), name="p")
    value, update = metrics.precision_recall_at_equal_thresholds(labels, predictions, num_thresholds=5)
    graph = slim.get_default_graph()
    assert value.recall.shape == (5,)
    feed = {labels: torch.tensor([True, False]), predictions: torch.tensor([0.6, 0.4])}
    assert graph.run(update, feed).tp.tolist() == [1, 1, 1, 0, 0]
    assert graph.run(value.recall * 2).tolist() == [2, 2, 2, 0, 0]
    names_to_values, names_to_updates = metrics.aggregate_metric_map({"curve": (value, update)})
    graph.run(names_to_updates, feed)
    assert graph.run(names_to_values)["curve"].fp.tolist() == [2, 2, 0, 0, 0]


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_a_curve_draws_itself(curve: Any) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    metric = metrics.StreamingCurvePoints(5, curve)
    metric.update(torch.tensor([0.2, 0.7]), torch.tensor([0, 1]))
    figure, axes = metric.plot()
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(np.stack([x, y], 1), metric.compute())
    assert axes.get_xlabel() == ("False positive rate" if curve == "ROC" else "Recall")
    pyplot.close(figure)
