"""Covariance, correlation and cosine distance against numpy and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import PearsonCorrCoef

from torchslim import metrics

SPLITS = [[50], [20, 20, 10], [1] * 50, [0, 49, 1]]


def series(mean: float = 0.0, deviation: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    predictions = torch.randn(50)
    return mean + deviation * predictions, mean - deviation * (predictions + 2 * torch.randn(50))


def streamed(metric: torch.nn.Module, sizes: list[int], *tensors: torch.Tensor) -> float:
    for batch in zip(*(tensor.split(sizes) for tensor in tensors), strict=True):
        metric.update(*batch)
    return metric.compute().item()


@pytest.mark.parametrize("sizes", SPLITS, ids=len)
def test_covariance_against_numpy(sizes: list[int]) -> None:
    a, b = series()
    frequency = torch.randint(4, (50,))
    got = streamed(metrics.StreamingCovariance(), sizes, a, b)
    assert got == pytest.approx(np.cov(a.numpy(), b.numpy())[0, 1], rel=1e-5)
    got = streamed(metrics.StreamingCovariance(), sizes, a, b, frequency)
    assert got == pytest.approx(np.cov(a.numpy(), b.numpy(), fweights=frequency)[0, 1], rel=1e-5)


@pytest.mark.parametrize("sizes", SPLITS, ids=len)
def test_correlation_against_torchmetrics_and_numpy(sizes: list[int]) -> None:
    a, b = series()
    got = streamed(metrics.StreamingPearsonCorrelation(), sizes, a, b)
    assert got == pytest.approx(PearsonCorrCoef()(a, b).item(), rel=1e-4)
    weights = torch.rand(50) + 0.1
    got = streamed(metrics.StreamingPearsonCorrelation(), sizes, a, b, weights)
    covariance = np.cov(a.numpy(), b.numpy(), aweights=weights)
    assert got == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), rel=1e-5)


def test_a_large_mean_leaves_the_deviation_alone() -> None:
    """The difference of sums of squares would have no digit left."""
    a, b = (tensor.double() for tensor in series())
    expected = np.cov(a, b)[0, 1]
    got = streamed(metrics.StreamingCovariance(), [20, 20, 10], a + 1e9, b - 1e9)
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1] * 9], ids=len)
def test_a_constant_has_no_variance(sizes: list[int]) -> None:
    constant, other, weights = torch.full((9,), 0.1), torch.randn(9), torch.rand(9)
    assert streamed(metrics.StreamingCovariance(), sizes, constant, other, weights) == pytest.approx(0, abs=1e-15)
    assert np.isnan(streamed(metrics.StreamingPearsonCorrelation(), sizes, constant, other, weights))


def test_nothing_or_one_value_has_no_covariance() -> None:
    one = torch.tensor([1.0])
    for metric in (metrics.StreamingCovariance(), metrics.StreamingPearsonCorrelation()):
        metric.update(one, one)
        assert metric.compute().isnan()
        metric.update(one[:0], one[:0])
        metric.update(one * 2, one * 3, 0.0)
        assert metric.compute().isnan()
        metric.update(one * 2, one * 3, 0.5)
        assert metric.compute().isfinite()


def test_a_first_batch_without_weight_is_as_if_it_were_not_there() -> None:
    a, b = series()
    expected = metrics.streaming_covariance(a, b)
    metric = metrics.StreamingCovariance()
    metric.update(a, b, torch.zeros(50))
    metric.update(a, b)
    torch.testing.assert_close(metric.compute(), expected)


def test_what_weighs_nothing_may_be_nan() -> None:
    a, weights = torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    b = torch.tensor([2.0, 4.0, 7.0])
    assert metrics.streaming_covariance(a, b, weights) == 5
    assert metrics.streaming_covariance(a, b).isnan()
    assert metrics.streaming_pearson_correlation(b, a).isnan()


def test_forward_gives_the_batch_and_keeps_all() -> None:
    a, b = series()
    metric = metrics.StreamingPearsonCorrelation()
    for rows in (slice(20), slice(20, 50)):
        batch = metric(a[rows], b[rows])
        torch.testing.assert_close(batch, metrics.streaming_pearson_correlation(a[rows], b[rows]))
    torch.testing.assert_close(metric.compute(), metrics.streaming_pearson_correlation(a, b))


def test_cosine_distance() -> None:
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4, 3), dim=1) for _ in range(2))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    got = metrics.streaming_mean_cosine_distance(a, b, 1)
    torch.testing.assert_close(got, 1 - cosine.mean())
    weights = torch.rand(6, 1, 3)
    got = metrics.streaming_mean_cosine_distance(a, b, dim=1, weights=weights)
    assert got.item() == pytest.approx(1 - np.average(cosine, weights=weights[:, 0]), rel=1e-5)
    rows = torch.tensor([2.0, 0, 0, 0, 0, 1])
    got = metrics.streaming_mean_cosine_distance(a[..., 0], b[..., 0], 1, rows)
    torch.testing.assert_close(got, 1 - (2 * cosine[0, 0] + cosine[5, 0]) / 3)


@pytest.mark.parametrize("name", ["streaming_covariance", "streaming_pearson_correlation"])
def test_other_shapes(name: str) -> None:
    with pytest.raises(ValueError, match=r"Streaming\w+: `predictions` and `labels` .* Got \[3\] and \[4\]"):
        getattr(metrics, name)(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"`weights` .* Got \[2\] for values of shape \[3\]"):
        getattr(metrics, name)(torch.zeros(3), torch.zeros(3), torch.ones(2))


def test_weights_of_values_are_none_of_vectors() -> None:
    with pytest.raises(ValueError, match=r"Got \[2, 2\] for values of shape \[2, 1\]"):
        metrics.streaming_mean_cosine_distance(torch.eye(2), torch.eye(2), 1, torch.ones(2, 2))
