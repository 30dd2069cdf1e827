"""Which classes are taken for which: the confusion matrix, and what it comes down to."""

# Shape letters: B batch, K classes.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics.utilities.plot import plot_confusion_matrix

from torchslim.graph import Value
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.shapes import Weights, match, spread
from torchslim.metrics.stream import Collections, Streamed, stream


class _StreamingPairs(StreamingMetric):
    """Counts pairs of a label and a prediction, in float64: (K + 1)^2 numbers are all the memory that it takes.

    Args:
        num_classes: K.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_classes` is not positive.
    """

    # Of the labels and predictions that are no class, the last row and column keep the weights: an update that looked
    # for them would have to wait for the device.
    counts: torch.Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"{type(self).__name__}: `num_classes` must be at least 1. Got {num_classes}.")
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.float64), "sum")

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            predictions: class numbers, any shape.
            labels: the same shape.
            weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`. What weighs 0 may be anything.
        """
        name = type(self).__name__
        predictions, labels = match(name, predictions=predictions, labels=labels)
        cells = self._class_of(labels) * (self.num_classes + 1) + self._class_of(predictions)
        weights = spread(name, 1.0 if weights is None else weights, cells.double()).double()
        self.counts = self.counts.flatten().index_add(0, cells.flatten(), weights.flatten()).view_as(self.counts)

    def _class_of(self, values: torch.Tensor) -> torch.Tensor:
        classes = values.long()
        is_class = (classes >= 0) & (classes < self.num_classes) & ~values.isnan()
        return torch.where(is_class, classes, self.num_classes)

    def matrix(self) -> torch.Tensor:
        """The confusion matrix `[K, K]`, float64: a row for each label, a column for each prediction.

        Raises:
            ValueError: if a label or a prediction is no class and has a weight.
        """
        outside = torch.cat([self.counts[-1], self.counts[:-1, -1]])
        if bool((outside != 0).any()):
            raise ValueError(
                f"{type(self).__name__}: `labels` and `predictions` must be classes from 0 to {self.num_classes - 1}. "
                f"Got others with a weight of {outside.sum().item():g}. Give those a weight of 0."
            )
        return self.counts[:-1, :-1]


class StreamingConfusionMatrix(_StreamingPairs):
    """How often, or with which weight, each class (row) was predicted to be each (column).

    Args:
        num_classes: K.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_classes` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> matrix = slim.metrics.StreamingConfusionMatrix(2)
        >>> matrix.update(predictions=torch.tensor([0, 1, 1]), labels=torch.tensor([0, 0, 1]))
        >>> matrix.compute()
        tensor([[1., 1.],
                [0., 1.]], dtype=torch.float64)
    """

    def compute(self) -> torch.Tensor:
        """The matrix `[K, K]`, float64: a row for each label, a column for each prediction."""
        return self.matrix()

    def plot(self, val: torch.Tensor | None = None, ax: Any = None, labels: Sequence[str] | None = None) -> Any:
        """Draws the matrix with matplotlib, which is in the extra `torchslim[plots]`.

        Args:
            val: the matrix to draw; default: that of now.
            ax: the axes to draw into; default: new ones.
            labels: the names of the classes.

        Returns:
            `(figure, axes)`.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        matrix = self.compute() if val is None else val
        return plot_confusion_matrix(matrix, ax=ax, labels=None if labels is None else list(labels))


class StreamingMeanIOU(_StreamingPairs):
    """The mean over classes of intersection over union: of what is of a class or predicted to be, the share of both.

    Classes that were neither seen nor predicted are left out of the mean.

    Args:
        num_classes: K.
        kwargs: those of `torchmetrics.Metric`.

    Example:
        >>> import torch, torchslim as slim
        >>> mean_iou = slim.metrics.StreamingMeanIOU(3)
        >>> mean_iou.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
        >>> mean_iou.compute()
        tensor(0.5000)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The mean, float32; 0 while there is nothing."""
        matrix = self.matrix()
        intersection = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - intersection
        seen = (union != 0).sum()
        ratios = torch.where(union == 0, 0.0, intersection / union)
        return torch.where(seen > 0, ratios.sum() / seen, 0.0).float()

    def compute_update(self) -> torch.Tensor:
        """What the update of TF-Slim's pair gives: the confusion matrix."""
        return self.matrix()


def streaming_mean_iou(
    predictions: Value,
    labels: Value,
    num_classes: int,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean over classes of intersection over union, over all batches (class `StreamingMeanIOU`).

    Args:
        predictions: class numbers, any shape.
        labels: the same shape.
        num_classes: K.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; `update` gives the confusion matrix `[K, K]`, float64, a row for each
        label. Given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `num_classes` is not positive or, when it is computed, if a label or a
            prediction is no class.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_mean_iou(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), num_classes=3)
        tensor(0.5000)

    TF-Slim: raises for what is no class even where its weight is 0. Here a weight of 0 leaves it out, so that the
    pixels that VOC marks with 255 need no other treatment.
    """
    metric = StreamingMeanIOU(num_classes)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class CohenKappa(_StreamingPairs):
    """Cohen's kappa: how far predictions and labels agree beyond what chance would do (1: wholly, 0: no further).

    Args:
        num_classes: K, at least 2.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_classes` is less than 2.

    Example:
        >>> import torch, torchslim as slim
        >>> kappa = slim.metrics.CohenKappa(2)
        >>> kappa.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0]))
        >>> kappa.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        if num_classes < 2:
            raise ValueError(f"CohenKappa: `num_classes` must be at least 2. Got {num_classes}.")
        super().__init__(num_classes, **kwargs)

    def compute(self) -> torch.Tensor:
        """The agreement, float64; 0 while there is nothing, or one class only."""
        matrix = self.matrix()
        total = matrix.sum()
        by_chance = (matrix.sum(0) * matrix.sum(1)).sum() / total
        kappa = (matrix.trace() - by_chance) / (total - by_chance)
        return torch.where((total == 0) | (total == by_chance), 0.0, kappa)


def cohen_kappa(
    labels: Value,
    predictions_idx: Value,
    num_classes: int,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """Cohen's kappa over all batches: agreement beyond chance (class `CohenKappa`).

    Args:
        labels: class numbers, any shape.
        predictions_idx: the same shape.
        num_classes: K, at least 2.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, float64; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, `num_classes` is less than 2 or, when it is computed, if a label or a
            prediction is no class.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.cohen_kappa(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), num_classes=2)
        tensor(0.5000, dtype=torch.float64)
    """
    metric = CohenKappa(num_classes)
    return stream(metric, (predictions_idx, labels, weights), metrics_collections, updates_collections, name)
