"""Counts and error rates of yes-or-no predictions against scikit-learn's confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from torchslim import metrics

NAMES = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def reference(predictions: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> dict[str, float]:
    matrix = confusion_matrix(labels != 0, predictions != 0, sample_weight=weights, labels=[False, True])
    counts = dict(zip(NAMES, np.asarray(matrix, np.float64).flatten().tolist(), strict=True))
    negatives = counts["true_negatives"] + counts["false_positives"]
    positives = counts["true_positives"] + counts["false_negatives"]
    counts["false_positive_rate"] = counts["false_positives"] / negatives
    counts["false_negative_rate"] = counts["false_negatives"] / positives
    return counts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_against_scikit_learn(seed: int, weighted: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    predictions, labels = torch.randint(2, (2, 40)).to(dtype)
    weights = torch.rand(40) if weighted else None
    for name, expected in reference(predictions, labels, weights).items():
        got = getattr(metrics, f"streaming_{name}")(predictions, labels, weights)
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_zero_is_true(name: str) -> None:
    predictions, labels = torch.tensor([0.4, -1.0, 0.0, 0.0]), torch.tensor([3, 0, -2, 0])
    assert getattr(metrics, f"streaming_{name}")(predictions, labels) == 1


@pytest.mark.parametrize(
    ("name", "labels"), [("false_positive_rate", torch.ones(3)), ("false_negative_rate", torch.zeros(3))]
)
def test_rates_of_nothing_are_zero(name: str, labels: torch.Tensor) -> None:
    for predictions in (torch.zeros(3), torch.ones(3)):
        assert getattr(metrics, f"streaming_{name}")(predictions, labels) == 0


def test_counts_do_not_saturate() -> None:
    """In float32 2 ** 24 + 1 == 2 ** 24: TF-Slim's counts stop growing there."""
    metric = metrics.StreamingTruePositives()
    metric.update(torch.ones(1), torch.ones(1), 2.0**24)
    for _ in range(4):
        metric.update(torch.ones(1), torch.ones(1))
    assert metric.compute() == 2**24 + 4


@pytest.mark.parametrize("name", [*NAMES, "false_positive_rate", "false_negative_rate"])
def test_shapes(name: str) -> None:
    function: Any = getattr(metrics, f"streaming_{name}")
    predictions, labels = torch.randint(2, (2, 6))
    assert function(predictions[:, None], labels) == function(predictions, labels[:, None])
    with pytest.raises(ValueError, match=r"Got \[3\] and \[4\]"):
        function(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"Got \[5\] for values of shape \[6\]"):
        function(predictions, labels, torch.ones(5))
