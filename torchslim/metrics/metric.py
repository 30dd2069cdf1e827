"""What the metrics of this package have in common."""

from __future__ import annotations

from typing import Any

from torchmetrics import Metric


class StreamingMetric(Metric):
    """A `torchmetrics.Metric` that takes batches in one after the other, and draws itself.

    One pass over a batch is enough (`full_state_update`), and nothing is trained on it (`is_differentiable`).
    """

    full_state_update = False
    is_differentiable = False

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws the value with matplotlib, which is in the extra `torchslim[plots]`.

        Args:
            val: a value, or a list of them over time; default: the value now.
            ax: the axes to draw into; default: new ones.

        Returns:
            `(figure, axes)`.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        return self._plot(val, ax)
