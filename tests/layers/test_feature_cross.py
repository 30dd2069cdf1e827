"""Crosses of features, against TensorFlow's numbers, a loop over rows, and hand-worked cases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchslim as slim
from torchslim.layers import SparseStrings


def sparse(rows: list[list[int]], columns: int | None = None) -> torch.Tensor:
    places = [(row, column) for row, values in enumerate(rows) for column in range(len(values))]
    indices = torch.tensor(places, dtype=torch.int64).reshape(-1, 2).t()
    values = torch.tensor([value for row in rows for value in row], dtype=torch.int64)
    return torch.sparse_coo_tensor(indices, values, (len(rows), columns or max(map(len, rows))), check_invariants=True)


A, B, C = [[1, 2], [3], []], [[5, -6], [7, 8], [9]], torch.tensor([[10], [11], [12]])
PLACES = [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            [
                7273378632456131352,
                720704454767205269,
                5915780250956281295,
                6938227160806921706,
                16620167906320715,
                3215851488124282524,
            ],
        ),
        ({"num_buckets": 100}, [59, 76, 95, 6, 15, 31]),
        ({"num_buckets": 1000, "hash_key": 7}, [315, 98, 909, 537, 137, 420]),
        (
            {"num_buckets": 2**62 + 5},
            [
                2661692614028743432,
                720704454767205258,
                1304094232528893386,
                2326541142379533797,
                16620167906320715,
                3215851488124282513,
            ],
        ),
    ],
)
def test_hashes_are_tensorflows(options: dict[str, int], expected: list[int]) -> None:
    """The numbers are those of TensorFlow 2.21's SparseCross."""
    crossed = slim.sparse_feature_cross([sparse(A), C, sparse(B)], hashed_output=True, **options)
    assert crossed.values().tolist() == expected
    assert crossed.indices().t().tolist() == PLACES
    assert tuple(crossed.shape) == (3, 4)
    assert crossed.is_coalesced()
    assert crossed.dtype == torch.int64


def test_strings_and_their_order() -> None:
    crossed = slim.sparse_feature_cross([C, sparse(A), sparse(B)])
    expected = ["1_X_5_X_10", "1_X_-6_X_10", "2_X_5_X_10", "2_X_-6_X_10", "3_X_7_X_11", "3_X_8_X_11"]
    assert crossed.values.tolist() == expected
    assert crossed.indices.tolist() == PLACES
    assert crossed.dense_shape == (3, 4)


def test_features_of_strings() -> None:
    letters = SparseStrings(np.array([[0, 0], [1, 0], [1, 1]]), np.array(["a", "b", "c"]), (2, 2))
    crossed = slim.sparse_feature_cross([letters, np.array([["d"], ["e"]])])
    assert crossed.values.tolist() == ["a_X_d", "b_X_e", "c_X_e"]
    assert crossed.dense_shape == (2, 2)
    again = slim.sparse_feature_cross([crossed, torch.tensor([[1], [2]])])
    assert again.values.tolist() == ["a_X_d_X_1", "b_X_e_X_2", "c_X_e_X_2"]


def test_hashes_of_strings_tell_them_apart_and_stay() -> None:
    words = np.array([[f"word{i}"] for i in range(200)])
    hashes = slim.sparse_feature_cross([words, words], hashed_output=True).values()
    assert len(hashes.unique()) == 200
    assert (hashes >= 0).all()
    numbers, digits = torch.tensor([[7]]), np.array([["7"]])
    two = [slim.sparse_feature_cross([words[:1], seven], hashed_output=True).values() for seven in (numbers, digits)]
    assert two[0].equal(two[1])  # a number beside strings is one, as in TensorFlow


def fingerprint_cat(first: int, second: int) -> int:
    mask, multiplier = 2**64 - 1, 0xC6A4A7935BD1E995

    def mixed(value: int) -> int:
        return value ^ (value >> 47)

    result = first ^ multiplier ^ (mixed(second * multiplier & mask) * multiplier & mask)
    return mixed(mixed(result * multiplier & mask) * multiplier & mask)


def by_loops(features: list[list[list[int]]], buckets: int) -> list[tuple[int, int, int]]:
    crossed = []
    for row, values in enumerate(zip(*features, strict=True)):
        for column, combination in enumerate(itertools.product(*values)):
            number = 0xDECAFCAFFE
            for value in combination:
                number = fingerprint_cat(number, value % 2**64)
            crossed.append((row, column, number % (buckets or 2**63 - 1)))
    return crossed


numbers = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda rows: st.lists(
            st.lists(st.lists(numbers, max_size=3), min_size=rows, max_size=rows), min_size=1, max_size=3
        )
    ),
    st.sampled_from([0, 1, 7, 2**31, 2**62, 2**63 - 1]),
)
def test_against_loops(features: list[list[list[int]]], buckets: int) -> None:
    inputs = [sparse(feature, columns=3) for feature in features]
    crossed = slim.sparse_feature_cross(inputs, hashed_output=True, num_buckets=buckets)
    expected = by_loops(features, buckets)
    found = zip(*crossed.indices().tolist(), crossed.values().tolist(), strict=True)
    assert list(found) == expected
    assert crossed.shape[1] == max((column + 1 for _, column, _ in expected), default=0)


def test_dense_symbols() -> None:
    def net(first: slim.Symbol, second: slim.Symbol) -> slim.Symbol:
        return slim.sparse_feature_cross([first, second], hashed_output=True, num_buckets=50)

    first, second = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5], [6]])
    model = slim.build(net, first, second)
    expected = slim.sparse_feature_cross([first, second], hashed_output=True, num_buckets=50)
    assert model(first, second).to_dense().equal(expected.to_dense())
    again = torch.tensor([[9, 9]] * 3), torch.tensor([[1]] * 3)
    assert model(*again).shape == (3, 2)


def test_a_sparse_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match=r"depends on its values. Got"):
        slim.sparse_feature_cross([slim.dense_to_sparse(slim.placeholder((None, 3), torch.int64))], hashed_output=True)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ([], {}, ValueError, "must hold at least one feature. Got none"),
        ([torch.zeros(2, dtype=torch.int64)], {}, ValueError, r"must be a matrix \[B, C\]. Got shape \(2,\)"),
        ([torch.zeros(2, 1)], {}, TypeError, "must be of whole numbers. Got torch.float32"),
        ([[[1]]], {}, TypeError, "Got list"),
        ([np.zeros((2, 1))], {}, TypeError, "Got ndarray"),
        ([C, C[:2]], {}, ValueError, r"same number of rows. Got \[3, 2\]"),
        ([C], {"num_buckets": -1}, ValueError, "must not be negative. Got -1"),
    ],
)
def test_errors(inputs: list[Any], options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        slim.sparse_feature_cross(inputs, **options)
