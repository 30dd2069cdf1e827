"""Pictures of metrics: precision-recall curves and confusion matrices.

They are drawn with matplotlib, which is in the extra `torchslim[plots]`. A figure can be saved
(`figure.savefig('curves.png')`) or put into TensorBoard (`SummaryWriter.add_figure`).
"""

# Shape letters: K classes, P points of a curve.
from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE, GRID, PAPER_MAP = "#1f5fa8", "#d8d8d8", "Blues"


def plot_precision_recall(
    curves: Sequence[tuple[torch.Tensor, torch.Tensor]],
    class_names: Sequence[str] | None = None,
    precisions: Sequence[float] | None = None,
) -> Figure:
    """Draws a precision-recall curve for each class, side by side.

    Args:
        curves: K pairs of precision and recall, `[P]` each, as `VOCAveragePrecision.curves` gives them.
        class_names: what stands above them; default: their numbers.
        precisions: the average precision of each class, to stand beside its name.

    Returns:
        A matplotlib figure.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.

    Example:
        >>> metric = slim.metrics.VOCAveragePrecision(num_classes=2)
        >>> metric.update(torch.rand(9, 2), torch.arange(18).reshape(9, 2) % 3 == 0)
        >>> figure = slim.metrics.plot_precision_recall(metric.curves(), ['cat', 'dog'], metric.compute())
        >>> len(figure.axes)
        2
    """
    names = class_names or [str(k) for k in range(len(curves))]
    columns = math.ceil(math.sqrt(len(curves)))
    rows = math.ceil(len(curves) / columns)
    figure = _figure("plot_precision_recall", 2.2 * columns, 2.2 * rows)
    for k, (precision, recall) in enumerate(curves):
        axes = figure.add_subplot(rows, columns, k + 1)
        beside = "" if precisions is None or math.isnan(precisions[k]) else f"  {100 * float(precisions[k]):.1f}"
        axes.set_title(names[k] + beside, fontsize=9)
        # From the left edge: up to the first recall, the precision is that of the first point.
        recall, precision = torch.cat([0 * recall[:1], recall]), torch.cat([precision[:1], precision])
        axes.plot(recall.tolist(), precision.tolist(), LINE, drawstyle="steps-pre")
        axes.set(xlim=(0, 1), ylim=(0, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.tick_params(labelsize=7)
        axes.grid(color=GRID, linewidth=0.5)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    return figure


def plot_confusion_matrix(matrix: torch.Tensor, class_names: Sequence[str] | None = None) -> Figure:
    """Draws a confusion matrix: the darker a square, the larger the share of its row; the numbers are percentages.

    Args:
        matrix: counts `[K, K]`, a row for each label, as `StreamingConfusionMatrix` gives them.
        class_names: of the rows and columns; default: their numbers.

    Returns:
        A matplotlib figure.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.

    Example:
        >>> figure = slim.metrics.plot_confusion_matrix(torch.tensor([[3, 1], [0, 4]]), ['cat', 'dog'])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['75', '25', '100']
    """
    names = class_names or [str(k) for k in range(len(matrix))]
    shares = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1e-12)
    side = 2 + 0.36 * len(names)
    figure = _figure("plot_confusion_matrix", side, side)
    axes = figure.add_subplot()
    axes.imshow(shares.tolist(), cmap=PAPER_MAP, vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    for row, column in shares.nonzero().tolist():
        share = shares[row, column].item()
        ink = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=7)
    return figure


def check_matplotlib(asker: str) -> None:
    """Raises a `ModuleNotFoundError` that says what to do if matplotlib is not installed.

    Args:
        asker: who needs it, for the message.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ModuleNotFoundError(
            f"{asker}: matplotlib is needed and not installed. Install it: pip install 'torchslim[plots]'."
        )


def _figure(function: str, width: float, height: float) -> Any:
    """An empty figure, in inches; it belongs to no window."""
    check_matplotlib(function)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
