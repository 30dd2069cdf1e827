"""Streaming means: of values, of hits, of what is below a threshold."""

# Shape letters: B batch.
from __future__ import annotations

from typing import Any

import torch

from torchslim.graph import Value
from torchslim.metrics.ratio import StreamingRatio, StreamingShare
from torchslim.metrics.shapes import Weights, match
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingMean(StreamingRatio):
    """The mean of all values: `sum(values * weights) / sum(weights)`.

    Example:
        >>> import torch, torchslim as slim
        >>> mean = slim.metrics.StreamingMean()
        >>> mean.update(torch.tensor([1.0, 2.0]))
        >>> mean.update(torch.tensor([6.0, 50.0]), weights=torch.tensor([1.0, 0.0]))
        >>> mean.compute()
        tensor(3.)
    """

    def update(self, values: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        self.add_mean(values, weights)


def streaming_mean(
    values: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean of `values` over all batches (class `StreamingMean`).

    Args:
        values: any shape.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_mean(torch.tensor([1.0, 2.0, 6.0]))
        tensor(3.)
    """
    return stream(StreamingMean(), (values, weights), metrics_collections, updates_collections, name)


class StreamingAccuracy(StreamingShare):
    """The share of predictions that equal the labels.

    Example:
        >>> import torch, torchslim as slim
        >>> accuracy = slim.metrics.StreamingAccuracy()
        >>> accuracy.update(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 0]))
        >>> accuracy.update(torch.tensor([0]), torch.tensor([0]))
        >>> accuracy.compute()
        tensor(0.7500)
    """

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_accuracy", predictions=predictions, labels=labels)
        self.add_mean((predictions.to(labels.dtype) == labels).float(), weights)


def streaming_accuracy(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of predictions that equal the labels, over all batches (class `StreamingAccuracy`).

    Args:
        predictions: class numbers, any shape.
        labels: the same shape.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_accuracy(torch.tensor([1, 2, 3, 0]), torch.tensor([1, 2, 0, 0]))
        tensor(0.7500)
    """
    return stream(StreamingAccuracy(), (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingPercentageLess(StreamingRatio):
    """The share of values that are less than a threshold.

    Args:
        threshold: what values are compared with; equal is not less.
        kwargs: those of `torchmetrics.Metric`.
    """

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, values: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        less = torch.where(values.isnan(), torch.nan, (values < self.threshold).float())
        self.add_mean(less, weights)


def streaming_percentage_less(
    values: Value,
    threshold: float,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of `values` less than `threshold`, over all batches (class `StreamingPercentageLess`).

    Args:
        values: any shape.
        threshold: what they are compared with; equal is not less.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_percentage_less(torch.tensor([0.1, 0.2, 0.3, 0.4]), 0.3)
        tensor(0.5000)
    """
    return stream(StreamingPercentageLess(threshold), (values, weights), metrics_collections, updates_collections, name)
