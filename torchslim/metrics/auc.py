"""Streaming areas under the ROC and the precision-recall curve, from counts at thresholds or in bins."""

# Shape letters: B batch, T thresholds.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from torchslim.graph import Value
from torchslim.metrics.confusion import Confusion, StreamingCurve, StreamingHistogram, check_curve, curve_of
from torchslim.metrics.shapes import Weights, match
from torchslim.metrics.stream import Collections, Streamed, add_to_collections, stream

Curve = Literal["ROC", "PR"]
Summation = Literal["trapezoidal", "careful_interpolation", "minoring", "majoring"]

# What stands for the height of the curve between two points of it.
HEIGHTS = {
    "trapezoidal": lambda one, other: (one + other) / 2,
    "careful_interpolation": lambda one, other: (one + other) / 2,
    "minoring": torch.minimum,
    "majoring": torch.maximum,
}


class StreamingAUC(StreamingCurve):
    """The area under the curve through its points at thresholds in `[0, 1]`.

    Args:
        num_thresholds: T, of which one lies below 0 and one above 1. More are closer to the true area.
        curve: `'ROC'` (true over false positive rate) or `'PR'` (precision over recall).
        summation_method: `'trapezoidal'`: straight lines between the points. `'careful_interpolation'`: the
            same for ROC; for PR the counts lie on straight lines, not the precision (Davis and Goadrich,
            ICML 2006), which is right where the lines are too high. `'minoring'`, `'majoring'`: steps that
            are never too high, or never too low.
        thresholds: thresholds in `[0, 1]` instead of evenly spread ones.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `curve` or `summation_method` is unknown, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> predictions, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
        >>> for method in 'minoring', 'trapezoidal', 'majoring':
        ...     auc = slim.metrics.StreamingAUC(num_thresholds=4, summation_method=method)
        ...     auc.update(predictions, labels)
        ...     print(round(auc.compute().item(), 3))
        0.75
        0.875
        1.0
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Curve = "ROC",
        summation_method: Summation = "trapezoidal",
        thresholds: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        check_curve("StreamingAUC", curve)
        if summation_method not in HEIGHTS:
            raise ValueError(
                f"StreamingAUC: `summation_method` must be one of {', '.join(map(repr, HEIGHTS))}. "
                f"Got {summation_method!r}."
            )
        super().__init__(num_thresholds, thresholds, **kwargs)
        self.curve = curve
        self.summation_method = summation_method

    def compute(self) -> torch.Tensor:
        """The area, float32."""
        counts = self.confusion()
        if self.curve == "PR" and self.summation_method == "careful_interpolation":
            return _interpolated_area(counts)
        x, y = curve_of(counts, self.curve)
        return ((x[:-1] - x[1:]) * HEIGHTS[self.summation_method](y[:-1], y[1:])).sum()


def _interpolated_area(counts: Confusion) -> torch.Tensor:
    """The area under the precision-recall curve on which true and false positives change proportionally.

    From a threshold (b) to the next lower one (a), with p = tp + fp, tp = tp_b + slope * (p - p_b). The area
    is the integral of tp / p over the recall tp / (tp + fn): slope * (tp_a - tp_b + (tp_b - slope * p_b) *
    log(p_a / p_b)) / (tp + fn). Where p_b is 0, tp_b is too, and the logarithm does not matter.
    """
    p = counts.tp + counts.fp
    gain = counts.tp[:-1] - counts.tp[1:]
    slope = _divide(gain, p[:-1] - p[1:])
    intercept = counts.tp[1:] - slope * p[1:]
    ratio = torch.where(p[1:] > 0, p[:-1] / p[1:], 1.0)
    return _divide(slope * (gain + intercept * ratio.log()), counts.tp[1:] + counts.fn[1:]).sum()


def _divide(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.where(other == 0, 0.0, one / other)


def streaming_auc(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    num_thresholds: int = 200,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    curve: Curve = "ROC",
    name: str | None = None,
    summation_method: Summation = "trapezoidal",
    thresholds: Sequence[float] | None = None,
) -> Streamed:
    """The area under the ROC or precision-recall curve, over all batches (class `StreamingAUC`).

    Args:
        predictions: probabilities, any shape; a number outside of `[0, 1]` makes the value NaN.
        labels: the same shape; what is not zero is true.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        num_thresholds: how many points the curve has; memory grows with it, not with the data.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        curve: `'ROC'` or `'PR'`.
        name: the scope of the two.
        summation_method: `'trapezoidal'`, `'careful_interpolation'` (better for PR), `'minoring'` or
            `'majoring'`, see `StreamingAUC`.
        thresholds: thresholds in `[0, 1]` instead of `num_thresholds` evenly spread ones.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, an option is unknown, or `num_thresholds` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
        tensor(0.7500)

    TF-Slim: lacks the last two arguments; they are those of `tf.compat.v1.metrics.auc`. It raises an error if
    a prediction is not in `[0, 1]`.
    """
    metric = StreamingAUC(num_thresholds, curve, summation_method, thresholds)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class AUCUsingHistogram(StreamingHistogram):
    """The area under the ROC curve of the scores' bins (Bouckaert, AI 2006).

    Args:
        score_range: the lowest and the highest score; others count as these.
        nbins: the number of bins. More are closer to the true area.
        check_shape: whether scores must be of rank 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `score_range` is not two rising numbers, or `nbins` is less than 1.

    Example:
        >>> import torch, torchslim as slim
        >>> auc = slim.metrics.AUCUsingHistogram([-1.0, 1.0])
        >>> auc.update(torch.tensor([-0.8, -0.2, -0.3, 0.6]), torch.tensor([False, False, True, True]))
        >>> auc.compute()
        tensor(0.7500)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    lowest: torch.Tensor
    width: torch.Tensor

    def __init__(
        self,
        score_range: Sequence[float] | torch.Tensor,
        nbins: int = 100,
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        lowest, highest = (float(score) for score in score_range)
        if not lowest < highest:
            raise ValueError(
                "auc_using_histogram: `score_range` must be a lowest and a higher highest score. "
                f"Got {lowest} and {highest}."
            )
        if nbins < 1:
            raise ValueError(f"auc_using_histogram: `nbins` must be at least 1. Got {nbins}.")
        super().__init__(nbins, **kwargs)
        self.check_shape = check_shape
        edges = torch.tensor([lowest, highest])
        self.register_buffer("lowest", edges[0], persistent=False)
        self.register_buffer("width", (edges[1] - edges[0]) / nbins, persistent=False)

    def bucket_of(self, predictions: torch.Tensor) -> torch.Tensor:
        """The bin of each score."""
        bins = (predictions - self.lowest) / self.width
        return bins.nan_to_num().clamp(0, self.counts.shape[1] - 1).long()

    def update(self, scores: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in; `labels` are bool."""
        if labels.dtype != torch.bool:
            raise ValueError(
                f"auc_using_histogram: `boolean_labels` must be bool. Got {labels.dtype}. Use `labels > 0`."
            )
        scores, labels = match("auc_using_histogram", scores=scores, boolean_labels=labels)
        if self.check_shape and labels.ndim != 1:
            raise ValueError(
                "auc_using_histogram: `boolean_labels` and `scores` must be of rank 1. "
                f"Got shape {list(labels.shape)}. Or set `check_shape=False`."
            )
        super().update(scores, labels, weights)

    def compute(self) -> torch.Tensor:
        """The area, float32; NaN until there are scores of both labels."""
        fall, rise = (self.counts / self.counts.sum(1, keepdim=True)).flip(1).float()
        height = rise.cumsum(0)
        return (fall * (height - rise / 2)).sum()


def auc_using_histogram(
    boolean_labels: Value,
    scores: Value,
    score_range: Sequence[float] | torch.Tensor,
    nbins: int = 100,
    collections: Collections = None,
    check_shape: bool = True,
    name: str | None = None,
) -> Streamed:
    """The area under the ROC curve of the scores' bins, over all batches (class `AUCUsingHistogram`).

    Args:
        boolean_labels: bool, `[B]`.
        scores: numbers, `[B]`.
        score_range: the lowest and the highest score; others count as these.
        nbins: the number of bins; memory grows with it, not with the data.
        collections: the collections that the metric is added to, besides `'metric_variables'`.
        check_shape: whether labels and scores must be of rank 1.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now. NaN until there are both labels.

    Raises:
        ValueError: if labels are not bool, shapes do not fit, or `score_range` does not rise.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, scores = torch.tensor([False, False, True, True]), torch.tensor([0.1, 0.4, 0.35, 0.8])
        >>> slim.metrics.auc_using_histogram(labels, scores, score_range=[0.0, 1.0])
        tensor(0.7500)
    """
    metric = AUCUsingHistogram(score_range, nbins, check_shape)
    streamed = stream(metric, (scores, boolean_labels), name=name)
    if isinstance(streamed, tuple):
        add_to_collections(streamed[0].owner, collections, metric)
    return streamed
