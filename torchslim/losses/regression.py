"""Losses between a prediction and a number."""

# Shape letters: B batch.
from __future__ import annotations

import torch.nn.functional as F

from torchslim.graph import Value
from torchslim.losses.weighting import Weights, matching, recorded, weighted_mean


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
    predictions, labels = matching("absolute_difference", predictions=predictions, labels=labels)
    return weighted_mean(F.l1_loss(predictions, labels, reduction="none"), weights)


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
    predictions, labels = matching("mean_squared_error", predictions=predictions, labels=labels)
    return weighted_mean(F.mse_loss(predictions, labels, reduction="none"), weights)
