"""ResNet's arguments; names and numbers of the networks are in test_nets_goldens.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

import torchslim as slim
from torchslim.nets import resnet_utils, resnet_v1, resnet_v2

VERSIONS = [
    pytest.param(resnet_v1.resnet_v1, resnet_v1.resnet_v1_block, id="v1"),
    pytest.param(resnet_v2.resnet_v2, resnet_v2.resnet_v2_block, id="v2"),
]
FIFTY = [resnet_v1.resnet_v1_50, resnet_v2.resnet_v2_50]
DEEPER = [getattr(module, f"resnet_v{n}_{depth}")
          for n, module in ((1, resnet_v1), (2, resnet_v2)) for depth in (101, 152, 200)]  # fmt: skip


def build(function: Callable[..., Any], size: int | None, device: str = "meta", **kwargs: Any) -> slim.Model:
    """`function` on images of `size`; None: of a size that is not known."""
    with torch.device(device), slim.arg_scope(resnet_utils.resnet_arg_scope()):
        return slim.build(function, slim.InputSpec((None, 3, size, size)), **kwargs)


def tiny(make_block: Callable[..., resnet_utils.Block]) -> list[resnet_utils.Block]:
    """Four blocks: all strides of a published network, with few channels."""
    rows = [("block1", 4, 2, 2), ("block2", 8, 2, 2), ("block3", 8, 2, 2), ("block4", 16, 2, 1)]
    return [make_block(scope, depth, units, stride) for scope, depth, units, stride in rows]


@pytest.mark.parametrize("function", [*FIFTY, *DEEPER, resnet_v1.resnet_v1, resnet_v2.resnet_v2])
def test_default_image_size(function: Any) -> None:
    assert function.default_image_size == 224


@pytest.mark.parametrize(("network", "make_block"), VERSIONS)
@pytest.mark.parametrize("output_stride", [4, 8, 16, None])
def test_gaps_in_place_of_steps_give_the_same_features_at_more_places(
    network: Any, make_block: Any, output_stride: int | None
) -> None:
    options = {"blocks": tiny(make_block), "num_classes": None, "global_pool": False, "is_training": False}
    torch.manual_seed(0)
    nominal = build(network, 81, "cpu", **options).eval()
    dense = build(network, 81, "cpu", output_stride=output_stride, **options).eval()
    dense.load_state_dict(nominal.state_dict())
    images = torch.randn(2, 3, 81, 81)
    with torch.inference_mode():
        expected, features = nominal(images), dense(images)
    every = 32 // (output_stride or 32)
    assert features.shape[2:] == (-(-81 // (output_stride or 32)),) * 2
    assert expected.std() > 0.1
    torch.testing.assert_close(features[:, :, ::every, ::every], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("output_stride", "usual_sizes", "stored_sizes"),
    [(None, [9, 5, 3, 3], [17, 9, 5, 3]), (8, [9, 9, 9, 9], [17, 9, 9, 9])],
)
def test_non_strided_activations_change_nothing_but_the_end_points(
    output_stride: int | None, usual_sizes: list[int], stored_sizes: list[int]
) -> None:
    def network(**options: Any) -> slim.Model:
        blocks = tiny(resnet_v1.resnet_v1_block)
        options.update(blocks=blocks, num_classes=5, output_stride=output_stride, scope="net")
        return build(resnet_v1.resnet_v1, 65, "cpu", **options).eval()

    usual, stored = network(), network(store_non_strided_activations=True)
    stored.load_state_dict(usual.state_dict())
    images = torch.randn(2, 3, 65, 65)
    assert usual(images).std() > 0.1
    torch.testing.assert_close(stored(images), usual(images), rtol=1e-4, atol=1e-4)
    for model, sizes in ((usual, usual_sizes), (stored, stored_sizes)):
        assert [model.end_points[f"net/block{number}"].shape[2] for number in (1, 2, 3, 4)] == sizes


@pytest.mark.parametrize(("network", "make_block"), VERSIONS)
@pytest.mark.parametrize(
    ("output_stride", "message"),
    [
        (6, r"resnet_v\d: `output_stride` must be a multiple of 4.* Got 6"),
        (12, "must multiply to `output_stride`. Got 3, and they come to 4"),
        (64, "must multiply to `output_stride`. Got 16, and they come to 8"),
    ],
)
def test_output_strides_that_cannot_be(network: Any, make_block: Any, output_stride: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(network, 65, blocks=tiny(make_block), output_stride=output_stride)


@pytest.mark.parametrize(("network", "make_block"), VERSIONS)
def test_any_image_size(network: Any, make_block: Any) -> None:
    options = {"blocks": tiny(make_block), "num_classes": 5}
    torch.manual_seed(0)
    model = build(network, None, "cpu", **options).eval()
    for size in (32, 47):
        known = build(network, size, "cpu", **options).eval()
        known.load_state_dict(model.state_dict())
        images = torch.randn(2, 3, size, size)
        torch.testing.assert_close(model(images), known(images))


@pytest.mark.parametrize("function", FIFTY)
def test_without_logits_features_come_out(function: Any) -> None:
    for none in (None, 0):
        pooled = build(function, 224, num_classes=none)
        maps = build(function, 224, num_classes=none, global_pool=False)
        assert pooled(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 2048, 1, 1)
        assert maps(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 2048, 7, 7)
        assert "predictions" not in pooled.end_points


@pytest.mark.parametrize("function", FIFTY)
def test_maps_are_not_squeezed(function: Any) -> None:
    maps = build(function, 64, num_classes=5, global_pool=False, spatial_squeeze=False)
    assert maps(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 5, 2, 2)
    with pytest.raises(ValueError, match=r"`spatial_squeeze` .* Got shape \(None, 5, 2, 2\)"):
        build(function, 64, num_classes=5, global_pool=False)


@pytest.mark.parametrize("function", FIFTY)
def test_reuse_shares_every_variable(function: Any) -> None:
    def twins(images: slim.Symbol) -> slim.Symbol:
        return function(images, 5)[0] + function(images, 5, reuse=True)[0]

    assert list(build(twins, 64).state_dict()) == list(build(function, 64, num_classes=5).state_dict())


@pytest.mark.parametrize("function", FIFTY)
def test_scope_and_mode(function: Any) -> None:
    pinned = build(function, 64, num_classes=5, scope="tower", is_training=False)
    assert all(variable.op.name.startswith("tower/") for variable in slim.get_variables(module=pinned))
    assert "tower/spatial_squeeze" in pinned.end_points
    norms = [module for module in pinned.train().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize(("given", "trains"), [(None, False), (True, True)])
@pytest.mark.parametrize("function", FIFTY)
def test_the_mode_of_an_arg_scope_stays_where_none_is_given(function: Any, given: bool | None, trains: bool) -> None:
    def network(images: slim.Symbol) -> Any:
        with slim.arg_scope([slim.batch_norm], is_training=False):
            return function(images, is_training=given)

    norms = [m for m in build(network, 64).train().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.training for norm in norms} == {trains}


def test_depth_multiplier() -> None:
    thin = build(resnet_v1.resnet_v1_50, 64, depth_multiplier=0.1, min_base_depth=16)
    ends = [thin.end_points[f"resnet_v1_50/block{number}"].shape[1] for number in (1, 2, 3, 4)]
    assert ends == [4 * max(int(depth * 0.1), 16) for depth in (64, 128, 256, 512)]
    assert thin.end_points["resnet_v1_50/conv1"].shape[1] == 64


def test_without_batch_norm_there_are_biases() -> None:
    scope = resnet_utils.resnet_arg_scope(use_batch_norm=False, activation_fn=None, weight_decay=0.5)
    with slim.arg_scope(scope):
        model = slim.build(resnet_v1.bottleneck, torch.empty(1, 8, 5, 5), depth=16, depth_bottleneck=4, stride=2)
    variables = slim.get_variables(module=model)
    assert [v.op.name.rpartition("/")[2] for v in variables] == ["weights", "biases"] * 4
    assert float(variables[0].regularizer(torch.ones(2))) == 0.5 * 2 / 2


def test_bounded_activations() -> None:
    torch.manual_seed(0)
    model = slim.build(
        resnet_v1.bottleneck, torch.empty(1, 8, 5, 5), depth=16, depth_bottleneck=4, stride=1,
        use_bounded_activations=True)  # fmt: skip
    x = 100 * torch.randn(4, 8, 5, 5)
    with torch.inference_mode():
        output = model(x)
        shortcut, residual = model.extract("bottleneck_v1/shortcut", "bottleneck_v1/conv3")(x)
    assert float(residual.abs().max()) > 6
    assert float(shortcut.min()) >= 0
    assert float(shortcut.max()) == 6
    torch.testing.assert_close(output, functional.relu6(shortcut + residual.clamp(-6, 6)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("size", "stride", "rate"), [(8, 1, 1), (8, 2, 1), (9, 2, 1), (9, 3, 1), (9, 1, 2)])
def test_conv2d_same_gives_every_stride_th_value(size: int, stride: int, rate: int, layout: str) -> None:
    images = torch.randn(2, 3, size, size)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        model = slim.build(
            resnet_utils.conv2d_same, images if layout == "NCHW" else images.permute(0, 2, 3, 1), num_outputs=4,
            kernel_size=5, stride=stride, rate=rate, scope="conv")  # fmt: skip
    weight, bias = model.conv.weight, model.conv.bias
    whole = functional.conv2d(images, weight, bias, padding=2 * rate, dilation=rate).relu()
    got = model(images) if layout == "NCHW" else model(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, whole[:, :, ::stride, ::stride], rtol=1e-4, atol=1e-5)
