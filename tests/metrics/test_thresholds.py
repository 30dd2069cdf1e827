"""Metrics at thresholds against scikit-learn and numbers worked by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

import torchslim as slim
from torchslim import metrics

THRESHOLDS = [0.5, 0.125, 0.125, 0.75, 1.5, -0.5]
COUNTS = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def random_case(seed: int, n: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities with ties, on and between the thresholds; labels; weights."""
    torch.manual_seed(seed)
    return torch.randint(17, (n,)) / 16, torch.randint(2, (n,)), torch.rand(n)


def counts_by_hand(predictions: Any, labels: Any, weights: Any, thresholds: Any) -> dict[str, NDArray[Any]]:
    rows = [
        sklearn_metrics.confusion_matrix(labels, predictions > t, sample_weight=weights, labels=[0, 1]).flatten()
        for t in thresholds
    ]
    return dict(zip(COUNTS, np.array(rows).T, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn_at_each_threshold(seed: int) -> None:
    predictions, labels, weights = random_case(seed)
    counts = counts_by_hand(predictions, labels, weights, THRESHOLDS)
    tn, fp, fn, tp = (counts[name] for name in COUNTS)
    with np.errstate(invalid="ignore"):
        shares = {
            "precision": np.nan_to_num(tp / (tp + fp)),
            "recall": tp / (tp + fn),
            "false_positive_rate": fp / (fp + tn),
            "false_negative_rate": fn / (fn + tp),
        }
    for name, expected in {**counts, **shares}.items():
        got = getattr(metrics, f"streaming_{name}_at_thresholds")(predictions, labels, THRESHOLDS, weights)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_equal_is_not_above() -> None:
    got = metrics.streaming_true_positives_at_thresholds(torch.tensor([0.5]), torch.tensor([1]), [0.4, 0.5, 0.6])
    assert got.tolist() == [1, 0, 0]


def test_thresholds_may_be_a_tensor() -> None:
    metric = metrics.StreamingRecallAtThresholds(torch.tensor([0.9, 0.1]))
    metric.update(torch.tensor([0.2, 0.95]), torch.tensor([1, 1]))
    assert metric.compute().tolist() == [0.5, 1]


def test_inputs_of_any_dtype_and_layout() -> None:
    predictions, labels, _ = random_case(0)
    expected = metrics.streaming_auc(predictions, labels)
    assert metrics.streaming_auc(predictions.half(), labels.bool()) == expected
    assert metrics.streaming_auc(predictions.double(), labels.float()) == expected
    columns = torch.stack([predictions, predictions], 1)
    assert metrics.streaming_auc(columns[:, 0], labels) == expected
    assert metrics.streaming_auc(columns, torch.stack([labels, labels], 1)) == pytest.approx(expected)
    hits = metrics.streaming_true_positives_at_thresholds(torch.tensor([1, 0]), torch.tensor([1, 1]), [0.5])
    assert hits.item() == 1


@pytest.mark.parametrize("thresholds", [[], [[0.5]]])
def test_thresholds_that_are_no_list_of_numbers(thresholds: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"at least one number. Got {thresholds}")):
        metrics.streaming_precision_at_thresholds(torch.zeros(1), torch.zeros(1), thresholds)


# Two of three positives and two of three negatives lie above 0.45.
PREDICTIONS, LABELS = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.4, 0.1]), torch.tensor([1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: metrics.StreamingSensitivityAtSpecificity(0.67), 2 / 3),  # above 0.5
        (lambda: metrics.StreamingSensitivityAtSpecificity(1.0), 1 / 3),  # above 0.8
        (lambda: metrics.StreamingSpecificityAtSensitivity(0.67), 2 / 3),  # above 0.5, not 0.4
        (lambda: metrics.StreamingSpecificityAtSensitivity(1.0), 1 / 3),
        (lambda: metrics.StreamingSpecificityAtSensitivity(0.0), 1.0),
        (lambda: metrics.RecallAtPrecision(0.67), 2 / 3),
        (lambda: metrics.RecallAtPrecision(0.7), 2 / 3),  # 2 / 3 is closer than 1
        (lambda: metrics.RecallAtPrecision(0.7, strict_mode=True), 1 / 3),  # but does not reach it
        (lambda: metrics.PrecisionAtRecall(0.5), 2 / 3),
        (lambda: metrics.PrecisionAtRecall(1.0 - 1e-6), 3 / 5),
        (lambda: metrics.F1Score(), 2 * 0.6 * 1 / 1.6),
    ],
)
def test_points_worked_by_hand(make: Callable[[], Any], expected: float) -> None:
    metric = make()
    metric.update(PREDICTIONS, LABELS)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-5)


def test_a_precision_that_is_never_reached() -> None:
    metric = metrics.RecallAtPrecision(0.9, strict_mode=True)
    metric.update(torch.tensor([0.2, 0.8]), torch.tensor([1, 0]))
    assert metric.compute() == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_f1_against_scikit_learn(seed: int) -> None:
    predictions, labels, weights = random_case(seed)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, predictions, sample_weight=weights)
    expected = np.nanmax(2 * precision * recall / (precision + recall))
    # Between two neighbouring probabilities lies a threshold.
    got = metrics.f1_score(labels, predictions, weights, num_thresholds=66)
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("StreamingSensitivityAtSpecificity", "specificity"),
        ("StreamingSpecificityAtSensitivity", "sensitivity"),
        ("RecallAtPrecision", "precision"),
        ("PrecisionAtRecall", "target_recall"),
    ],
)
def test_targets_that_are_no_share(name: str, argument: str) -> None:
    for target in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf"{name}: `{argument}` must be in \[0, 1\]. Got {target}"):
            getattr(metrics, name)(target)


@pytest.mark.parametrize(
    "name", ["F1Score", "StreamingAUC", "StreamingCurvePoints", "PrecisionRecallAtEqualThresholds"]
)
def test_too_few_thresholds(name: str) -> None:
    with pytest.raises(ValueError, match=r"`num_thresholds` must be at least 2. Got 1"):
        getattr(metrics, name)(num_thresholds=1)


@pytest.mark.parametrize("beyond", [-0.25, 1.25, torch.inf])
def test_what_is_no_probability_is_reported(beyond: float) -> None:
    """Probabilities are what thresholds in [0, 1] are for: logits must not go unnoticed."""
    predictions, labels = torch.tensor([0.2, beyond, 0.7]), torch.tensor([1, 0, 1])
    assert metrics.streaming_auc(predictions, labels).isnan()
    assert metrics.f1_score(labels, predictions).isnan()
    assert metrics.precision_recall_at_equal_thresholds(labels > 0, predictions).recall.isnan().all()
    weights = torch.tensor([1.0, 0.0, 1.0])
    assert metrics.f1_score(labels, predictions, weights) == pytest.approx(1)
    # Thresholds of one's own may be anywhere.
    assert not metrics.streaming_recall_at_thresholds(predictions, labels, [0.5]).isnan()


def test_metrics_at_thresholds_in_a_graph() -> None:
    p, t = slim.placeholder((None,), name="p"), slim.placeholder((None,), torch.long, name="t")
    value, update = metrics.streaming_recall_at_thresholds(
        p, t, [0.3, 0.7], metrics_collections="values", updates_collections=["updates"], name="mine"
    )
    graph = slim.get_default_graph()
    assert value.shape == update.shape == (2,)
    assert graph.get_collection("values") == [value]
    assert graph.get_collection("updates") == [update]
    assert update.node.target == "mine.update"
    graph.run(update, {p: torch.tensor([0.5]), t: torch.tensor([1])})
    assert graph.run(value).tolist() == pytest.approx([1, 0])
