"""All metrics with random inputs for each: what holds for every one is tested over this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torchmetrics import Metric

from torchslim import metrics

Batch = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Entry:
    """A metric and what it eats.

    Attributes:
        make: makes it.
        inputs: from a number of examples to random inputs, without weights, which come last if `weighted`.
        memory: how many numbers it keeps, however much it sees; None: it keeps the data.
        weighted: whether its `update` takes weights.
        ordered: whether its value depends on the order of the examples.
        nan: in which of the inputs a NaN makes the value NaN. (Whole numbers have none, and some metrics raise.)
    """

    make: Callable[[], Metric]
    inputs: Callable[[int], Batch]
    memory: int | None
    weighted: bool = True
    ordered: bool = False
    nan: tuple[int, ...] = (0,)


def numbers(n: int) -> Batch:
    return torch.randn(n), torch.randn(n)


def classes(n: int) -> Batch:
    return torch.randint(4, (n,)), torch.randint(4, (n,))


def yes_or_no(n: int) -> Batch:
    return torch.randint(2, (n,)).float(), torch.randint(2, (n,)).float()


def probabilities(n: int) -> Batch:
    """Predictions with many ties, and labels."""
    return torch.randint(9, (n,)) / 8, torch.randint(2, (n,)).float()


def probabilities_of_bool(n: int) -> Batch:
    predictions, labels = probabilities(n)
    return predictions, labels > 0


def vectors(n: int) -> Batch:
    return torch.randn(n, 3), torch.randn(n, 3)


def scores(n: int) -> Batch:
    """Scores of five classes, with ties, and one label each."""
    return torch.randint(9, (n, 5)) / 8, torch.randint(5, (n,))


def scores_and_sets(n: int) -> Batch:
    """The same with three labels each."""
    return torch.randint(9, (n, 5)) / 8, torch.randint(5, (n, 3))


def sets(n: int) -> Batch:
    return torch.randint(5, (n, 2)), torch.randint(5, (n, 3))


def scores_and_multi_hot(n: int) -> Batch:
    return torch.randint(9, (n, 3)) / 8, torch.randint(2, (n, 3))


THRESHOLDS = [0.5, 0.1, 0.9]

REGISTRY: dict[str, Entry] = {
    # Means, errors, shares.
    "mean": Entry(metrics.StreamingMean, lambda n: numbers(n)[:1], 2),
    "mean_absolute_error": Entry(metrics.StreamingMeanAbsoluteError, numbers, 2, nan=(0, 1)),
    "mean_squared_error": Entry(metrics.StreamingMeanSquaredError, numbers, 2, nan=(0, 1)),
    "root_mean_squared_error": Entry(metrics.StreamingRootMeanSquaredError, numbers, 2, nan=(0, 1)),
    "mean_relative_error": Entry(
        metrics.StreamingMeanRelativeError, lambda n: (*numbers(n), torch.rand(n) + 1), 2, nan=(0, 1, 2)
    ),
    "percentage_less": Entry(partial(metrics.StreamingPercentageLess, 0.3), lambda n: numbers(n)[:1], 2),
    "accuracy": Entry(metrics.StreamingAccuracy, classes, 2, nan=()),
    # Yes or no.
    "precision": Entry(metrics.StreamingPrecision, yes_or_no, 2, nan=(0, 1)),
    "recall": Entry(metrics.StreamingRecall, yes_or_no, 2, nan=(0, 1)),
    "false_positive_rate": Entry(metrics.StreamingFalsePositiveRate, yes_or_no, 2, nan=(0, 1)),
    "false_negative_rate": Entry(metrics.StreamingFalseNegativeRate, yes_or_no, 2, nan=(0, 1)),
    "true_positives": Entry(metrics.StreamingTruePositives, yes_or_no, 1, nan=(0, 1)),
    "true_negatives": Entry(metrics.StreamingTrueNegatives, yes_or_no, 1, nan=(0, 1)),
    "false_positives": Entry(metrics.StreamingFalsePositives, yes_or_no, 1, nan=(0, 1)),
    "false_negatives": Entry(metrics.StreamingFalseNegatives, yes_or_no, 1, nan=(0, 1)),
    # At thresholds.
    **{
        f"{name}_at_thresholds": Entry(partial(make, THRESHOLDS), probabilities, 8, nan=(0, 1))
        for name, make in {
            "true_positives": metrics.StreamingTruePositivesAtThresholds,
            "true_negatives": metrics.StreamingTrueNegativesAtThresholds,
            "false_positives": metrics.StreamingFalsePositivesAtThresholds,
            "false_negatives": metrics.StreamingFalseNegativesAtThresholds,
            "false_positive_rate": metrics.StreamingFalsePositiveRateAtThresholds,
            "false_negative_rate": metrics.StreamingFalseNegativeRateAtThresholds,
            "precision": metrics.StreamingPrecisionAtThresholds,
            "recall": metrics.StreamingRecallAtThresholds,
        }.items()
    },
    "sensitivity_at_specificity": Entry(
        partial(metrics.StreamingSensitivityAtSpecificity, 0.6), probabilities, 402, nan=(0, 1)
    ),
    "specificity_at_sensitivity": Entry(
        partial(metrics.StreamingSpecificityAtSensitivity, 0.6), probabilities, 402, nan=(0, 1)
    ),
    "recall_at_precision": Entry(partial(metrics.RecallAtPrecision, 0.6), probabilities, 402, nan=(0, 1)),
    "recall_at_precision_strict": Entry(
        partial(metrics.RecallAtPrecision, 0.6, strict_mode=True), probabilities, 402, nan=(0, 1)
    ),
    "precision_at_recall": Entry(partial(metrics.PrecisionAtRecall, 0.6), probabilities, 402, nan=(0, 1)),
    "f1_score": Entry(partial(metrics.F1Score, 21), probabilities, 44, nan=(0, 1)),
    # Curves.
    **{
        f"auc_{curve}_{method}": Entry(partial(metrics.StreamingAUC, 21, curve, method), probabilities, 44, nan=(0, 1))
        for curve in ("ROC", "PR")
        for method in ("trapezoidal", "careful_interpolation", "minoring", "majoring")
    },
    "auc_using_histogram": Entry(partial(metrics.AUCUsingHistogram, [0.0, 1.0], 9), probabilities_of_bool, 18),
    "curve_points_ROC": Entry(partial(metrics.StreamingCurvePoints, 9), probabilities, 20, nan=(0, 1)),
    "curve_points_PR": Entry(partial(metrics.StreamingCurvePoints, 9, "PR"), probabilities, 20, nan=(0, 1)),
    "precision_recall_at_equal_thresholds": Entry(
        partial(metrics.PrecisionRecallAtEqualThresholds, 5), probabilities_of_bool, 10
    ),
    "dynamic_auc_ROC": Entry(metrics.StreamingDynamicAUC, probabilities, None, nan=(0, 1)),
    "dynamic_auc_PR": Entry(partial(metrics.StreamingDynamicAUC, "PR"), probabilities, None, nan=(0, 1)),
    "auc_with_confidence_intervals": Entry(metrics.AUCWithConfidenceIntervals, probabilities, None, nan=(0, 1)),
    # Two series, and what they are.
    "covariance": Entry(metrics.StreamingCovariance, numbers, 9, nan=(0, 1)),
    "pearson_correlation": Entry(metrics.StreamingPearsonCorrelation, numbers, 9, nan=(0, 1)),
    "mean_cosine_distance": Entry(partial(metrics.StreamingMeanCosineDistance, 1), vectors, 2, nan=(0, 1)),
    "concat": Entry(partial(metrics.StreamingConcat, [None, 3]), lambda n: vectors(n)[:1], None, False, True),
    "concat_of_whole_numbers": Entry(
        partial(metrics.StreamingConcat, [None], max_size=5, dtype=torch.int64),
        lambda n: classes(n)[:1],
        None,
        False,
        True,
        nan=(),
    ),
    "count": Entry(metrics.Count, lambda n: numbers(n)[:1], 1, nan=()),
    # Classes.
    "confusion_matrix": Entry(partial(metrics.StreamingConfusionMatrix, 4), classes, 25, nan=()),
    "mean_iou": Entry(partial(metrics.StreamingMeanIOU, 4), classes, 25, nan=()),
    "cohen_kappa": Entry(partial(metrics.CohenKappa, 4), classes, 25, nan=()),
    # At k.
    "recall_at_k": Entry(partial(metrics.StreamingRecallAtK, 2), scores, 2),
    "sparse_recall_at_k": Entry(partial(metrics.StreamingSparseRecallAtK, 2), scores_and_sets, 2),
    "sparse_recall_at_k_of_a_class": Entry(partial(metrics.StreamingSparseRecallAtK, 2, 1), scores_and_sets, 2),
    "sparse_recall_at_top_k": Entry(metrics.SparseRecallAtTopK, sets, 2, nan=()),
    "sparse_precision_at_k": Entry(partial(metrics.StreamingSparsePrecisionAtK, 2), scores_and_sets, 2),
    "sparse_precision_at_top_k": Entry(metrics.StreamingSparsePrecisionAtTopK, sets, 2, nan=()),
    "sparse_average_precision_at_k": Entry(partial(metrics.StreamingSparseAveragePrecisionAtK, 2), scores_and_sets, 2),
    "sparse_average_precision_at_top_k": Entry(metrics.StreamingSparseAveragePrecisionAtTopK, sets, 2, nan=()),
    "voc_average_precision": Entry(partial(metrics.VOCAveragePrecision, 3), scores_and_multi_hot, None, False, nan=()),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for an `entry` once for each."""
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", list(REGISTRY.values()), ids=list(REGISTRY))


@pytest.fixture
def registry() -> dict[str, Entry]:
    """All entries at once."""
    return REGISTRY
