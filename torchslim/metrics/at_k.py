"""Recall and precision among the k classes that score highest."""

# Shape letters: B batch, C classes, L labels of an example, k highest scores.
from __future__ import annotations

from typing import Any

import torch

from torchslim.graph import Value
from torchslim.metrics.label_sets import check_k, distinct, example_weights, is_member, label_sets, size, top_k
from torchslim.metrics.ratio import StreamingShare
from torchslim.metrics.shapes import Weights
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingRecallAtK(StreamingShare):
    """The share of examples whose label is among the k classes that score highest (top-k accuracy).

    Args:
        k: how many classes count. Classes that score the same are all in or all out.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> recall = slim.metrics.StreamingRecallAtK(2)
        >>> recall.update(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), torch.tensor([2, 2]))
        >>> recall.compute()
        tensor(0.5000)
    """

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = check_k(type(self).__name__, k)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        name = type(self).__name__
        if predictions.shape[:-1] != labels.shape or not predictions.ndim:
            raise ValueError(
                f"{name}: `labels` must be one class number for each row of `predictions`. "
                f"Got {list(labels.shape)} for {list(predictions.shape)}."
            )
        labels, classes = labels.long().unsqueeze(-1), predictions.shape[-1]
        score = predictions.gather(-1, labels.clamp(0, classes - 1))
        is_known = (labels >= 0) & (labels < classes) & predictions.isfinite().all(-1, keepdim=True)
        is_hit = ((predictions > score).sum(-1, keepdim=True) < self.k) & is_known
        self.add_mean(is_hit.squeeze(-1).float(), example_weights(name, weights, predictions))


