"""VOC average precision against the rules as the development kit and scikit-learn compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from torchslim import metrics

Array = NDArray[Any]


def devkit(scores: Array, truth: Array, rule: str) -> float:
    """VOCevalcls of the development kit, for one class; `truth` is 1, -1, or 0 where it is difficult.

    The recall levels 0, 0.1, ... are compared as fractions: in floating point 0.3 <= 3/10 depends on the
    machine.
    """
    order = np.argsort(-scores, kind="stable")
    truth = truth[order]
    hits, misses = np.cumsum(truth > 0), np.cumsum(truth < 0)
    positives = int((truth > 0).sum())
    if not positives:
        return float("nan")
    with np.errstate(invalid="ignore"):
        precision = np.nan_to_num(hits / (hits + misses))
    if rule == "2007":
        total = 0.0
        for level in range(11):
            reached = precision[10 * hits >= level * positives]
            total += (reached.max() if reached.size else 0.0) / 11
        return total
    recall = np.concatenate([[0], hits / positives, [1]])
    precision = np.concatenate([[0], precision, [0]])
    for i in range(precision.size - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


def by_thresholds(scores: Array, truth: Array, rule: str) -> float:
    """The same from the curve of scikit-learn, in which equal scores share a threshold."""
    precision, recall, _ = precision_recall_curve(truth[truth != 0] > 0, scores[truth != 0])
    precision, recall = precision[:-1], recall[:-1]  # the last point stands for no threshold at all
    if rule == "2007":
        return float(np.mean([max(precision[recall >= level / 10 - 1e-9], default=0.0) for level in range(11)]))
    highest = np.maximum.accumulate(precision)  # recall falls along the curve
    return float((-np.diff(np.append(recall, 0.0)) * highest).sum())


def random_case(seed: int, images: int, classes: int, *, ties: bool) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(images, classes)).astype(np.float32)
    truth = generator.choice([1, -1, 0], size=(images, classes), p=[0.3, 0.6, 0.1])
    truth[0] = 1
    return np.round(scores * 2) / 2 if ties else scores, truth


def tensors(scores: Array, truth: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    # Where a pair is difficult the label says yes, as in the annotations.
    return torch.from_numpy(scores), torch.from_numpy(truth >= 0).long(), torch.from_numpy(truth == 0)


@pytest.mark.parametrize("rule", ["2010", "2007"])
@pytest.mark.parametrize("images", [1, 2, 10, 57, 400])
@pytest.mark.parametrize("seed", range(5))
def test_continuous_scores(rule: Any, images: int, seed: int) -> None:
    scores, truth = random_case(seed, images, 5, ties=False)
    metric = metrics.VOCAveragePrecision(5, rule)
    metric.update(*tensors(scores, truth))
    expected = [devkit(scores[:, k], truth[:, k], rule) for k in range(5)]
    np.testing.assert_allclose(metric.compute(), expected, rtol=1e-5)
    np.testing.assert_allclose(expected, [by_thresholds(scores[:, k], truth[:, k], rule) for k in range(5)])


@pytest.mark.parametrize("rule", ["2010", "2007"])
@pytest.mark.parametrize("seed", range(5))
def test_equal_scores_count_together_in_any_order(rule: Any, seed: int) -> None:
    scores, truth = random_case(seed, 60, 5, ties=True)
    expected = [by_thresholds(scores[:, k], truth[:, k], rule) for k in range(5)]
    for order in (np.arange(60), np.random.default_rng(seed).permutation(60)):
        metric = metrics.VOCAveragePrecision(5, rule)
        metric.update(*tensors(scores[order], truth[order]))
        np.testing.assert_allclose(metric.compute(), expected, rtol=1e-5)


def test_a_constant_score_has_the_precision_of_chance() -> None:
    metric = metrics.VOCAveragePrecision(1)
    metric.update(torch.zeros(8, 1), torch.tensor([[1, 0, 0, 0, 0, 0, 1, 0]]).T)
    assert metric.compute().item() == 0.25


def test_recall_levels_are_exact() -> None:
    """3 of 10 found is a recall of 0.3: the fourth of the eleven levels, whatever 0.1 * 3 is in binary."""
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0, 0] + [1] * 7)[:, None]
    metric = metrics.VOCAveragePrecision(1, "2007")
    metric.update(torch.arange(17, 0, -1.0)[:, None], labels)
    assert metric.compute().item() == pytest.approx((4 * 1 + 7 * 10 / 17) / 11)


@pytest.mark.parametrize("rule", ["2010", "2007"])
def test_difficult_pairs_are_as_if_they_were_not_there(rule: Any) -> None:
    scores, truth = random_case(0, 50, 1, ties=False)
    kept = truth[:, 0] != 0
    labels = torch.from_numpy(truth[kept] > 0)
    with_them, without = metrics.VOCAveragePrecision(1, rule), metrics.VOCAveragePrecision(1, rule)
    with_them.update(*tensors(scores, truth))
    without.update(torch.from_numpy(scores[kept]), labels)
    assert with_them.compute() == without.compute()


def test_classes_without_positives_are_left_out_of_the_mean() -> None:
    scores = torch.tensor([[0.9, 0.9, 0.1], [0.1, 0.2, 0.9]])
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    metric = metrics.VOCAveragePrecision(3)
    metric.update(scores, labels)
    torch.testing.assert_close(metric.compute(), torch.tensor([1.0, torch.nan, 0.5]), equal_nan=True)
    assert metrics.streaming_voc_mean_average_precision(scores, labels).item() == 0.75
    difficult = torch.tensor([[1, 0, 0], [0, 0, 0]])
    assert metrics.streaming_voc_mean_average_precision(scores, labels, difficult).item() == 0.5


def test_batches_add_up_and_reset_forgets() -> None:
    scores, labels, difficult = tensors(*random_case(1, 40, 4, ties=False))
    whole, batched = (metrics.VOCAveragePrecision(4, "2007") for _ in range(2))
    batched.update(torch.rand(3, 4), torch.ones(3, 4))
    batched.reset()
    whole.update(scores, labels, difficult)
    for rows in torch.arange(40).split(7):
        batched.update(scores[rows], labels[rows], difficult[rows])
        batched.compute()
    assert torch.equal(whole.compute(), batched.compute())


@pytest.mark.parametrize("rule", ["2010", "2007"])
def test_nothing_seen(rule: Any) -> None:
    metric = metrics.VOCAveragePrecision(2, rule)
    with pytest.warns(UserWarning, match="called before the ``update``"):
        assert metric.compute().isnan().all()


def test_nan_scores_are_reported() -> None:
    metric = metrics.VOCAveragePrecision(2)
    metric.update(torch.tensor([[0.1, torch.nan], [0.2, 0.3]]), torch.ones(2, 2))
    with pytest.raises(ValueError, match="Got NaN 1 times"):
        metric.compute()


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        (((4, 3), (4, 3)), r"`scores` must be \[N, 20\].*Got \[4, 3\]"),
        (((4, 20), (4, 3)), r"`labels` must be \[N, 20\].*Got \[4, 3\]"),
        (((4, 20), (4, 20), (5, 20)), r"`difficult` must be \[N, 20\].*Got \[5, 20\]"),
    ],
)
def test_other_shapes(shapes: tuple[tuple[int, int], ...], got: str) -> None:
    with pytest.raises(ValueError, match=got):
        metrics.VOCAveragePrecision().update(*map(torch.zeros, shapes))


def test_unknown_options() -> None:
    with pytest.raises(ValueError, match="Got '2012'"):
        metrics.VOCAveragePrecision(rule="2012")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Got 'micro'"):
        metrics.VOCAveragePrecision(average="micro")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_of_scikit_learn(seed: int) -> None:
    """It is the area under the curve as it is; the challenge's curve lies on it or above, where precision rises."""
    scores, truth = random_case(seed, 80, 3, ties=False)
    metric = metrics.VOCAveragePrecision(3)
    metric.update(torch.from_numpy(scores), torch.from_numpy(truth == 1))
    for k, ours in enumerate(metric.compute().tolist()):
        assert ours >= average_precision_score(truth[:, k] == 1, scores[:, k]) - 1e-6

    # Ever longer runs of misses between the hits: precision never rises, so both are the same.
    lengths = np.sort(np.random.default_rng(seed).integers(0, 9, 12))
    labels = np.concatenate([[1] + [0] * length for length in lengths])
    scores = np.sort(np.random.default_rng(seed).normal(size=labels.size))[::-1].astype(np.float32)
    order = np.random.default_rng(seed).permutation(labels.size)
    falling = metrics.VOCAveragePrecision(1)
    falling.update(torch.from_numpy(scores[order])[:, None], torch.from_numpy(labels[order])[:, None])
    assert falling.compute().item() == pytest.approx(average_precision_score(labels, scores), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_curves_of_scikit_learn(seed: int, ties: bool) -> None:
    scores, truth = random_case(seed, 40, 3, ties=ties)
    metric = metrics.VOCAveragePrecision(3)
    metric.update(*tensors(scores, truth))
    for k, (precision, recall) in enumerate(metric.curves()):
        counts = truth[:, k] != 0
        expected = precision_recall_curve(truth[counts, k] > 0, scores[counts, k])
        # Scikit-learn goes from the lowest score up, and ends with a point that stands for no threshold. Ours has the
        # scores of difficult images, too, where nothing changes.
        points = set(zip(precision.tolist(), recall.tolist(), strict=True))
        theirs = torch.tensor(np.array(expected[:2])[:, :-1].T, dtype=torch.float32)
        assert {tuple(np.round(point, 5)) for point in points} == {tuple(np.round(p, 5)) for p in theirs.tolist()}


@pytest.mark.parametrize("rule", ["2010", "2007"])
def test_a_class_without_positives_has_no_curve(rule: Any) -> None:
    metric = metrics.VOCAveragePrecision(2, rule)
    metric.update(torch.tensor([[0.9, 0.2]]), torch.tensor([[1, 0]]))
    (_, recall), (precision, nothing) = metric.curves()
    assert recall.tolist() == [1]
    assert precision.tolist() == [0]
    assert nothing.isnan().all()
