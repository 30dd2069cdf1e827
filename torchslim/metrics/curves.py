"""Streaming curves: their points at thresholds, and the counts that they are made of."""

# Shape letters: B batch, T thresholds.
from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torchmetrics.utilities.plot import plot_curve

from torchslim.graph import Value
from torchslim.metrics.confusion import (
    EPSILON,
    StreamingCurve,
    StreamingHistogram,
    check_curve,
    curve_of,
    is_probability,
)
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingCurvePoints(StreamingCurve):
    """The points of the ROC or precision-recall curve at thresholds spread evenly over `[0, 1]`.

    Args:
        num_thresholds: T, of which one lies below 0 and one above 1.
        curve: `'ROC'` (false positive rate, true positive rate) or `'PR'` (recall, precision).
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `curve` is unknown or `num_thresholds` is less than 2.
    """

    def __init__(self, num_thresholds: int = 200, curve: Literal["ROC", "PR"] = "ROC", **kwargs: Any) -> None:
        check_curve("StreamingCurvePoints", curve)
        super().__init__(num_thresholds, **kwargs)
        self.curve = curve

    def compute(self) -> torch.Tensor:
        """The points `[T, 2]`, float32, from the lowest threshold to the highest."""
        return torch.stack(curve_of(self.confusion(), self.curve), 1)

    def plot(self, val: torch.Tensor | None = None, ax: Any = None) -> Any:
        """Draws the curve with matplotlib, which is in the extra `torchslim[plots]`.

        Args:
            val: points `[T, 2]`; default: the value now.
            ax: the axes to draw into; default: new ones.

        Returns:
            `(figure, axes)`.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        points = self.compute() if val is None else val
        names = ("False positive rate", "True positive rate") if self.curve == "ROC" else ("Recall", "Precision")
        return plot_curve(tuple(points.T), ax=ax, label_names=names)


def streaming_curve_points(
    labels: Value = None,
    predictions: Value = None,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    curve: Literal["ROC", "PR"] = "ROC",
    name: str | None = None,
) -> Streamed:
    """The points of the ROC or precision-recall curve, over all batches (class `StreamingCurvePoints`).

    Args:
        labels: any shape; what is not zero is true.
        predictions: probabilities, the same shape; a number outside of `[0, 1]` makes the value NaN.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: T, of which one lies below 0 and one above 1; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        curve: `'ROC'` (false positive rate, true positive rate) or `'PR'` (recall, precision).
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, `[T, 2]` each; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `curve` is unknown, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8])
        >>> slim.metrics.streaming_curve_points(labels, predictions, num_thresholds=4).round(decimals=4)
        tensor([[1.0000, 1.0000],
                [0.5000, 1.0000],
                [0.0000, 0.5000],
                [0.0000, 0.0000]])

    TF-Slim: the update has no value.
    """
    metric = StreamingCurvePoints(num_thresholds, curve)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class PrecisionRecallData(NamedTuple):
    """What `precision_recall_at_equal_thresholds` gives, each `[T]`; tp is short for true positives, and so on."""

    tp: torch.Tensor
    fp: torch.Tensor
    tn: torch.Tensor
    fn: torch.Tensor
    precision: torch.Tensor
    recall: torch.Tensor
    thresholds: torch.Tensor


class PrecisionRecallAtEqualThresholds(StreamingHistogram):
    """Counts, precision and recall at the thresholds 0, 1 / (T - 1), ..., 1.

    A prediction is positive if it is a threshold or greater.

    Args:
        num_thresholds: T, at least 2.
        value_dtype: that of the value.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_thresholds` is less than 2.
    """

    def __init__(self, num_thresholds: int = 201, value_dtype: torch.dtype = torch.float32, **kwargs: Any) -> None:
        if num_thresholds < 2:
            raise ValueError(
                f"precision_recall_at_equal_thresholds: `num_thresholds` must be at least 2. Got {num_thresholds}."
            )
        super().__init__(num_thresholds, **kwargs)
        self.value_dtype = value_dtype

    def bucket_of(self, predictions: torch.Tensor) -> torch.Tensor:
        """The highest threshold that is not greater than the prediction."""
        highest = self.counts.shape[1] - 1
        return (predictions.nan_to_num() * highest).clamp(0, highest).long()

    def is_known(self, predictions: torch.Tensor) -> torch.Tensor:
        """Whether each prediction is a probability."""
        return is_probability(predictions)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in; `labels` are bool."""
        if labels.dtype != torch.bool:
            raise TypeError(
                f"precision_recall_at_equal_thresholds: `labels` must be bool. Got {labels.dtype}. Use `labels > 0`."
            )
        super().update(predictions, labels, weights)

    def compute(self) -> PrecisionRecallData:
        """The counts, precision, recall and thresholds, each `[T]`."""
        counts = self.confusion()
        precision = counts.tp / (counts.tp + counts.fp).clamp(min=EPSILON)
        recall = counts.tp / (counts.tp + counts.fn).clamp(min=EPSILON)
        thresholds = torch.linspace(0, 1, len(precision), device=precision.device)
        return PrecisionRecallData(*(t.to(self.value_dtype) for t in (*counts, precision, recall, thresholds)))


def precision_recall_at_equal_thresholds(
    labels: Value,
    predictions: Value,
    weights: Weights = None,
    num_thresholds: int | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Streamed:
    """Counts, precision and recall at evenly spread thresholds (class `PrecisionRecallAtEqualThresholds`).

    A prediction is positive if it is a threshold or greater.

    Args:
        labels: bool, any shape.
        predictions: probabilities, the same shape; a number outside of `[0, 1]` makes the values NaN.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: T: from 0 to 1, 1 / (T - 1) apart; memory grows with it, not with the data. None: 201.
        use_locking: for code written for TF-Slim; updates are never lost, so it changes nothing.
        name: the scope of value and update.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now. The value has the fields `tp`, `fp`,
        `tn`, `fn`, `precision`, `recall` and `thresholds`, each `[T]` with the dtype of `predictions`.

    Raises:
        TypeError: if labels are not bool.
        ValueError: if the shapes do not fit, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, predictions = torch.tensor([0, 0, 1, 1]) > 0, torch.tensor([0.1, 0.4, 0.35, 0.8])
        >>> data = slim.metrics.precision_recall_at_equal_thresholds(labels, predictions, num_thresholds=3)
        >>> data.thresholds, data.tp, data.recall
        (tensor([0.0000, 0.5000, 1.0000]), tensor([2., 1., 0.]), tensor([1.0000, 0.5000, 0.0000]))

    TF-Slim: the update has no value.
    """
    value_dtype = predictions.dtype if predictions.dtype.is_floating_point else torch.float32
    metric = PrecisionRecallAtEqualThresholds(201 if num_thresholds is None else num_thresholds, value_dtype)
    return stream(metric, (predictions, labels, weights), name=name)
