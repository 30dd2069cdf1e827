"""How predictions, labels and weights are brought to one shape, by TensorFlow's rules."""

from __future__ import annotations

import torch

Weights = float | torch.Tensor | None


def match(function: str, **tensors: torch.Tensor) -> list[torch.Tensor]:
    """Two tensors of one shape; a last dimension of 1 that only one of them has is dropped.

    Args:
        function: who asks, for the message.
        tensors: two tensors by the names of the caller's arguments.

    Raises:
        ValueError: if the shapes differ.
    """
    (first_name, first), (second_name, second) = tensors.items()
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        first = first.squeeze(-1)
    if second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        second = second.squeeze(-1)
    if first.shape != second.shape:
        raise ValueError(
            f"{function}: `{first_name}` and `{second_name}` must have the same shape. "
            f"Got {list(first.shape)} and {list(second.shape)}."
        )
    return [first, second]


def truth(values: torch.Tensor) -> torch.Tensor:
    """What counts as true: 1 where a value is not zero, 0 where it is, NaN where it is NaN; float32."""
    return torch.where(values.isnan(), torch.nan, (values != 0).float())


def spread(function: str, weights: float | torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`weights` for each of `values`.

    Args:
        function: who asks, for the message.
        weights: a number, or a tensor of the rank of `values` whose sizes are 1 or theirs; one rank less is
            the same without the last dimension.
        values: what is weighted.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if not isinstance(weights, torch.Tensor):
        return torch.full_like(values, weights)
    given, weights = weights, weights.to(torch.promote_types(weights.dtype, torch.float32))
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = weights.squeeze(-1)
    elif 0 < weights.ndim == values.ndim - 1:
        weights = weights.unsqueeze(-1)
    fits = weights.ndim == 0 or (
        weights.ndim == values.ndim
        and all(size in (1, full) for size, full in zip(weights.shape, values.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"{function}: `weights` must be a number or have the shape of the values (1: any size). "
            f"Got {list(given.shape)} for values of shape {list(values.shape)}."
        )
    return weights.expand_as(values)
