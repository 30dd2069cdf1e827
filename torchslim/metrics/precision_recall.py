"""Streaming precision, recall and error rates of yes-or-no predictions."""

# Shape letters: B batch.
from __future__ import annotations

import torch

from torchslim.graph import Value
from torchslim.metrics.ratio import StreamingShare
from torchslim.metrics.shapes import Weights, match, spread, truth
from torchslim.metrics.stream import Collections, Streamed, stream


class _StreamingHits(StreamingShare):
    def _add_hits(self, hits: torch.Tensor, among: torch.Tensor, weights: Weights) -> None:
        """Adds the hits among those where `among` is true; what is NaN in either makes the value NaN."""
        among = torch.where(hits.isnan(), hits, among)
        if weights is not None:
            weights = spread(type(self).__name__, weights, among)
            among = torch.where(weights != 0, among * weights, 0)
        self.add_mean(hits, among)


class StreamingPrecision(_StreamingHits):
    """The share of what is predicted true that is true; 0 if nothing is. What is not zero is true.

    Example:
        >>> import torch, torchslim as slim
        >>> precision = slim.metrics.StreamingPrecision()
        >>> precision.update(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 1]))
        >>> precision.compute()
        tensor(0.5000)
    """

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_precision", predictions=predictions, labels=labels)
        self._add_hits(truth(labels), truth(predictions), weights)


def streaming_precision(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is predicted true that is true, over all batches (class `StreamingPrecision`).

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
        >>> slim.metrics.streaming_precision(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 1]))
        tensor(0.5000)
    """
    return stream(StreamingPrecision(), (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingRecall(_StreamingHits):
    """The share of what is true that is predicted true; 0 if nothing is true. What is not zero is true.

    Example:
        >>> import torch, torchslim as slim
        >>> recall = slim.metrics.StreamingRecall()
        >>> recall.update(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 1]))
        >>> recall.compute()
        tensor(0.3333)
    """

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_recall", predictions=predictions, labels=labels)
        self._add_hits(truth(predictions), truth(labels), weights)


def streaming_recall(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is true that is predicted true, over all batches (class `StreamingRecall`).

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
        >>> slim.metrics.streaming_recall(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 1]))
        tensor(0.3333)
    """
    return stream(StreamingRecall(), (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingFalsePositiveRate(_StreamingHits):
    """The share of what is false that is predicted true; 0 if nothing is false. What is not zero is true.

    Example:
        >>> import torch, torchslim as slim
        >>> rate = slim.metrics.StreamingFalsePositiveRate()
        >>> rate.update(torch.tensor([1, 0, 0, 1]), torch.tensor([0, 0, 0, 1]))
        >>> rate.compute()
        tensor(0.3333)
    """

    higher_is_better = False

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_false_positive_rate", predictions=predictions, labels=labels)
        self._add_hits(truth(predictions), 1 - truth(labels), weights)


def streaming_false_positive_rate(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is false that is predicted true, over all batches (class `StreamingFalsePositiveRate`).

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
        >>> slim.metrics.streaming_false_positive_rate(torch.tensor([1, 0, 0, 1]), torch.tensor([0, 0, 0, 1]))
        tensor(0.3333)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingFalsePositiveRate(), inputs, metrics_collections, updates_collections, name)


class StreamingFalseNegativeRate(_StreamingHits):
    """The share of what is true that is predicted false; 0 if nothing is true. What is not zero is true.

    Example:
        >>> import torch, torchslim as slim
        >>> rate = slim.metrics.StreamingFalseNegativeRate()
        >>> rate.update(torch.tensor([1, 0, 0, 1]), torch.tensor([1, 1, 0, 1]))
        >>> rate.compute()
        tensor(0.3333)
    """

    higher_is_better = False

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_false_negative_rate", predictions=predictions, labels=labels)
        self._add_hits(1 - truth(predictions), truth(labels), weights)


def streaming_false_negative_rate(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of what is true that is predicted false, over all batches (class `StreamingFalseNegativeRate`).

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
        >>> slim.metrics.streaming_false_negative_rate(torch.tensor([1, 0, 0, 1]), torch.tensor([1, 1, 0, 1]))
        tensor(0.3333)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingFalseNegativeRate(), inputs, metrics_collections, updates_collections, name)
