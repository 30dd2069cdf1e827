"""Layers: what is refused, how they share, what `slim.layer` makes of a user's own module."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import torchslim as slim


def images(channels: int | None = 3, size: int | None = 8) -> slim.Symbol:
    return slim.placeholder((None, channels, size, size))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: slim.conv2d(slim.placeholder((None, 3)), 4, 3), ValueError, r"rank 4. Got shape \(None, 3\)"),
        (lambda: slim.conv2d(images(), 4, 3, padding="FULL"), ValueError, "one of 'SAME', 'VALID'. Got 'FULL'"),
        (lambda: slim.conv2d(images(), 4, 3, data_format="NWHC"), ValueError, "Got 'NWHC'"),
        (lambda: slim.conv2d(images(), 0, 3), ValueError, "`num_outputs` must be a positive integer. Got 0"),
        (lambda: slim.conv2d(images(), 2.0, 3), ValueError, "Got 2.0"),
        (lambda: slim.conv2d(images(), 4, [3, 3, 3]), ValueError, r"Got \[3, 3, 3\]"),
        (lambda: slim.conv2d(images(), 4, 3, stride=0), ValueError, "Got 0"),
        (lambda: slim.conv2d(images(), 4, 3, stride=2, rate=2), ValueError, "be greater than 1. Got 2 and 2"),
        (lambda: slim.conv2d(images(), 4, 9, padding="VALID"), ValueError, r"`kernel_size` \[9, 9\]"),
        (lambda: slim.conv2d(images(channels=None), 4, 3), ValueError, r"Got shape \(None, None, 8, 8\)"),
        (lambda: slim.conv2d(images(), 4, 3, paddin=1), TypeError, "convolution2d: .*paddin.*takes: inputs"),
        (lambda: slim.conv2d(images(), 4), TypeError, "missing a required argument: 'kernel_size'"),
        (lambda: slim.conv2d("images", 4, 3), TypeError, "Got 'images'"),
        (lambda: slim.conv2d(0, 4, 3), ValueError, "must be positive. Got 0"),
        (lambda: slim.conv2d(images(), 4, 3, weights_initializer=torch.ones(2)), ValueError, "2"),
        (lambda: slim.conv2d(images(), 4, 3, weights_regularizer=0.1), TypeError, "float"),
        (lambda: slim.fully_connected(slim.placeholder((None, 3, None)), 4), ValueError, r"shape \(None, 3, None\)"),
        (lambda: slim.fully_connected(images(), -1), ValueError, "Got -1"),
        (lambda: slim.max_pool2d(images(), 9), ValueError, r"`kernel_size` \[9, 9\]"),
        (lambda: slim.avg_pool2d(images(), 2, padding="ANY"), ValueError, "Got 'ANY'"),
        (lambda: slim.batch_norm(slim.placeholder((None,))), ValueError, r"Got shape \(None,\)"),
        (lambda: slim.batch_norm(images(), renorm=True, updates_collections=None), ValueError, "Got renorm=True"),
        (lambda: slim.batch_norm(images(), param_initializers={"delta": 1}), ValueError, "Got 'delta'"),
        (lambda: slim.dropout(images(), 0.0), ValueError, r"in \(0, 1\]. Got 0.0"),
        (lambda: slim.dropout(images(), seed=3), ValueError, r"torch.manual_seed\(3\)"),
        (lambda: slim.repeat(images(), -1, slim.conv2d, 4, 3), ValueError, "Got -1"),
        (lambda: slim.stack(images(), slim.conv2d, 4), ValueError, "Got 4"),
        (lambda: slim.repeat(3, 2, lambda x, scope: x), TypeError, "must give a module. Got 3"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, message: str) -> None:
    with slim.variable_scope("here"), pytest.raises(error, match=message):
        call()


def test_a_layer_with_the_same_arguments_is_called_again() -> None:
    def siamese(a: slim.Symbol, b: slim.Symbol) -> tuple[slim.Symbol, slim.Symbol]:
        return slim.conv2d(a, 4, 3, scope="c"), slim.conv2d(b, 4, 3, scope="c", reuse=True)

    model = slim.build(siamese, *[torch.empty(1, 3, 8, 8)] * 2)
    assert [node.target for node in model.graph.nodes if node.op == "call_module"] == ["c", "c"]


def test_a_layer_with_other_arguments_shares_tensors_only() -> None:
    def siamese(x: slim.Symbol) -> tuple[slim.Symbol, slim.Symbol]:
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm):
            a = slim.conv2d(x, 4, 3, scope="c")
            return a, slim.conv2d(x, 4, 3, stride=2, activation_fn=None, scope="c", reuse=True)

    model = slim.build(siamese, torch.empty(1, 3, 8, 8)).eval()
    keys = ["c.weight", "c.BatchNorm.bias", "c.BatchNorm.running_mean", "c.BatchNorm.running_var"]
    assert list(model.state_dict()) == keys
    assert len(slim.get_variables(module=model)) == 4
    x = torch.randn(2, 3, 8, 8)

    def agree() -> None:
        first = model.c
        wide, narrow = model(x)
        net = nn.functional.pad(x, (0, 1, 0, 1))
        expected = first.BatchNorm(nn.functional.conv2d(net, first.weight, stride=2))
        torch.testing.assert_close(narrow, expected)
        assert wide.shape == (2, 4, 8, 8)

    agree()
    model.train()(x)  # the statistics are shared too
    agree_after = model.eval()
    agree()
    agree_after.load_state_dict({key: value + 0.5 for key, value in model.state_dict().items()})
    agree()
    model.double().float()
    agree()


def test_regularizers_are_collected_once_and_reach_the_module() -> None:
    l2 = slim.l2_regularizer(0.5)
    x = images()
    for reuse in (None, True):
        slim.conv2d(
            x, 4, 3, weights_regularizer=l2, biases_regularizer=slim.l1_regularizer(0.0), scope="c", reuse=reuse
        )
    (loss,) = slim.losses.get_regularization_losses()
    assert slim.losses.get_regularization_losses("c") == [loss]
    assert slim.losses.get_regularization_losses("d") == []
    weights = slim.get_unique_variable("c/weights").tensor
    torch.testing.assert_close(x.owner.run(loss), weights.square().sum().detach() / 4)
    module = slim.conv2d(3, 4, 3, weights_regularizer=l2)
    (value,) = slim.losses.get_regularization_losses(module=module)
    torch.testing.assert_close(value, module.weight.square().sum() / 4)


def test_variables_collections() -> None:
    slim.conv2d(images(), 4, 3, scope="a", variables_collections="all")
    slim.conv2d(images(), 4, 3, scope="b", variables_collections={"weights": ["kernels"], "biases": "all"})
    graph = slim.get_default_graph()
    assert [v.op.name for v in graph.get_collection("all")] == ["a/weights", "a/biases", "b/biases"]
    assert [v.op.name for v in graph.get_collection("kernels")] == ["b/weights"]


def test_outputs_collections_of_tensors() -> None:
    y = slim.conv2d(torch.zeros(1, 3, 8, 8), 4, 3, outputs_collections="ends", scope="c")
    assert slim.utils.convert_collection_to_dict("ends")["c"] is y


def test_initializers_reach_the_variables() -> None:
    kernel = torch.arange(24.0).reshape(2, 2, 3, 2)  # TensorFlow's layout
    module = slim.conv2d(3, 2, 2, weights_initializer=kernel, biases_initializer=nn.init.ones_)
    torch.testing.assert_close(module.weight.detach(), kernel.permute(3, 2, 0, 1))
    assert module.bias.tolist() == [1.0, 1.0]
    nn.init.zeros_(module.weight)
    module.reset_parameters()
    torch.testing.assert_close(module.weight.detach(), kernel.permute(3, 2, 0, 1))


def test_trainable_false_freezes() -> None:
    module = slim.conv2d(
        3, 2, 3, trainable=False, normalizer_fn=slim.batch_norm, normalizer_params={"trainable": False}
    )
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_frozen_batch_norm_stays_at_inference() -> None:
    module = slim.batch_norm(3, is_training=False)
    before = module.running_mean.clone()
    module.train()(torch.randn(4, 3, 5, 5))
    assert not module.training
    assert torch.equal(module.running_mean, before)


def test_dropout_keeps_and_scales() -> None:
    x = torch.ones(10000)
    kept = slim.dropout(x, 0.25)
    assert set(kept.unique().tolist()) == {0.0, 4.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.1)
    rows = slim.dropout(1, 0.5, noise_shape=[None, 1])(torch.ones(100, 8))
    assert all(row.unique().numel() == 1 for row in rows)


@slim.add_arg_scope
@slim.layer("SqueezeExcite")
def squeeze_excite(inputs: slim.layers.Incoming, ratio: int = 2) -> nn.Module:
    return SqueezeExcite(inputs.channels(), ratio)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.squeeze = slim.conv2d(channels, channels // ratio, 1)
        self.excite = slim.conv2d(channels // ratio, channels, 1, activation_fn=torch.sigmoid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)))


def test_a_layer_of_ones_own_in_all_three_forms() -> None:
    with slim.arg_scope([squeeze_excite], ratio=4):
        model = slim.build(lambda x: squeeze_excite(squeeze_excite(x, scope="se")), torch.empty(1, 8, 5, 5))
        module = squeeze_excite(8)
        y = squeeze_excite(torch.randn(2, 8, 5, 5))
    assert module.squeeze.out_channels == 2
    assert y.shape == model(torch.randn(2, 8, 5, 5)).shape == (2, 8, 5, 5)
    assert [v.op.name for v in slim.get_variables(module=model)][::2] == [
        "se/squeeze/weights", "se/excite/weights", "SqueezeExcite/squeeze/weights", "SqueezeExcite/excite/weights",
    ]  # fmt: skip


def test_a_module_that_torchslim_cannot_fill_is_made_for_real() -> None:
    @slim.layer("Table")
    def table(inputs: slim.layers.Incoming) -> nn.Module:
        module = nn.Module()
        module.register_buffer("values", torch.arange(3.0))
        module.forward = lambda x: x + module.values
        return module

    x = slim.placeholder((None, 3))
    assert x.owner.run(table(x), {x: torch.zeros(1, 3)}).tolist() == [[0.0, 1.0, 2.0]]


def test_a_layer_must_give_a_module() -> None:
    @slim.layer("Bad")
    def bad(inputs: slim.layers.Incoming) -> int:
        return 3

    with pytest.raises(TypeError, match=r"layer bad: the function must return an nn\.Module. Got 3"):
        bad(images())


def test_normalizers_may_be_functions_that_use_layers() -> None:
    def norm(x: slim.Symbol, decay: float) -> slim.Symbol:
        return slim.batch_norm(x, decay=decay, scope="inner") * 2

    model = slim.build(
        lambda x: slim.conv2d(x, 4, 3, normalizer_fn=norm, normalizer_params={"decay": 0.5}, scope="c"),
        torch.empty(1, 3, 8, 8),
    )
    assert [v.op.name for v in slim.get_variables(module=model)][1] == "c/inner/beta"
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4, 8, 8)


def test_repeat_names_partials_after_their_function() -> None:
    slim.repeat(images(), 2, functools.partial(slim.conv2d, num_outputs=4, kernel_size=3))
    assert [v.op.name for v in slim.get_variables(suffix="weights")] == [
        "Repeat/convolution2d_1/weights",
        "Repeat/convolution2d_2/weights",
    ]


def test_repeat_of_blocks_keeps_their_scopes() -> None:
    def block(x: slim.Symbol, scope: str) -> slim.Symbol:
        with slim.variable_scope(scope):
            return x + slim.conv2d(x, 3, 3, scope="a")

    model = slim.build(lambda x: slim.repeat(x, 2, block, scope="blocks"), torch.empty(1, 3, 8, 8))
    assert list(model.state_dict())[::2] == ["blocks.blocks_1.a.weight", "blocks.blocks_2.a.weight"]
    assert not isinstance(model.blocks, nn.Sequential)


@pytest.mark.parametrize("normalizer_fn", [None, slim.batch_norm])
@pytest.mark.parametrize("activation_fn", [torch.relu, functional.relu6, functional.hardswish])
def test_an_activation_in_place_leaves_values_and_gradients_right(activation_fn: Any, normalizer_fn: Any) -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    values, gradients = [], []
    for function in (activation_fn, lambda x: activation_fn(x)):  # what it does not know, it does not overwrite
        with slim.Graph():
            torch.manual_seed(0)
            layer = slim.conv2d(3, 4, 3, activation_fn=function, normalizer_fn=normalizer_fn, scope="conv")
        gradients += torch.autograd.grad(layer(x).square().sum(), x)
        with torch.inference_mode():
            values.append(layer.eval()(x))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    torch.testing.assert_close(*values, rtol=0, atol=0)
