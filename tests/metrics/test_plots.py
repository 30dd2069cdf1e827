"""Pictures of metrics: what is drawn, not how."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib
import pytest
import torch

from torchslim import metrics

matplotlib.use("agg")


def test_every_metric_draws_itself(entry: Any) -> None:
    from matplotlib import pyplot

    metric = entry.make()
    metric.update(*entry.inputs(9))
    if isinstance(metric, metrics.StreamingConcat) or isinstance(metric.compute(), tuple):
        pytest.skip("is no value that could be drawn")
    figure, axes = metric.plot()
    assert figure is not None
    assert axes is not None
    pyplot.close("all")


def test_a_confusion_matrix_draws_itself() -> None:
    from matplotlib import pyplot

    metric = metrics.StreamingConfusionMatrix(2)
    metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    _, axes = metric.plot(labels=["cat", "dog"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert [text.get_text() for text in axes.texts] == ["1.0", "1.0", "0.0", "1.0"]
    pyplot.close("all")


def test_values_over_time() -> None:
    from matplotlib import pyplot

    metric = metrics.StreamingAccuracy()
    _, axes = metric.plot([torch.tensor(0.5), torch.tensor(0.75)])
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.75]
    pyplot.close("all")


def test_precision_recall_curves() -> None:
    metric = metrics.VOCAveragePrecision(3)
    metric.update(
        torch.tensor([[0.9, 0.5, 0.1], [0.8, 0.5, 0.2], [0.7, 0.1, 0.3]]),
        torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0]]),
    )
    figure = metrics.plot_precision_recall(metric.curves(), ["cat", "dog", "cow"], metric.compute())
    cat, dog, cow = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["cat  83.3", "dog  50.0", "cow"]
    assert cat.lines[0].get_xdata() == pytest.approx([0, 0.5, 0.5, 1])
    assert cat.lines[0].get_ydata() == pytest.approx([1, 1, 0.5, 2 / 3])
    assert dog.lines[0].get_xdata() == pytest.approx([0, 1, 1])
    assert cow.lines[0].get_ydata() == pytest.approx([0, 0, 0, 0])
    assert metrics.plot_precision_recall(metric.curves()).axes[1].get_title() == "1"


def test_confusion_matrix_shows_shares_of_rows() -> None:
    figure = metrics.plot_confusion_matrix(torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    axes = figure.axes[0]
    assert {(*text.get_position(), text.get_text()) for text in axes.texts} == {
        (0, 0, "75"),
        (1, 0, "25"),
        (2, 2, "100"),
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"plot_confusion_matrix: matplotlib .* pip install 'torchslim\[plots"
    ):
        metrics.plot_confusion_matrix(torch.eye(2))
    with pytest.raises(ModuleNotFoundError, match="plot_precision_recall: matplotlib"):
        metrics.plot_precision_recall([(torch.ones(1), torch.ones(1))])
