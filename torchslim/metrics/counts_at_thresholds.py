"""Streaming counts of true and false positives and negatives at thresholds."""

# Shape letters: B batch, T thresholds.
from __future__ import annotations

from collections.abc import Sequence

import torch

from torchslim.graph import Value
from torchslim.metrics.confusion import StreamingConfusion
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Streamed, stream


class StreamingTruePositivesAtThresholds(StreamingConfusion):
    """How much of what is true has a prediction above each threshold: sums of weights.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    def compute(self) -> torch.Tensor:
        """The counts `[T]`, float32."""
        return self.confusion().tp


def streaming_true_positives_at_thresholds(
    predictions: Value, labels: Value, thresholds: Sequence[float], weights: Weights = None
) -> Streamed:
    """How much of what is true has a prediction above each threshold, over all batches.

    Its class is `StreamingTruePositivesAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_true_positives_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([2., 1.])
    """
    return stream(StreamingTruePositivesAtThresholds(thresholds), (predictions, labels, weights))


class StreamingTrueNegativesAtThresholds(StreamingConfusion):
    """How much of what is false has a prediction not above each threshold: sums of weights.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    def compute(self) -> torch.Tensor:
        """The counts `[T]`, float32."""
        return self.confusion().tn


def streaming_true_negatives_at_thresholds(
    predictions: Value, labels: Value, thresholds: Sequence[float], weights: Weights = None
) -> Streamed:
    """How much of what is false has a prediction not above each threshold, over all batches.

    Its class is `StreamingTrueNegativesAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_true_negatives_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([1., 2.])
    """
    return stream(StreamingTrueNegativesAtThresholds(thresholds), (predictions, labels, weights))


class StreamingFalsePositivesAtThresholds(StreamingConfusion):
    """How much of what is false has a prediction above each threshold: sums of weights.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    def compute(self) -> torch.Tensor:
        """The counts `[T]`, float32."""
        return self.confusion().fp


def streaming_false_positives_at_thresholds(
    predictions: Value, labels: Value, thresholds: Sequence[float], weights: Weights = None
) -> Streamed:
    """How much of what is false has a prediction above each threshold, over all batches.

    Its class is `StreamingFalsePositivesAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_false_positives_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([1., 0.])
    """
    return stream(StreamingFalsePositivesAtThresholds(thresholds), (predictions, labels, weights))


class StreamingFalseNegativesAtThresholds(StreamingConfusion):
    """How much of what is true has a prediction not above each threshold: sums of weights.

    Args:
        thresholds: T numbers, in any order.
        kwargs: those of `torchmetrics.Metric`.
    """

    def compute(self) -> torch.Tensor:
        """The counts `[T]`, float32."""
        return self.confusion().fn


def streaming_false_negatives_at_thresholds(
    predictions: Value, labels: Value, thresholds: Sequence[float], weights: Weights = None
) -> Streamed:
    """How much of what is true has a prediction not above each threshold, over all batches.

    Its class is `StreamingFalseNegativesAtThresholds`.

    Args:
        predictions: numbers, any shape; equal to a threshold is not above it.
        labels: the same shape; what is not zero is true.
        thresholds: T numbers, in any order.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.

    Returns:
        A pair of Symbols `(value, update)`, `[T]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
        >>> slim.metrics.streaming_false_negatives_at_thresholds(predictions, labels, [0.3, 0.7])
        tensor([0., 1.])
    """
    return stream(StreamingFalseNegativesAtThresholds(thresholds), (predictions, labels, weights))
