"""Average precision by the rules of the Pascal VOC challenge (Everingham et al., IJCV 2010 and 2015)."""

# Shape letters: N images, K classes.
from __future__ import annotations

from typing import Any, Literal

import torch
from torchmetrics.utilities import dim_zero_cat

from torchslim.graph import Value
from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.stream import Collections, Streamed, stream

Rule = Literal["2010", "2007"]


class VOCAveragePrecision(StreamingMetric):
    """Average precision of each class, for images that may be of several classes at once.

    `'2010'`: the area under the precision-recall curve, made to fall monotonically (VOC 2010 and later).
    `'2007'`: the mean of the highest precision at a recall of at least 0, 0.1, ..., 1 (VOC 2007 to 2009).
    Images with equal scores enter the curve together, so their order does not matter.

    An exact curve needs every score: memory grows with the number of images (8 bytes each and class).

    Args:
        num_classes: K.
        rule: `'2010'` or `'2007'`.
        average: None: `compute` gives `[K]`, NaN for a class without a positive image. `'macro'`: it gives
            the mean over the other classes (mAP).
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: if `rule` or `average` is unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> metric = slim.metrics.VOCAveragePrecision(num_classes=2)
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.3, 0.6], [0.2, 0.5]])
        >>> labels = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1]])
        >>> metric.update(scores, labels)
        >>> metric.compute()
        tensor([0.8333, 0.8333])
        >>> metric.reset()
        >>> metric.update(scores, labels, difficult=torch.tensor([[0, 0], [1, 0], [0, 0], [0, 0]]))
        >>> metric.compute()
        tensor([1.0000, 0.8333])
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    seen: list[torch.Tensor]

    def __init__(
        self,
        num_classes: int = 20,
        rule: Rule = "2010",
        average: Literal["macro"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if rule not in ("2010", "2007"):
            raise ValueError(f"VOCAveragePrecision: `rule` must be '2010' or '2007'. Got {rule!r}.")
        if average not in ("macro", None):
            raise ValueError(f"VOCAveragePrecision: `average` must be 'macro' or None. Got {average!r}.")
        self.num_classes = num_classes
        self.rule = rule
        self.average = average
        # Flat and of one dtype: torchmetrics can then gather it from processes that saw nothing, too.
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, scores: torch.Tensor, labels: torch.Tensor, difficult: torch.Tensor | None = None) -> None:
        """Takes a batch in.

        Args:
            scores: the higher the likelier, `[N, K]`.
            labels: 1 where an image shows the class, `[N, K]`.
            difficult: 1 where all that it shows of the class is difficult: that pair counts neither way, `[N,
                K]`.
        """
        for name, tensor in (("scores", scores), ("labels", labels), ("difficult", difficult)):
            if tensor is not None and (tensor.shape != scores.shape or tensor.shape[1:] != (self.num_classes,)):
                raise ValueError(
                    f"VOCAveragePrecision: `{name}` must be [N, {self.num_classes}], as the others. "
                    f"Got {list(tensor.shape)}."
                )
        truth = (labels > 0).float()
        if difficult is not None:
            truth = truth.masked_fill(difficult > 0, -1)
        self.seen.append(torch.stack([scores.detach().float(), truth]).movedim(0, 1).flatten())

    def compute(self) -> torch.Tensor:
        """The average precisions `[K]`, or their mean.

        Raises:
            ValueError: if a score is NaN.
        """
        result = self._curve().average_precision(self.rule)
        return result if self.average is None else result.nanmean()

    def curves(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Precision and recall of each class at each of its scores, from the highest down; of all processes.

        Returns:
            K pairs of `[P]`, for `slim.metrics.plot_precision_recall`; recall is NaN for a class without a positive
            image.

        Raises:
            ValueError: if a score is NaN.

        Example:
            >>> metric = slim.metrics.VOCAveragePrecision(num_classes=1)
            >>> metric.update(torch.tensor([[0.9], [0.8], [0.8]]), torch.tensor([[1], [0], [1]]))
            >>> metric.curves()
            [(tensor([1.0000, 0.6667]), tensor([0.5000, 1.0000]))]
        """
        with self.sync_context():
            curve = self._curve()
        recall = curve.hits / curve.positives
        return [
            (curve.precision[is_point, k], recall[is_point, k])
            for k, is_point in enumerate((curve.is_point & (curve.counted > 0)).unbind(1))
        ]

    def _curve(self) -> _Curve:
        seen = dim_zero_cat(self.seen) if len(self.seen) else torch.empty(0, device=self.device)
        scores, truth = seen.reshape(-1, 2, self.num_classes).unbind(1)
        if missing := int(scores.isnan().sum()):
            raise ValueError(f"VOCAveragePrecision: `scores` must be numbers. Got NaN {missing} times.")
        return _Curve(scores, truth)


