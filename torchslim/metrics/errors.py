"""Streaming means of the error of a prediction."""

# Shape letters: B batch.
from __future__ import annotations

import torch

from torchslim.graph import Value
from torchslim.metrics.ratio import StreamingRatio
from torchslim.metrics.shapes import Weights, match
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingMeanAbsoluteError(StreamingRatio):
    """The mean of `|predictions - labels|`."""

    higher_is_better = False

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_mean_absolute_error", predictions=predictions, labels=labels)
        self.add_mean((predictions - labels).abs(), weights)


def streaming_mean_absolute_error(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean of `|predictions - labels|` over all batches (class `StreamingMeanAbsoluteError`).

    Args:
        predictions: any shape.
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
        >>> slim.metrics.streaming_mean_absolute_error(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0]))
        tensor(2.)
    """
    return stream(
        StreamingMeanAbsoluteError(),
        (predictions, labels, weights),
        metrics_collections,
        updates_collections,
        name,
    )


class StreamingMeanSquaredError(StreamingRatio):
    """The mean of `(predictions - labels) ** 2`."""

    higher_is_better = False

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_mean_squared_error", predictions=predictions, labels=labels)
        self.add_mean((predictions - labels).square(), weights)


def streaming_mean_squared_error(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean of `(predictions - labels) ** 2` over all batches (class `StreamingMeanSquaredError`).

    Args:
        predictions: any shape.
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
        >>> slim.metrics.streaming_mean_squared_error(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0]))
        tensor(5.)
    """
    return stream(
        StreamingMeanSquaredError(),
        (predictions, labels, weights),
        metrics_collections,
        updates_collections,
        name,
    )


class StreamingRootMeanSquaredError(StreamingMeanSquaredError):
    """The root of the mean of `(predictions - labels) ** 2`."""

    def compute(self) -> torch.Tensor:
        """The root of the mean."""
        return super().compute().sqrt()


def streaming_root_mean_squared_error(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The root of `streaming_mean_squared_error` (class `StreamingRootMeanSquaredError`).

    Args:
        predictions: any shape.
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
        >>> slim.metrics.streaming_root_mean_squared_error(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]))
        tensor(3.)
    """
    return stream(
        StreamingRootMeanSquaredError(),
        (predictions, labels, weights),
        metrics_collections,
        updates_collections,
        name,
    )


class StreamingMeanRelativeError(StreamingRatio):
    """The mean of `|predictions - labels| / normalizer`; 0 where the normalizer is 0."""

    higher_is_better = False

    def update(
        self,
        predictions: torch.Tensor,
        labels: torch.Tensor,
        normalizer: torch.Tensor,
        weights: Weights = None,
    ) -> None:
        """Takes a batch in."""
        predictions, labels = match("streaming_mean_relative_error", predictions=predictions, labels=labels)
        predictions, normalizer = match("streaming_mean_relative_error", predictions=predictions, normalizer=normalizer)
        self.add_mean(torch.where(normalizer == 0, 0.0, (labels - predictions).abs() / normalizer), weights)


def streaming_mean_relative_error(
    predictions: Value,
    labels: Value,
    normalizer: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean of `|predictions - labels| / normalizer` (class `StreamingMeanRelativeError`).

    Args:
        predictions: any shape.
        labels: the same shape.
        normalizer: the same shape: errors are divided by it, and count as 0 where it is 0.
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
        >>> labels = torch.tensor([2.0, 4.0])
        >>> slim.metrics.streaming_mean_relative_error(torch.tensor([1.0, 5.0]), labels, normalizer=labels)
        tensor(0.3750)
    """
    return stream(
        StreamingMeanRelativeError(),
        (predictions, labels, normalizer, weights),
        metrics_collections,
        updates_collections,
        name,
    )
