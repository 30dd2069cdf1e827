"""one_hot_encoding, dense_to_sparse and bucketize, on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import torchslim as slim


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_one_hot_encoding(dtype) -> None:
    got = slim.one_hot_encoding(torch.tensor([[0, 2]], dtype=dtype), 3, on_value=0.9, off_value=0.05)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.tensor([[[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]]]))


def test_one_hot_encoding_outside_is_all_off_and_whole_numbers_stay_whole() -> None:
    got = slim.one_hot_encoding(torch.tensor([-1, 1, 7]), 2, on_value=5, off_value=1)
    assert got.dtype == torch.int32
    assert got.tolist() == [[1, 1], [1, 5], [1, 1]]


def test_one_hot_encoding_is_collected_and_named() -> None:
    with slim.Graph():
        labels = slim.placeholder((None,), torch.int64)
        assert slim.one_hot_encoding(labels, 4, outputs_collections="ends").shape == (None, 4)
        assert list(slim.utils.convert_collection_to_dict("ends")) == ["OneHotEncoding"]


@pytest.mark.parametrize("wrong", [0, -2, 2.5])
def test_one_hot_encoding_refuses(wrong) -> None:
    with pytest.raises(ValueError, match=f"Got {wrong}"):
        slim.one_hot_encoding(torch.tensor([1]), wrong)


@pytest.mark.parametrize("eos_token", [0, 9])
def test_dense_to_sparse(eos_token) -> None:
    dense = torch.tensor([[1, 9, 0], [0, 0, 0], [9, 9, 5]])
    model = slim.build(lambda x: slim.dense_to_sparse(x, eos_token), dense)
    for sparse in (slim.dense_to_sparse(dense, eos_token), model(dense)):
        indices = np.argwhere(dense.numpy() != eos_token)
        assert sparse.is_coalesced()
        np.testing.assert_array_equal(sparse.indices().t(), indices)
        np.testing.assert_array_equal(sparse.values(), dense.numpy()[tuple(indices.T)])
        assert sparse.shape == dense.shape


def test_dense_to_sparse_of_nothing() -> None:
    sparse = slim.dense_to_sparse(torch.zeros(2, 3, dtype=torch.int32))
    assert sparse.indices().shape == (2, 0)
    assert sparse.dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float64])
def test_bucketize(dtype) -> None:
    values = torch.tensor([-5, 0, 9, 10, 99, 100, 1000], dtype=dtype)
    boundaries = [0, 10.0, 100]
    expected = [sum(value >= boundary for boundary in boundaries) for value in values.tolist()]
    model = slim.build(lambda x: slim.bucketize(x, boundaries), values)
    for got in (slim.bucketize(values, boundaries), model(values)):
        assert got.dtype == torch.int32
        assert got.tolist() == expected
    assert [node.target for node in model.graph.nodes if node.op == "call_function"] == [slim.bucketize]


def test_bucketize_refuses() -> None:
    with pytest.raises(TypeError, match=r"must be a list of numbers. Got 3"):
        slim.bucketize(torch.zeros(1), 3)
    with pytest.raises(ValueError, match=r"must be sorted. Got \[2, 1\]"):
        slim.bucketize(torch.zeros(1), [2, 1])
