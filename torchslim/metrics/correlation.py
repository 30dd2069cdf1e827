"""How two series of values go together: covariance, correlation, cosine distance."""

# Shape letters: B batch, N values, P parts (batches or processes).
from __future__ import annotations

from typing import Any

import torch

from torchslim.graph import Value
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.ratio import StreamingRatio
from torchslim.metrics.shapes import Weights, match, spread
from torchslim.metrics.stream import Collections, Streamed, stream


class _StreamingMoments(StreamingMetric):
    """Weighted count, means and comoments of two series.

    They are merged by the parallel algorithm of Chan, Golub and LeVeque (1979) in float64: that is stable where the
    mean is large beside the deviation, and exact across processes. The state is the symmetric matrix

        [count,    mean,  mean']
        [mean,  comoments      ]
        [mean',                ]
    """

    moments: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("moments", torch.zeros(3, 3, dtype=torch.float64), dist_reduce_fx=_merge)

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            predictions: any shape.
            labels: the same shape.
            weights: a number, or one per value; `[B]` weighs the rows of `[B, ...]`.
        """
        name = type(self).__name__
        predictions, labels = match(name, predictions=predictions, labels=labels)
        weights = spread(name, 1.0 if weights is None else weights, predictions.double()).double().flatten()
        values = torch.stack([predictions, labels]).double().flatten(1)
        values = torch.where(weights != 0, values, 0.0)
        mean = _mean(values, weights)
        centred = values - mean[:, None]
        batch = _pack(weights.sum(), mean, (centred * weights) @ centred.T)
        self.moments = _merge(torch.stack([self.moments, batch]))

    def covariances(self) -> torch.Tensor:
        """`[[variance, covariance], [covariance, variance']]`; NaN while the weights do not sum to more than 1."""
        count = self.moments[0, 0]
        return torch.where(count <= 1, torch.nan, self.moments[1:, 1:] / (count - 1))


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean of the last dimension; 0 of nothing.

    The second pass makes that of a constant exact, so that its variance is 0 and a correlation with it NaN.
    """
    total = weights.sum()
    mean = (values * weights).sum(-1) / total
    mean = mean + ((values - mean[:, None]) * weights).sum(-1) / total
    return torch.where(total == 0, 0.0, mean)


def _pack(count: torch.Tensor, mean: torch.Tensor, comoments: torch.Tensor) -> torch.Tensor:
    first = torch.cat([count[None], mean])
    return torch.cat([first[None], torch.cat([mean[:, None], comoments], 1)])


def _merge(parts: torch.Tensor) -> torch.Tensor:
    """The moments of all parts `[P, 3, 3]` together, `[3, 3]`."""
    counts, means, comoments = parts[:, 0, 0], parts[:, 0, 1:].T, parts[:, 1:, 1:]
    mean = _mean(means, counts)
    shifts = means - mean[:, None]
    return _pack(counts.sum(), mean, comoments.sum(0) + (shifts * counts) @ shifts.T)


class StreamingCovariance(_StreamingMoments):
    """The covariance of two series: the sum of products of their deviations, divided by the count less 1.

    Example:
        >>> import torch, torchslim as slim
        >>> covariance = slim.metrics.StreamingCovariance()
        >>> covariance.update(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
        >>> covariance.update(torch.tensor([3.0]), torch.tensor([6.0]))
        >>> covariance.compute()
        tensor(2.)
    """

    def compute(self) -> torch.Tensor:
        """The covariance, float32; NaN while the weights do not sum to more than 1."""
        return self.covariances()[0, 1].float()


def streaming_covariance(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """The sample covariance of predictions and labels over all batches (class `StreamingCovariance`).

    Args:
        predictions: any shape.
        labels: the same shape.
        weights: a number, or one per value (how often it was seen); `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now. NaN while the weights do not sum to more
        than 1.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_covariance(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
        tensor(2.)

    TF-Slim: was NaN for ever after a first batch whose weights are all 0.
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingCovariance(), inputs, metrics_collections, updates_collections, name)


class StreamingPearsonCorrelation(_StreamingMoments):
    """Pearson's correlation of two series: their covariance, divided by the root of their variances.

    Example:
        >>> import torch, torchslim as slim
        >>> correlation = slim.metrics.StreamingPearsonCorrelation()
        >>> correlation.update(torch.tensor([1.0, 2.0]), torch.tensor([6.0, 4.0]))
        >>> correlation.update(torch.tensor([3.0]), torch.tensor([2.0]))
        >>> correlation.compute()
        tensor(-1.)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def compute(self) -> torch.Tensor:
        """The correlation, float32; NaN for a constant, and while the weights do not sum to more than 1."""
        covariances = self.covariances()
        return (covariances[0, 1] / (covariances[0, 0].sqrt() * covariances[1, 1].sqrt())).float()


def streaming_pearson_correlation(
    predictions: Value,
    labels: Value,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """Pearson's correlation of predictions and labels over all batches (class `StreamingPearsonCorrelation`).

    Args:
        predictions: any shape.
        labels: the same shape.
        weights: a number, or one per value (how often it was seen); `[B]` weighs the rows of `[B, ...]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now. NaN for a constant, and while the weights
        do not sum to more than 1.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.metrics.streaming_pearson_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0, 4.0, 2.0]))
        tensor(-1.)
    """
    inputs = (predictions, labels, weights)
    return stream(StreamingPearsonCorrelation(), inputs, metrics_collections, updates_collections, name)


class StreamingMeanCosineDistance(StreamingRatio):
    """1 less the mean of the products of vectors, which are taken to be of length 1.

    Args:
        dim: the dimension that the vectors lie along.
        kwargs: those of `torchmetrics.Metric`.

    Example:
        >>> import torch, torchslim as slim
        >>> distance = slim.metrics.StreamingMeanCosineDistance(dim=1)
        >>> distance.update(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        >>> distance.compute()
        tensor(0.5000)
    """

    higher_is_better = False

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in."""
        predictions, labels = match(type(self).__name__, predictions=predictions, labels=labels)
        self.add_mean((predictions.double() * labels).sum(self.dim, keepdim=True), weights)

    def compute(self) -> torch.Tensor:
        """The distance, float32; 1 while there is nothing."""
        return 1 - super().compute()


def streaming_mean_cosine_distance(
    predictions: Value,
    labels: Value,
    dim: int,
    weights: Weights = None,
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """1 less the mean cosine of the angle between vectors, over all batches (class `StreamingMeanCosineDistance`).

    Args:
        predictions: vectors of length 1, any shape.
        labels: the same shape, likewise.
        dim: the dimension that the vectors lie along.
        weights: a number, or one per vector: the shape of `predictions` with a size of 1 in `dim`; `[B]` weighs the
            vectors of `[B, N]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> slim.metrics.streaming_mean_cosine_distance(torch.eye(2), labels, dim=1)
        tensor(0.5000)
    """
    metric = StreamingMeanCosineDistance(dim)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)
