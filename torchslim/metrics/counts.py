"""Streaming counts of true and false positives and negatives."""

# Shape letters: B batch.
from __future__ import annotations

from typing import Any, ClassVar

import torch

from torchslim.graph import Value
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.shapes import Weights, match, spread, truth
from torchslim.metrics.stream import Collections, Streamed, stream


class _StreamingCount(StreamingMetric):
    """The weight of what is predicted one way and is one way; one float64 number is all its memory."""

    predicted: ClassVar[bool]
    labelled: ClassVar[bool]
    total: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        name = type(self).__name__
        predictions, labels = match(name, predictions=predictions, labels=labels)
        predicted = truth(predictions) if self.predicted else 1 - truth(predictions)
        counts = predicted * (truth(labels) if self.labelled else 1 - truth(labels))
        if weights is not None:
            weights = spread(name, weights, counts)
            counts = torch.where(weights != 0, counts * weights, 0)
        self.total = self.total + counts.double().sum()

    def compute(self) -> torch.Tensor:
        """The count, float32."""
        return self.total.float()


class StreamingTruePositives(_StreamingCount):
    """How much of what is true is predicted true: the sum of the weights. What is not zero is true."""

    higher_is_better = True
    predicted = True
    labelled = True


def streaming_true_positives(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """How much of what is true is predicted true, over all batches (class `StreamingTruePositives`).

    Args:
        predictions: any shape and dtype: what is not zero is true.
        labels: the same shape, likewise.
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
        >>> slim.metrics.streaming_true_positives(torch.tensor([1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 0, 0]))
        tensor(1.)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingTruePositives(), inputs, metrics_collections, updates_collections, name)


class StreamingTrueNegatives(_StreamingCount):
    """How much of what is false is predicted false: the sum of the weights. What is not zero is true."""

    higher_is_better = True
    predicted = False
    labelled = False


def streaming_true_negatives(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """How much of what is false is predicted false, over all batches (class `StreamingTrueNegatives`).

    Args:
        predictions: any shape and dtype: what is not zero is true.
        labels: the same shape, likewise.
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
        >>> slim.metrics.streaming_true_negatives(torch.tensor([1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 0, 0]))
        tensor(2.)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingTrueNegatives(), inputs, metrics_collections, updates_collections, name)


class StreamingFalsePositives(_StreamingCount):
    """How much of what is false is predicted true: the sum of the weights. What is not zero is true."""

    higher_is_better = False
    predicted = True
    labelled = False


def streaming_false_positives(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """How much of what is false is predicted true, over all batches (class `StreamingFalsePositives`).

    Args:
        predictions: any shape and dtype: what is not zero is true.
        labels: the same shape, likewise.
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
        >>> slim.metrics.streaming_false_positives(torch.tensor([1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 0, 0]))
        tensor(1.)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingFalsePositives(), inputs, metrics_collections, updates_collections, name)


class StreamingFalseNegatives(_StreamingCount):
    """How much of what is true is predicted false: the sum of the weights. What is not zero is true."""

    higher_is_better = False
    predicted = False
    labelled = True


def streaming_false_negatives(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """How much of what is true is predicted false, over all batches (class `StreamingFalseNegatives`).

    Args:
        predictions: any shape and dtype: what is not zero is true.
        labels: the same shape, likewise.
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
        >>> slim.metrics.streaming_false_negatives(torch.tensor([1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 0, 0]))
        tensor(1.)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingFalseNegatives(), inputs, metrics_collections, updates_collections, name)
