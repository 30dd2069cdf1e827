"""Examples with several labels: sets of class numbers, and the classes that score highest.

A set is a row of an int64 tensor `[..., L]`: its members in any order and number, `NOTHING` where there is no further.
"""

# Shape letters: B batch, C classes, L members, k highest scores.
from __future__ import annotations

import torch

from torchslim.metrics.shapes import Weights, spread

NOTHING = -(1 << 62)


def label_sets(function: str, labels: torch.Tensor, predictions: torch.Tensor) -> torch.Tensor:
    """The set of labels of each example.

    Args:
        function: who asks, for the message.
        labels: `[..., L]`, dense or sparse (what is not stored is no label), or one each `[...]`.
        predictions: something of each example and class, `[..., C]`.

    Raises:
        ValueError: if the shapes do not fit.
    """
    sets = _dense(labels) if labels.is_sparse else labels.long()
    if sets.ndim == predictions.ndim - 1:
        sets = sets.unsqueeze(-1)
    if predictions.ndim < 1 or sets.shape[:-1] != predictions.shape[:-1]:
        raise ValueError(
            f"{function}: `labels` must have the shape of the predictions, but for the last dimension. "
            f"Got {list(labels.shape)} for predictions of shape {list(predictions.shape)}."
        )
    return sets


def _dense(labels: torch.Tensor) -> torch.Tensor:
    labels = labels.coalesce()
    above = labels.values().long() - NOTHING  # so that the zeros of `to_dense` stand for NOTHING
    shifted = torch.sparse_coo_tensor(labels.indices(), above, labels.shape, is_coalesced=True, check_invariants=False)
    return shifted.to_dense() + NOTHING


def distinct(sets: torch.Tensor, class_id: int | None = None) -> torch.Tensor:
    """The sets with each member once; of one class only, if `class_id` says so."""
    if class_id is not None:
        sets = sets.where(sets == class_id, NOTHING)
    members = sets.sort(-1).values
    repeats = torch.zeros_like(members, dtype=torch.bool)
    repeats[..., 1:] = members[..., 1:] == members[..., :-1]
    return members.masked_fill(repeats, NOTHING)


def size(sets: torch.Tensor) -> torch.Tensor:
    """How many members each set has, `[...]`, if it has each once."""
    return (sets != NOTHING).sum(-1)


def is_member(values: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """Whether each value is in the set of its row: bool, like `values`."""
    return (values.unsqueeze(-1) == sets.unsqueeze(-2)).any(-1) & (values != NOTHING)


def check_k(function: str, k: int) -> int:
    """`k`, a positive number.

    Raises:
        ValueError: if it is not.
    """
    if k < 1:
        raise ValueError(f"{function}: `k` must be at least 1. Got {k}.")
    return k


def top_k(function: str, predictions: torch.Tensor, k: int) -> torch.Tensor:
    """The `k` classes that score highest, `[..., k]`, the best first; of equal ones the lower, as in TensorFlow.

    Raises:
        ValueError: if there are less than `k` classes.
    """
    if predictions.ndim < 1 or predictions.shape[-1] < k:
        raise ValueError(
            f"{function}: `predictions` must be [..., C] with at least k = {k} classes. Got {list(predictions.shape)}."
        )
    return predictions.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def example_weights(function: str, weights: Weights, predictions: torch.Tensor) -> torch.Tensor:
    """The weight of each example `[...]`, float64: NaN if one of its predictions is, unless it weighs nothing.

    Raises:
        ValueError: if the shapes do not fit.
    """
    unknown = predictions.isnan().any(-1)
    weights = spread(function, 1.0 if weights is None else weights, unknown.double()).double()
    return weights.masked_fill(unknown & (weights != 0), torch.nan)
