"""Losses between a prediction and a number, or between two vectors."""

# Shape letters: B batch.
from __future__ import annotations

import math

import torch

from torchslim.graph import Value
from torchslim.losses import elements
from torchslim.losses.weighting import Weights, divide, is_number, recorded, weighted_mean, weights_for


@recorded("absolute_difference")
def absolute_difference(
    predictions: Value,
    labels: Value = None,
    weights: Weights = 1.0,
    scope: str | None = None,
) -> Value:
    """The mean of `|predictions - labels|`.

    Args:
        predictions: `[B, ...]`.
        labels: the same shape.
        weights: a number, one per example or one per element: see `compute_weighted_loss`.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.absolute_difference(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0]))
        tensor(2.)
    """
    return weighted_mean(elements.absolute_difference(predictions, labels), weights)


@recorded("mean_squared_error")
def mean_squared_error(
    predictions: Value,
    labels: Value = None,
    weights: Weights = 1.0,
    scope: str | None = None,
) -> Value:
    """The mean of `(predictions - labels) ** 2`; also called `sum_of_squares`.

    Args:
        predictions: `[B, ...]`.
        labels: the same shape.
        weights: a number, one per example or one per element: see `compute_weighted_loss`.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.mean_squared_error(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0]))
        tensor(5.)
    """
    return weighted_mean(elements.mean_squared_error(predictions, labels), weights)


@recorded("huber_loss")
def huber_loss(
    predictions: Value,
    labels: Value = None,
    weights: Weights = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
) -> Value:
    """The mean of half the squared error up to `delta`, and of the absolute error beyond it.

    Args:
        predictions: `[B, ...]`.
        labels: the same shape.
        weights: a number, one per example or one per element: see `compute_weighted_loss`.
        delta: where the parabola becomes a line, in the units of `predictions`; positive.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit, or `delta` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.huber_loss(torch.tensor([1.0, -3.0]), torch.tensor([0.0, 0.0]), delta=2.0)
        tensor(2.2500)

    TF-Slim: has it in `tf.losses` only, labels first: `slim.tf_losses.huber_loss`.
    """
    return weighted_mean(elements.huber_loss(predictions, labels, delta), weights)


@recorded("mean_pairwise_squared_error")
def mean_pairwise_squared_error(
    predictions: Value,
    labels: Value = None,
    weights: Weights = 1.0,
    scope: str | None = None,
) -> Value:
    """The squared errors of the differences between the elements of an example; also called `sum_of_pairwise_squares`.

    Args:
        predictions: `[B, ...]`.
        labels: the same shape.
        weights: a number, or `[B]`: one per example.
        scope: name, for `get_losses(scope)`.

    Returns:
        A scalar: with `d = predictions - labels` and n elements in an example, the sum over the examples of `weight *
        2 * (mean(d ** 2) - mean(d) ** 2)`; examples are added, not averaged. 0 without weights.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.mean_pairwise_squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(2.)

    TF-Slim: the same, also for weights of two dimensions and more, which it accepts but does not mean: n is then the
    number of weights of the row, and each row's loss is multiplied by each row's weight. `slim.tf_losses` has a newer
    formula, which divides by n - 1 and takes such weights element by element.
    """
    differences = elements.differences(predictions, labels)
    size = math.prod(differences.shape[1:])
    if is_number(weights):
        present: torch.Tensor | float = size if weights else 0
    else:
        weights = weights_for(differences, weights)
        ends = (*weights.shape[:1], *weights.shape[-1:])
        if weights.ndim > differences.ndim or any(size not in (1, differences.shape[0]) for size in ends):
            raise ValueError(
                "mean_pairwise_squared_error: `weights` must be a number or have one for each example. "
                f"Got {list(weights.shape)} for predictions of shape {list(differences.shape)}."
            )
        rows = elements.rows_of(weights) if weights.ndim else weights.expand(1, 1)
        present = torch.count_nonzero(rows, 1) * math.prod(differences.shape[max(weights.ndim, 1) :])
    return (divide(2 * elements.pairs(differences, present), present) * weights).sum()


@recorded("cosine_distance_loss")
def cosine_distance(
    predictions: Value,
    labels: Value = None,
    axis: int | None = None,
    weights: Weights = 1.0,
    scope: str | None = None,
    dim: int | None = None,
) -> Value:
    """The mean of one minus the scalar product: the cosine, if both have length 1. Nothing is normalised.

    Args:
        predictions: `[B, ...]`; see `slim.unit_norm`.
        labels: the same shape.
        axis: the dimension of the vectors.
        weights: a number, or one per vector: see `compute_weighted_loss`.
        scope: name, for `get_losses(scope)`.
        dim: the older name of `axis`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit, or not exactly one of `axis` and `dim` is given.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.cosine_distance(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.6, 0.8]]), axis=1)
        tensor(0.2000)
    """
    return weighted_mean(elements.cosine_distance(predictions, labels, axis, dim, keepdim=False), weights)
