"""softmax, spatial softmax, maxout, scale_gradient and poincare_normalize, against numpy and numbers worked by hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import torchslim as slim


@pytest.mark.parametrize(("shape", "data_format", "axis"), [
    ((2, 3), None, 1), ((2, 3, 4), "NCHW", 1), ((2, 3, 4), "NHWC", 2), ((2, 3, 4, 5), None, 1),
    ((2, 3, 4, 5), "NHWC", 3),
])  # fmt: skip
def test_softmax_is_over_the_channels(shape, data_format, axis) -> None:
    x = torch.randn(shape)
    powers = np.exp(x.numpy().astype(np.float64))
    expected = powers / powers.sum(axis, keepdims=True)
    np.testing.assert_allclose(slim.softmax(x, data_format=data_format), expected, rtol=1e-5)


def test_softmax_refuses() -> None:
    with pytest.raises(ValueError, match=r"Got shape \(4,\)"):
        slim.softmax(torch.zeros(4))
    with slim.Graph(), pytest.raises(ValueError, match=r"must be fixed.* Got shape \(None, None\)"):
        slim.softmax(slim.placeholder((None, None)))
    with pytest.raises(ValueError, match=r"one of 'NHWC', 'NCHW'. Got 'CHWN'"):
        slim.softmax(torch.zeros(2, 3), data_format="CHWN")


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_spatial_softmax_gives_the_mean_position(data_format) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    weights = np.exp(features / 0.5)
    weights /= weights.sum((2, 3), keepdims=True)
    rows = (weights * np.linspace(-1, 1, 4)[:, None]).sum((2, 3))
    columns = (weights * np.linspace(-1, 1, 5)).sum((2, 3))
    expected = np.stack([rows, columns], 2).reshape(2, 6)
    order = (0, 1, 2, 3) if data_format == "NCHW" else (0, 2, 3, 1)
    inputs = torch.from_numpy(features.transpose(order).astype(np.float32))
    with slim.Graph():
        got = slim.spatial_softmax(inputs, temperature=0.5, data_format=data_format)
        (temperature,) = slim.get_model_variables()
    np.testing.assert_allclose(got.detach(), expected, atol=1e-6)
    assert temperature.op.name == "spatial_softmax/temperature"
    assert temperature.tensor.item() == 0.5


def test_spatial_softmax_of_one_row() -> None:
    with slim.Graph():
        got = slim.spatial_softmax(torch.zeros(1, 1, 1, 3))
    assert got.tolist() == [[-1, 0]]  # TensorFlow's linspace of one number is its start


@pytest.mark.parametrize(("arguments", "given"), [
    ({"features": torch.zeros(2, 3)}, r"rank 4. Got shape \(2, 3\)"),
    ({"features": torch.zeros(2, 3, 4, 4), "data_format": "NCW"}, "Got 'NCW'"),
])  # fmt: skip
def test_spatial_softmax_refuses(arguments, given) -> None:
    with slim.Graph(), pytest.raises(ValueError, match=given):
        slim.spatial_softmax(**arguments)


def test_spatial_softmax_collects_what_is_trained() -> None:
    with slim.Graph() as graph:
        x = slim.placeholder((None, 3, 4, 4))
        slim.spatial_softmax(x, variables_collections="mine")
        slim.spatial_softmax(x, variables_collections="mine", trainable=False, name="fixed")
        assert [v.op.name for v in graph.get_collection("mine")] == ["spatial_softmax/temperature"]
        assert [v.op.name for v in slim.get_trainable_variables()] == ["spatial_softmax/temperature"]


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_maxout_groups_neighbouring_channels(data_format) -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 4)
    x = x if data_format == "NCHW" else x.permute(0, 2, 3, 1)
    got = slim.maxout(x, 2, data_format=data_format)
    assert got[0].flatten().unique().tolist() == [2, 5]
    if data_format == "NHWC":
        assert torch.equal(slim.maxout(x, 2, axis=-1), got)


def test_maxout_along_another_axis_groups_runs_in_memory() -> None:
    x = torch.arange(12.0).view(1, 4, 3)
    expected = x.numpy().reshape(1, 2, 3, 2).max(-1)
    np.testing.assert_array_equal(slim.maxout(x, 2, axis=1), expected)


@pytest.mark.parametrize(("arguments", "given"), [
    ({"num_units": 3}, "Got 4 and 3"),
    ({"num_units": 0}, "Got 4 and 0"),
    ({"num_units": 2, "axis": 5}, r"Got 5 for shape \(2, 4\)"),
])  # fmt: skip
def test_maxout_refuses(arguments, given) -> None:
    with pytest.raises(ValueError, match=given):
        slim.maxout(torch.zeros(2, 4), **arguments)
    if "axis" not in arguments:
        with pytest.raises(ValueError, match=given):
            slim.maxout(4, **arguments)


@pytest.mark.parametrize("multiplier", [0.5, -1.0, torch.tensor([1.0, 2.0, 3.0])])
def test_scale_gradient(multiplier) -> None:
    x = torch.randn(2, 3, requires_grad=True)
    y = slim.scale_gradient(x, multiplier)
    assert torch.equal(y, x)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach() * multiplier)


def test_scale_gradient_is_one_node_and_compiles() -> None:
    def net(x, multiplier):
        return slim.scale_gradient(x, multiplier).sin()

    model = slim.build(net, torch.empty(1, 3), slim.InputSpec(()))
    assert [node.target for node in model.graph.nodes if node.op == "call_function"] == [slim.scale_gradient]
    for run in (model, torch.compile(model, fullgraph=True, backend="eager")):
        x = torch.ones(2, 3, requires_grad=True)
        run(x, torch.tensor(3.0)).sum().backward()
        torch.testing.assert_close(x.grad, 3 * x.detach().cos())


def test_poincare_normalize() -> None:
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    y = slim.poincare_normalize(x, epsilon=0.1)
    torch.testing.assert_close(y, torch.tensor([[0.54, 0.72], [0.3, 0.4], [0.0, 0.0]]))
    y.sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad[2].tolist() == [1, 1]
    torch.testing.assert_close(slim.poincare_normalize(2 * torch.eye(2), axis=[0, 1]).norm(), torch.tensor(1 - 1e-5))


# The dense layers that activations name


@pytest.mark.parametrize(("layer", "function"), [
    (slim.elu, torch.nn.functional.elu), (slim.relu, torch.relu),
    (slim.relu6, torch.nn.functional.relu6), (slim.linear, lambda x: x),
])  # fmt: skip
def test_dense_layers_named_after_activations(layer, function) -> None:
    assert isinstance(layer, functools.partial)
    x = 10 * torch.randn(4, 3)
    with slim.Graph():
        got = layer(x, 5, biases_initializer=slim.constant_initializer(0.5))
        weights, biases = (variable.tensor for variable in slim.get_model_variables())
    torch.testing.assert_close(got, function(x @ weights.t() + biases))


def test_repeat_and_stack_name_them_after_the_function() -> None:
    with slim.Graph():
        x = slim.placeholder((None, 4))
        slim.stack(slim.repeat(x, 2, slim.relu, 4), slim.linear, [3])
        names = [variable.op.name for variable in slim.get_variables()][::2]
    assert names == [
        "Repeat/fully_connected_1/weights",
        "Repeat/fully_connected_2/weights",
        "Stack/fully_connected_1/weights",
    ]
