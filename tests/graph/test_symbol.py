"""Symbols: shapes against the real thing, and errors at the line that makes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import torchslim as slim


@pytest.fixture
def x() -> slim.Symbol:
    return slim.placeholder((None, 6, 10, 10), name="x")


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: torch.cat([x, x], 1), (None, 12, 10, 10)),
        (lambda x: torch.cat([x, x], 0), (None, 6, 10, 10)),
        (lambda x: F.relu(x) + x * 2 - 1 / x.exp(), (None, 6, 10, 10)),
        (lambda x: x.mean((2, 3)), (None, 6)),
        (lambda x: x.reshape(-1, 600), (None, 600)),
        (lambda x: x.flatten(), (None,)),
        (lambda x: x.flatten(0, 1), (None, 10, 10)),
        (lambda x: x.sum(), ()),
        (lambda x: x[:, :2, ::3], (None, 2, 4, 10)),
        (lambda x: x.split(2, 1)[1], (None, 2, 10, 10)),
        (lambda x: torch.unbind(x, 1)[0], (None, 10, 10)),
        (lambda x: F.interpolate(x, scale_factor=2), (None, 6, 20, 20)),
        (lambda x: x @ torch.ones(10, 4), (None, 6, 10, 4)),
        (lambda x: x.new_zeros((x.size(0), 3)), (None, 3)),
        (lambda x: x.max(1)[0], (None, 10, 10)),
        (lambda x: x.T if x.ndim == 2 else x.mT, (None, 6, 10, 10)),
    ],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_shape_is_that_of_the_real_call(function, shape, batch: int, x: slim.Symbol) -> None:
    y = function(x)
    assert y.shape == shape
    value = torch.randn(batch, 6, 10, 10)
    result = x.owner.run(y, {x: value})
    torch.testing.assert_close(result, function(value), equal_nan=True)
    assert [a for a, b in zip(result.shape, y.shape, strict=True) if b not in (None, a)] == []


def test_dtype_is_inferred(x: slim.Symbol) -> None:
    assert (x > 0).dtype == torch.bool
    assert x.argmax(1).dtype == torch.int64
    assert x.double().dtype == torch.float64


def test_sizes_are_numbers_where_they_are_known(x: slim.Symbol) -> None:
    assert x.size(1) == 6
    assert x.dim() == 4
    assert isinstance(x.size(0), slim.Symbol)
    assert x.size()[2] == 10
    assert len(x[0]) == 6


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x: bool(x.sum() > 0), r"bool\(Symbol\('gt'.*torch.where"),
        (lambda x: float(x.sum()), r"float\(Symbol\('sum_1', shape=\(\)"),
        (lambda x: int(x.sum()), "int"),
        (lambda x: len(x), r"x.size\(0\)"),
        (lambda x: list(x), "torch.unbind"),
        (lambda x: 1 if x.mean() else 0, "a Symbol has no value while the graph is built"),
    ],
)
def test_values_cannot_be_asked_for(use, message: str, x: slim.Symbol) -> None:
    with pytest.raises(TypeError, match=message):
        use(x)


def test_unknown_attribute(x: slim.Symbol) -> None:
    with pytest.raises(AttributeError, match="Tensor has no attribute 'get_shape'"):
        x.get_shape()


def test_a_call_that_bakes_the_batch_size_in_fails_at_its_line(x: slim.Symbol) -> None:
    with pytest.raises(RuntimeError, match="7200") as caught:
        x.reshape(8, 600)
    assert "varies" in caught.value.__notes__[0]


def test_an_impossible_call_records_nothing_and_names_the_scope(x: slim.Symbol) -> None:
    before = len(x.owner.fx_graph.nodes)
    conv3 = slim.variable_scope("vgg_16/conv3")
    with conv3, pytest.raises(RuntimeError, match="dimension") as caught:
        torch.cat([x, x.mean(1)], 1)
    assert caught.value.__notes__ == ["while building 'vgg_16/conv3'"]
    assert len(x.owner.fx_graph.nodes) == before + 1  # the mean alone


def test_symbols_of_two_graphs_do_not_mix(x: slim.Symbol) -> None:
    with slim.Graph():
        other = slim.placeholder((None, 6, 10, 10))
    with pytest.raises((ValueError, RuntimeError), match=r"another Graph|different tracers"):
        torch.add(x, other)
    with pytest.raises(ValueError, match="belongs to another Graph"):
        x + other


def test_tensors_become_constants_that_move_with_the_module(x: slim.Symbol) -> None:
    mean = torch.tensor([1.0, 2, 3, 4, 5, 6]).reshape(6, 1, 1)
    model = x.owner.module(x - mean + mean)
    assert model.state_dict() == {}
    assert next(iter(model.double().buffers())).dtype == torch.float64
    assert len(list(model.buffers())) == 1
    torch.testing.assert_close(model(mean.double()[None]), mean.double()[None])


def test_parameters_of_ones_own_become_variables(x: slim.Symbol) -> None:
    scale = torch.nn.Parameter(torch.full((6, 1, 1), 2.0))
    model = x.owner.module(x * scale + scale)
    assert [v.op.name for v in slim.get_model_variables()] == ["Variable"]
    assert next(model.parameters()) is scale
    assert model(torch.ones(1, 6, 10, 10)).unique().item() == 4.0


def test_repr(x: slim.Symbol) -> None:
    assert repr(x) == "Symbol('x', shape=(None, 6, 10, 10), dtype=torch.float32)"
