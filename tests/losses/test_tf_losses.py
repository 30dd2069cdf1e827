"""The reductions and weights of `tf.losses`, and the collection that it shares with `slim.losses`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim import losses, tf_losses
from torchslim.losses.tf_losses import Reduction

VALUES = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)


def count(weights: np.ndarray, reduction: str) -> float:
    """What the sum of weighted losses is divided by; `weights` have the full shape."""
    return {
        Reduction.SUM: 1,
        Reduction.MEAN: weights.sum(),
        Reduction.SUM_OVER_BATCH_SIZE: weights.size,
        Reduction.SUM_BY_NONZERO_WEIGHTS: np.count_nonzero(weights),
    }[reduction]


def test_the_names_of_the_reductions() -> None:
    names = ["none", "weighted_sum", "weighted_mean", "weighted_sum_over_batch_size", "weighted_sum_by_nonzero_weights"]
    assert list(Reduction.all()) == names
    assert Reduction.SUM_OVER_NONZERO_WEIGHTS == "weighted_sum_by_nonzero_weights"
    assert slim.losses.tf_losses is slim.tf_losses


@pytest.mark.parametrize("reduction", Reduction.all())
@pytest.mark.parametrize("shape", [(), (4, 1, 1), (1, 3, 1), (4, 1, 2), (1, 1, 1), (4, 3, 2)])
def test_weights_broadcast(shape: tuple[int, ...], reduction: str) -> None:
    weights = np.random.default_rng(1).choice([0.0, 0.5, 2.0], shape).astype(np.float32)
    full = np.broadcast_to(weights, VALUES.shape)
    got = tf_losses.compute_weighted_loss(torch.from_numpy(VALUES), torch.as_tensor(weights), reduction=reduction)
    if reduction == Reduction.NONE:
        np.testing.assert_array_equal(got, VALUES * full)
    else:
        assert got.item() == pytest.approx((VALUES * full).sum() / count(full, reduction), rel=1e-5)


@pytest.mark.parametrize("reduction", Reduction.all()[1:])
def test_a_number_as_weight(reduction: str) -> None:
    full = np.full(VALUES.shape, 2.5)
    got = tf_losses.compute_weighted_loss(torch.from_numpy(VALUES), 2.5, reduction=reduction)
    assert got.item() == pytest.approx((VALUES * full).sum() / count(full, reduction), rel=1e-5)


@pytest.mark.parametrize("reduction", Reduction.all())
@pytest.mark.parametrize("weights", [0.0, torch.zeros(4, 1, 1)], ids=["number", "tensor"])
def test_without_weight_there_is_neither_loss_nor_gradient(weights: Any, reduction: str) -> None:
    values = torch.from_numpy(VALUES).clone().requires_grad_()
    result = tf_losses.compute_weighted_loss(values, weights, reduction=reduction)
    result.sum().backward()
    assert not result.any()
    assert not values.grad.any()


@pytest.mark.parametrize("shape", [(1,), (4,), (4, 3), (4, 3, 1), (4, 2, 2), (4, 3, 2, 1)])
@pytest.mark.parametrize("loss", [tf_losses.mean_squared_error, tf_losses.mean_pairwise_squared_error])
def test_weights_of_another_shape(loss: Callable[..., Any], shape: tuple[int, ...]) -> None:
    values = torch.zeros(4, 3, 2)
    if shape == (4, 3, 1):
        assert loss(values, values, torch.ones(shape)).item() == 0
        return
    with pytest.raises(ValueError, match=rf"Got \[{', '.join(map(str, shape))}\] for losses of shape \[4, 3, 2\]"):
        loss(values, values, torch.ones(shape))


def test_no_such_reduction() -> None:
    with pytest.raises(ValueError, match=r"`reduction` must be one of 'none', .*\. Got 'mean'"):
        tf_losses.absolute_difference(torch.zeros(2), torch.zeros(2), reduction="mean")


def test_no_weights() -> None:
    with pytest.raises(ValueError, match=r"`weights` must be a number or a tensor\. Got None"):
        tf_losses.absolute_difference(torch.zeros(2), torch.zeros(2), None)


def test_weights_of_class_numbers_may_be_a_column() -> None:
    logits, labels, weights = torch.randn(4, 3), torch.tensor([0, 2, 1, 1]), torch.rand(4)
    expected = tf_losses.sparse_softmax_cross_entropy(labels, logits, weights)
    for column in (labels, labels[:, None]):
        got = tf_losses.sparse_softmax_cross_entropy(column, logits, weights[:, None])
        torch.testing.assert_close(got, expected)
    onehot = torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(tf_losses.softmax_cross_entropy(onehot, logits, weights), expected)
    with pytest.raises(ValueError, match=r"Got \[4, 1\] for losses of shape \[4\]"):
        tf_losses.softmax_cross_entropy(onehot, logits, weights[:, None])


def test_the_vectors_of_cosine_distance_keep_their_dimension() -> None:
    labels, predictions = torch.randn(4, 3), torch.randn(4, 3)
    got = tf_losses.cosine_distance(labels, predictions, dim=1, weights=torch.ones(4, 1), reduction="none")
    torch.testing.assert_close(got, 1 - (labels * predictions).sum(1, keepdim=True))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2)])
def test_pairs_of_elements(shape: tuple[int, ...]) -> None:
    labels, predictions = torch.randn(shape), torch.randn(shape)
    d = (predictions - labels).flatten(1)
    size = d.shape[1]
    squares = torch.stack([(d[:, i] - d[:, j]).square() for i in range(size) for j in range(size) if i != j])
    torch.testing.assert_close(tf_losses.mean_pairwise_squared_error(labels, predictions), squares.mean(0).sum())


def test_pairs_of_elements_of_which_some_have_no_weight() -> None:
    """TensorFlow's formula as it stands: such elements are not counted, but their differences are summed."""
    labels, predictions = torch.randn(3, 4), torch.randn(3, 4)
    weights = torch.tensor([[1.0, 0, 2, 0.5], [0, 0, 0, 3], [0, 0, 0, 0]])
    d = predictions - labels
    n = (weights != 0).sum(1)
    terms = [2 * d[0].square().sum() / (n[0] - 1) - 2 * d[0].sum().square() / (n[0] * (n[0] - 1)), 0.0, 0.0]
    expected = sum(term * row.sum() for term, row in zip(terms, weights, strict=True))
    torch.testing.assert_close(tf_losses.mean_pairwise_squared_error(labels, predictions, weights), expected)


