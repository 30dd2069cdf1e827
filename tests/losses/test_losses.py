"""Weighting, precision, stability, compilation and what happens to losses in a graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from torchslim import arg_scope, losses
from torchslim.graph import Graph, get_default_graph, placeholder
from torchslim.layers import fully_connected
from torchslim.losses import tf_losses
from torchslim.losses.weighting import recorded
from torchslim.regularizers import l2_loss, l2_regularizer
from torchslim.variables import get_variables, variable

Loss = Callable[..., torch.Tensor]
CROSS_ENTROPIES = [losses.softmax_cross_entropy, losses.sparse_softmax_cross_entropy]


# Weights


@pytest.mark.parametrize(
    ("shape", "counted"),
    [
        ((), 24),
        ((4,), 24),
        ((4, 1), 24),
        ((4, 3), 24),
        ((4, 3, 2), 24),
        ((4, 3, 1), 24),
        ((4, 3, 2, 1), 24),
        # TF-Slim counts a weight of size 1 once for its dimension.
        ((1,), 6),
        ((1, 3), 6),
        ((4, 1, 1), 8),
        ((4, 1, 2), 8),
        ((1, 1, 1), 2),
    ],
)
def test_weights_are_averaged_over_those_that_are_not_zero(shape: tuple[int, ...], counted: int) -> None:
    values, weights = torch.randn(4, 3, 2), torch.rand(shape) + 0.1
    full = weights.numpy()[..., 0] if shape[1:] and shape[-1] == 1 else weights.numpy()
    full = np.broadcast_to(full.reshape(full.shape + (1,) * (3 - full.ndim)), (4, 3, 2))
    got = losses.compute_weighted_loss(values, weights)
    assert got.item() == pytest.approx((values.numpy() * full).sum() / counted, rel=1e-5)

    if shape:
        weights.view(-1)[0] = 0
        present = counted * (1 - 1 / weights.numel())
        full = full * (full != full.flat[0])
        expected = (values.numpy() * full).sum() / max(present, 1)
        assert losses.compute_weighted_loss(values, weights).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_no_examples_give_no_loss() -> None:
    assert losses.mean_squared_error(torch.empty(0, 3), torch.empty(0, 3)).item() == 0
    assert losses.mean_squared_error(torch.empty(0, 3), torch.empty(0, 3), torch.empty(0)).item() == 0
    for pairs in (losses.mean_pairwise_squared_error, tf_losses.mean_pairwise_squared_error):
        assert pairs(torch.empty(0, 3), torch.empty(0, 3)).item() == 0
        assert pairs(torch.empty(2, 0), torch.empty(2, 0)).item() == 0


@pytest.mark.parametrize("shape", [(3,), (5, 4), (5, 3, 2)])
def test_weights_of_another_shape(shape: tuple[int, ...]) -> None:
    got = rf"Got \[{', '.join(map(str, shape))}\] for losses of shape \[5, 3\]"
    with pytest.raises(ValueError, match=got):
        losses.mean_squared_error(torch.zeros(5, 3), torch.zeros(5, 3), torch.ones(shape))


@pytest.mark.parametrize(
    "loss",
    [losses.absolute_difference, losses.mean_squared_error, losses.huber_loss, losses.mean_pairwise_squared_error],
    ids=lambda loss: loss.__name__,
)
def test_missing_labels_and_weights(loss: Loss) -> None:
    with pytest.raises(ValueError, match=rf"{loss.__name__}: give both `predictions` and `labels`\. Got None"):
        loss(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"`weights` must be a number or a tensor\. Got None"):
        loss(torch.zeros(2, 1), torch.zeros(2, 1), None)


@pytest.mark.parametrize("weights", [[1.0, 0.0, 0.5], np.array([1.0, 0.0, 0.5]), (1, 0, 0.5)], ids=type)
def test_weights_may_be_lists_and_arrays(weights: Any) -> None:
    x, graph = torch.tensor([1.0, 2.0, 6.0]), get_default_graph()
    symbol = placeholder((3,))
    assert losses.mean_squared_error(x, torch.zeros(3), weights).item() == 9.5
    assert graph.run(losses.mean_squared_error(symbol, np.zeros(3), weights), {symbol: x}).item() == 9.5


def test_weights_of_pairs_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"one for each example\. Got \[5, 3\] for predictions of shape \[5, 3\]"):
        losses.mean_pairwise_squared_error(torch.zeros(5, 3), torch.zeros(5, 3), torch.ones(5, 3))


@pytest.mark.parametrize("axes", [{}, {"axis": 1, "dim": 0}], ids=["none", "both"])
def test_axis_of_cosine_distance(axes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"Got {axes.get('axis')} and {axes.get('dim')}"):
        losses.cosine_distance(torch.zeros(5, 3), torch.zeros(5, 3), **axes)


def test_delta_of_huber_loss() -> None:
    with pytest.raises(ValueError, match=r"`delta` must be positive\. Got -1\.5"):
        losses.huber_loss(torch.zeros(2), torch.zeros(2), delta=-1.5)


def test_labels_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"Got \[4\] for logits of shape \[5, 3\]"):
        losses.sparse_softmax_cross_entropy(torch.zeros(5, 3), torch.zeros(4, dtype=torch.long))


# Values


def test_classes_are_last() -> None:
    logits, labels = torch.randn(2, 4, 5, 3), torch.randint(3, (2, 4, 5))
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 3), labels.reshape(-1))
    torch.testing.assert_close(losses.sparse_softmax_cross_entropy(logits, labels), expected)
    torch.testing.assert_close(losses.sparse_softmax_cross_entropy(logits, labels[..., None]), expected)
    onehot = torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(losses.softmax_cross_entropy(logits, onehot), expected)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_label_smoothing(smoothing: float) -> None:
    logits, onehot = torch.randn(5, 3, dtype=torch.double), torch.eye(3, dtype=torch.double)[[0, 1, 2, 1, 0]]
    softmax = -((onehot * (1 - smoothing) + smoothing / 3) * logits.log_softmax(-1)).sum(-1).mean()
    got = losses.softmax_cross_entropy(logits, onehot, label_smoothing=smoothing)
    torch.testing.assert_close(got, softmax)
    target = onehot * (1 - smoothing) + smoothing / 2
    sigmoid = -(target * logits.sigmoid().log() + (1 - target) * (-logits).sigmoid().log()).mean()
    got = losses.sigmoid_cross_entropy(logits, onehot, label_smoothing=smoothing)
    torch.testing.assert_close(got, sigmoid)


def pairwise(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum of squared differences between pairs, for each example, divided by n * n: a loop over the pairs."""
    d = (predictions - labels).flatten(1)
    pairs = [(d[:, i] - d[:, j]).square() for i in range(d.shape[1]) for j in range(d.shape[1])]
    return sum(pairs) / d.shape[1] ** 2


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4, 1), (1, 5)])
def test_pairs_of_elements(shape: tuple[int, ...]) -> None:
    predictions, labels, weights = torch.randn(shape), torch.randn(shape), torch.rand(shape[0])
    expected = pairwise(predictions, labels)
    torch.testing.assert_close(losses.mean_pairwise_squared_error(predictions, labels), expected.sum())
    got = losses.mean_pairwise_squared_error(predictions, labels, weights)
    torch.testing.assert_close(got, (expected * weights).sum())


