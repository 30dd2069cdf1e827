"""Average precision of each example among the k classes that score highest."""

# Shape letters: C classes, L labels of an example, k highest scores.
from __future__ import annotations

from typing import Any

import torch

from torchslim.graph import Value
from torchslim.metrics.label_sets import check_k, distinct, example_weights, is_member, label_sets, size, top_k
from torchslim.metrics.ratio import StreamingShare
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingSparseAveragePrecisionAtTopK(StreamingShare):
    """The mean over examples of average precision, for classes that are predicted in order.

    That of an example is the sum of the precisions at each of the k places where there is a label, divided by the
    number of labels or, if that is less, by k. It is NaN for an example without labels, unless it weighs nothing.
    """

    def update(self, top_k_predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            top_k_predictions: class numbers, `[..., k]`, the likeliest first.
            labels: class numbers `[..., L]`, dense or sparse, or one each `[...]`.
            weights: a number, or one per example `[...]`.
        """
        name = type(self).__name__
        sets = label_sets(name, labels, top_k_predictions)
        self._add(top_k_predictions, sets, labels.is_sparse, example_weights(name, weights, top_k_predictions))

    def _add(self, predicted: torch.Tensor, sets: torch.Tensor, is_sparse: bool, weights: torch.Tensor) -> None:
        # TensorFlow counts the different labels of a sparse tensor, and all that are not negative of a dense one.
        relevant = size(distinct(sets)) if is_sparse else (sets >= 0).sum(-1)
        k = predicted.shape[-1]
        hits = is_member(predicted.long(), sets)
        precision = hits.cumsum(-1) / torch.arange(1, k + 1, dtype=torch.float64, device=hits.device)
        self.add_mean((precision * hits).sum(-1) / relevant.clamp(max=k), weights)

    def compute(self) -> torch.Tensor:
        """The mean, float64; 0 while there is nothing."""
        return torch.where(self.count <= 0, 0.0, self.total / self.count)


class StreamingSparseAveragePrecisionAtK(StreamingSparseAveragePrecisionAtTopK):
    """The mean over examples of average precision among the k classes that score highest.

    Args:
        k: how many classes are predicted; of equal scores, the lower class comes first.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> precision = slim.metrics.StreamingSparseAveragePrecisionAtK(2)
        >>> precision.update(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), torch.tensor([[1, 2], [1, 2]]))
        >>> precision.compute()
        tensor(0.6250, dtype=torch.float64)
    """

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = check_k(type(self).__name__, k)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in: scores `[..., C]`, and labels and weights as for the class above."""
        name = type(self).__name__
        predicted = top_k(name, predictions, self.k)
        sets = label_sets(name, labels, predictions)
        sets = sets.masked_fill(sets >= predictions.shape[-1], -1)  # what is no class, as TensorFlow has it
        self._add(predicted, sets, labels.is_sparse, example_weights(name, weights, predictions))


def streaming_sparse_average_precision_at_k(
    predictions: Value,
    labels: Value,
    k: int,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean average precision among the k highest scores (class `StreamingSparseAveragePrecisionAtK`).

    That of an example is the sum of the precisions at each of the k places where there is a label, divided by the
    number of labels or, if that is less, by k.

    Args:
        predictions: scores, `[..., C]`.
        labels: class numbers, `[..., L]`: dense, or sparse as `slim.dense_to_sparse` gives them; or one each `[...]`.
            What is no class does not count in a dense tensor, and is a label that is never found in a sparse one.
        k: how many classes are predicted; of equal scores, the lower class comes first.
        weights: a number, or one per example `[...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, float64; given tensors, the value now. NaN after an example without a
        label, unless it weighs nothing.

    Raises:
        ValueError: if the shapes do not fit or `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
        >>> slim.metrics.streaming_sparse_average_precision_at_k(scores, torch.tensor([[1, 2], [1, 2]]), k=2)
        tensor(0.6250, dtype=torch.float64)

    TF-Slim: an example without a label made the value NaN even where its weight is 0.
    """
    metric = StreamingSparseAveragePrecisionAtK(k)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


def streaming_sparse_average_precision_at_top_k(
    top_k_predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean average precision of classes predicted in order (class `StreamingSparseAveragePrecisionAtTopK`).

    Arguments, result and errors are those of `streaming_sparse_average_precision_at_k`, but for one.

    Args:
        top_k_predictions: class numbers, `[..., k]`, the likeliest first, in place of the scores.
        labels: class numbers.
        weights: a number, or one per example.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Example:
        >>> import torch, torchslim as slim
        >>> labels = torch.tensor([[1, 2], [1, 2]])
        >>> slim.metrics.streaming_sparse_average_precision_at_top_k(torch.tensor([[1, 2], [0, 1]]), labels)
        tensor(0.6250, dtype=torch.float64)
    """
    metric = StreamingSparseAveragePrecisionAtTopK()
    return stream(metric, (top_k_predictions, labels, weights), metrics_collections, updates_collections, name)