def streaming_recall_at_k(
    predictions: Value,
    labels: Value,
    k: int,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of examples whose label is among the k highest scores, over all batches (class `StreamingRecallAtK`).

    Args:
        predictions: scores, `[B, C]`. A row with an infinite one is a miss.
        labels: class numbers `[B]`. One that is no class is a miss.
        k: how many classes count. Classes that score the same are all in or all out.
        weights: a number, or one per example.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, float32; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit or `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
        >>> slim.metrics.streaming_recall_at_k(scores, torch.tensor([2, 2]), k=2)
        tensor(0.5000)

    TF-Slim: a row with a NaN was a miss; it makes the value NaN.
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingRecallAtK(k), inputs, metrics_collections, updates_collections, name)


class _StreamingSets(StreamingShare):
    """The share of the members of some sets that are in others; NaN while there are none.

    Args:
        class_id: the only class that counts; None: all.
        kwargs: those of `torchmetrics.Metric`.
    """

    def __init__(self, class_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_id = class_id

    def add_share(self, members: torch.Tensor, others: torch.Tensor, weights: torch.Tensor) -> None:
        """Adds the `members` of each set, and those of them that are in `others`, with the weight of its row."""
        members = distinct(members, self.class_id)
        self.total = self.total + (is_member(members, others).sum(-1) * weights).sum()
        self.count = self.count + (size(members) * weights).sum()

    def compute(self) -> torch.Tensor:
        """The share, float64; NaN while there is nothing."""
        return self.total / self.count


class SparseRecallAtTopK(_StreamingSets):
    """The share of the labels that are among the classes predicted.

    Args:
        class_id: the only class that counts; None: all.
        kwargs: those of `torchmetrics.Metric`.
    """

    def update(self, top_k_predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            top_k_predictions: class numbers, `[..., k]`.
            labels: class numbers `[..., L]`, dense or sparse, or one each `[...]`.
            weights: a number, or one per example `[...]`.
        """
        name = type(self).__name__
        labels = label_sets(name, labels, top_k_predictions)
        self.add_share(labels, top_k_predictions.long(), example_weights(name, weights, top_k_predictions))


class StreamingSparseRecallAtK(SparseRecallAtTopK):
    """The share of the labels that are among the k classes that score highest.

    Args:
        k: how many classes are predicted; of equal scores, the lower class.
        class_id: the only class that counts; None: all.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> recall = slim.metrics.StreamingSparseRecallAtK(2)
        >>> recall.update(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), torch.tensor([[1, 2], [0, 2]]))
        >>> recall.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    def __init__(self, k: int, class_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(class_id, **kwargs)
        self.k = check_k(type(self).__name__, k)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in: scores `[..., C]`, and labels and weights as for `SparseRecallAtTopK`."""
        name = type(self).__name__
        super().update(top_k(name, predictions, self.k), labels, example_weights(name, weights, predictions))


class StreamingSparsePrecisionAtTopK(_StreamingSets):
    """The share of the classes predicted that are labels.

    Args:
        class_id: the only class that counts; None: all.
        kwargs: those of `torchmetrics.Metric`.
    """

    def update(self, top_k_predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            top_k_predictions: class numbers, `[..., k]`.
            labels: class numbers `[..., L]`, dense or sparse, or one each `[...]`.
            weights: a number, or one per example `[...]`.
        """
        name = type(self).__name__
        labels = label_sets(name, labels, top_k_predictions)
        self.add_share(top_k_predictions.long(), labels, example_weights(name, weights, top_k_predictions))


class StreamingSparsePrecisionAtK(StreamingSparsePrecisionAtTopK):
    """The share of the k classes that score highest that are labels.

    Args:
        k: how many classes are predicted; of equal scores, the lower class.
        class_id: the only class that counts; None: all.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> precision = slim.metrics.StreamingSparsePrecisionAtK(2)
        >>> precision.update(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), torch.tensor([[1], [0]]))
        >>> precision.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, k: int, class_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(class_id, **kwargs)
        self.k = check_k(type(self).__name__, k)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in: scores `[..., C]`, and labels and weights as for `StreamingSparsePrecisionAtTopK`."""
        name = type(self).__name__
        super().update(top_k(name, predictions, self.k), labels, example_weights(name, weights, predictions))


def streaming_sparse_recall_at_k(
    predictions: Value,
    labels: Value,
    k: int,
    class_id: int | None = None,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of the labels that are among the k highest scores, over all batches (`StreamingSparseRecallAtK`).

    Args:
        predictions: scores, `[..., C]`.
        labels: class numbers, `[..., L]`: dense, or sparse as `slim.dense_to_sparse` gives them; or one each `[...]`.
            A label counts once for an example, and one that is no class is never found.
        k: how many classes are predicted; of equal scores, the lower class.
        class_id: the only class that counts; None: all.
        weights: a number, or one per example `[...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, float64, NaN while there is no label; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit or `k` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
        >>> slim.metrics.streaming_sparse_recall_at_k(scores, torch.tensor([[1, 2], [0, 2]]), k=2)
        tensor(0.7500, dtype=torch.float64)
    """
    metric = StreamingSparseRecallAtK(k, class_id)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


def sparse_recall_at_top_k(
    labels: Value,
    top_k_predictions: Value,
    class_id: int | None = None,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of the labels that are among the classes predicted (class `SparseRecallAtTopK`).

    Arguments, result and errors are those of `streaming_sparse_recall_at_k`, but for one.

    Args:
        labels: class numbers.
        top_k_predictions: class numbers, `[..., k]`, in place of the scores.
        class_id: the only class that counts; None: all.
        weights: a number, or one per example.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.sparse_recall_at_top_k(torch.tensor([[1, 2], [0, 2]]), torch.tensor([[1, 2], [0, 1]]))
        tensor(0.7500, dtype=torch.float64)
    """
    metric = SparseRecallAtTopK(class_id)
    return stream(metric, (top_k_predictions, labels, weights), metrics_collections, updates_collections, name)


def streaming_sparse_precision_at_k(
    predictions: Value,
    labels: Value,
    k: int,
    class_id: int | None = None,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of the k highest scores that are labels, over all batches (class `StreamingSparsePrecisionAtK`).

    Arguments, result and errors are those of `streaming_sparse_recall_at_k`.

    Args:
        predictions: scores, `[..., C]`.
        labels: class numbers.
        k: how many classes are predicted; of equal scores, the lower class.
        class_id: the only class that counts; None: all.
        weights: a number, or one per example.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Example:
        >>> import torch, torchslim as slim
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
        >>> slim.metrics.streaming_sparse_precision_at_k(scores, torch.tensor([[1], [0]]), k=2)
        tensor(0.5000, dtype=torch.float64)
    """
    metric = StreamingSparsePrecisionAtK(k, class_id)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


def streaming_sparse_precision_at_top_k(
    top_k_predictions: Value,
    labels: Value,
    class_id: int | None = None,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The share of the classes predicted that are labels (class `StreamingSparsePrecisionAtTopK`).

    Arguments, result and errors are those of `streaming_sparse_recall_at_k`, but for one.

    Args:
        top_k_predictions: class numbers, `[..., k]`, in place of the scores.
        labels: class numbers.
        class_id: the only class that counts; None: all.
        weights: a number, or one per example.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_sparse_precision_at_top_k(torch.tensor([[1, 2], [0, 1]]), torch.tensor([[1], [0]]))
        tensor(0.5000, dtype=torch.float64)
    """
    metric = StreamingSparsePrecisionAtTopK(class_id)
    return stream(metric, (top_k_predictions, labels, weights), metrics_collections, updates_collections, name)
