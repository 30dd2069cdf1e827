"""Areas under curves against TensorFlow's numbers, scikit-learn and torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import binary_auroc

import torchslim as slim
from torchslim import metrics

PREDICTIONS = torch.tensor([0.05, 0.1, 0.3, 0.35, 0.4, 0.55, 0.6, 0.8, 0.8, 0.95])
LABELS = torch.tensor([0, 0, 1, 0, 0, 1, 0, 1, 0, 1])
WEIGHTS = torch.tensor([1, 2, 0.5, 1, 0, 1, 3, 1, 0.5, 2])


# What `tf.compat.v1.metrics.auc` of TensorFlow 2.21 gives with 11 thresholds, without and with weights.
@pytest.mark.parametrize(
    ("curve", "method", "expected", "weighted"),
    [
        ("ROC", "trapezoidal", 0.7499999, 0.8666666),
        ("ROC", "careful_interpolation", 0.7499999, 0.8666666),
        ("ROC", "minoring", 0.7083333, 0.8148147),
        ("ROC", "majoring", 0.7916666, 0.9185184),
        ("PR", "trapezoidal", 0.7327380, 0.8592125),
        ("PR", "careful_interpolation", 0.7170584, 0.8473463),
        ("PR", "minoring", 0.6738094, 0.8057266),
        ("PR", "majoring", 0.7916665, 0.9126983),
    ],
)
def test_summation_methods_against_tensorflow(curve: Any, method: Any, expected: float, weighted: float) -> None:
    for weights, number in ((None, expected), (WEIGHTS, weighted)):
        got = metrics.streaming_auc(PREDICTIONS, LABELS, weights, 11, curve=curve, summation_method=method)
        assert got.item() == pytest.approx(number, abs=1e-6)


def test_thresholds_of_ones_own_against_tensorflow() -> None:
    got = metrics.streaming_auc(PREDICTIONS, LABELS, curve="PR", thresholds=[0.7, 0.2, 0.45])
    assert got.item() == pytest.approx(0.7124999, abs=1e-6)


# What TF-Slim 1.1.0 on TensorFlow 2.21 gives.
@pytest.mark.parametrize(
    ("weights", "alpha", "logit", "expected"),
    [
        (None, 0.95, True, (0.7291667, 0.3057576, 0.9427203)),
        (None, 0.8, False, (0.7291667, 0.4953916, 0.9629418)),
        (WEIGHTS, 0.95, True, (0.8222223, 0.4035462, 0.9693401)),
        (WEIGHTS, 0.8, False, (0.8222223, 0.6385048, 1.0059397)),
    ],
)
def test_confidence_intervals_against_tf_slim(weights: Any, alpha: float, logit: bool, expected: Any) -> None:
    got = metrics.auc_with_confidence_intervals(LABELS, PREDICTIONS, weights, alpha, logit)
    assert [number.item() for number in got] == pytest.approx(expected, abs=1e-6)
    assert {number.dtype for number in got} == {torch.float32}


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randint(40, (200,)) / 39, torch.randint(2, (200,)), torch.rand(200)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_exact_areas_against_scikit_learn(seed: int, weighted: bool) -> None:
    predictions, labels, given = random_case(seed)
    weights = given if weighted else None
    expected = sklearn_metrics.roc_auc_score(labels, predictions, sample_weight=weights)
    scores = predictions * 7 - 3  # any numbers will do
    assert metrics.streaming_dynamic_auc(labels, scores, weights=weights).item() == pytest.approx(expected)
    assert metrics.auc_with_confidence_intervals(labels, scores, weights).auc.item() == pytest.approx(expected)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, predictions, sample_weight=weights)
    expected = sklearn_metrics.auc(recall, precision)
    assert metrics.streaming_dynamic_auc(labels, scores, "PR", weights=weights).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_areas_at_thresholds_against_the_exact_ones(seed: int) -> None:
    """Between two neighbouring predictions lies a threshold or more: nothing is lost."""
    predictions, labels, weights = random_case(seed)
    exact = sklearn_metrics.roc_auc_score(labels, predictions, sample_weight=weights)
    assert metrics.streaming_auc(predictions, labels, weights, 400).item() == pytest.approx(exact, abs=1e-5)
    expected = binary_auroc(predictions, labels).item()
    assert metrics.streaming_auc(predictions, labels, num_thresholds=400).item() == pytest.approx(expected, rel=1e-5)
    histogram = metrics.auc_using_histogram(labels > 0, predictions, [0.0, 1.0], nbins=400)
    assert histogram.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("seed", range(4))
def test_steps_bound_the_exact_area(curve: Any, seed: int) -> None:
    predictions, labels, weights = random_case(seed)
    exact = metrics.streaming_dynamic_auc(labels, predictions, curve, weights=weights).item()
    low, high = (
        metrics.streaming_auc(predictions, labels, weights, 12, curve=curve, summation_method=method).item()
        for method in ("minoring", "majoring")
    )
    assert low < high
    if curve == "ROC":  # precision goes up and down between thresholds
        assert low < exact < high


def test_careful_interpolation_is_the_integral_of_the_interpolated_curve() -> None:
    """Points between thresholds, with true and false positives on straight lines, joined by many short lines."""
    count = metrics.StreamingAUC(7)
    count.update(PREDICTIONS, LABELS, WEIGHTS)
    tp, fp, _, fn = (number.double().numpy() for number in count.confusion())
    fine = np.linspace(0, len(tp) - 1, 60001)
    tps, fps = (np.interp(fine, np.arange(len(tp)), number) for number in (tp, fp))
    seen = tps + fps > 0
    expected = -np.trapezoid(tps[seen] / (tps + fps)[seen], tps[seen] / (tp[0] + fn[0]))
    got = metrics.streaming_auc(PREDICTIONS, LABELS, WEIGHTS, 7, curve="PR", summation_method="careful_interpolation")
    assert got.item() == pytest.approx(expected, abs=1e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Scores of N(1, 1) and N(0, 1): the area is Phi(1 / sqrt(2))."""
    truth = torch.special.ndtr(torch.tensor(0.5).sqrt()).item()
    labels = torch.arange(200) % 2
    intervals = [
        metrics.auc_with_confidence_intervals(labels, torch.randn(200) + labels, alpha=0.8) for _ in range(300)
    ]
    covered = sum(lower <= truth <= upper for _, lower, upper in intervals) / len(intervals)
    assert covered == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("labels", [torch.zeros(4), torch.ones(4)])
