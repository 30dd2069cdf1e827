"""Streaming areas under curves through every prediction: exact, at the price of keeping them all."""

# Shape letters: B batch, N examples seen, K different predictions.
from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torchmetrics.utilities import dim_zero_cat

from torchslim.graph import Value
from torchslim.metrics.confusion import EPSILON, check_curve
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.shapes import Weights, match, spread
from torchslim.metrics.stream import Collections, Streamed, stream


class _ExactCurve(StreamingMetric):
    """Keeps predictions, labels and weights: memory grows with the number of examples (24 bytes each)."""

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    seen: list[torch.Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Flat and of one dtype: torchmetrics can then gather it from processes that saw nothing, too.
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            predictions: numbers, any shape.
            labels: the same shape, 0 or 1.
            weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        """
        name = type(self).__name__
        predictions, labels = match(name, predictions=predictions.detach().double(), labels=labels)
        weights = torch.ones_like(predictions) if weights is None else spread(name, weights, predictions)
        self.seen.append(torch.stack([predictions, labels.double(), weights.double()], -1).flatten())

    def _mass(self) -> torch.Tensor | None:
        """The weight of each label at each different prediction in rising order, float64 `[2, K]`.

        None if a number is NaN. Examples of weight 0 are left out.
        """
        seen = dim_zero_cat(self.seen) if len(self.seen) else torch.empty(0, device=self.device)
        predictions, labels, weights = seen.double().reshape(-1, 3).T
        predictions, labels, weights = (t[weights != 0] for t in (predictions, labels, weights))
        if (predictions + labels + weights).isnan().any():
            return None
        if len(wrong := labels[(labels != 0) & (labels != 1)]):
            raise ValueError(f"{type(self).__name__}: `labels` must be 0 or 1. Got {wrong[0].item():g}.")
        values, places = predictions.unique(return_inverse=True)
        mass = weights.new_zeros(2 * len(values)).index_add(0, places + labels.long() * len(values), weights)
        return mass.view(2, -1)


class StreamingDynamicAUC(_ExactCurve):
    """The exact area under the curve whose thresholds are the predictions themselves, by straight lines.

    It needs all predictions: memory grows with the number of examples (24 bytes each).

    Args:
        curve: `'ROC'` (true over false positive rate) or `'PR'` (precision over recall).
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `curve` is unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> auc = slim.metrics.StreamingDynamicAUC()
        >>> auc.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
        >>> auc.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    def __init__(self, curve: Literal["ROC", "PR"] = "ROC", **kwargs: Any) -> None:
        check_curve("StreamingDynamicAUC", curve)
        super().__init__(**kwargs)
        self.curve = curve

    def compute(self) -> torch.Tensor:
        """The area, float64; 0 unless there are both labels.

        Raises:
            ValueError: if a label is not 0 or 1.
        """
        mass = self._mass()
        if mass is None:
            return torch.tensor(torch.nan, dtype=torch.float64, device=self.device)
        totals = mass.sum(1)
        if not totals.all():
            return totals.new_zeros(())
        fp, tp = torch.nn.functional.pad(mass.flip(1).cumsum(1), (1, 0))
        x, y = fp / totals[0], tp / totals[1]
        if self.curve == "PR":
            precision = tp / (tp + fp)
            precision[0] = 1  # of no predictions
            x, y = y, precision
        return torch.trapezoid(y, x)


def streaming_dynamic_auc(
    labels: Value,
    predictions: Value,
    curve: Literal["ROC", "PR"] = "ROC",
    metrics_collections: Collections = (),
    updates_collections: Collections = (),
    name: str | None = None,
    weights: Weights = None,
) -> Streamed:
    """The exact area under the curve, over all batches (class `StreamingDynamicAUC`).

    It needs all predictions: memory grows with the number of examples (24 bytes each).

    Args:
        labels: 0 or 1, any shape.
        predictions: numbers, the same shape.
        curve: `'ROC'` or `'PR'`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.

    Returns:
        A pair of Symbols `(value, update)`, float64; given tensors, the value now. 0 unless there are both
        labels.

    Raises:
        ValueError: if the shapes do not fit, or `curve` is unknown; when the value is computed, if a label is
            not 0 or 1.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8])
        >>> slim.metrics.streaming_dynamic_auc(labels, predictions)
        tensor(0.7500, dtype=torch.float64)

    TF-Slim: the update has no value.
    """
    metric = StreamingDynamicAUC(curve)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)


class AUCData(NamedTuple):
    """An area under the ROC curve, and the interval that it lies in with the asked-for confidence."""

    auc: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor


