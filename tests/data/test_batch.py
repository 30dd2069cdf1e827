"""`slim.data.batch`: Symbols that a data set feeds."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from torchslim.data import batch
from torchslim.graph import Symbol, get_default_graph


def test_symbols_have_the_items_shapes_and_dtypes():
    images, labels = batch(TensorDataset(torch.zeros(5, 3, 8, 6), torch.arange(5)), 2)
    assert isinstance(images, Symbol)
    assert (images.shape, images.dtype) == ((None, 3, 8, 6), torch.float32)
    assert (labels.shape, labels.dtype) == ((None,), torch.int64)


def test_the_graph_gives_the_batches_in_the_order_asked_for():
    images, labels = batch(TensorDataset(torch.arange(10.0).reshape(5, 2), torch.arange(5)), 2)
    batches = get_default_graph().batches([labels, images])
    for _ in range(2):  # one pass each
        found = list(batches)
        assert [label.tolist() for label, _ in found] == [[0, 1], [2, 3], [4]]
        assert torch.equal(torch.cat([image for _, image in found]), torch.arange(10.0).reshape(5, 2))


def test_what_is_computed_from_them_is_a_module_of_the_batch():
    images, labels = batch(TensorDataset(torch.rand(5, 2), torch.arange(5)), 5, names=["pictures", "truth"])
    graph = get_default_graph()
    module = graph.module(images.sum(1) + labels)
    assert list(module.inputs) == ["pictures", "truth"]
    (pictures, truth) = next(iter(graph.batches(module.inputs)))
    assert torch.equal(module(pictures, truth), pictures.sum(1) + truth)


def test_names_must_fit():
    with pytest.raises(ValueError, match=r"fields of an item, 1. Got \['a', 'b'\]"):
        batch(torch.zeros(3, 2), 1, names=["a", "b"])


def test_an_empty_data_set_is_an_error_at_once():
    with pytest.raises(ValueError, match="`dataset` is empty: list has no items"):
        batch([], 2)
