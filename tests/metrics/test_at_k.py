"""Recall and precision at k against scikit-learn, sets of Python, and numbers of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

import torchslim as slim
from torchslim import metrics
from torchslim.graph import get_default_graph, placeholder


def case(seed: int, examples: int = 12, classes: int = 7, labels: int = 4) -> tuple[torch.Tensor, ...]:
    """Scores with ties, labels that repeat and are out of range, and weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(6, (examples, classes), generator=generator).float()
    truth = torch.randint(-1, classes + 2, (examples, labels), generator=generator)
    return scores, truth, torch.rand(examples, generator=generator)


def highest(scores: torch.Tensor, k: int) -> list[list[int]]:
    """The k best classes of each row; of equal ones the lower."""
    return [sorted(range(len(row)), key=lambda c, row=row: (-row[c], c))[:k] for row in scores.tolist()]


def recall(predicted: list[list[int]], truth: list[list[int]], weights: list[float], class_id: int | None) -> float:
    pairs = [(set(p), {t for t in row if class_id in (None, t)}) for p, row in zip(predicted, truth, strict=True)]
    found = sum(w * len(p & t) for w, (p, t) in zip(weights, pairs, strict=True))
    wanted = sum(w * len(t) for w, (_, t) in zip(weights, pairs, strict=True))
    return found / wanted if wanted else float("nan")


def precision(predicted: list[list[int]], truth: list[list[int]], weights: list[float], class_id: int | None) -> float:
    return recall(truth, predicted, weights, class_id)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("class_id", [None, 3])
@pytest.mark.parametrize(
    ("at_k", "at_top_k", "reference"),
    [
        (metrics.StreamingSparseRecallAtK, metrics.SparseRecallAtTopK, recall),
        (metrics.StreamingSparsePrecisionAtK, metrics.StreamingSparsePrecisionAtTopK, precision),
    ],
)
def test_against_sets(
    seed: int, k: int, class_id: int | None, at_k: Any, at_top_k: Any, reference: Callable[..., float]
) -> None:
    scores, truth, weights = case(seed)
    predicted = highest(scores, k)
    expected = reference(predicted, truth.tolist(), weights.tolist(), class_id)
    for metric, given in ((at_k(k, class_id), scores), (at_top_k(class_id), torch.tensor(predicted))):
        for rows in torch.arange(12).split(5):
            metric.update(given[rows], truth[rows], weights[rows])
        assert metric.compute().item() == pytest.approx(expected, nan_ok=True)
        assert metric.compute().dtype == torch.float64


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 5])
def test_recall_of_one_label_is_top_k_accuracy(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, labels = torch.randn(20, 7, generator=generator), torch.randint(7, (20,), generator=generator)
    weights = torch.rand(20, generator=generator)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=range(7), sample_weight=weights)
    assert metrics.streaming_recall_at_k(scores, labels, k, weights).item() == pytest.approx(expected)
    assert metrics.streaming_sparse_recall_at_k(scores, labels, k, weights=weights).item() == pytest.approx(expected)


# What TF-Slim 1.1.0 gives for two examples.
SCORES = [[0.1, 0.9, 0.3, 0.2], [0.5, 0.5, 0.5, 0.1]]
BY_TENSORFLOW = [
    ("recall", [[1, -1], [0, 0]], {"k": 2}, 2 / 3),
    ("recall", [[1, 9], [2, 0]], {"k": 2}, 1 / 2),
    ("precision", [[1, 1], [2, 0]], {"k": 2}, 1 / 2),
    ("average_precision", [[1, 1], [2, 0]], {"k": 2}, 1 / 2),
    ("average_precision", [[1, 9], [2, 0]], {"k": 2}, 3 / 4),
    ("average_precision", [[-1, -1], [2, 0]], {"k": 2}, float("nan")),
]
BY_TENSORFLOW_SPARSE = [
    ("recall", [[1, -1, 0], [0, 0, 0]], {"k": 2}, 1 / 2),
    ("recall", [[1, -1, 0], [2, 2, 0]], {"k": 2, "class_id": 2}, 0.0),
    ("precision", [[1, -1, 0], [2, 2, 0]], {"k": 3, "class_id": 2, "weights": torch.tensor([2.0, 3.0])}, 0.6),
    ("average_precision", [[1, 9], [2, 1]], {"k": 2}, 0.375),
    ("average_precision", [[1, 1, 0], [2, 1, 0]], {"k": 3}, 0.7916666666666666),
    ("average_precision", [[1, 9, -1], [2, 1, 0]], {"k": 3}, 0.5416666666666666),
]


@pytest.mark.parametrize(("name", "labels", "options", "expected"), BY_TENSORFLOW)
def test_labels_that_repeat_or_are_no_class(
    name: str, labels: list[list[int]], options: dict[str, Any], expected: float
) -> None:
    function = getattr(metrics, f"streaming_sparse_{name}_at_k")
    got = function(torch.tensor(SCORES), torch.tensor(labels), **options)
    assert got.item() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("name", "labels", "options", "expected"), BY_TENSORFLOW_SPARSE)
def test_sparse_labels(name: str, labels: list[list[int]], options: dict[str, Any], expected: float) -> None:
    function = getattr(metrics, f"streaming_sparse_{name}_at_k")
    scores = torch.tensor(SCORES)
    got = function(scores, torch.tensor(labels).to_sparse(), **options)
    assert got.item() == pytest.approx(expected)
    x, t = placeholder((2, 4), name="x"), placeholder((2, len(labels[0])), torch.int64, name="t")
    value, update = function(x, slim.dense_to_sparse(t), **options)
    assert get_default_graph().run(update, {x: scores, t: torch.tensor(labels)}).item() == pytest.approx(expected)
    assert (value.shape, value.dtype) == ((), torch.float64)


