"""TensorFlow's `tf.losses` between classes and labels: labels first."""

# Shape letters: B batch, K classes.
from __future__ import annotations

from torchslim.graph import Value
from torchslim.losses import elements
from torchslim.losses.collection import LOSSES
from torchslim.losses.reduction import Reduction, reduce
from torchslim.losses.weighting import Weights, is_number, recorded, weights_for


@recorded("hinge_loss")
def hinge_loss(
    labels: Value,
    logits: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses `max(0, 1 - logits)` where the label is 1, `max(0, 1 + logits)` where it is 0.

    Args:
        labels: `[B, ...]`, 0 or 1.
        logits: the same shape.
        weights: a number, or of their rank, with their sizes or 1.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.hinge_loss(torch.tensor([1, 0, 0]), torch.tensor([0.25, -2.0, 0.5]))
        tensor(0.7500)
    """
    return reduce(elements.hinge_loss(logits, labels), weights, reduction)


@recorded("log_loss")
def log_loss(
    labels: Value,
    predictions: Value,
    weights: Weights = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses that are the cross entropy of probabilities.

    Args:
        labels: `[B, ...]`, 0 or 1 or between.
        predictions: the same shape, in `[0, 1]`.
        weights: a number, or of their rank, with their sizes or 1.
        epsilon: keeps the logarithms finite.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.log_loss(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.9]))
        tensor(0.3993)
    """
    return reduce(elements.log_loss(predictions, labels, epsilon), weights, reduction)


@recorded("sigmoid_cross_entropy_loss")
def sigmoid_cross_entropy(
    multi_class_labels: Value,
    logits: Value,
    weights: Weights = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses that are the cross entropy after a sigmoid: each class is a yes or no of its own.

    Args:
        multi_class_labels: `[B, ...]`, 0 or 1 or between.
        logits: the same shape.
        weights: a number, or of their rank, with their sizes or 1.
        label_smoothing: moves the labels towards 1/2: `labels * (1 - s) + s / 2`.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.sigmoid_cross_entropy(torch.tensor([[1, 0]]), torch.tensor([[0.0, -100.0]]))
        tensor(0.3466)
    """
    return reduce(elements.sigmoid_cross_entropy(logits, multi_class_labels, label_smoothing), weights, reduction)


@recorded("softmax_cross_entropy_loss")
def softmax_cross_entropy(
    onehot_labels: Value,
    logits: Value,
    weights: Weights = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses that are the cross entropy after a softmax, for one-hot labels or other distributions.

    Args:
        onehot_labels: `[B, ..., K]`, classes last. They get no gradient.
        logits: the same shape.
        weights: a number, or of the rank of `[B, ...]`, with its sizes or 1.
        label_smoothing: moves this part of the labels to all classes alike: `labels * (1 - s) + s / K`.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.softmax_cross_entropy(torch.tensor([[0, 1]]), torch.tensor([[0.0, 0.0]]))
        tensor(0.6931)
    """
    return reduce(elements.softmax_cross_entropy(logits, onehot_labels, label_smoothing), weights, reduction)


@recorded("sparse_softmax_cross_entropy_loss")
def sparse_softmax_cross_entropy(
    labels: Value,
    logits: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses that are the cross entropy after a softmax, for class numbers.

    Args:
        labels: integers in `[0, K)`, `[B, ...]` or `[B, ..., 1]`.
        logits: `[B, ..., K]`, classes last.
        weights: a number, or of the rank of `[B, ...]` with its sizes or 1; or the same with a last dimension of 1.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.sparse_softmax_cross_entropy(torch.tensor([1]), torch.tensor([[0.0, 0.0]]))
        tensor(0.6931)
    """
    losses = elements.sparse_softmax_cross_entropy(logits, labels)
    if not is_number(weights):
        weights = weights_for(losses, weights)
        if weights.ndim == losses.ndim + 1 and weights.shape[-1] == 1:
            weights = weights.squeeze(-1)
    return reduce(losses, weights, reduction)
