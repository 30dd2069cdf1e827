"""How TensorFlow 1's `tf.losses` turn weighted losses into one number."""

from __future__ import annotations

import torch

from torchslim.graph import Value
from torchslim.losses.collection import LOSSES
from torchslim.losses.weighting import Weights, divide, is_number, recorded, weights_for


class Reduction:
    """How weighted losses become one number (`tf.losses.Reduction`).

    Attributes:
        NONE: not at all: the weighted losses stay as they are.
        SUM: their sum.
        MEAN: their sum divided by the sum of the weights.
        SUM_OVER_BATCH_SIZE: their sum divided by the number of losses.
        SUM_BY_NONZERO_WEIGHTS: their sum divided by the number of losses whose weight is not 0.
        SUM_OVER_NONZERO_WEIGHTS: its older name.

    A division by nothing gives 0.
    """

    NONE = "none"
    SUM = "weighted_sum"
    MEAN = "weighted_mean"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """All reductions."""
        return (cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_BY_NONZERO_WEIGHTS)

    @classmethod
    def validate(cls, key: str) -> None:
        """Raises a ValueError if there is no such reduction."""
        if key not in cls.all():
            raise ValueError(f"Reduction: `reduction` must be one of {', '.join(map(repr, cls.all()))}. Got {key!r}.")


def check_weights(function: str, weights: torch.Tensor, losses: torch.Tensor) -> None:
    """Raises a ValueError if `weights` do not have the rank of `losses` and sizes that broadcast."""
    fits = weights.ndim == losses.ndim and all(
        size in (1, full) for size, full in zip(weights.shape, losses.shape, strict=True)
    )
    if weights.ndim and not fits:
        raise ValueError(
            f"{function}: `weights` must be a number or have the rank of the losses and their sizes (1: any). "
            f"Got {list(weights.shape)} for losses of shape {list(losses.shape)}."
        )


def reduce(losses: torch.Tensor, weights: Weights, reduction: str) -> torch.Tensor:
    """Weights `losses` and reduces them; see `tf_losses.compute_weighted_loss`."""
    Reduction.validate(reduction)
    if not is_number(weights):
        weights = weights_for(losses, weights)
        check_weights("compute_weighted_loss", weights, losses)
    weighted = losses * weights
    if reduction == Reduction.NONE:
        return weighted
    total = weighted.sum()
    if reduction == Reduction.SUM:
        return total
    if reduction == Reduction.SUM_OVER_BATCH_SIZE:
        return divide(total, losses.numel())
    each = weights if reduction == Reduction.MEAN else weights != 0
    return divide(total, each * losses.numel() if is_number(weights) else each.expand_as(losses).sum())


@recorded("weighted_loss")
def compute_weighted_loss(
    losses: Value,
    weights: Weights = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Value:
    """Weights losses of your own, and reduces them as all functions of this module do.

    Args:
        losses: one loss per element, `[B, ...]`.
        weights: a number, or a tensor that broadcasts to `losses` and has its rank: `[B, 1]` weighs the examples of
            `[B, K]`.
        scope: name, for `get_losses(scope)`.
        loss_collection: where it is collected; None: nowhere.
        reduction: see `Reduction`.

    Returns:
        A scalar, or the shape of `losses` for `Reduction.NONE`. In float32 at least.

    Raises:
        ValueError: if the shape of `weights` does not fit, they are None, or there is no such reduction.

    Example:
        >>> import torch, torchslim as slim
        >>> losses, weights = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 0.0, 0.5])
        >>> for reduction in ['weighted_sum', 'weighted_mean', 'weighted_sum_over_batch_size']:
        ...     slim.tf_losses.compute_weighted_loss(losses, weights, reduction=reduction)
        tensor(4.)
        tensor(2.6667)
        tensor(1.3333)
    """
    return reduce(losses, weights, reduction)
