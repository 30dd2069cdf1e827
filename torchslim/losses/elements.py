"""The formula of each loss, element by element: what TF-Slim's losses and TensorFlow's `tf.losses` have in common."""

# Shape letters: B batch, K classes.
from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from torchslim.losses.weighting import divide


def matching(function: str, **tensors: torch.Tensor | None) -> list[torch.Tensor]:
    """Two tensors of one shape, both of the floating dtype of the first (float32 if it has integers).

    Args:
        function: who asks, for the message.
        tensors: the predictions, then the labels, by the names of the caller's arguments.

    Raises:
        ValueError: if one is missing or the shapes differ.
    """
    (first_name, first), (second_name, second) = tensors.items()
    if first is None or second is None:
        raise ValueError(f"{function}: give both `{first_name}` and `{second_name}`. Got None.")
    first, second = torch.as_tensor(first), torch.as_tensor(second)
    if first.shape != second.shape:
        raise ValueError(
            f"{function}: `{first_name}` and `{second_name}` must have the same shape. "
            f"Got {list(first.shape)} and {list(second.shape)}."
        )
    dtype = first.dtype if first.is_floating_point() else torch.float32
    return [first.to(dtype), second.to(device=first.device, dtype=dtype)]


def absolute_difference(predictions: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """`|predictions - labels|`."""
    predictions, labels = matching("absolute_difference", predictions=predictions, labels=labels)
    return F.l1_loss(predictions, labels, reduction="none")


def mean_squared_error(predictions: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """`(predictions - labels) ** 2`."""
    predictions, labels = matching("mean_squared_error", predictions=predictions, labels=labels)
    return F.mse_loss(predictions, labels, reduction="none")


def huber_loss(predictions: torch.Tensor, labels: torch.Tensor | None, delta: float) -> torch.Tensor:
    """`d ** 2 / 2` up to `delta`, `delta * (|d| - delta / 2)` beyond it."""
    predictions, labels = matching("huber_loss", predictions=predictions, labels=labels)
    if delta <= 0:
        raise ValueError(f"huber_loss: `delta` must be positive. Got {delta}.")
    return F.huber_loss(predictions, labels, reduction="none", delta=delta)


def hinge_loss(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """`max(0, 1 - logits)` where the label is 1, `max(0, 1 + logits)` where it is 0."""
    logits, labels = matching("hinge_loss", logits=logits, labels=labels)
    return F.relu(1 - (2 * labels - 1) * logits)


def log_loss(predictions: torch.Tensor, labels: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    """Cross entropy of probabilities, with `epsilon` added inside of both logarithms."""
    predictions, labels = matching("log_loss", predictions=predictions, labels=labels)
    return -labels * (predictions + epsilon).log() - (1 - labels) * (1 - predictions + epsilon).log()


def cosine_distance(
    predictions: torch.Tensor, labels: torch.Tensor | None, axis: int | None, dim: int | None, *, keepdim: bool
) -> torch.Tensor:
    """One minus the scalar products along `axis`, or along `dim`, its older name."""
    predictions, labels = matching("cosine_distance", predictions=predictions, labels=labels)
    if (axis is None) == (dim is None):
        raise ValueError(f"cosine_distance: give one of `axis` and `dim`, its older name. Got {axis} and {dim}.")
    return 1 - (predictions * labels).sum(axis if dim is None else dim, keepdim=keepdim)


def sigmoid_cross_entropy(
    logits: torch.Tensor, multi_class_labels: torch.Tensor | None, label_smoothing: float
) -> torch.Tensor:
    """Cross entropy of independent classes, `[B, ...]`."""
    logits, labels = matching("sigmoid_cross_entropy", logits=logits, multi_class_labels=multi_class_labels)
    if label_smoothing > 0:
        labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def softmax_cross_entropy(
    logits: torch.Tensor, onehot_labels: torch.Tensor | None, label_smoothing: float
) -> torch.Tensor:
    """Cross entropy of distributions over the last dimension, `[B, ...]` of `[B, ..., K]`; none to the labels."""
    logits, labels = matching("softmax_cross_entropy", logits=logits, onehot_labels=onehot_labels)
    return F.cross_entropy(
        logits.movedim(-1, 1), labels.detach().movedim(-1, 1), reduction="none", label_smoothing=label_smoothing
    )


def sparse_softmax_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of class numbers, `[B, ...]` or `[B, ..., 1]`."""
    labels = torch.as_tensor(labels, device=logits.device)
    if labels.ndim == logits.ndim and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            "sparse_softmax_cross_entropy: `labels` must have the shape of `logits` without its last size. "
            f"Got {list(labels.shape)} for logits of shape {list(logits.shape)}."
        )
    return F.cross_entropy(logits.movedim(-1, 1), labels.long(), reduction="none")


def differences(predictions: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """`predictions - labels` for `mean_pairwise_squared_error`, which compares the elements of one example."""
    predictions, labels = matching("mean_pairwise_squared_error", predictions=predictions, labels=labels)
    return predictions - labels


def rows_of(values: torch.Tensor) -> torch.Tensor:
    """`[B, n]` of `[B, ...]`, also where there are no elements, or one for each example."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def pairs(differences: torch.Tensor, present: torch.Tensor | float) -> torch.Tensor:
    """`sum(d ** 2) - sum(d) ** 2 / present` for each example.

    With all n elements present, that is the sum over pairs of `(d_i - d_j) ** 2`, divided by n. The two sums may be
    large and almost equal, so it is computed around the mean.

    Args:
        differences: `[B, ...]`.
        present: how many elements of an example count: a number, or `[B]` (`[1]`).

    Returns:
        `[B]`.
    """
    rows = rows_of(differences)
    size = rows.shape[1]
    around_the_mean = (rows - rows.mean(1, keepdim=True)).square().sum(1)
    return around_the_mean + divide(rows.sum(1).square() * (present - size), size * present)
