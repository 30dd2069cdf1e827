"""What most metrics are: a sum divided by another."""

from __future__ import annotations

from typing import Any

import torch

from torchslim.metrics.metric import StreamingMetric
from torchslim.metrics.shapes import Weights, spread


class StreamingRatio(StreamingMetric):
    """A sum divided by another, over all batches; 0 while the divisor is 0.

    Subclasses add to the two sums in `update`. They are kept in float64, so that no count grows too large to
    be added to, and are all the memory that such a metric takes.
    """

    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def add_mean(self, values: torch.Tensor, weights: Weights = None) -> None:
        """Adds values to one sum and their weights to the other; weight 0 leaves a value out, even a NaN."""
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        if weights is None:
            self.total = self.total + values.sum()
            self.count = self.count + values.numel()
        else:
            weights = spread(type(self).__name__, weights, values)
            self.total = self.total + torch.where(weights != 0, values * weights, 0).sum()
            self.count = self.count + weights.sum()

    def compute(self) -> torch.Tensor:
        """The quotient, float32."""
        return torch.where(self.count <= 0, 0.0, self.total / self.count).float()


class StreamingShare(StreamingRatio):
    """A ratio between 0 and 1: the share of what counts that is right."""

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
