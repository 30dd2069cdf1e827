"""Metrics against scikit-learn, and where they differ from what a reader would expect.

What they all have in common is tested in test_metric_properties.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics import Metric

from torchslim import metrics

Batch = tuple[torch.Tensor, ...]


def numbers(n: int) -> Batch:
    return torch.randn(n), torch.randn(n)


def classes(n: int) -> Batch:
    return torch.randint(4, (n,)), torch.randint(4, (n,))


def yes_or_no(n: int) -> Batch:
    return torch.randint(2, (n,)), torch.randint(2, (n,))


# Metric, its inputs, and scikit-learn's (or numpy's) opinion of predictions, labels and weights.
REGISTRY: dict[str, tuple[Callable[[], Metric], Callable[[int], Batch], Callable[..., float]]] = {
    "mean": (
        metrics.StreamingMean,
        lambda n: numbers(n)[:1],
        lambda values, weights: np.average(values, weights=weights),
    ),
    "percentage_less": (
        lambda: metrics.StreamingPercentageLess(0.3),
        lambda n: numbers(n)[:1],
        lambda values, weights: np.average(values < 0.3, weights=weights),
    ),
    "accuracy": (
        metrics.StreamingAccuracy,
        classes,
        lambda p, t, weights: sklearn_metrics.accuracy_score(t, p, sample_weight=weights),
    ),
    "precision": (
        metrics.StreamingPrecision,
        yes_or_no,
        lambda p, t, weights: sklearn_metrics.precision_score(t, p, sample_weight=weights),
    ),
    "recall": (
        metrics.StreamingRecall,
        yes_or_no,
        lambda p, t, weights: sklearn_metrics.recall_score(t, p, sample_weight=weights),
    ),
    "mean_absolute_error": (
        metrics.StreamingMeanAbsoluteError,
        numbers,
        lambda p, t, weights: sklearn_metrics.mean_absolute_error(t, p, sample_weight=weights),
    ),
    "mean_squared_error": (
        metrics.StreamingMeanSquaredError,
        numbers,
        lambda p, t, weights: sklearn_metrics.mean_squared_error(t, p, sample_weight=weights),
    ),
    "root_mean_squared_error": (
        metrics.StreamingRootMeanSquaredError,
        numbers,
        lambda p, t, weights: sklearn_metrics.root_mean_squared_error(t, p, sample_weight=weights),
    ),
    "mean_relative_error": (
        metrics.StreamingMeanRelativeError,
        lambda n: (*numbers(n), torch.rand(n) + 1),
        lambda p, t, normalizer, weights: np.average(np.abs(p - t) / normalizer, weights=weights),
    ),
}
by_name = pytest.mark.parametrize("name", list(REGISTRY))


def streamed(metric: Metric, batch: Batch, sizes: list[int], weights: torch.Tensor | None = None) -> torch.Tensor:
    splits = [tensor.split(sizes) for tensor in batch]
    for i, part in enumerate(zip(*splits, strict=True)):
        metric.update(*part, *(() if weights is None else (weights.split(sizes)[i],)))
    return metric.compute()


@by_name
def test_against_scikit_learn(name: str) -> None:
    make, inputs, reference = REGISTRY[name]
    batch, weights = inputs(50), torch.rand(50)
    arrays = [tensor.numpy() for tensor in batch]
    got = streamed(make(), batch, [20, 20, 10], weights)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(reference(*arrays, weights.numpy()), rel=1e-5)
    assert streamed(make(), batch, [50]).item() == pytest.approx(reference(*arrays, None), rel=1e-5)


def test_voc_update_never_looks_at_numbers() -> None:
    metric = metrics.VOCAveragePrecision(3).to("meta")
    metric.update(*(torch.zeros(4, 3, device="meta") for _ in range(3)))


def test_counts_do_not_saturate() -> None:
    """In float32 2 ** 24 + 1 == 2 ** 24: TF-Slim's totals stop growing there."""
    metric = metrics.StreamingAccuracy()
    metric.update(torch.zeros(1 << 24, dtype=torch.int8), torch.zeros(1 << 24, dtype=torch.int8))
    for _ in range(4):
        metric.update(torch.zeros(1), torch.ones(1))
    assert metric.total.item() == 1 << 24
    assert metric.count.item() == (1 << 24) + 4


def test_nan_is_reported_unless_it_is_left_out() -> None:
    values, weights = torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 0.0])
    assert metrics.streaming_mean(values).isnan()
    assert metrics.streaming_mean(values, weights) == 1


def test_half_precision_is_summed_in_float32() -> None:
    ones = torch.ones(1000, dtype=torch.bfloat16)
    assert metrics.streaming_mean(ones) == 1
    assert metrics.streaming_mean_squared_error(ones, ones * 0) == 1


def test_weights_by_row_and_by_number() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert metrics.streaming_mean(values, torch.tensor([3.0, 1.0])) == 3
    assert metrics.streaming_mean(values, torch.tensor([[3.0], [1.0]])) == 3
    assert metrics.streaming_mean(values, 2.0) == 4
    assert metrics.streaming_mean(values, torch.tensor(2.0)) == 4
    assert metrics.streaming_mean(values[0], torch.tensor([[3.0], [1.0]])) == 1.5


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2), (1, 2, 2)])
def test_weights_of_another_shape(shape: tuple[int, ...]) -> None:
    got = rf"Got \[{', '.join(map(str, shape))}\] for values of shape \[2, 2\]"
    with pytest.raises(ValueError, match=got):
        metrics.streaming_mean(torch.zeros(2, 2), torch.ones(shape))


def test_labels_of_another_shape() -> None:
    for name in ("accuracy", "precision", "recall", "mean_absolute_error", "mean_squared_error"):
        with pytest.raises(ValueError, match=rf"streaming_{name}: .*Got \[3\] and \[4\]"):
            getattr(metrics, f"streaming_{name}")(torch.zeros(3), torch.zeros(4))


def test_accuracy_wants_class_numbers() -> None:
    with pytest.raises(ValueError, match=r"`predictions` must be class numbers.*Got torch.float32"):
        metrics.accuracy(torch.zeros(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`labels` must be class numbers.*Got torch.float32"):
        metrics.accuracy(torch.zeros(3, dtype=torch.long), torch.zeros(3))
    with pytest.raises(ValueError, match=r"Got \[3\] and \[3, 1\]"):
        metrics.accuracy(torch.zeros(3, dtype=torch.long), torch.zeros(3, 1, dtype=torch.long))


def test_accuracy_of_a_batch() -> None:
    predictions, labels = torch.tensor([1, 2, 3, 0]), torch.tensor([1, 2, 0, 1])
    assert metrics.accuracy(predictions, labels) == 0.5
    assert metrics.accuracy(predictions, labels, torch.tensor([3.0, 0, 1, 0])) == 0.75
    assert metrics.accuracy(predictions, labels, torch.zeros(4)).isnan()


def test_the_names_of_the_tutorials() -> None:
    assert metrics.percentage_less is metrics.streaming_percentage_less
    assert metrics.precision is metrics.streaming_precision
    assert metrics.recall is metrics.streaming_recall


def test_everything_is_exported() -> None:
    for name in metrics.__all__:
        value: Any = getattr(metrics, name)
        assert value.__doc__