def test_a_column_of_weights_in_tf_slim() -> None:
    """TF-Slim's formula as it stands: each row has one weight, so n is 1; and all terms meet all weights."""
    labels, predictions, weights = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([[1.0], [0.0], [2.0]])
    d = (predictions - labels)[[0, 2]]
    expected = (2 * d.square().sum(1) - 2 * d.sum(1).square()).sum() * weights.sum()
    torch.testing.assert_close(losses.mean_pairwise_squared_error(predictions, labels, weights), expected)


# Collections


def test_the_collection_is_shared() -> None:
    graph = slim.get_default_graph()
    x = slim.placeholder((None, 3))
    first, second = tf_losses.mean_squared_error(x * 0, x), losses.absolute_difference(x, x * 0, scope="mine")
    assert losses.get_losses() == tf_losses.get_losses() == [first, second]
    feed = {x: torch.full((2, 3), 3.0)}
    assert graph.run(tf_losses.get_total_loss(), feed).item() == 12
    assert graph.run(tf_losses.get_total_loss(scope="mine"), feed).item() == 3
    with pytest.raises(ValueError, match=r"scope 'yours' of the current graph must have a loss\. Got 0"):
        tf_losses.get_total_loss(scope="yours")


def test_another_collection() -> None:
    x = slim.placeholder((None, 3))
    loss = tf_losses.huber_loss(x * 0, x, loss_collection="others")
    tf_losses.log_loss(x * 0, x, loss_collection=None)
    assert losses.get_losses() == []
    assert losses.get_losses(loss_collection="others") == [loss]


def test_an_arg_scope_of_slim_leaves_it_alone() -> None:
    x = slim.placeholder((None, 3))
    with slim.arg_scope([losses.add_loss], loss_collection="others"):
        theirs = tf_losses.mean_squared_error(x * 0, x)
        ours = losses.mean_squared_error(x, x * 0)
    assert losses.get_losses() == [theirs]
    assert losses.get_losses(loss_collection="others") == [ours]


def test_the_regularization_loss() -> None:
    graph = slim.get_default_graph()
    assert tf_losses.get_regularization_loss().item() == 0
    x = slim.placeholder((None, 3))
    net = slim.fully_connected(x, 4, weights_regularizer=slim.l2_regularizer(0.1), scope="a")
    slim.fully_connected(net, 2, weights_regularizer=slim.l2_regularizer(0.2), scope="b")
    a, b = (graph.variables[f"{scope}/weights"].tensor.detach().square().sum() / 2 for scope in "ab")
    torch.testing.assert_close(graph.run(tf_losses.get_regularization_loss()).detach(), 0.1 * a + 0.2 * b)
    torch.testing.assert_close(graph.run(tf_losses.get_regularization_loss("b")).detach(), 0.2 * b)
