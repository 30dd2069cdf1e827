"""What holds for every metric, over the list in conftest.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=4)
few = settings(max_examples=6, deadline=None)


def inputs_of(entry: Any, seed: int, n: int) -> list[torch.Tensor]:
    """Random inputs; halves, ones, twos and zeros as weights come last."""
    torch.manual_seed(seed)
    weights = [torch.randint(5, (n,)) / 2] if entry.weighted else []
    return [*entry.inputs(n), *weights]


def fed(metric: Metric, inputs: Sequence[torch.Tensor], sizes: list[int]) -> Metric:
    for batch in zip(*(tensor.split(sizes) for tensor in inputs), strict=True):
        metric.update(*batch)
    return metric


def value_of(entry: Any, inputs: Sequence[torch.Tensor], sizes: list[int]) -> Any:
    return fed(entry.make(), inputs, sizes).compute()


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


@few
@given(seed=SEEDS, sizes=SIZES)
def test_a_stream_is_one_shot(entry: Any, seed: int, sizes: list[int]) -> None:
    inputs = inputs_of(entry, seed, sum(sizes))
    assert_same(value_of(entry, inputs, sizes), value_of(entry, inputs, [sum(sizes)]))


@few
@given(seed=SEEDS, sizes=SIZES)
def test_the_order_does_not_matter(entry: Any, seed: int, sizes: list[int]) -> None:
    if entry.ordered:
        pytest.skip("its value is in the order of the examples")
    inputs = inputs_of(entry, seed, sum(sizes))
    order = torch.randperm(sum(sizes))
    assert_same(value_of(entry, [tensor[order] for tensor in inputs], sizes), value_of(entry, inputs, sizes))


@few
@given(seed=SEEDS, sizes=SIZES)
def test_reset_forgets(entry: Any, seed: int, sizes: list[int]) -> None:
    metric = fed(entry.make(), inputs_of(entry, seed + 1, 7), [7])
    metric.compute()
    metric.reset()
    inputs = inputs_of(entry, seed, sum(sizes))
    assert_same(fed(metric, inputs, sizes).compute(), value_of(entry, inputs, sizes))


@few
@given(seed=SEEDS, n=st.integers(2, 12))
def test_a_weight_of_zero_removes_an_example(entry: Any, seed: int, n: int) -> None:
    if not entry.weighted:
        pytest.skip("takes no weights")
    *inputs, weights = inputs_of(entry, seed, n)
    kept = weights != 0
    assume(kept.any())
    without = [tensor[kept] for tensor in (*inputs, weights)]
    for place in entry.nan:  # whatever it is
        inputs[place] = inputs[place].clone()
        inputs[place][~kept] = torch.nan
    assert_same(value_of(entry, [*inputs, weights], [n]), value_of(entry, without, [int(kept.sum())]))


@few
@given(seed=SEEDS, sizes=SIZES, data=st.data())
def test_nan_is_reported(entry: Any, seed: int, sizes: list[int], data: st.DataObject) -> None:
    if not entry.nan:
        pytest.skip("takes whole numbers only, or raises")
    inputs = list(entry.inputs(sum(sizes)))
    place = data.draw(st.sampled_from(entry.nan))
    inputs[place] = inputs[place].clone()
    inputs[place][data.draw(st.integers(0, sum(sizes) - 1))] = torch.nan
    assert any(leaf.isnan().any() for leaf in tree_leaves(value_of(entry, inputs, sizes)))


@few
@given(seed=SEEDS, sizes=SIZES)
def test_states_merge(entry: Any, seed: int, sizes: list[int]) -> None:
    inputs = inputs_of(entry, seed, 5 + sum(sizes))
    first = fed(entry.make(), [tensor[:5] for tensor in inputs], [5])
    second = fed(entry.make(), [tensor[5:] for tensor in inputs], sizes)
    second.merge_state(first)
    assert_same(second.compute(), value_of(entry, inputs, [5, *sizes]))


def test_an_update_never_looks_at_numbers(entry: Any) -> None:
    """It runs on tensors without numbers, so nothing in it can wait for a device."""
    metric = entry.make().to("meta")
    inputs = [tensor.to("meta") for tensor in entry.inputs(8)]
    metric.update(*inputs)
    if entry.weighted:
        metric.update(*inputs, torch.ones(8, device="meta"))
        metric.update(*inputs, 0.5)


def test_memory_does_not_grow(entry: Any) -> None:
    metric = entry.make()
    for _ in range(3):
        metric.update(*entry.inputs(8))
    if entry.memory is None:
        pytest.skip("keeps the data, as its docstring says")
    assert sum(state.numel() for state in metric.metric_state.values()) == entry.memory


def test_a_copy_and_the_batch_alone(entry: Any) -> None:
    metric, batch = entry.make(), entry.inputs(8)
    metric.update(*batch)
    assert_same(metric.clone().compute(), metric.compute())
    assert_same(metric(*batch), value_of(entry, batch, [8]))  # what torchmetrics' `forward` returns
