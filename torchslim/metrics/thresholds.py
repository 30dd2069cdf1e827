"""Streaming precision, recall and error rates at thresholds."""

# Shape letters: B batch, T thresholds.
from __future__ import annotations

from collections.abc import Sequence

import torch

from torchslim.graph import Value
from torchslim.metrics.confusion import EPSILON, StreamingConfusion
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingPrecisionAtThresholds(StreamingConfusion):
    """The share of the predictions above each threshold that are of what is true; 0 if there is none.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The shares `[T]`, float32."""
        count = self.confusion()
        return count.tp / (count.tp + count.fp + EPSILON)


def streaming_precision_at_thresholds(
    predictions: Value,
    labels: Value,
    thresholds: Sequence[float],
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of the predictions above each threshold that are of what is true, over all batches.

    Its class is `StreamingPrecisionAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_precision_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([0.6667, 1.0000])

    TF-Slim: raises an error if a prediction is not in `[0, 1]`.
    """
    metric = StreamingPrecisionAtThresholds(thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingRecallAtThresholds(StreamingConfusion):
    """The share of what is true that has a prediction above each threshold; 0 if nothing is true.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The shares `[T]`, float32."""
        count = self.confusion()
        return count.tp / (count.tp + count.fn + EPSILON)


def streaming_recall_at_thresholds(
    predictions: Value,
    labels: Value,
    thresholds: Sequence[float],
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is true that has a prediction above each threshold, over all batches.

    Its class is `StreamingRecallAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_recall_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([1.0000, 0.5000])

    TF-Slim: raises an error if a prediction is not in `[0, 1]`.
    """
    metric = StreamingRecallAtThresholds(thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingFalsePositiveRateAtThresholds(StreamingConfusion):
    """The share of what is false that has a prediction above each threshold; 0 if nothing is false.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The shares `[T]`, float32."""
        count = self.confusion()
        return count.fp / (count.fp + count.tn + EPSILON)


def streaming_false_positive_rate_at_thresholds(
    predictions: Value,
    labels: Value,
    thresholds: Sequence[float],
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is false that has a prediction above each threshold, over all batches.

    Its class is `StreamingFalsePositiveRateAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_false_positive_rate_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([0.5000, 0.0000])
    """
    metric = StreamingFalsePositiveRateAtThresholds(thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingFalseNegativeRateAtThresholds(StreamingConfusion):
    """The share of what is true that has no prediction above each threshold; 0 if nothing is true.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The shares `[T]`, float32."""
        count = self.confusion()
        return count.fn / (count.fn + count.tp + EPSILON)


def streaming_false_negative_rate_at_thresholds(
    predictions: Value,
    labels: Value,
    thresholds: Sequence[float],
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is true that has no prediction above each threshold, over all batches.

    Its class is `StreamingFalseNegativeRateAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_false_negative_rate_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([0.0000, 0.5000])
    """
    metric = StreamingFalseNegativeRateAtThresholds(thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)
