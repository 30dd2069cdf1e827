"""Streaming statistics of whole tensors: their mean, what they are one after the other, and how much there is."""

# Shape letters: B batch.
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics.utilities import dim_zero_cat

from torchslim.graph import Value
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.ratio import StreamingRatio
from torchslim.metrics.shapes import Weights, spread
from torchslim.metrics.stream import Collections, Streamed, stream


class StreamingMeanTensor(StreamingRatio):
    """The mean of tensors of one shape, element by element; 0 where the weights are.

    Args:
        shape: theirs.
        kwargs: those of `torchmetrics.Metric`.

    Example:
        >>> import torch, torchslim as slim
        >>> mean = slim.metrics.StreamingMeanTensor([2])
        >>> mean.update(torch.tensor([1.0, 2.0]))
        >>> mean.update(torch.tensor([3.0, 8.0]))
        >>> mean.compute()
        tensor([2., 5.])
    """

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.add_state("total", torch.zeros(self.shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(self.shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: torch.Tensor, weights: Weights = None) -> None:
        """Takes a tensor in."""
        if values.shape != self.shape:
            raise ValueError(
                f"StreamingMeanTensor: `values` must have the same shape each time, {list(self.shape)}. "
                f"Got {list(values.shape)}."
            )
        values = values.double()
        weights = torch.ones_like(values) if weights is None else spread(type(self).__name__, weights, values)
        self.total = self.total + torch.where(weights != 0, values * weights, 0)
        self.count = self.count + weights


def streaming_mean_tensor(
    values: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The mean of tensors over all batches, element by element (class `StreamingMeanTensor`).

    Args:
        values: any shape, the same each time.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, each like `values` and float32; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit, or that of `values` is not known.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_mean_tensor(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0]))
        tensor([1., 0.])
    """
    shape = tuple(values.shape)
    if None in shape:
        raise ValueError(
            f"streaming_mean_tensor: `values` must have one shape for all batches. Got {shape}. "
            "Average over what varies first, e.g. `values.mean(0)`, or give the placeholder a size."
        )
    metric = StreamingMeanTensor(shape)
    return stream(metric, (values, weights), metrics_collections, updates_collections, name)


class StreamingConcat(StreamingMetric):
    """The tensors themselves, one after the other. Memory grows with them, up to `max_size`.

    Args:
        shape: that of the tensors; the size along `axis` may be None.
        axis: along which they are put together; a negative one counts from the last.
        max_size: how much is kept along `axis`: what comes first. None: all.
        dtype: that of the tensors.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if there is no such axis, or a size along another one is not known.

    Example:
        >>> import torch, torchslim as slim
        >>> concat = slim.metrics.StreamingConcat([None], max_size=3)
        >>> concat.update(torch.tensor([1.0, 2.0]))
        >>> concat.update(torch.tensor([3.0, 4.0]))
        >>> concat.compute()
        tensor([1., 2., 3.])
    """

    seen: list[torch.Tensor]

    def __init__(
        self,
        shape: Sequence[int | None],
        axis: int = 0,
        max_size: int | None = None,
        dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"StreamingConcat: `axis` must be one of the {len(shape)} that the values have. Got {axis}."
            )
        self.axis = axis % len(shape)
        self.others: list[Any] = [size for i, size in enumerate(shape) if i != self.axis]
        if None in self.others:
            raise ValueError(
                f"StreamingConcat: `values` may vary along `axis` {self.axis} only. Got shape {tuple(shape)}."
            )
        self.max_size = max_size
        self._values_dtype = dtype
        # Flat and of one dtype: torchmetrics can then gather it from processes that saw nothing, too.
        self.add_state("seen", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """That of the tensors."""
        return self._values_dtype

    @property
    def size(self) -> int:
        """How much this process has kept along the axis."""
        return sum(part.numel() for part in self.seen) // max(math.prod(self.others), 1)

    def update(self, values: torch.Tensor) -> None:
        """Takes a tensor in."""
        rows = values.detach().movedim(self.axis, 0)
        if list(rows.shape[1:]) != self.others or values.dtype != self.dtype:
            raise ValueError(
                f"StreamingConcat: `values` must be {self.dtype} of one shape, but for axis {self.axis}. "
                f"Got {values.dtype} of shape {list(values.shape)}."
            )
        room = None if self.max_size is None else self.max_size - self.size
        self.seen.append(rows[:room].flatten().clone())

    def compute(self) -> torch.Tensor:
        """The tensors, put together along the axis; the processes' in order."""
        seen = dim_zero_cat(self.seen) if len(self.seen) else torch.empty(0, dtype=self.dtype, device=self.device)
        return seen.reshape(-1, *self.others)[: self.max_size].movedim(0, self.axis)

    def compute_update(self) -> torch.Tensor:
        """What the update of TF-Slim's pair gives: how much there is along the axis."""
        return torch.tensor(self.size, dtype=torch.int32)


def streaming_concat(
    values: Value,
    axis: int = 0,
    max_size: int | None = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The values of all batches, one after the other (class `StreamingConcat`): memory grows with them.

    Args:
        values: any shape; it may vary along `axis` only.
        axis: along which they are put together; a negative one counts from the last.
        max_size: how much is kept along `axis`: what comes first. None: all.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; `update` gives the size along `axis`, int32. Given tensors, the value
        now.

    Raises:
        ValueError: if there is no such axis, or the size along another one is not known.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None, 2))
        ...     value, update = slim.metrics.streaming_concat(x)
        ...     graph.run(update, {x: torch.ones(3, 2)}), graph.run(update, {x: torch.zeros(1, 2)})
        ...     graph.run(value).shape
        (tensor(3, dtype=torch.int32), tensor(4, dtype=torch.int32))
        torch.Size([4, 2])
    """
    shape = list(values.shape)
    metric = StreamingConcat(shape, axis, max_size, values.dtype)
    return stream(metric, (values,), metrics_collections, updates_collections, name)


class Count(StreamingMetric):
    """How many values there are, or the sum of their weights.

    Example:
        >>> import torch, torchslim as slim
        >>> count = slim.metrics.Count()
        >>> count.update(torch.zeros(2, 3))
        >>> count.update(torch.zeros(2), weights=torch.tensor([0.5, 0.0]))
        >>> count.compute()
        tensor(6.5000)
    """

    count: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        if weights is None:
            self.count = self.count + values.numel()
        else:
            self.count = self.count + spread(type(self).__name__, weights, values.float()).sum()

    def compute(self) -> torch.Tensor:
        """The count, float32."""
        return self.count.float()


def count(
    values: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """How many values there are in all batches, or the sum of their weights (class `Count`).

    Args:
        values: any shape; what they are makes no difference.
        weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`, float32; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.count(torch.zeros(2, 3))
        tensor(6.)
    """
    return stream(Count(), (values, weights), metrics_collections, updates_collections, name)
