"""What curves are made of: how many examples of either label have a prediction above each threshold."""

# Shape letters: T thresholds, B buckets.
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.shapes import Weights, match, spread

EPSILON = 1e-7  # TF-Slim's: how far the first and the last threshold lie beyond 0 and 1, and what is no division by 0


class Confusion(NamedTuple):
    """The weights of true and false positives and negatives at thresholds, each float32."""

    tp: torch.Tensor
    fp: torch.Tensor
    tn: torch.Tensor
    fn: torch.Tensor


class StreamingHistogram(StreamingMetric):
    """A histogram of the predictions for either label, over all batches.

    Its counts are float64, so none grows too large to be added to, and are all the memory that such a metric
    takes: 2 B numbers. A prediction, label or weight that is NaN makes every count NaN, unless its weight is 0.

    Args:
        buckets: B.
        kwargs: those of `torchmetrics.Metric`.
    """

    counts: torch.Tensor

    def __init__(self, buckets: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(2, buckets, dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def bucket_of(self, predictions: torch.Tensor) -> torch.Tensor:
        """The bucket of each prediction, int64; any for what is not known."""

    def is_known(self, predictions: torch.Tensor) -> torch.Tensor:
        """Whether each prediction is one."""
        return ~predictions.isnan()

    def update(self, predictions: torch.Tensor, labels: torch.Tensor, weights: Weights = None) -> None:
        """Takes a batch in.

        Args:
            predictions: any shape.
            labels: the same shape; what is not zero is true.
            weights: a number, or one per prediction; `[N]` weighs the rows of `[N, ...]`.
        """
        name = type(self).__name__
        predictions, labels = match(name, predictions=predictions.detach(), labels=labels)
        if not predictions.is_floating_point():
            predictions = predictions.float()
        weights = torch.ones_like(predictions) if weights is None else spread(name, weights, predictions)
        unknown = ~self.is_known(predictions) | labels.isnan()
        weights = torch.where((weights != 0) & unknown, torch.nan, weights).double()
        buckets = self.bucket_of(predictions) + (labels != 0) * self.counts.shape[1]
        counts = self.counts.flatten().index_add(0, buckets.flatten(), weights.flatten())
        self.counts = counts.view_as(self.counts) + 0 * weights.sum()  # one NaN is one in every count

    def confusion(self) -> Confusion:
        """The counts for a threshold at the lower edge of each bucket, each `[B]`."""
        above = self.counts.flip(1).cumsum(1).flip(1)
        fp, tp = above.float()
        tn, fn = (above[:, :1] - above).float()
        return Confusion(tp, fp, tn, fn)


class StreamingConfusion(StreamingHistogram):
    """True and false positives and negatives at thresholds; a prediction is positive if it is greater.

    Args:
        thresholds: T numbers, in any order; at least one.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if there is no threshold.
    """

    thresholds: torch.Tensor
    ranks: torch.Tensor

    def __init__(self, thresholds: Sequence[float] | torch.Tensor, **kwargs: Any) -> None:
        given = torch.as_tensor(thresholds, dtype=torch.float32)
        if given.ndim != 1 or not len(given):
            raise ValueError(
                f"{type(self).__name__}: `thresholds` must be a list of at least one number. Got {thresholds!r}."
            )
        super().__init__(len(given) + 1, **kwargs)
        in_order, order = given.sort()
        self.register_buffer("thresholds", in_order, persistent=False)
        self.register_buffer("ranks", order.argsort(), persistent=False)

    def bucket_of(self, predictions: torch.Tensor) -> torch.Tensor:
        """How many of the thresholds each prediction is greater than."""
        return torch.bucketize(predictions.float().contiguous(), self.thresholds)

    def confusion(self) -> Confusion:
        """The counts at the thresholds in the order given, each `[T]`."""
        return Confusion(*(count[1:][self.ranks] for count in super().confusion()))


class StreamingCurve(StreamingConfusion):
    """The same for probabilities, at thresholds that part `[0, 1]`, and one below 0 and one above 1.

    A prediction outside of `[0, 1]` is as good as NaN. (TF-Slim raises an error there; to know of it, an update
    would have to wait for the device.)

    Args:
        num_thresholds: T, with those below 0 and above 1; the others are spread evenly. At least 2.
        thresholds: the others, instead; then `num_thresholds` does not matter.
        last: the one above 1.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `num_thresholds` is less than 2.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        thresholds: Sequence[float] | None = None,
        last: float = 1 + EPSILON,
        **kwargs: Any,
    ) -> None:
        if num_thresholds < 2:
            raise ValueError(f"{type(self).__name__}: `num_thresholds` must be at least 2. Got {num_thresholds}.")
        if thresholds is None:
            thresholds = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        super().__init__([-EPSILON, *sorted(thresholds), last], **kwargs)

    def is_known(self, predictions: torch.Tensor) -> torch.Tensor:
        """Whether each prediction is a probability."""
        return is_probability(predictions)


def is_probability(predictions: torch.Tensor) -> torch.Tensor:
    """Whether each number is in `[0, 1]`; NaN is not."""
    return (predictions >= 0) & (predictions <= 1)


def check_curve(function: str, curve: str) -> None:
    """Raises unless `curve` is one."""
    if curve not in ("ROC", "PR"):
        raise ValueError(f"{function}: `curve` must be 'ROC' or 'PR'. Got {curve!r}.")


def curve_of(counts: Confusion, curve: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a curve goes through: false and true positive rate (ROC), or recall and precision (PR), each `[T]`."""
    tiny = 1e-6  # TF-Slim's: recall and precision of nothing are 1
    recall = (counts.tp + tiny) / (counts.tp + counts.fn + tiny)
    if curve == "ROC":
        return counts.fp / (counts.fp + counts.tn + tiny), recall
    return recall, (counts.tp + tiny) / (counts.tp + counts.fp + tiny)