class AUCWithConfidenceIntervals(_ExactCurve):
    """The exact area under the ROC curve with a confidence interval (DeLong et al., Biometrics 1988).

    The area is the probability that a positive example has the higher prediction of two. Its variance is
    that of the placements of the examples of each label among those of the other (Sun and Xu, IEEE Signal
    Processing Letters 2014).

    It needs all predictions: memory grows with the number of examples (24 bytes each).

    Args:
        alpha: the confidence, between 0 and 1.
        logit_transformation: whether the interval is made on the logit of the area, so that it stays within
            `[0, 1]`.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `alpha` is not between 0 and 1.

    Example:
        >>> import torch, torchslim as slim
        >>> auc = slim.metrics.AUCWithConfidenceIntervals(alpha=0.5)
        >>> auc.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
        >>> auc.compute()
        AUCData(auc=tensor(0.7500), lower=tensor(0.4568), upper=tensor(0.9145))
    """

    def __init__(self, alpha: float = 0.95, logit_transformation: bool = True, **kwargs: Any) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"auc_with_confidence_intervals: `alpha` must be between 0 and 1. Got {alpha}.")
        super().__init__(**kwargs)
        self.alpha = alpha
        self.logit_transformation = logit_transformation

    def compute(self) -> AUCData:
        """The area and its interval, float32; 0 unless there are both labels and a weight of at least 1.

        Raises:
            ValueError: if a label is not 0 or 1.
        """
        mass = self._mass()
        if mass is None:
            return AUCData(*torch.full((3,), torch.nan, device=self.device))
        if not mass.sum(1).all() or mass.sum() < 1:
            return AUCData(*torch.zeros(3, device=self.device))
        auc, deviation = _area_and_deviation(mass)
        z = torch.special.ndtri(torch.tensor((1 + self.alpha) / 2, device=self.device))
        if self.logit_transformation:
            logit = (auc / (1 - auc + EPSILON)).log()
            reach = z * deviation / (auc * (1 - auc + EPSILON))
            lower, upper = (1 / (1 + (-limit).exp() + EPSILON) for limit in (logit - reach, logit + reach))
        else:
            lower, upper = auc - z * deviation, auc + z * deviation
        sure = (auc == 0) | (auc == 1)  # no variance is left to tell an interval from
        return AUCData(auc, torch.where(sure, auc, lower), torch.where(sure, auc, upper))


def _area_and_deviation(mass: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The area and its standard deviation, float32 as TF-Slim computes them: where it is 1 depends on it."""
    totals = mass.sum(1, keepdim=True).float()
    # The share of the other label's weight that lies below a prediction; what equals it counts half.
    placements = ((mass.cumsum(1) - mass / 2).float() / (totals + EPSILON)).flip(0)
    rightly = torch.stack([1 - placements[0], placements[1]])
    areas = (mass * rightly).float().sum(1, keepdim=True) / (totals + EPSILON)
    squares = (mass * (rightly - areas) ** 2).float().sum(1, keepdim=True)
    variances = squares / (totals - 1 + EPSILON) / (totals + EPSILON)
    area = torch.where(totals[0] < totals[1], areas[1], areas[0]).squeeze()
    return area, variances.sum().sqrt()


def auc_with_confidence_intervals(
    labels: Value,
    predictions: Value,
    weights: Weights = None,
    alpha: float = 0.95,
    logit_transformation: bool = True,
    metrics_collections: Collections = (),
    updates_collections: Collections = (),
    name: str | None = None,
) -> Streamed:
    """The exact area under the ROC curve with a confidence interval (class `AUCWithConfidenceIntervals`).

    It needs all predictions: memory grows with the number of examples (24 bytes each).

    Args:
        labels: 0 or 1, any shape.
        predictions: numbers, the same shape.
        weights: a number, or one per prediction; `[B]` weighs the rows of `[B, ...]`.
        alpha: the confidence, between 0 and 1.
        logit_transformation: whether the interval is made on the logit of the area, so that it stays within
            `[0, 1]`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now. The value has the fields `auc`,
        `lower` and `upper`; they are 0 unless there are both labels and a weight of at least 1.

    Raises:
        ValueError: if the shapes do not fit, or `alpha` is not between 0 and 1; when the value is computed, if
            a label is not 0 or 1.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8])
        >>> slim.metrics.auc_with_confidence_intervals(labels, predictions, logit_transformation=False).auc
        tensor(0.7500)

    TF-Slim: looks for both labels in the last batch alone, and drops batches whose weights sum to less than 1.
    The update has no value.
    """
    metric = AUCWithConfidenceIntervals(alpha, logit_transformation)
    return stream(metric, (predictions, labels, weights), metrics_collections, updates_collections, name)
