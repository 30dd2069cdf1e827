"""Streaming metrics at the best point of a curve, or at the point where it has a given value."""

# Shape letters: B batch.
from __future__ import annotations

from typing import Any

import torch

from torchslim.graph import Value
from torchslim.metrics.confusion import EPSILON, StreamingCurve
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Collections, Streamed, stream


class _StreamingPoint(StreamingCurve):
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0


class _StreamingPointAt(_StreamingPoint):
    def __init__(self, argument: str, target: float, num_thresholds: int, **kwargs: Any) -> None:
        if not 0 <= target <= 1:
            raise ValueError(f"{type(self).__name__}: `{argument}` must be in [0, 1]. Got {target}.")
        super().__init__(num_thresholds, **kwargs)
        self.target = target


def _share(part: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    return part / (part + rest + EPSILON)


class StreamingSensitivityAtSpecificity(_StreamingPointAt):
    """The sensitivity at the threshold where the specificity is closest to a given one.

    Of several that are as close, it is the lowest.

    Args:
        specificity: the given one, in `[0, 1]`: the share of what is false with a prediction not above the threshold.
        num_thresholds: how many thresholds there are, of which one lies below 0 and one above 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `specificity` is not in `[0, 1]`, or `num_thresholds` is less than 2.
    """

    def __init__(self, specificity: float, num_thresholds: int = 200, **kwargs: Any) -> None:
        super().__init__("specificity", specificity, num_thresholds, **kwargs)

    def compute(self) -> torch.Tensor:
        """The sensitivity, float32."""
        counts = self.confusion()
        index = (_share(counts.tn, counts.fp) - self.target).abs().argmin()
        return _share(counts.tp, counts.fn)[index]


def streaming_sensitivity_at_specificity(
    predictions: Value,
    labels: Value,
    specificity: float,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The sensitivity at the threshold where the specificity is closest to a given one.

    Of several that are as close, it is the lowest. Its class is `StreamingSensitivityAtSpecificity`.

    Args:
        predictions: probabilities, any shape; a number outside of `[0, 1]` makes the value NaN.
        labels: the same shape; what is not zero is true.
        specificity: the given one, in `[0, 1]`: the share of what is false with a prediction not above the threshold.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many thresholds to look at; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `specificity` is not in `[0, 1]`, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> slim.metrics.streaming_sensitivity_at_specificity(predictions, labels, 0.5)
        tensor(1.)
    """
    metric = StreamingSensitivityAtSpecificity(specificity, num_thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class StreamingSpecificityAtSensitivity(_StreamingPointAt):
    """The specificity at the threshold where the sensitivity is closest to a given one.

    Of several that are as close, it is the highest.

    Args:
        sensitivity: the given one, in `[0, 1]`: the share of what is true with a prediction above the threshold.
        num_thresholds: how many thresholds there are, of which one lies below 0 and one above 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `sensitivity` is not in `[0, 1]`, or `num_thresholds` is less than 2.
    """

    def __init__(self, sensitivity: float, num_thresholds: int = 200, **kwargs: Any) -> None:
        super().__init__("sensitivity", sensitivity, num_thresholds, last=1 - EPSILON, **kwargs)

    def compute(self) -> torch.Tensor:
        """The specificity, float32."""
        counts = self.confusion()
        distance = (_share(counts.tp, counts.fn) - self.target).abs()
        index = -1 - distance.flip(0).argmin()  # the last of the lowest
        return _share(counts.tn, counts.fp)[index]


def streaming_specificity_at_sensitivity(
    predictions: Value,
    labels: Value,
    sensitivity: float,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The specificity at the threshold where the sensitivity is closest to a given one.

    Of several that are as close, it is the highest. Its class is `StreamingSpecificityAtSensitivity`.

    Args:
        predictions: probabilities, any shape; a number outside of `[0, 1]` makes the value NaN.
        labels: the same shape; what is not zero is true.
        sensitivity: the given one, in `[0, 1]`: the share of what is true with a prediction above the threshold.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many thresholds to look at; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `sensitivity` is not in `[0, 1]`, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> slim.metrics.streaming_specificity_at_sensitivity(predictions, labels, 0.5)
        tensor(1.)
    """
    metric = StreamingSpecificityAtSensitivity(sensitivity, num_thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class RecallAtPrecision(_StreamingPointAt):
    """The recall at the threshold where the precision is closest to a given one.

    Of several that are as close, it is the lowest.

    Args:
        precision: the given one, in `[0, 1]`: the share of what has a prediction above the threshold that is true.
        num_thresholds: how many thresholds there are, of which one lies below 0 and one above 1.
        strict_mode: whether the precision must be reached: the recall is that where it is least above the given
            one, and 0 if it never is.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `precision` is not in `[0, 1]`, or `num_thresholds` is less than 2.
    """

    def __init__(self, precision: float, num_thresholds: int = 200, strict_mode: bool = False, **kwargs: Any) -> None:
        super().__init__("precision", precision, num_thresholds, **kwargs)
        self.strict_mode = strict_mode

    def compute(self) -> torch.Tensor:
        """The recall, float32."""
        counts = self.confusion()
        distance = _share(counts.tp, counts.fp) - self.target
        recall = _share(counts.tp, counts.fn)
        if not self.strict_mode:
            return recall[distance.abs().argmin()]
        index = (1 / (distance + EPSILON)).argmax()  # the precision that is as little greater as can be
        return torch.where(distance[index] < 0, 0.0, recall[index])


def recall_at_precision(
    labels: Value,
    predictions: Value,
    precision: float,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
    strict_mode: bool = False,
) -> Streamed:
    """The recall at the threshold where the precision is closest to a given one.

    Of several that are as close, it is the lowest. Its class is `RecallAtPrecision`.

    Args:
        labels: any shape; what is not zero is true.
        predictions: probabilities, the same shape; a number outside of `[0, 1]` makes the value NaN.
        precision: the given one, in `[0, 1]`: the share of what has a prediction above the threshold that is true.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many thresholds to look at; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.
        strict_mode: whether the precision must be reached: the recall is that where it is least above the given
            one, and 0 if it never is.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `precision` is not in `[0, 1]`, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> slim.metrics.recall_at_precision(labels, predictions, 0.6)
        tensor(1.)
    """
    metric = RecallAtPrecision(precision, num_thresholds, strict_mode)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class PrecisionAtRecall(_StreamingPointAt):
    """The precision at the highest threshold where the recall is at least a given one.

    It is 1 if there is none.

    Args:
        target_recall: the given one, in `[0, 1]`: the share of what is true with a prediction above the threshold.
        num_thresholds: how many thresholds there are, of which one lies below 0 and one above 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `target_recall` is not in `[0, 1]`, or `num_thresholds` is less than 2.
    """

    def __init__(self, target_recall: float, num_thresholds: int = 200, **kwargs: Any) -> None:
        super().__init__("target_recall", target_recall, num_thresholds, **kwargs)

    def compute(self) -> torch.Tensor:
        """The precision, float32."""
        counts = self.confusion()
        index = (_share(counts.tp, counts.fn) >= self.target).sum() - 1
        return (counts.tp[index] + EPSILON) / (counts.tp[index] + counts.fp[index] + EPSILON)


def precision_at_recall(
    labels: Value,
    predictions: Value,
    target_recall: float,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The precision at the highest threshold where the recall is at least a given one.

    It is 1 if there is none. Its class is `PrecisionAtRecall`.

    Args:
        labels: any shape; what is not zero is true.
        predictions: probabilities, the same shape; a number outside of `[0, 1]` makes the value NaN.
        target_recall: the given one, in `[0, 1]`: the share of what is true with a prediction above the threshold.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many thresholds to look at; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `target_recall` is not in `[0, 1]`, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> slim.metrics.precision_at_recall(labels, predictions, 0.5)
        tensor(1.)
    """
    metric = PrecisionAtRecall(target_recall, num_thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class F1Score(_StreamingPoint):
    """The highest F1 score, `2 * precision * recall / (precision + recall)`, at any of the thresholds.

    Args:
        num_thresholds: how many thresholds there are, of which one lies below 0 and one above 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_thresholds` is less than 2.
    """

    def compute(self) -> torch.Tensor:
        """The score, float32."""
        counts = self.confusion()
        precision, recall = _share(counts.tp, counts.fp), _share(counts.tp, counts.fn)
        return (2 * precision * recall / (precision + recall + EPSILON)).amax()


def f1_score(
    labels: Value,
    predictions: Value,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The highest F1 score at any threshold, over all batches (class `F1Score`).

    Args:
        labels: any shape; what is not zero is true.
        predictions: probabilities, the same shape; a number outside of `[0, 1]` makes the value NaN.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many thresholds to look at; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> slim.metrics.f1_score(labels, predictions)
        tensor(0.8000)
    """
    metric = F1Score(num_thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)
