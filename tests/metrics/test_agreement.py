"""Confusion matrix, mean IoU and kappa against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn import metrics as sklearn_metrics

from torchslim import metrics
from torchslim.graph import get_default_graph, placeholder


def case(shape: tuple[int, ...] = (60,), classes: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randint(classes, shape), torch.randint(classes, shape), torch.rand(shape)


@pytest.mark.parametrize("shape", [(60,), (4, 5, 6)], ids=len)
@pytest.mark.parametrize("weighted", [False, True])
def test_against_scikit_learn(shape: tuple[int, ...], weighted: bool) -> None:
    predictions, labels, weights = case(shape)
    flat = [tensor.flatten().numpy() for tensor in (labels, predictions)]
    sample_weight = weights.flatten().numpy() if weighted else None
    given = (weights,) if weighted else ()

    def streamed(metric: torchmetrics.Metric) -> torch.Tensor:
        for batch in zip(*(t.split(3) for t in (predictions, labels, *given)), strict=True):
            metric.update(*batch)
        return metric.compute()

    matrix = sklearn_metrics.confusion_matrix(*flat, labels=range(5), sample_weight=sample_weight)
    np.testing.assert_allclose(streamed(metrics.StreamingConfusionMatrix(5)), matrix, rtol=1e-6)
    iou = sklearn_metrics.jaccard_score(*flat, average="macro", sample_weight=sample_weight)
    np.testing.assert_allclose(streamed(metrics.StreamingMeanIOU(5)), iou, rtol=1e-6)
    kappa = sklearn_metrics.cohen_kappa_score(*flat, sample_weight=sample_weight)
    np.testing.assert_allclose(streamed(metrics.CohenKappa(5)), kappa, rtol=1e-6)


def test_classes_that_never_occur_are_left_out_of_the_mean() -> None:
    predictions, labels, _ = case()
    few, many = (metrics.streaming_mean_iou(predictions, labels, num_classes=k) for k in (5, 50))
    torch.testing.assert_close(few, many)
    assert few.dtype == torch.float32


def test_the_update_of_mean_iou_gives_the_matrix() -> None:
    graph = get_default_graph()
    p, t = placeholder((None, 4), torch.int64, name="p"), placeholder((None, 4), torch.int64, name="t")
    value, update = metrics.streaming_mean_iou(p, t, 2)
    assert (value.shape, value.dtype) == ((), torch.float32)
    assert (update.shape, update.dtype) == ((2, 2), torch.float64)
    batch = {p: torch.tensor([[0, 1, 1, 1]]), t: torch.tensor([[0, 0, 0, 1]])}
    assert graph.run(update, batch).tolist() == [[1, 2], [0, 1]]
    assert graph.run(update, batch).tolist() == [[2, 4], [0, 2]]
    assert graph.run(value) == pytest.approx(1 / 3)


@pytest.mark.parametrize("make", [metrics.StreamingMeanIOU, metrics.CohenKappa, metrics.StreamingConfusionMatrix])
def test_what_weighs_nothing_may_be_no_class(make: type[torchmetrics.Metric]) -> None:
    """The borders of VOC's segmentations are labelled 255."""
    labels, predictions = torch.tensor([0, 255, 1, -1, 1]), torch.tensor([0, 1, 1, 0, 7])
    known = torch.tensor([1.0, 0, 1, 0, 0])
    metric, expected = make(2), make(2)
    metric.update(predictions, labels, known)
    expected.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert torch.equal(metric.compute(), expected.compute())
    metric.update(predictions, labels)
    with pytest.raises(ValueError, match=rf"{make.__name__}: .* from 0 to 1. Got others with a weight of 3."):
        metric.compute()


def test_labels_of_any_type() -> None:
    expected = [[1, 1], [0, 1]]
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.float32, torch.bfloat16):
        metric = metrics.StreamingConfusionMatrix(2)
        metric.update(torch.tensor([0, 1, 1]).to(dtype), torch.tensor([[0], [0], [1]]).to(dtype))
        assert metric.compute().tolist() == expected
    metric = metrics.StreamingConfusionMatrix(2)
    metric.update(torch.tensor([0, torch.nan]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="Got others with a weight of 1"):
        metric.compute()


def test_kappa_of_little() -> None:
    same = torch.zeros(4, dtype=torch.long)
    assert metrics.cohen_kappa(same, same, 2) == 0
    assert metrics.cohen_kappa(same[:0], same[:0], 2) == 0
    assert metrics.cohen_kappa(same, same, 2, weights=0.0) == 0
    both = torch.tensor([0, 1, 0, 1])
    assert metrics.cohen_kappa(both, both, 2, weights=torch.tensor([2, 1, 0, 1])) == 1
    assert metrics.cohen_kappa(both, 1 - both, 2) == -1


def test_number_of_classes() -> None:
    labels = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"CohenKappa: `num_classes` must be at least 2. Got 1"):
        metrics.cohen_kappa(labels, labels, num_classes=1)
    with pytest.raises(ValueError, match=r"StreamingMeanIOU: `num_classes` must be at least 1. Got 0"):
        metrics.streaming_mean_iou(labels, labels, num_classes=0)
    with pytest.raises(ValueError, match=r"CohenKappa: .*Got \[3\] and \[2\]"):
        metrics.cohen_kappa(labels, torch.zeros(3), 2)
