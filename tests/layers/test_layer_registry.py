"""Every layer crossed with what a module must stand: gradients, autocast, saving, compiling, exporting, meta."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import torchslim as slim


def two_and_one(shape: torch.Size) -> tuple[float, float]:
    return 2.0, 1.0


def recomputed(x: Any) -> Any:
    return slim.batch_norm(slim.fully_connected(x, 6, activation_fn=torch.tanh))


def half(x: Any) -> Any:
    return slim.bias_add(slim.conv1d(x, 3, 3, activation_fn=torch.tanh))


REGISTRY: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "conv2d": (lambda x: slim.conv2d(x, 4, [3, 2]), (2, 3, 7, 6)),
    "conv2d/same_stride": (lambda x: slim.conv2d(x, 4, 3, 2, activation_fn=torch.tanh), (2, 3, 8, 6)),
    "conv2d/rate": (lambda x: slim.conv2d(x, 4, 3, rate=2, padding="VALID"), (2, 3, 8, 9)),
    "conv2d/batch_norm": (lambda x: slim.conv2d(x, 4, 3, normalizer_fn=slim.batch_norm), (2, 3, 5, 6)),
    "conv2d/own_normalizer": (
        lambda x: slim.conv2d(x, 4, 3, normalizer_fn=torch.nn.functional.normalize),
        (2, 3, 5, 6),
    ),
    "conv2d/no_bias": (lambda x: slim.conv2d(x, 4, 1, biases_initializer=None, activation_fn=None), (2, 3, 5, 6)),
    "convolution": (lambda x: slim.convolution(x, 4, [3, 2], 2), (2, 3, 7, 6)),
    "conv1d": (lambda x: slim.conv1d(x, 4, 3, 2), (2, 3, 8)),
    "conv1d/batch_norm": (lambda x: slim.conv1d(x, 4, 2, normalizer_fn=slim.batch_norm), (2, 3, 7)),
    "conv3d": (lambda x: slim.conv3d(x, 4, [1, 3, 2], activation_fn=torch.tanh), (2, 3, 3, 4, 4)),
    "conv3d/same_stride": (lambda x: slim.conv3d(x, 2, 3, 2), (2, 2, 4, 3, 4)),
    "conv2d_transpose": (lambda x: slim.conv2d_transpose(x, 4, 4, 2), (2, 3, 3, 2)),
    "conv2d_transpose/cut": (lambda x: slim.conv2d_transpose(x, 4, [3, 2], 2), (2, 3, 3, 2)),
    # Between windows there is the bias alone, where a ReLU has no derivative at its first value.
    "conv2d_transpose/gap": (
        lambda x: slim.conv2d_transpose(x, 4, 2, 3, "VALID", activation_fn=torch.tanh),
        (2, 3, 3, 2),
    ),
    "conv2d_transpose/batch_norm": (
        lambda x: slim.conv2d_transpose(x, 4, 3, 2, normalizer_fn=slim.batch_norm),
        (2, 3, 3, 2),
    ),
    "conv3d_transpose": (lambda x: slim.conv3d_transpose(x, 2, [1, 3, 2], 2, activation_fn=None), (2, 3, 2, 2, 3)),
    "separable_conv2d": (lambda x: slim.separable_conv2d(x, 4, 3, depth_multiplier=2), (2, 3, 5, 6)),
    "separable_conv2d/depthwise": (lambda x: slim.separable_conv2d(x, None, [3, 2], 2, 2), (2, 3, 6, 5)),
    "separable_conv2d/batch_norm": (
        lambda x: slim.separable_conv2d(x, 4, 3, rate=2, normalizer_fn=slim.batch_norm),
        (2, 3, 5, 6),
    ),
    "conv2d_in_plane": (lambda x: slim.conv2d_in_plane(x, [1, 2], padding="VALID"), (2, 3, 5, 4)),
    "conv2d_in_plane/same_stride": (lambda x: slim.conv2d_in_plane(x, 3, 2, activation_fn=None), (2, 3, 6, 4)),
    "fully_connected": (lambda x: slim.fully_connected(x, 5), (2, 7)),
    "fully_connected/image": (lambda x: slim.fully_connected(x, 5, activation_fn=torch.sigmoid), (2, 3, 4, 2)),
    "fully_connected/batch_norm": (
        lambda x: slim.fully_connected(x, 5, normalizer_fn=slim.batch_norm, normalizer_params={"scale": True}),
        (6, 7),
    ),
    "max_pool2d": (lambda x: slim.max_pool2d(x, [3, 2], padding="SAME"), (2, 3, 7, 6)),
    "avg_pool2d": (lambda x: slim.avg_pool2d(x, [3, 2], padding="SAME"), (2, 3, 7, 6)),
    "avg_pool2d/stride_1": (lambda x: slim.avg_pool2d(x, 2, 1, padding="SAME"), (2, 3, 7, 6)),
    "max_pool2d/mixed_pads": (lambda x: slim.max_pool2d(x, [3, 3], padding="SAME"), (2, 3, 7, 6)),
    "max_pool2d/stride_1": (lambda x: slim.max_pool2d(x, 2, 1, padding="SAME"), (2, 3, 7, 6)),
    "max_pool3d": (lambda x: slim.max_pool3d(x, 2, padding="SAME"), (2, 3, 3, 4, 5)),
    "avg_pool3d": (lambda x: slim.avg_pool3d(x, [1, 2, 3], 1, padding="SAME"), (2, 3, 3, 4, 5)),
    "pool/max": (lambda x: slim.pool(x, [2, 3], "MAX", dilation_rate=[1, 2]), (2, 3, 7, 6)),
    "pool/avg": (lambda x: slim.pool(x, [2, 3], "AVG", dilation_rate=[1, 2]), (2, 3, 7, 6)),
    "pool/1d": (lambda x: slim.pool(x, 3, "AVG", "SAME", stride=2), (2, 3, 6)),
    "batch_norm/rank_2": (lambda x: slim.batch_norm(x, scale=True, decay=0.9), (6, 4)),
    "batch_norm/rank_3": (lambda x: slim.batch_norm(x, scale=True, decay=0.9), (3, 4, 5)),
    "batch_norm/rank_4": (lambda x: slim.batch_norm(x, activation_fn=torch.relu), (3, 4, 5, 2)),
    "batch_norm/rank_5": (lambda x: slim.batch_norm(x, center=False), (3, 4, 5, 2, 2)),
    "batch_norm/not_fused": (lambda x: slim.batch_norm(x, fused=False, scale=True), (3, 4, 5, 2)),
    "batch_norm/weighted": (
        lambda x: slim.batch_norm(x, batch_weights=x.mean((1, 2, 3)).exp() if hasattr(x, "ndim") else True),
        (3, 4, 5, 2),
    ),
    "batch_norm/zero_debias": (lambda x: slim.batch_norm(x, zero_debias_moving_mean=True), (3, 4, 5, 2)),
    "batch_norm/updates_wait": (lambda x: slim.batch_norm(x, updates_collections="later"), (3, 4, 5, 2)),
    "batch_norm/renorm": (
        lambda x: slim.batch_norm(x, renorm=True, renorm_clipping={"rmax": 3.0, "rmin": 0.3, "dmax": 5.0}, scale=True),
        (3, 4, 5, 2),
    ),
    "batch_norm/adjustment": (
        lambda x: slim.batch_norm(x, adjustment=two_and_one, activation_fn=torch.relu),
        (3, 4, 5, 2),
    ),
    "batch_norm/inference": (lambda x: slim.batch_norm(x, is_training=False), (3, 4, 5, 2)),
    "layer_norm": (slim.layer_norm, (3, 6)),
    "layer_norm/image": (lambda x: slim.layer_norm(x, activation_fn=torch.relu), (3, 4, 5, 2)),
    "layer_norm/axes": (lambda x: slim.layer_norm(x, begin_norm_axis=2, begin_params_axis=-1), (3, 4, 5)),
    "instance_norm": (slim.instance_norm, (3, 4, 5, 2)),
    "group_norm": (lambda x: slim.group_norm(x, groups=2), (3, 4, 5, 2)),
    "group_norm/some_axes": (lambda x: slim.group_norm(x, groups=2, reduction_axes=[-1]), (3, 4, 5, 2)),
    "unit_norm": (lambda x: slim.unit_norm(x, dim=1), (3, 4, 5, 2)),
    # With more channels some of gamma starts at its bound, where the gradient is on purpose not the derivative.
    "gdn": (slim.gdn, (3, 1, 5, 2)),
    "gdn/inverse": (lambda x: slim.gdn(x, inverse=True), (3, 1, 5)),
    "dropout/off": (lambda x: slim.dropout(x, 0.5, is_training=False), (3, 4)),
    "flatten": (slim.flatten, (2, 3, 4, 5)),
    "elu": (lambda x: slim.elu(x, 4), (2, 3)),
    "relu": (lambda x: slim.relu(x, 4), (2, 3)),
    "relu6": (lambda x: slim.relu6(x, 4), (2, 3)),
    "linear": (lambda x: slim.linear(x, 4), (2, 3)),
    "legacy_fully_connected": (lambda x: slim.legacy_fully_connected(x, 4), (2, 3)),
    "legacy_fully_connected/rank_3": (lambda x: slim.legacy_relu(x, 4), (2, 5, 3)),
    "legacy_linear": (lambda x: slim.legacy_linear(x, 4, bias_init=None), (2, 3)),
    "bias_add": (lambda x: slim.bias_add(x, activation_fn=torch.tanh), (2, 3, 4, 5)),
    "bias_add/rank_2": (lambda x: slim.bias_add(x, data_format="NHWC"), (2, 3)),
    "softmax": (slim.softmax, (2, 3, 4, 5)),
    "softmax/rank_2": (slim.softmax, (2, 3)),
    "spatial_softmax": (lambda x: slim.spatial_softmax(x, temperature=0.7), (2, 3, 4, 5)),
    "maxout": (lambda x: slim.maxout(x, 2), (2, 4, 3, 5)),
    "maxout/axis": (lambda x: slim.maxout(x, 2, axis=1), (2, 4, 3)),
    "one_hot_encoding": (lambda x: slim.one_hot_encoding((x > 0).long(), 3) * x.unsqueeze(-1), (2, 3, 4)),
    "sequence_to_images": (
        lambda x: slim.sequence_to_images(slim.images_to_sequence(x), 4, output_data_format="channels_first"),
        (2, 3, 4, 5),
    ),
    "scale_gradient": (lambda x: slim.linear(slim.scale_gradient(x, 1.0), 3), (2, 5, 3)),
    "poincare_normalize": (lambda x: slim.linear(slim.poincare_normalize(x), 3), (2, 5, 3)),
    "recompute_grad": (lambda x: slim.linear(slim.recompute_grad(recomputed)(x), 2), (3, 4, 5)),
    "rev_block": (lambda x: slim.linear(sum(slim.rev_block(x, x + 1, half, half, num_layers=2)), 2), (2, 3, 4)),
    "rev_block/inference": (
        lambda x: slim.linear(sum(slim.rev_block(x, x + 1, half, half, is_training=False)), 2),
        (2, 3, 4),
    ),
    "repeat": (lambda x: slim.repeat(x, 2, slim.conv2d, 4, 3), (2, 3, 5, 5)),
    "stack": (lambda x: slim.stack(x, slim.fully_connected, [5, 4]), (2, 3)),
}


@pytest.fixture(params=REGISTRY)
def case(request: pytest.FixtureRequest) -> tuple[slim.Model, torch.Tensor]:
    function, shape = REGISTRY[request.param]
    model = slim.build(function, torch.empty(shape))
    return model, torch.randn(shape)


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def test_gradients(case) -> None:
    model, x = case
    model = model.double().eval()
    parameters = tuple(model.parameters())
    names = [name for name, _ in model.named_parameters()]

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x.double().requires_grad_(), *parameters))


def test_autocast(case) -> None:
    model, x = case
    expected = model.eval()(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = model(x)
    assert (got.float() - expected).abs().max() <= 0.05 * expected.abs().max()


def test_training_mode_runs_backward(case) -> None:
    model, x = case
    model.train()(x.requires_grad_()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert x.grad is not None


def test_state_dict_copy_and_pickle(case, request: pytest.FixtureRequest) -> None:
    model, x = case
    expected = model.eval()(x)
    fresh = slim.build(REGISTRY[request.node.callspec.params["case"]][0], torch.empty_like(x)).eval()
    fresh.load_state_dict(model.state_dict())
    assert "num_batches_tracked" not in str(list(model.state_dict()))
    for other in (fresh, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), expected)


def test_compile(case) -> None:
    model, x = case
    expected = model.eval()(x)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
    torch._dynamo.reset()


def test_export(case) -> None:
    model, x = case
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    y = torch.cat([x, x + 1])
    torch.testing.assert_close(exported.module()(y), model(y))


def test_meta_then_values(case, request: pytest.FixtureRequest) -> None:
    model, x = case
    with torch.device("meta"):
        empty = slim.build(REGISTRY[request.node.callspec.params["case"]][0], torch.empty(x.shape))
    assert all(tensor.is_meta for tensor in tensors(empty).values())
    assert empty(x.to("meta")).shape == model(x).shape
    for variable in slim.get_variables(module=empty):
        variable.initialize()
    assert {name: t.shape for name, t in tensors(empty).items()} == {
        name: t.shape for name, t in tensors(model).items()
    }
    empty.load_state_dict(model.state_dict())
    torch.testing.assert_close(empty.eval()(x), model.eval()(x))


def test_shape_is_that_of_the_value(case) -> None:
    model, x = case
    (end_point,) = list(model.end_points.values())[-1:]
    assert tuple(model(x).shape)[1:] == end_point.shape[1:]


def test_three_forms_agree(case, request: pytest.FixtureRequest) -> None:
    model, x = case
    function = REGISTRY[request.node.callspec.params["case"]][0]
    torch.manual_seed(3)
    eager = function(x)
    assert eager.shape == model(x).shape
    if x.ndim in (2, 4) and "image" not in request.node.name and "rank_2" not in request.node.name:
        made = function(x.shape[1])
        assert isinstance(made, torch.nn.Module)
        assert made(x).shape == eager.shape