def test_areas_of_one_label(labels: torch.Tensor) -> None:
    predictions = torch.tensor([0.1, 0.6, 0.6, 0.9])
    assert metrics.streaming_dynamic_auc(labels, predictions) == 0
    assert metrics.auc_with_confidence_intervals(labels, predictions) == (0, 0, 0)
    assert metrics.auc_using_histogram(labels > 0, predictions, [0.0, 1.0]).isnan()
    # An example of the other label changes nothing while its weight is 0.
    labels[0], weights = 1 - labels[0], torch.tensor([0.0, 1, 1, 1])
    assert metrics.streaming_dynamic_auc(labels, predictions, weights=weights) == 0
    assert metrics.auc_with_confidence_intervals(labels, predictions, weights) == (0, 0, 0)


def test_a_perfect_ranking_leaves_no_interval() -> None:
    labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.2, 0.8, 0.9])
    assert metrics.auc_with_confidence_intervals(labels, predictions) == (1, 1, 1)
    assert metrics.auc_with_confidence_intervals(labels, -predictions) == (0, 0, 0)


def test_too_little_weight_for_an_interval() -> None:
    weights = torch.full((4,), 0.2)
    labels, predictions = torch.tensor([0, 1, 0, 1]), torch.tensor([0.1, 0.2, 0.8, 0.9])
    assert metrics.auc_with_confidence_intervals(labels, predictions, weights) == (0, 0, 0)
    assert metrics.auc_with_confidence_intervals(labels, predictions, 2 * weights).auc == pytest.approx(0.75)


@pytest.mark.parametrize("make", [metrics.StreamingDynamicAUC, metrics.AUCWithConfidenceIntervals])
def test_exact_curves_want_labels_of_0_or_1(make: Any) -> None:
    metric = make()
    metric.update(torch.rand(3), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"`labels` must be 0 or 1. Got 2"):
        metric.compute()


def test_the_ends_of_the_histogram_take_what_lies_beyond() -> None:
    labels, scores = torch.tensor([True, False, True, False]), torch.tensor([9.0, -9.0, 1.0, 0.5])
    assert metrics.auc_using_histogram(labels, scores, [0.0, 1.0], nbins=4) == 1
    assert metrics.auc_using_histogram(labels, scores, [0.0, 1.0], nbins=1) == 0.5
    inf = torch.tensor([torch.inf, -torch.inf, 1.0, 0.5])
    assert metrics.auc_using_histogram(labels, inf, [0.0, 1.0], nbins=4) == 1


def test_the_histogram_takes_other_ranks_if_told_so() -> None:
    labels, scores = torch.rand(4, 3) > 0.5, torch.rand(4, 3)
    with pytest.raises(ValueError, match=r"must be of rank 1. Got shape \[4, 3\]"):
        metrics.auc_using_histogram(labels, scores, [0.0, 1.0])
    got = metrics.auc_using_histogram(labels, scores, [0.0, 1.0], check_shape=False)
    assert got == metrics.auc_using_histogram(labels.flatten(), scores.flatten(), torch.tensor([0.0, 1.0]))


def test_the_collections_of_the_histogram() -> None:
    labels, scores = slim.placeholder((None,), torch.bool), slim.placeholder((None,))
    metrics.auc_using_histogram(labels, scores, [0.0, 1.0], collections=["mine"])
    graph = slim.get_default_graph()
    assert isinstance(graph.get_collection("mine")[0], metrics.AUCUsingHistogram)
    assert graph.get_collection("mine") == graph.get_collection("metric_variables")


def test_unknown_options() -> None:
    with pytest.raises(ValueError, match=r"StreamingAUC: `curve` must be 'ROC' or 'PR'. Got 'XYZ'"):
        metrics.StreamingAUC(curve="XYZ")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`summation_method` must be one of 'trapezoidal'.* Got 'simpson'"):
        metrics.StreamingAUC(summation_method="simpson")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"StreamingDynamicAUC: `curve` must be .* Got 'roc'"):
        metrics.StreamingDynamicAUC("roc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`alpha` must be between 0 and 1. Got 95"):
        metrics.AUCWithConfidenceIntervals(95)
    with pytest.raises(ValueError, match=r"`score_range` must be .* Got 1.0 and 0.5"):
        metrics.AUCUsingHistogram([1.0, 0.5])
    with pytest.raises(ValueError, match=r"`nbins` must be at least 1. Got 0"):
        metrics.AUCUsingHistogram([0.0, 1.0], 0)
    with pytest.raises(ValueError, match=r"`boolean_labels` must be bool. Got torch.int64"):
        metrics.auc_using_histogram(LABELS, PREDICTIONS, [0.0, 1.0])