def test_pairs_of_elements_that_are_all_far_off() -> None:
    predictions, labels = torch.tensor([[1e4, 1e4 + 1, 1e4 + 2]]), torch.zeros(1, 3)
    assert losses.mean_pairwise_squared_error(predictions, labels).item() == pytest.approx(4 / 3)


def test_huber_is_smooth_where_its_parts_meet() -> None:
    error = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], requires_grad=True)
    loss = losses.huber_loss(error, torch.zeros(5), weights=5.0, delta=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(2 * (0.5 * 2.75) + 2 * 0.125)
    assert error.grad.tolist() == [-0.5, -0.5, 0.0, 0.5, 0.5]


def test_cosine_distance_along_any_axis() -> None:
    predictions, labels = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    for axis in (0, 1, 2, -1):
        expected = (1 - (predictions * labels).sum(axis)).mean()
        torch.testing.assert_close(losses.cosine_distance(predictions, labels, axis), expected)


@pytest.mark.parametrize("loss", [*CROSS_ENTROPIES, losses.sigmoid_cross_entropy], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_logits(loss: Loss, dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1]) if loss is losses.sparse_softmax_cross_entropy else torch.tensor([[0, 1, 0]])
    result = loss(logits, labels)
    result.backward()
    far = abs(float(logits[0, 1].detach()))
    expected = 2 * far if loss in CROSS_ENTROPIES else (2 * far + np.log(2)) / 3
    assert result.item() == pytest.approx(expected)
    assert logits.grad.isfinite().all()


# Precision


@recorded("inner_product")
def inner_product(predictions: torch.Tensor, labels: torch.Tensor, scope: str | None = None) -> torch.Tensor:
    return predictions.flatten() @ labels.flatten()


def test_autocast_is_off_inside_a_loss() -> None:
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    expected = x.flatten() @ y.flatten()
    with torch.autocast("cpu", torch.bfloat16):
        assert (x.flatten() @ y.flatten()).dtype == torch.bfloat16
        assert torch.equal(inner_product(x, y), expected)


def test_integers_become_float32() -> None:
    assert losses.mean_squared_error(torch.tensor([1, 2]), torch.tensor([2, 5])).item() == 5


# In a graph


def test_scope_given_by_position() -> None:
    x = placeholder((None, 3))
    result = losses.mean_squared_error(x, x * 2, 1.0, "mine")
    assert losses.get_losses("mine") == [result]


def test_default_scopes_are_unique() -> None:
    x = placeholder((None, 3))
    first, second = losses.mean_squared_error(x, x * 2), losses.mean_squared_error(x, x * 3)
    assert losses.get_losses("mean_squared_error") == [first]
    assert losses.get_losses("mean_squared_error_1") == [second]


def test_weights_may_be_symbols() -> None:
    graph = get_default_graph()
    x, w = placeholder((None, 3), name="x"), placeholder((None,), name="w")
    loss = losses.mean_squared_error(x, x * 0, w)
    assert graph.run(loss, {x: torch.ones(2, 3) * 2, w: torch.tensor([0.0, 3.0])}).item() == 12


def test_a_variable_is_recorded_once() -> None:
    graph = get_default_graph()
    v = variable("v", shape=[2, 3])
    losses.mean_squared_error(v, torch.zeros(2, 3))
    losses.mean_squared_error(v * 1, v)
    assert len(losses.get_losses()) == 2
    expected = v.tensor.square().mean()
    torch.testing.assert_close(graph.run(losses.get_losses()[0]), expected)


def test_the_current_graph_counts() -> None:
    x = placeholder((None, 3))
    with Graph():
        losses.mean_squared_error(x, x * 2)
        assert losses.get_losses() == []
    assert len(losses.get_losses()) == 1


def test_add_loss() -> None:
    x = placeholder((None, 3))
    losses.add_loss(x.sum())
    losses.add_loss(x.mean(), loss_collection="others")
    losses.add_loss(x.mean(), loss_collection=None)
    assert len(losses.get_losses()) == 1
    assert len(losses.get_losses(loss_collection="others")) == 1
    with arg_scope([losses.add_loss], loss_collection="others"):
        losses.mean_squared_error(x, x * 2)
    assert len(losses.get_losses()) == 1
    assert len(losses.get_losses(loss_collection="others")) == 2


def test_tensors_are_not_collected_and_not_kept() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    loss = losses.mean_squared_error(x, torch.zeros(2, 3))
    losses.add_loss(loss)
    assert losses.get_losses() == []
    alive = weakref.ref(loss)
    del loss
    gc.collect()
    assert alive() is None


def test_total_loss_names_its_terms() -> None:
    graph = get_default_graph()
    x = placeholder((None, 3), name="x")
    net = fully_connected(x, 2, weights_regularizer=l2_regularizer(0.1), scope="fc")
    first, second = losses.mean_squared_error(net, net * 0), losses.absolute_difference(net, net * 2)
    total = losses.get_total_loss()
    assert total.node.target is losses.add_n
    assert total.node.args[:2] == (first.node, second.node)
    assert total.node.args[2].target is l2_loss
    assert losses.get_total_loss(add_regularization_losses=False).node.args == (first.node, second.node)

    ones = torch.ones(1, 3)
    weights = graph.variables["fc/weights"].tensor
    out = (weights.sum(1)).relu()
    expected = out.square().mean() + out.abs().mean() + 0.05 * weights.square().sum()
    torch.testing.assert_close(graph.run(total, {x: ones}), expected.detach())


def test_no_loss_at_all() -> None:
    with pytest.raises(ValueError, match=r"must have a loss\. Got 0"):
        losses.get_total_loss()
    with pytest.raises(ValueError, match=r"at least one term\. Got 0"):
        losses.add_n()


def test_regularization_losses_of_a_built_module() -> None:
    graph = get_default_graph()
    x = placeholder((None, 3))
    net = fully_connected(x, 4, weights_regularizer=l2_regularizer(0.1), scope="a")
    net = fully_connected(net, 2, weights_regularizer=l2_regularizer(0.2), scope="b")
    assert len(losses.get_regularization_losses()) == 2
    model = graph.module(net)
    got = losses.get_regularization_losses(module=model)
    a, b = (v.tensor for v in get_variables(module=model) if v.op.name.endswith("weights"))
    torch.testing.assert_close(got, [0.05 * a.square().sum(), 0.1 * b.square().sum()])
    assert len(losses.get_regularization_losses("b", module=model)) == 1
    got[0].backward()
    torch.testing.assert_close(a.grad, 0.1 * a.detach())


def test_the_names_of_the_tutorials() -> None:
    assert losses.sum_of_squares is losses.mean_squared_error
    assert losses.sum_of_pairwise_squares is losses.mean_pairwise_squared_error