class _Curve:
    """The precision-recall curves of K classes, in columns `[N, K]` from the highest score down.

    Attributes:
        truth: 1, 0, or -1 for what does not count.
        hits: how many there are down to here.
        counted: how many images count down to here.
        is_point: whether a point of the curve lies here: where the score changes.
        precision: the precision down to here; 0 where there is no point, so that a maximum passes over it.
        positives: how many positive images each class has, `[K]`.
    """

    def __init__(self, scores: torch.Tensor, truth: torch.Tensor) -> None:
        scores, order = scores.sort(0, descending=True)
        self.truth = truth.gather(0, order)
        self.hits = (self.truth == 1).cumsum(0)
        self.counted = (self.truth >= 0).cumsum(0)
        self.is_point = torch.ones_like(self.truth, dtype=torch.bool)
        self.is_point[:-1] = scores[1:] != scores[:-1]
        self.precision = torch.where(self.is_point, self.hits / self.counted.clamp(min=1), 0.0)
        self.positives = (self.truth == 1).sum(0)

    def average_precision(self, rule: Rule) -> torch.Tensor:
        """The average precision of each class `[K]`; NaN for one without a positive image."""
        if not len(self.truth):
            return torch.full_like(self.positives, torch.nan, dtype=torch.float32)
        envelope = self.precision.flip(0).cummax(0).values.flip(0)  # the highest at this recall or above
        if rule == "2010":
            area = torch.where(self.truth == 1, envelope, 0.0).sum(0)
            return area / self.positives  # 0 / 0 = NaN: a class without positives
        # Compared as integers: 3 of 10 is a recall of at least 0.3, whatever floating point makes of it.
        reached = [10 * self.hits >= level * self.positives for level in range(11)]
        highest = torch.stack([torch.where(is_reached, envelope, 0.0).amax(0) for is_reached in reached])
        return torch.where(self.positives > 0, highest.mean(0), torch.nan)


def streaming_voc_mean_average_precision(
    scores: Value,
    labels: Value,
    difficult: Value = None,
    rule: Rule = "2010",
    metrics_collections: Collections = None,
    updates_collections: Collections = None,
    name: str | None = None,
) -> Streamed:
    """Pascal VOC's mean average precision over all batches (class `VOCAveragePrecision`, `average='macro'`).

    Args:
        scores: the higher the likelier, `[N, K]`: logits or probabilities.
        labels: 1 where an image shows the class, `[N, K]`.
        difficult: 1 where all that it shows of the class is difficult: that pair counts neither way, `[N,
            K]`.
        rule: `'2010'` or `'2007'`, see `VOCAveragePrecision`.
        metrics_collections: the collections that the value is added to.
        updates_collections: the collections that the update is added to.
        name: the scope of the two.

    Returns:
        A pair of Symbols `(value, update)`; given tensors, the value now.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.3, 0.6]])
        >>> slim.metrics.streaming_voc_mean_average_precision(scores, torch.tensor([[1, 0], [0, 1], [1, 0]]))
        tensor(0.9167)

    TF-Slim: has no such metric.
    """
    metric = VOCAveragePrecision(scores.shape[-1], rule, average="macro")
    return stream(metric, (scores, labels, difficult), metrics_collections, updates_collections, name)
