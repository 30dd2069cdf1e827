"""`custom_getter`: variables of layers that are shared, computed or made another way."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import pytest
import torch

import torchslim as slim


def normalized(getter: Any, name: str, shape: Any, **kwargs: Any) -> Any:
    """Weight normalization (arXiv:1602.07868) of whatever is called weights."""
    if not name.endswith("weights"):
        return getter(name, shape, **kwargs)
    direction = getter(name, shape, **kwargs)
    length = getter(f"{name}_length", [shape[0], *[1] * (len(shape) - 1)], initializer=slim.ones_initializer())
    return length * direction / torch.linalg.vector_norm(direction, dim=tuple(range(1, len(shape))), keepdim=True)


def net(x: slim.Symbol) -> slim.Symbol:
    with slim.variable_scope("net", custom_getter=normalized):
        x = slim.repeat(x, 2, slim.conv2d, 4, [3, 3], normalizer_fn=slim.batch_norm, scope="conv")
        return slim.fully_connected(x, 3, activation_fn=None, scope="fc")


def test_names_of_weight_normalization() -> None:
    model = slim.build(net, torch.empty(1, 3, 8, 8))
    norm = [f"BatchNorm/{name}" for name in ("beta", "moving_mean", "moving_variance")]
    conv = [f"net/conv/conv_{i}/{name}" for i in (1, 2) for name in ("weights", "weights_length", *norm)]
    assert [variable.op.name for variable in slim.get_variables(module=model)] == [
        *conv,
        *(f"net/fc/{name}" for name in ("weights", "biases", "weights_length")),
    ]
    assert {"net.conv.conv_1.weight", "net.conv.conv_1.weights_length"} <= model.state_dict().keys()


@pytest.mark.parametrize("symbolic", [True, False])
@pytest.mark.parametrize(
    ("layer", "plain", "shape"),
    [
        (
            functools.partial(slim.conv2d, num_outputs=4, kernel_size=3),
            functools.partial(torch.nn.Conv2d, 3, 4, 3, padding=1),
            (2, 3, 8, 8),
        ),
        (functools.partial(slim.fully_connected, num_outputs=4), functools.partial(torch.nn.Linear, 3, 4), (2, 3)),
    ],
)
def test_weight_normalization_is_pytorchs(symbolic: bool, layer: Any, plain: Any, shape: Any) -> None:
    """Values and gradients, against `torch.nn.utils.parametrizations.weight_norm`."""
    x = torch.randn(shape)
    reference = torch.nn.utils.parametrizations.weight_norm(plain())
    lengths, directions = reference.parametrizations.weight.original0, reference.parametrizations.weight.original1
    with torch.no_grad():
        lengths.copy_(torch.rand_like(lengths) + 0.5)

    def build(inputs: Any) -> Any:
        with slim.variable_scope("net", custom_getter=normalized):
            return layer(inputs, activation_fn=None, scope="layer")

    if symbolic:
        model = slim.build(build, x)
        variables = slim.get_variables(module=model)
    else:
        build(x)
        variables = slim.get_variables()
    by_name = {variable.op.name.removeprefix("net/layer/"): variable.tensor for variable in variables}
    with torch.no_grad():
        for name, value in {"weights": directions, "weights_length": lengths, "biases": reference.bias}.items():
            by_name[name].copy_(value)
    if symbolic:
        outputs = model(x)
    else:
        with slim.variable_scope("", reuse=True):
            outputs = build(x)
    torch.testing.assert_close(outputs, reference(x))
    outputs.square().sum().backward()
    reference(x).square().sum().backward()
    for name, value in {"weights": directions, "weights_length": lengths, "biases": reference.bias}.items():
        torch.testing.assert_close(by_name[name].grad, value.grad, rtol=1e-4, atol=1e-4)


def test_the_module_is_an_ordinary_one() -> None:
    model, x = slim.build(net, torch.empty(1, 3, 8, 8)).eval(), torch.randn(2, 3, 8, 8)
    expected = model(x)
    assert copy.deepcopy(model)(x).equal(expected)
    assert pickle.loads(pickle.dumps(model))(x).equal(expected)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
    other = slim.build(net, torch.empty(1, 3, 8, 8)).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), expected)


def test_statistics_are_updated() -> None:
    model = slim.build(net, torch.empty(1, 3, 8, 8))
    before = model.state_dict()["net.conv.conv_1.BatchNorm.running_mean"].clone()
    model(torch.randn(2, 3, 8, 8))
    assert not model.state_dict()["net.conv.conv_1.BatchNorm.running_mean"].equal(before)


def tied(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return getter(name.replace("decoder", "encoder"), *args, **kwargs)


def autoencoder(x: Any) -> Any:
    x = slim.fully_connected(x, 6, weights_regularizer=slim.l2_regularizer(0.5), scope="encoder")
    with slim.variable_scope("", custom_getter=tied, reuse=slim.AUTO_REUSE):
        return slim.fully_connected(x, 6, weights_regularizer=slim.l2_regularizer(0.5), scope="decoder")


def test_weight_sharing() -> None:
    model, x = slim.build(autoencoder, torch.empty(1, 6)), torch.randn(5, 6)
    assert list(model.state_dict()) == ["encoder.weight", "encoder.bias"]
    weight, bias = model.encoder.weight, model.encoder.bias
    hidden = torch.relu(torch.nn.functional.linear(x, weight, bias))
    torch.testing.assert_close(model(x), torch.relu(torch.nn.functional.linear(hidden, weight, bias)))
    model(x).sum().backward()
    shared_gradient = weight.grad.clone()
    weight.grad = None
    torch.relu(torch.nn.functional.linear(hidden, weight, bias)).sum().backward()
    torch.testing.assert_close(weight.grad, shared_gradient)


def test_weight_sharing_of_tensors() -> None:
    autoencoder(torch.randn(5, 6)).sum().backward()
    assert [v.op.name for v in slim.get_variables()] == ["encoder/weights", "encoder/biases"]
    assert len(slim.losses.get_regularization_losses()) == 1  # what is shared is regularized once


def test_one_can_be_transposed_in_the_other() -> None:
    def transposed(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if not name.endswith("decoder/weights"):
            return getter(name, *args, **kwargs)
        return slim.get_unique_variable("encoder/weights").t()

    def build(x: Any) -> Any:
        x = slim.fully_connected(x, 4, scope="encoder")
        with slim.variable_scope("", custom_getter=transposed):
            return slim.linear(x, 6, scope="decoder")

    model = slim.build(build, torch.empty(1, 6))
    assert list(model.state_dict()) == ["encoder.weight", "encoder.bias", "decoder.bias"]
    x = torch.randn(2, 6)
    hidden = torch.relu(x @ model.encoder.weight.t() + model.encoder.bias)
    torch.testing.assert_close(model(x), hidden @ model.encoder.weight + model.decoder.bias)


def test_the_value_is_what_is_regularized() -> None:
    def doubled(getter: Any, name: str, **kwargs: Any) -> Any:
        return getter(name, **kwargs) * 2

    with slim.variable_scope("s", custom_getter=doubled):
        slim.linear(
            slim.placeholder((None, 1)),
            1,
            weights_initializer=slim.constant_initializer(3.0),
            weights_regularizer=slim.l2_regularizer(1.0),
        )
    (loss,) = slim.losses.get_regularization_losses()
    assert slim.get_default_graph().run(loss).item() == pytest.approx((2 * 3.0) ** 2 / 2)


def test_what_a_getter_may_change() -> None:
    def frozen_ones(getter: Any, name: str, **kwargs: Any) -> Any:
        return getter(name, **{**kwargs, "trainable": False, "initializer": slim.ones_initializer()})

    with slim.variable_scope("s", custom_getter=frozen_ones):
        outputs = slim.linear(torch.ones(1, 2), 1, scope="fc")
    assert outputs.item() == 3.0
    assert slim.get_trainable_variables() == []


def test_scopes_inside_call_those_around() -> None:
    calls: list[str] = []

    def noted(which: str, getter: Any, name: str, **kwargs: Any) -> Any:
        calls.append(f"{which} {name}")
        return getter(name, **kwargs)

    with slim.variable_scope("a", custom_getter=functools.partial(noted, "outer")) as outer:
        with slim.variable_scope("b", custom_getter=functools.partial(noted, "inner")):
            slim.variable("v", [1])
        slim.variable("w", [1])
    with slim.variable_scope(outer):
        slim.variable("x", [1])
    slim.variable("y", [1])
    assert calls == ["inner a/b/v", "outer a/b/v", "outer a/w", "outer a/x"]


def test_the_getter_of_one_variable() -> None:
    made = slim.variable("v", [2], custom_getter=lambda name, shape, **kwargs: slim.variable(f"my_{name}", shape))
    assert made.op.name == "my_v"


def test_inside_of_regions() -> None:
    def build(x: slim.Symbol) -> slim.Symbol:
        with slim.variable_scope("net", custom_getter=normalized):
            return slim.recompute_grad(lambda x: slim.fully_connected(x, 3, scope="fc"))(x)

    model, x = slim.build(build, torch.empty(1, 3)), torch.randn(2, 3)
    weights, length, bias = (model.state_dict()[f"net.fc.{key}"] for key in ("weight", "weights_length", "bias"))
    weight = length * weights / weights.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model(x), torch.relu(torch.nn.functional.linear(x, weight, bias)))
    model(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_another_shape() -> None:
    def wider(getter: Any, name: str, shape: Any, **kwargs: Any) -> Any:
        return getter(name, [7, *shape[1:]], **kwargs)

    with (
        slim.variable_scope("s", custom_getter=wider),
        pytest.raises(ValueError, match=r"'s/fc/weights' has the shape \(2, 3\).*Got \(7, 3\)"),
    ):
        slim.fully_connected(slim.placeholder((None, 3)), 2, scope="fc")


@pytest.mark.parametrize(
    ("reuse", "message"), [(None, "'s/fc/weights' exists already"), (True, "'s/new/weights' does not")]
)
def test_reuse(reuse: Any, message: str) -> None:
    x = slim.placeholder((None, 3))
    with slim.variable_scope("s", custom_getter=tied):
        slim.fully_connected(x, 2, scope="fc")
    with (
        slim.variable_scope("s", custom_getter=tied, reuse=reuse),
        pytest.raises(ValueError, match=message),
    ):
        slim.fully_connected(x, 2, scope="new" if reuse else "fc")


def test_a_variable_in_the_scope_of_a_layer() -> None:
    slim.fully_connected(slim.placeholder((None, 3)), 2, scope="fc")
    with slim.variable_scope("fc"):
        assert slim.variable("gain", [1]).key == "fc.gain"
    assert [v.op.name for v in slim.get_variables()] == ["fc/weights", "fc/biases", "fc/gain"]
