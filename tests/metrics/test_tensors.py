"""Means, concatenations and counts of whole tensors against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchslim import metrics
from torchslim.graph import get_default_graph, placeholder


def test_mean_tensor_against_numpy() -> None:
    values, weights = torch.randn(5, 2, 3), torch.rand(5, 2, 3)
    metric = metrics.StreamingMeanTensor((2, 3))
    for value, weight in zip(values, weights, strict=True):
        metric.update(value, weight)
    np.testing.assert_allclose(metric.compute(), np.average(values, axis=0, weights=weights), rtol=1e-5)
    assert metric.compute().dtype == torch.float32


def test_mean_tensor_weighs_rows_and_leaves_out_what_weighs_nothing() -> None:
    metric = metrics.StreamingMeanTensor((2, 2))
    metric.update(torch.tensor([[1.0, torch.nan], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    assert metric.compute().tolist() == [[0, 0], [3, 4]]
    metric.update(torch.full((2, 2), 5.0), 3.0)
    assert metric.compute().tolist() == [[5, 5], [4.5, 4.75]]
    metric.update(torch.tensor([[1.0, torch.nan], [3.0, 4.0]]))
    assert metric.compute().isnan().tolist() == [[False, True], [False, False]]


def test_mean_tensor_wants_one_shape() -> None:
    metric = metrics.StreamingMeanTensor([2, 3])
    with pytest.raises(ValueError, match=r"the same shape each time, \[2, 3\]. Got \[1, 3\]"):
        metric.update(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"Got \(None, 3\)"):
        metrics.streaming_mean_tensor(placeholder((None, 3)))
    x = placeholder((None, 3))
    value, update = metrics.streaming_mean_tensor(x.mean(0))
    assert value.shape == (3,)
    assert get_default_graph().run(update, {x: torch.tensor([[1.0, 2, 3], [3, 4, 5]])}).tolist() == [2, 3, 4]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("max_size", [None, 0, 4, 7, 99])
@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.bool])
def test_concat_is_cat(axis: int, max_size: int | None, dtype: torch.dtype) -> None:
    shape = [2, 3, 4]
    parts = [torch.randint(2, [n if i == axis % 3 else size for i, size in enumerate(shape)]) for n in (3, 1, 0, 3)]
    parts = [part.to(dtype) for part in parts]
    shape[axis] = None  # type: ignore[call-overload]
    metric = metrics.StreamingConcat(shape, axis, max_size, dtype)
    for part in parts:
        metric.update(part)
    whole = torch.cat(parts, axis)
    expected = whole.narrow(axis, 0, min(7, 7 if max_size is None else max_size))
    assert torch.equal(metric.compute(), expected)
    assert metric.compute_update() == metric.size == expected.shape[axis]
    assert metric.compute_update().dtype == torch.int32


def test_concat_in_a_graph_knows_what_varies() -> None:
    graph = get_default_graph()
    x = placeholder((None, 2), torch.int64, name="x")
    value, update = metrics.streaming_concat(x, max_size=30)
    assert value.shape == (None, 2)
    assert (update.shape, update.dtype) == ((), torch.int32)
    assert graph.run(value).shape == (0, 2)
    assert graph.run(value).dtype == torch.int64
    assert [int(graph.run(update, {x: torch.ones(2, 2, dtype=torch.long)})) for _ in range(3)] == [2, 4, 6]
    assert graph.run(value).tolist() == [[1, 1]] * 6
    assert metrics.streaming_concat(torch.eye(2), axis=1).tolist() == [[1, 0], [0, 1]]


def test_concat_keeps_what_it_was_given() -> None:
    """A batch that its owner overwrites afterwards is not overwritten here."""
    batch = torch.ones(2, 2)
    metric = metrics.StreamingConcat([None, 2])
    metric.update(batch)
    batch.zero_()
    assert metric.compute().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((3,), 1, "one of the 1 that the values have. Got 1"),
        ((3,), -2, "Got -2"),
        ((), 0, "one of the 0 that the values have. Got 0"),
        ((None, 3), 1, r"may vary along `axis` 1 only. Got shape \(None, 3\)"),
    ],
)
def test_concat_along_another_axis(shape: tuple[int | None, ...], axis: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.streaming_concat(placeholder(shape), axis)


def test_concat_of_other_tensors() -> None:
    metric = metrics.StreamingConcat([None, 2])
    with pytest.raises(ValueError, match=r"must be torch.float32 .* Got torch.float32 of shape \[2, 3\]"):
        metric.update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"Got torch.int64 of shape \[2, 2\]"):
        metric.update(torch.zeros(2, 2, dtype=torch.long))


def test_count() -> None:
    assert metrics.count(torch.zeros(2, 3)) == 6
    assert metrics.count(torch.zeros(2, 3, dtype=torch.long), 0.5) == 3
    assert metrics.count(torch.zeros(2, 3), torch.tensor([1.0, 0.25])) == 3.75
    assert metrics.count(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan])).isnan()
    with pytest.raises(ValueError, match=r"Count: `weights` .* Got \[3\] for values of shape \[2\]"):
        metrics.count(torch.zeros(2), torch.ones(3))
