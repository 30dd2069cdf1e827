"""TensorFlow's `tf.losses` between a prediction and a number, or between two vectors: labels first."""

# Shape letters: B batch.
from __future__ import annotations

import torch

from torchslim.graph import Value
from torchslim.losses import elements
from torchslim.losses.collection import LOSSES
from torchslim.losses.reduction import Reduction, check_weights, reduce
from torchslim.losses.weighting import Weights, divide, recorded, weights_for


@recorded("absolute_difference")
def absolute_difference(
    labels: Value,
    predictions: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses `|predictions - labels|`.

    Args:
        labels: `[B, ...]`.
        predictions: the same shape.
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
        >>> slim.tf_losses.absolute_difference(torch.tensor([0.0, 1.0]), torch.tensor([1.0, -2.0]), reduction='none')
        tensor([1., 3.])
    """
    return reduce(elements.absolute_difference(predictions, labels), weights, reduction)


@recorded("mean_squared_error")
def mean_squared_error(
    labels: Value,
    predictions: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses `(predictions - labels) ** 2`.

    Args:
        labels: `[B, ...]`.
        predictions: the same shape.
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
        >>> slim.tf_losses.mean_squared_error(torch.tensor([0.0, 1.0]), torch.tensor([1.0, -2.0]))
        tensor(5.)
    """
    return reduce(elements.mean_squared_error(predictions, labels), weights, reduction)


@recorded("huber_loss")
def huber_loss(
    labels: Value,
    predictions: Value,
    weights: Weights = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Losses that are half the squared error up to `delta`, and grow like the absolute error beyond it.

    Args:
        labels: `[B, ...]`.
        predictions: the same shape.
        weights: a number, or of their rank, with their sizes or 1.
        delta: where the parabola becomes a line, in the units of `predictions`; positive.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit, or `delta` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.huber_loss(torch.tensor([0.0, 0.0]), torch.tensor([1.0, -3.0]), reduction='none')
        tensor([0.5000, 2.5000])
    """
    return reduce(elements.huber_loss(predictions, labels, delta), weights, reduction)


@recorded("mean_pairwise_squared_error")
def mean_pairwise_squared_error(
    labels: Value,
    predictions: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
) -> Value:
    """The mean of `(d_i - d_j) ** 2` over the pairs of elements of an example, `d = predictions - labels`.

    Args:
        labels: `[B, ...]`.
        predictions: the same shape.
        weights: as in `compute_weighted_loss`: each multiplies the loss of its example, and elements without a weight
            are not counted, though their errors are.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.

    Returns:
        A scalar: examples are added, not averaged.

    Raises:
        ValueError: if the shapes do not fit, or the weights are None.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.mean_pairwise_squared_error(torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 2.0]]))
        tensor(4.)
    """
    differences = elements.differences(predictions, labels)
    weights = weights_for(differences, weights)
    check_weights("mean_pairwise_squared_error", weights, differences)
    present = torch.count_nonzero(elements.rows_of(weights.expand_as(differences)), 1)
    losses = divide(2 * elements.pairs(differences, present), (present - 1).clamp(min=0))
    return (losses.reshape(-1, *(1 for _ in differences.shape[1:])) * weights).sum()


@recorded("cosine_distance_loss")
def cosine_distance(
    labels: Value,
    predictions: Value,
    axis: int | None = None,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
    dim: int | None = None,
) -> Value:
    """Losses that are one minus the scalar product of two vectors; nothing is normalised.

    Args:
        labels: `[B, ...]`, vectors of length 1.
        predictions: the same shape.
        axis: the dimension of the vectors; it stays in the losses, with size 1.
        weights: a number, or of the rank of the losses, such as `[B, 1]`.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.
        dim: the older name of `axis`.

    Returns:
        A scalar; the losses themselves for `Reduction.NONE`.

    Raises:
        ValueError: if the shapes do not fit, or not exactly one of `axis` and `dim` is given.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.tf_losses.cosine_distance(torch.tensor([[0.6, 0.8]]), torch.tensor([[0.0, 1.0]]), axis=1)
        tensor(0.2000)
    """
    return reduce(elements.cosine_distance(predictions, labels, axis, dim, keepdim=True), weights, reduction)
