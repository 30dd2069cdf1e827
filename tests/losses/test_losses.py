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
from torchslim.losses.weighting import recorded
from torchslim.regularizers import l2_loss, l2_regularizer
from torchslim.variables import get_variables, variable

Loss = Callable[..., torch.Tensor]


def inputs_of(loss: Loss, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions (or logits) [5, 3] and labels that suit the loss."""
    predictions = torch.randn(5, 3).to(dtype)
    if loss is losses.sparse_softmax_cross_entropy:
        return predictions, torch.tensor([0, 2, 1, 1, 0])
    if loss is losses.softmax_cross_entropy:
        return predictions, torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 1, 0]), 3)
    if loss is losses.log_loss:
        return predictions.sigmoid(), torch.rand(5, 3)
    return predictions, torch.rand(5, 3)


CROSS_ENTROPIES = [losses.softmax_cross_entropy, losses.sparse_softmax_cross_entropy]
PER_ELEMENT = [
    losses.absolute_difference,
    losses.mean_squared_error,
    losses.log_loss,
    losses.sigmoid_cross_entropy,
]
ALL = PER_ELEMENT + CROSS_ENTROPIES
by_name = pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.__name__)


# Weights


@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (4, 3), (1,), (1, 3), (4, 3, 2), (4, 1, 1), (4, 3, 1)])
def test_weights_are_averaged_over_those_that_are_not_zero(shape: tuple[int, ...]) -> None:
    values = torch.randn(4, 3, 2)
    weights = torch.rand(shape) * (torch.rand(shape) > 0.3)
    got = losses.compute_weighted_loss(values, weights)

    full = weights.numpy()
    if full.ndim > 1 and full.shape[-1] == 1:
        full = full[..., 0]
    full = np.broadcast_to(full.reshape(full.shape + (1,) * (3 - full.ndim)), (4, 3, 2))
    present = np.count_nonzero(full)
    assert got.item() == pytest.approx((values.numpy() * full).sum() / max(present, 1), rel=1e-5, abs=1e-7)


@by_name
def test_a_number_weighs_like_a_tensor(loss: Loss) -> None:
    predictions, labels = inputs_of(loss)
    torch.testing.assert_close(loss(predictions, labels, 0.7), loss(predictions, labels, torch.tensor(0.7)))
    torch.testing.assert_close(loss(predictions, labels, 3), 3 * loss(predictions, labels))


@by_name
def test_a_weight_of_zero_is_an_absent_example(loss: Loss) -> None:
    predictions, labels = inputs_of(loss)
    weights = torch.tensor([1.0, 0, 1, 0, 1])
    there = weights.bool()
    torch.testing.assert_close(loss(predictions, labels, weights), loss(predictions[there], labels[there]))


@by_name
@pytest.mark.parametrize("weights", [0.0, torch.zeros(5), torch.zeros(5, 1)], ids=["number", "B", "B1"])
def test_without_weight_there_is_neither_loss_nor_gradient(loss: Loss, weights: Any) -> None:
    predictions, labels = inputs_of(loss)
    predictions.requires_grad_()
    if isinstance(weights, torch.Tensor):
        weights = weights.clone().requires_grad_()
    result = loss(predictions, labels, weights)
    result.backward()
    assert result.item() == 0
    assert not predictions.grad.any()
    assert weights == 0 if isinstance(weights, float) else not weights.grad.any()


def test_no_examples_give_no_loss() -> None:
    assert losses.mean_squared_error(torch.empty(0, 3), torch.empty(0, 3)).item() == 0
    assert losses.mean_squared_error(torch.empty(0, 3), torch.empty(0, 3), torch.empty(0)).item() == 0


@pytest.mark.parametrize("shape", [(3,), (5, 4), (5, 3, 2)])
def test_weights_of_another_shape(shape: tuple[int, ...]) -> None:
    got = rf"Got \[{', '.join(map(str, shape))}\] for losses of shape \[5, 3\]"
    with pytest.raises(ValueError, match=got):
        losses.mean_squared_error(torch.zeros(5, 3), torch.zeros(5, 3), torch.ones(shape))


def test_missing_labels() -> None:
    with pytest.raises(ValueError, match=r"give both `predictions` and `labels`. Got None"):
        losses.mean_squared_error(torch.zeros(2))


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


@pytest.mark.parametrize(
    "loss",
    [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy, losses.mean_squared_error, losses.log_loss],
    ids=lambda loss: loss.__name__,
)
def test_differentiable_twice(loss: Loss) -> None:
    predictions, labels = (tensor.double() for tensor in inputs_of(loss))
    weights = torch.rand(5, dtype=torch.double)
    predictions.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, weights), predictions)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, labels, weights), predictions)


# Precision


@by_name
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    predictions, labels = inputs_of(loss, dtype)
    result = loss(predictions, labels, weights=torch.ones(5, dtype=dtype))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, loss(predictions.float(), labels))


@by_name
def test_under_autocast(loss: Loss) -> None:
    predictions, labels = inputs_of(loss)
    expected = loss(predictions, labels)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(predictions, labels)
    assert torch.equal(got, expected)


@recorded("inner_product")
def inner_product(predictions: torch.Tensor, labels: torch.Tensor, scope: str | None = None) -> torch.Tensor:
    return predictions.flatten() @ labels.flatten()


def test_autocast_is_off_inside_a_loss() -> None:
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    expected = x.flatten() @ y.flatten()
    with torch.autocast("cpu", torch.bfloat16):
        assert (x.flatten() @ y.flatten()).dtype == torch.bfloat16
        assert torch.equal(inner_product(x, y), expected)


def test_float64_stays() -> None:
    zeros = torch.zeros(2, dtype=torch.double)
    assert losses.mean_squared_error(zeros, zeros).dtype == torch.double


def test_integers_become_float32() -> None:
    assert losses.mean_squared_error(torch.tensor([1, 2]), torch.tensor([2, 5])).item() == 5


# Compilation


@by_name
def test_compiles_into_one_graph(loss: Loss) -> None:
    predictions, labels = inputs_of(loss)
    weights = torch.rand(5)

    def total(predictions: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return losses.add_n(loss(predictions, labels, weights), loss(predictions, labels, 0.5, scope="half"))

    torch.compiler.reset()
    compiled = torch.compile(total, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(predictions, labels, weights), total(predictions, labels, weights))


@by_name
def test_runs_on_meta(loss: Loss) -> None:
    predictions, labels = (tensor.to("meta") for tensor in inputs_of(loss))
    assert loss(predictions, labels, torch.ones(5, device="meta")).shape == ()


# In a graph


def symbols_of(loss: Loss) -> tuple[Any, Any]:
    _, labels = inputs_of(loss)
    shape = (None, *labels.shape[1:])
    return placeholder((None, 3), name="predictions"), placeholder(shape, labels.dtype, name="labels")


@by_name
def test_a_loss_is_one_node_and_is_collected(loss: Loss) -> None:
    graph = get_default_graph()
    predictions, labels = symbols_of(loss)
    before = len(graph.fx_graph.nodes)
    result = loss(predictions, labels, 0.5, scope="mine")
    assert len(graph.fx_graph.nodes) == before + 1
    assert result.node.target is loss
    assert result.shape == ()
    assert losses.get_losses() == [result]
    assert losses.get_losses("mine") == [result]
    assert losses.get_losses("other") == []
    values = inputs_of(loss)
    torch.testing.assert_close(
        graph.run(result, dict(zip((predictions, labels), values, strict=True))), loss(*values, 0.5)
    )


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


def test_the_name_of_the_tutorials() -> None:
    assert losses.sum_of_squares is losses.mean_squared_error