def test_predictions_that_repeat() -> None:
    labels = torch.tensor([[1, 1], [2, 3]])
    predicted = torch.tensor([[1, 1], [2, 0]])
    assert metrics.streaming_sparse_precision_at_top_k(predicted, labels).item() == pytest.approx(2 / 3)
    assert metrics.sparse_recall_at_top_k(labels, predicted).item() == pytest.approx(2 / 3)


def test_more_dimensions() -> None:
    scores, truth, weights = case(0, examples=6)
    flat = metrics.streaming_sparse_recall_at_k(scores, truth, 2, weights=weights)
    deep = metrics.streaming_sparse_recall_at_k(
        scores.reshape(2, 3, 7), truth.reshape(2, 3, 4), 2, weights=weights.reshape(2, 3)
    )
    assert deep == flat
    assert metrics.streaming_sparse_precision_at_k(scores[0], truth[0], 2) == (
        metrics.streaming_sparse_precision_at_k(scores[:1], truth[:1], 2)
    )


def test_nothing_seen_is_nan() -> None:
    scores, labels = torch.tensor(SCORES), torch.tensor([0, 2])
    assert metrics.streaming_sparse_recall_at_k(scores, labels, 2, class_id=1).isnan()
    assert metrics.streaming_sparse_precision_at_k(scores, labels, 2, class_id=3).isnan()
    assert metrics.streaming_sparse_recall_at_k(scores, labels, 2, weights=0.0).isnan()
    assert metrics.streaming_recall_at_k(scores, labels, 2, weights=0.0) == 0


@pytest.mark.parametrize("name", ["recall", "sparse_recall", "sparse_precision", "sparse_average_precision"])
def test_nan_is_reported_unless_it_weighs_nothing(name: str) -> None:
    function = getattr(metrics, f"streaming_{name}_at_k")
    scores, labels = torch.tensor(SCORES), torch.tensor([1, 1])
    kept = function(scores[:1], labels[:1], 2)
    scores[1, 3] = torch.nan
    assert function(scores, labels, 2).isnan()
    assert function(scores, labels, 2, weights=torch.tensor([1.0, 0.0])) == kept


def test_ties_infinite_scores_and_labels_out_of_range_of_recall_at_k() -> None:
    """As TensorFlow's `in_top_k` has them."""
    inf = float("inf")
    scores = torch.tensor([[0.5, 0.5, 0.3], [0.1, inf, 0.3], [-inf, 0.5, 0.3], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    labels = torch.tensor([1, 1, 1, 7, -1])
    hits = [metrics.streaming_recall_at_k(scores[i : i + 1], labels[i : i + 1], 1).item() for i in range(5)]
    assert hits == [1, 0, 0, 0, 0]
    assert metrics.streaming_recall_at_k(scores, labels, 9).item() == pytest.approx(1 / 5)


NUMBERS = torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.streaming_recall_at_k(NUMBERS, torch.zeros(3), 1),
            r"RecallAtK: `labels` .*Got \[3\] for \[2, 4\]",
        ),
        (lambda m: m.streaming_recall_at_k(NUMBERS, torch.zeros(2), 0), "RecallAtK: `k` must be at least 1. Got 0"),
        (lambda m: m.streaming_sparse_recall_at_k(NUMBERS, torch.zeros(2), -1), "`k` must be at least 1. Got -1"),
        (lambda m: m.streaming_sparse_precision_at_k(NUMBERS, torch.zeros(2), 5), r"at least k = 5 .*Got \[2, 4\]"),
        (lambda m: m.streaming_sparse_precision_at_k(NUMBERS, torch.zeros(3, 2), 1), r"`labels` .*Got \[3, 2\] for"),
        (lambda m: m.sparse_recall_at_top_k(torch.zeros(2, 1, 2), NUMBERS), r"Got \[2, 1, 2\] for .* \[2, 4\]"),
        (lambda m: m.streaming_sparse_average_precision_at_k(NUMBERS, torch.zeros(2), 0), "Precision.*Got 0"),
        (
            lambda m: m.streaming_sparse_precision_at_top_k(NUMBERS, torch.zeros(2, 3), weights=torch.ones(3)),
            r"`weights` .*Got \[3\] for values of shape \[2\]",
        ),
    ],
)
def test_errors(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(metrics)


def test_average_precision_against_the_formula() -> None:
    """Equation by equation: the mean over ranks with a hit of the precision there."""
    for seed in range(4):
        scores, truth, weights = case(seed)
        truth[:, 0] = torch.arange(12) % 7  # TensorFlow has no average precision of an example without labels
        averages = []
        for predicted, row in zip(highest(scores, 3), truth.tolist(), strict=True):
            labels = [label for label in row if 0 <= label < 7]
            hits = [np.isin(predicted[: i + 1], labels).mean() for i in range(3) if predicted[i] in labels]
            averages.append(sum(hits) / min(len(labels), 3))
        got = metrics.streaming_sparse_average_precision_at_k(scores, truth, 3, weights)
        assert got.item() == pytest.approx(np.average(averages, weights=weights))
        assert got.dtype == torch.float64
        predicted = torch.tensor(highest(scores, 3))
        labels = truth.masked_fill(truth >= 7, -1)
        again = metrics.streaming_sparse_average_precision_at_top_k(predicted, labels, weights)
        torch.testing.assert_close(again, got)


def test_average_precision_of_an_example_without_labels() -> None:
    scores, labels = torch.tensor(SCORES), torch.tensor([[-1, -1], [2, 0]])
    assert metrics.streaming_sparse_average_precision_at_k(scores, labels, 2, torch.tensor([0.0, 1.0])) == 0.5
