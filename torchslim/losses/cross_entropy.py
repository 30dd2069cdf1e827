"""Losses between a distribution over classes and labels."""

# Shape letters: B batch, K classes.
from __future__ import annotations

from torchslim.graph import Value
from torchslim.losses import elements
from torchslim.losses.weighting import Weights, recorded, weighted_mean


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
    return weighted_mean(elements.softmax_cross_entropy(logits, onehot_labels, label_smoothing), weights)


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
    return weighted_mean(elements.sparse_softmax_cross_entropy(logits, labels), weights)


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
    return weighted_mean(elements.sigmoid_cross_entropy(logits, multi_class_labels, label_smoothing), weights)


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
    return weighted_mean(elements.log_loss(predictions, labels, epsilon), weights)


@recorded("hinge_loss", collected=False)
def hinge_loss(logits: Value, labels: Value = None, scope: str | None = None) -> Value:
    """The hinge losses of binary decisions, one for each element: not weighted, not summed and not collected.

    Args:
        logits: `[B, ...]`: above 0 for yes, below for no.
        labels: 0 or 1, the same shape.
        scope: name of the operation.

    Returns:
        `max(0, 1 - logits)` where the label is 1 and `max(0, 1 + logits)` where it is 0, of the shape of `logits`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.hinge_loss(torch.tensor([0.3, -2.0, 0.5]), torch.tensor([1, 0, 0]))
        tensor([0.7000, 0.0000, 1.5000])

    TF-Slim: the same. To train with it: `slim.losses.compute_weighted_loss(slim.losses.hinge_loss(logits, labels))`, or
    `slim.tf_losses.hinge_loss`.
    """
    return elements.hinge_loss(logits, labels)
