"""Metrics of one batch."""

from __future__ import annotations

from torch.overrides import handle_torch_function, has_torch_function

from torchslim.graph import Value
from torchslim.metrics.shapes import Weights, spread


def accuracy(predictions: Value, labels: Value, weights: Weights = None, name: str | None = None) -> Value:
    """The share of `predictions` that equal `labels` in one batch.

    Args:
        predictions: class numbers, bool or integer.
        labels: the same shape, bool or integer.
        weights: a number, or one per example.
        name: the scope of the result in a graph.

    Returns:
        A float32 scalar; NaN if the weights sum to zero. In `aggregate_metrics` and `aggregate_metric_map` it
        stands for `streaming_accuracy`: the accuracy of all batches.

    Raises:
        ValueError: if the shapes differ, or one of the two holds floating point numbers.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.accuracy(torch.tensor([1, 2, 3, 0]), torch.tensor([1, 2, 0, 0]))
        tensor(0.7500)
    """
    if has_torch_function((predictions, labels, weights)):
        return handle_torch_function(accuracy, (predictions, labels, weights), predictions, labels, weights, name=name)
    for argument, tensor in (("predictions", predictions), ("labels", labels)):
        if tensor.is_floating_point():
            raise ValueError(
                f"accuracy: `{argument}` must be class numbers (bool or integer). Got {tensor.dtype}. "
                "Use `logits.argmax(-1)` for the predicted class."
            )
    if predictions.shape != labels.shape:
        raise ValueError(
            "accuracy: `predictions` and `labels` must have the same shape. "
            f"Got {list(predictions.shape)} and {list(labels.shape)}."
        )
    correct = (predictions == labels).float()
    if weights is None:
        return correct.mean()
    weights = spread("accuracy", weights, correct)
    return (correct * weights).sum() / weights.sum()
