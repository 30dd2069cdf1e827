"""Losses between a distribution over classes and labels."""

# Shape letters: B batch, K classes.
from __future__ import annotations

import torch.nn.functional as F

from torchslim.graph import Value
from torchslim.losses.weighting import Weights, matching, recorded, weighted_mean


@recorded("softmax_cross_entropy_loss")
def softmax_cross_entropy(
    logits: Value,
    onehot_labels: Value,
    weights: Weights = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
) -> Value:
    """Cross entropy after a softmax, for one-hot labels (or any distribution over the classes).

    Args:
        logits: `[B, ..., K]`: classes last.
        onehot_labels: the same shape, of any dtype. They get no gradient.
        weights: a number, or `[B]` (`[B, ...]`): see `compute_weighted_loss`.
        label_smoothing: moves this part of the labels to all classes alike: `labels * (1 - s) + s / K`
            (arXiv:1512.00567).
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> logits, labels = torch.tensor([[10.0, 0.0, 0.0]]), torch.tensor([[1, 0, 0]])
        >>> slim.losses.softmax_cross_entropy(logits, labels, label_smoothing=0.3)
        tensor(2.0001)
    """
    logits, labels = matching("softmax_cross_entropy", logits=logits, onehot_labels=onehot_labels)
    losses = F.cross_entropy(
        logits.movedim(-1, 1),
        labels.detach().movedim(-1, 1),
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return weighted_mean(losses, weights)


@recorded("sparse_softmax_cross_entropy_loss")
def sparse_softmax_cross_entropy(
    logits: Value, labels: Value, weights: Weights = 1.0, scope: str | None = None
) -> Value:
    """Cross entropy after a softmax, for class numbers.

    Args:
        logits: `[B, ..., K]`: classes last.
        labels: integers in `[0, K)`, `[B, ...]` or `[B, ..., 1]`.
        weights: a number, or `[B]` (`[B, ...]`): see `compute_weighted_loss`.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.sparse_softmax_cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.6931)
    """
    if labels.ndim == logits.ndim and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            "sparse_softmax_cross_entropy: `labels` must have the shape of `logits` without its last size. "
            f"Got {list(labels.shape)} for logits of shape {list(logits.shape)}."
        )
    losses = F.cross_entropy(logits.movedim(-1, 1), labels.long(), reduction="none")
    return weighted_mean(losses, weights)


@recorded("sigmoid_cross_entropy_loss")
def sigmoid_cross_entropy(
    logits: Value,
    multi_class_labels: Value,
    weights: Weights = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
) -> Value:
    """Cross entropy after a sigmoid: every class is a yes or no of its own, as in Pascal VOC.

    Args:
        logits: `[B, ...]`.
        multi_class_labels: 0 or 1 (or between), the same shape, of any dtype.
        weights: a number, one per example or one per element: see `compute_weighted_loss`.
        label_smoothing: moves the labels towards 1/2: `labels * (1 - s) + s / 2`.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.sigmoid_cross_entropy(torch.tensor([[0.0, -100.0]]), torch.tensor([[1, 0]]))
        tensor(0.3466)
    """
    logits, labels = matching("sigmoid_cross_entropy", logits=logits, multi_class_labels=multi_class_labels)
    if label_smoothing > 0:
        labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
    return weighted_mean(F.binary_cross_entropy_with_logits(logits, labels, reduction="none"), weights)


@recorded("log_loss")
def log_loss(
    predictions: Value,
    labels: Value = None,
    weights: Weights = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
) -> Value:
    """Cross entropy of probabilities: prefer `sigmoid_cross_entropy` where there are logits.

    Args:
        predictions: probabilities in `[0, 1]`, `[B, ...]`.
        labels: 0 or 1 (or between), the same shape.
        weights: a number, one per example or one per element: see `compute_weighted_loss`.
        epsilon: keeps the logarithms finite.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.log_loss(torch.tensor([0.5, 0.9]), torch.tensor([1.0, 1.0]))
        tensor(0.3993)
    """
    predictions, labels = matching("log_loss", predictions=predictions, labels=labels)
    losses = -labels * (predictions + epsilon).log() - (1 - labels) * (1 - predictions + epsilon).log()
    return weighted_mean(losses, weights)
