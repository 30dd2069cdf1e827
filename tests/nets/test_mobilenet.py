"""The MobileNets' arguments, blocks and pretrained weights; names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import torchslim as slim
from torchslim.layers.feature_normalization import GroupNorm
from torchslim.nets import mobilenet_v1
from torchslim.nets.mobilenet import conv_blocks, mobilenet, mobilenet_v2, mobilenet_v3

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="no weights at ../shared/weights")
LAYOUTS = ["NCHW", "NHWC"]

NETWORKS = [
    pytest.param(mobilenet_v1.mobilenet_v1, mobilenet_v1.mobilenet_v1_arg_scope, id="v1"),
    pytest.param(mobilenet_v2.mobilenet, mobilenet.training_scope, id="v2"),
    pytest.param(mobilenet_v3.small, mobilenet.training_scope, id="v3"),
    pytest.param(mobilenet_v3.edge_tpu, mobilenet.training_scope, id="edgetpu"),
]
BASES = [
    pytest.param(mobilenet_v1.mobilenet_v1_base, mobilenet_v1.mobilenet_v1_arg_scope, id="v1"),
    pytest.param(mobilenet_v2.mobilenet_base, mobilenet.training_scope, id="v2"),
]


def build(function: Callable[..., Any], size: int | None, device: str = "meta", **kwargs: Any) -> slim.Model:
    """`function` on images of `size`; None: of a size that is not known."""
    with torch.device(device):
        return slim.build(function, slim.InputSpec((None, 3, size, size)), **kwargs)


def calibrated(model: slim.Model, images: torch.Tensor) -> slim.Model:
    """With the statistics of `images`, so that features are of the order of one in every layer."""
    for norm in batch_norms(model):
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def batch_norms(model: slim.Model) -> list[torch.nn.Module]:
    return [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]


@needs_weights
@pytest.mark.parametrize("name", ["v1.ckpt", "v2.ckpt", "bncal_v1.ckpt", "bncal_v2.ckpt"])
def test_published_weights_classify_as_recorded(name: str) -> None:
    with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope()):
        model = build(mobilenet_v1.mobilenet_v1_025, 224, num_classes=1001).eval()
    report = slim.restore(model, WEIGHTS / f"mobilenet_v1_0.25_224_{name}")
    assert len(report.restored) == 137
    recorded = np.load(WEIGHTS / "reference_io.npz")
    random = np.random.RandomState(0).uniform(-1, 1, (4, 224, 224, 3)).astype("float32")
    photos = recorded["photos_uint8"].astype("float32") / 127.5 - 1
    with torch.inference_mode():
        for images, logits in ((random, recorded["logits_random"]), (photos, recorded["logits_photos"])):
            np.testing.assert_allclose(model(torch.from_numpy(images).permute(0, 3, 1, 2)), logits, atol=2e-4)
        photos = torch.from_numpy(photos).permute(0, 3, 1, 2)
        predictions = model.extract("Predictions")(photos)
    np.testing.assert_allclose(predictions, recorded["probs_photos"], atol=1e-5)


@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_default_image_size(function: Any, scope: Any) -> None:
    assert function.default_image_size == 224


@pytest.mark.parametrize("none", [None, 0])
@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_without_logits_the_pooled_features_come_out(function: Any, scope: Any, none: int | None) -> None:
    model = build(function, 224, num_classes=none)
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape[2:] == (1, 1)
    assert not {"Logits", "Predictions"} & model.end_points.keys()


@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_predictions_are_what_is_asked_for(function: Any, scope: Any) -> None:
    assert "Predictions" not in build(function, 96, num_classes=5, prediction_fn=None).end_points
    model = build(function, 96, num_classes=5, prediction_fn=lambda logits, scope: logits.sigmoid())
    probabilities = model.end_points["Predictions"]
    assert probabilities.shape == (None, 5)


@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_reuse_shares_every_variable(function: Any, scope: Any) -> None:
    def twins(images: slim.Symbol) -> slim.Symbol:
        return function(images, 5)[0] + function(images, 5, reuse=True)[0]

    with slim.arg_scope(scope()):
        shared, alone = build(twins, 96), build(function, 96, num_classes=5)
    assert list(shared.state_dict()) == list(alone.state_dict())


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_scope_and_mode(function: Any, scope: Any, is_training: bool) -> None:
    with slim.arg_scope(scope()):
        model = build(function, 96, num_classes=5, scope="tower", is_training=is_training)
    assert all(variable.op.name.startswith("tower/") for variable in slim.get_variables(module=model))
    assert {norm.training for norm in batch_norms(model.train())} == {is_training}
    assert model.extract("Logits").train()(torch.empty(2, 3, 96, 96, device="meta")).shape == (2, 5)
    dropouts = [module for module in model.train().modules() if isinstance(module, torch.nn.Dropout)]
    assert [dropout.training for dropout in dropouts] == [is_training]


@pytest.mark.parametrize(("function", "scope"), NETWORKS)
def test_inputs_are_images(function: Any, scope: Any) -> None:
    with pytest.raises(ValueError, match=r"`inputs` must be images, of rank 4. Got shape \(None, 3, 8\)"):
        slim.build(function, slim.InputSpec((None, 3, 8)))


@pytest.mark.parametrize(("base", "scope"), BASES)
@pytest.mark.parametrize("output_stride", [8, 16, 32, None])
def test_gaps_in_place_of_steps_give_the_same_features_at_more_places(
    base: Any, scope: Any, output_stride: int | None
) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 96, 96)
    options = {"depth_multiplier": 0.25, "use_explicit_padding": True}
    with slim.arg_scope(scope()):
        nominal = calibrated(build(base, 96, "cpu", **options), images)
        dense = build(base, 96, "cpu", output_stride=output_stride, **options).eval()
    dense.load_state_dict(nominal.state_dict())
    with torch.inference_mode():
        expected, features = nominal(images), dense(images)
    every = 32 // (output_stride or 32)
    assert features.shape[2:] == (96 // (output_stride or 32),) * 2
    assert expected.std() > 0.1
    torch.testing.assert_close(features[:, :, ::every, ::every], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("base", "scope"), BASES)
def test_explicit_padding_is_that_of_odd_images(base: Any, scope: Any) -> None:
    torch.manual_seed(0)
    odd, even = torch.randn(4, 3, 65, 65), torch.randn(4, 3, 64, 64)
    with slim.arg_scope(scope()):
        same = calibrated(build(base, None, "cpu", depth_multiplier=0.25), odd)
        explicit = build(base, None, "cpu", depth_multiplier=0.25, use_explicit_padding=True).eval()
    explicit.load_state_dict(same.state_dict())
    with torch.inference_mode():
        assert same(odd).std() > 0.1
        torch.testing.assert_close(explicit(odd), same(odd), rtol=1e-3, atol=1e-4)
        assert explicit(even).shape == same(even).shape
        assert not torch.allclose(explicit(even), same(even), atol=0.1)


@pytest.mark.parametrize(
    ("base", "arguments", "message"),
    [
        (
            mobilenet_v1.mobilenet_v1_base,
            {"depth_multiplier": 0},
            "`depth_multiplier` must be greater than zero. Got 0",
        ),
        (mobilenet_v1.mobilenet_v1_base, {"output_stride": 7}, "must be 8, 16, 32 or None. Got 7"),
        (mobilenet_v1.mobilenet_v1_base, {"final_endpoint": "Conv2d_14"}, "Conv2d_13_pointwise. Got 'Conv2d_14'"),
        (mobilenet_v2.mobilenet_base, {"depth_multiplier": -1.0}, "`multiplier` must be greater than zero. Got -1.0"),
        (mobilenet_v2.mobilenet_base, {"multiplier": 0.5}, "mobilenet_v2: give `depth_multiplier`.* Got 0.5"),
        (mobilenet_v3.mobilenet_base, {"multiplier": 0.5}, "mobilenet_v3: give `depth_multiplier`.* Got 0.5"),
        (mobilenet_v2.mobilenet_base, {"output_stride": 7}, "must be None, 1 or an even number. Got 7"),
        (mobilenet_v2.mobilenet_base, {"output_stride": 0}, "must be None, 1 or an even number. Got 0"),
        (mobilenet_v2.mobilenet_base, {"final_endpoint": "layer_20"}, "layer_1 to layer_19. Got 'layer_20'"),
    ],
)
def test_arguments_that_cannot_be(base: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(base, 96, **arguments)


def test_v1_has_rows_of_its_own() -> None:
    rows = [
        mobilenet_v1.Conv([3, 3], 2, 16),
        mobilenet_v1.DepthSepConv([5, 5], 2, 32),
        mobilenet_v1.Conv([1, 1], 1, 64),
    ]
    model = build(
        mobilenet_v1.mobilenet_v1_base, 64, conv_defs=rows, final_endpoint="Conv2d_2", min_depth=10,
        depth_multiplier=0.5)  # fmt: skip
    shapes = {name: end.shape[1:] for name, end in model.end_points.items()}
    assert shapes == {
        "Conv2d_0": (10, 32, 32),
        "Conv2d_1_depthwise": (10, 16, 16),
        "Conv2d_1_pointwise": (16, 16, 16),
        "Conv2d_2": (32, 16, 16),
    }
    row = mobilenet.op(slim.conv2d, num_outputs=8)
    with pytest.raises(TypeError, match=r"must be a Conv or a DepthSepConv. Got Op\("):
        build(mobilenet_v1.mobilenet_v1_base, 64, conv_defs=[row])


@pytest.mark.parametrize("layer", [0, 1, 7, 13])
@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_v1_ends_where_it_is_told(layer: int, kind: str) -> None:
    name = f"Conv2d_{layer}_{kind}" if layer else "Conv2d_0"
    model = build(mobilenet_v1.mobilenet_v1_base, 224, final_endpoint=name, scope="net")
    assert list(model.end_points)[-1] == name
    assert len(model.end_points) == 2 * layer + (kind == "pointwise" or not layer)


def test_v1_pools_over_a_window_or_over_everything() -> None:
    def sizes(size: int | None, **options: Any) -> Any:
        model = build(mobilenet_v1.mobilenet_v1, size, num_classes=5, depth_multiplier=0.25, **options)
        return model(torch.empty(2, 3, 320, 320, device="meta")).shape

    assert sizes(320, spatial_squeeze=False) == (2, 5, 2, 2)  # 10x10 features, a window of 7x7, steps of 2
    assert sizes(None, spatial_squeeze=False) == (2, 5, 2, 2)
    assert sizes(None, global_pool=True) == (2, 5)
    with pytest.raises(ValueError, match=r"Got shape \(None, 5, 2, 2\)"):
        sizes(320)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_global_pool_takes_another_pooling(data_format: str) -> None:
    features = torch.randn(2, 5, 4, 6)
    inputs = features if data_format == "NCHW" else features.movedim(1, -1)
    space = (2, 3) if data_format == "NCHW" else (1, 2)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=data_format):
        assert torch.equal(mobilenet.global_pool(inputs, pool_op=slim.max_pool2d), inputs.amax(space, keepdim=True))
        averages = mobilenet.global_pool(inputs, pool_op=slim.avg_pool2d)
        torch.testing.assert_close(averages, mobilenet.global_pool(inputs))
        with slim.Graph(), pytest.raises(ValueError, match="height and width must be known"):
            mobilenet.global_pool(slim.placeholder((None, None, None, None)), pool_op=slim.max_pool2d)


def test_v1_regularizes_depthwise_weights_if_asked_to() -> None:
    def regularized(**options: Any) -> int:
        with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(**options)):
            model = build(mobilenet_v1.mobilenet_v1_base, 64, final_endpoint="Conv2d_3_pointwise")
        return sum(variable.regularizer is not None for variable in slim.get_variables(module=model))

    assert (regularized(), regularized(regularize_depthwise=True)) == (4, 7)


def test_v1_without_normalizer_has_biases() -> None:
    with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(is_training=None, normalizer_fn=None)):
        model = build(mobilenet_v1.mobilenet_v1_base, 64, final_endpoint="Conv2d_1_pointwise")
    assert [v.op.name.rpartition("/")[2] for v in slim.get_variables(module=model)] == [
        "weights", "biases", "depthwise_weights", "biases", "weights", "biases"]  # fmt: skip


def channels(model: slim.Model) -> list[int]:
    return [end.shape[1] for name, end in model.end_points.items() if name.count("/") == 0]


def test_v2_limits_of_channels() -> None:
    narrow = channels(build(mobilenet_v2.mobilenet_base, 64, depth_multiplier=0.1))
    assert (min(narrow), narrow[-1]) == (8, 128)
    assert min(channels(build(mobilenet_v2.mobilenet_base, 64, depth_multiplier=0.1, min_depth=16))) == 16
    assert narrow[0] == 8
    odd = channels(build(mobilenet_v2.mobilenet_base, 64, depth_multiplier=0.1, min_depth=1, divisible_by=1))
    assert odd[0] == 3
    fine = build(mobilenet_v2.mobilenet_base, 64, depth_multiplier=0.1, finegrain_classification_mode=True)
    assert channels(fine)[-1] == 1280


def test_a_multiplier_may_be_scoped() -> None:
    with slim.arg_scope([mobilenet.depth_multiplier], min_depth=24):
        assert min(channels(build(mobilenet_v2.mobilenet_base, 64, depth_multiplier=0.1))) == 24


def test_v2_activation() -> None:
    model = build(mobilenet_v2.mobilenet_base, 64, activation_fn=torch.tanh, final_endpoint="layer_3")
    activations = [module.activation for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert activations.count(None) == 4  # two are projections, two the kernels inside of separable convolutions
    assert mobilenet_v2.V2_DEF["defaults"][(slim.conv2d, slim.fully_connected, slim.separable_conv2d)][
        "activation_fn"
    ] is functional.relu6  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("options", "groups"), [({}, 8), ({"groups": 4}, 4)])
def test_group_normalization(options: dict[str, int], groups: int, layout: str) -> None:
    shape = (None, 3, 64, 64) if layout == "NCHW" else (None, 64, 64, 3)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        second = slim.build(mobilenet_v2.mobilenet_base_group_norm, slim.InputSpec(shape), **options)
        third = slim.build(mobilenet_v3.small, slim.InputSpec(shape), use_groupnorm=True, **options)
    for model in (second, third):
        found = [module.groups for module in model.modules() if isinstance(module, GroupNorm)]
        assert set(found) == {groups}
        assert not batch_norms(model)


def test_training_scope() -> None:
    with slim.arg_scope(mobilenet.training_scope(weight_decay=0.5, stddev=-1, dropout_keep_prob=0.25, bn_decay=0.75)):
        model = build(mobilenet_v2.mobilenet, 64, num_classes=5)
    assert {norm.momentum for norm in batch_norms(model)} == {0.25}
    assert model.MobilenetV2.Logits.Dropout.p == 0.75
    variables = {variable.op.name: variable for variable in slim.get_variables(module=model)}
    first = variables["MobilenetV2/Conv/weights"]
    assert first.initializer == slim.xavier_initializer()
    assert float(first.regularizer(torch.ones(2))) == 0.5
    assert variables["MobilenetV2/expanded_conv/depthwise/depthwise_weights"].regularizer is None


def test_training_scope_leaves_what_is_none() -> None:
    with slim.arg_scope([slim.batch_norm], decay=0.5, is_training=False):
        scope = mobilenet.training_scope(is_training=None, bn_decay=None)
    with slim.arg_scope(scope):
        model = build(mobilenet_v2.mobilenet, 64, num_classes=5)
    assert {(norm.momentum, norm.training) for norm in batch_norms(model.train())} == {(0.5, False)}


def test_v3_tables() -> None:
    large = channels(build(mobilenet_v3.mobilenet_base, 64))
    assert large == [16, 16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160, 960, 960, 1280]
    detector = channels(build(mobilenet_v3.mobilenet_base, 64, conv_defs=mobilenet_v3.V3_LARGE_DETECTION))
    assert detector == [*large[:13], 80, 80, 80, 480, 480, 1280]
    detector = channels(build(mobilenet_v3.mobilenet_base, 64, conv_defs=mobilenet_v3.V3_SMALL_DETECTION))
    assert detector[9:] == [48, 48, 48, 288, 288, 1024]
    fine = build(mobilenet_v3.small, 64, depth_multiplier=0.5, finegrain_classification_mode=True)
    assert channels(fine)[12:15] == [288, 288, 1024]


def test_v3_names() -> None:
    assert "MobilenetEdgeTPU" in dict(build(mobilenet_v3.edge_tpu, 64).named_children())
    assert "mine" in dict(build(mobilenet_v3.edge_tpu, 64, scope="mine").named_children())


@pytest.mark.parametrize("output_stride", [8, 16])
def test_v3_keeps_its_stride(output_stride: int) -> None:
    model = build(mobilenet_v3.small, 64, output_stride=output_stride)
    assert model.end_points["layer_13"].shape[2] == 64 // output_stride
    assert model.end_points["layer_14"].shape[2] == 1


@pytest.mark.parametrize(("size", "expected"), [((5, 5), (1, 1)), ((7, 14), (1, 8)), ((None, None), (8, 8))])
def test_reduce_to_1x1(size: tuple[int | None, int | None], expected: tuple[int, int]) -> None:
    model = slim.build(mobilenet_v3.reduce_to_1x1, slim.InputSpec((None, 3, *size)), stride=1, padding="VALID")
    assert model(torch.zeros(1, 3, *(side or 14 for side in size))).shape[2:] == expected


def test_hard_swish_and_its_gate() -> None:
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(mobilenet_v3.hard_swish(x), x * (x + 3).clamp(0, 6) / 6)
    torch.testing.assert_close(mobilenet_v3._gate(x), (x + 3).clamp(0, 6) * 0.16667)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("location", [None, "input", "expansion", "output"])
def test_expanded_conv_has_its_depthwise_convolution_anywhere(location: str | None, layout: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 7, 7)
    ends: dict[str, slim.Symbol] = {}
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        model = slim.build(
            conv_blocks.expanded_conv, x if layout == "NCHW" else x.permute(0, 2, 3, 1), num_outputs=4,
            expansion_size=10, depthwise_location=location, kernel_size=(3, 5), endpoints=ends,
            inner_activation_fn=torch.sigmoid, depthwise_activation_fn=torch.tanh)  # fmt: skip
    block = model.expanded_conv

    def depthwise(net: torch.Tensor) -> torch.Tensor:
        kernel = block.depthwise.depthwise
        net = functional.conv2d(net, kernel.weight, kernel.bias, padding=(1, 2), groups=len(kernel.weight))
        return net.tanh() if location == "expansion" else net

    net = depthwise(x) if location == "input" else x
    net = functional.conv2d(net, block.expand.weight, block.expand.bias).sigmoid()
    net = depthwise(net) if location == "expansion" else net
    net = functional.conv2d(net, block.project.weight, block.project.bias)
    net = (depthwise(net) if location == "output" else net) + x
    got = model(x) if layout == "NCHW" else model(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, net)
    assert set(ends) == {"expansion_output", "projection_output", *(["depthwise_output"] if location else [])}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_convolutions_are_grouped_ones(layout: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 5, 5)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        model = slim.build(
            conv_blocks.split_conv, x if layout == "NCHW" else x.permute(0, 2, 3, 1), num_outputs=32, num_ways=2,
            scope="expand", activation_fn=None)  # fmt: skip
    weight = torch.cat([model.expand_part_0.weight, model.expand_part_1.weight])
    got = model(x) if layout == "NCHW" else model(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, functional.conv2d(x, weight, groups=2), rtol=1e-4, atol=1e-5)


def test_split_convolutions_of_a_network_are_end_points() -> None:
    rows = [mobilenet.op(conv_blocks.expanded_conv, num_outputs=16, split_expansion=2, split_projection=2)]
    model = slim.build(mobilenet.mobilenet_base, torch.empty(1, 16, 8, 8), conv_defs={"spec": rows})
    parts = ["expand_part_0_output", "expand_part_1_output", "expansion_output", "depthwise_output",
             "project_part_0_output", "project_part_1_output", "output"]  # fmt: skip
    assert list(model.end_points) == ["layer_1", *(f"layer_1/{part}" for part in parts)]


@pytest.mark.parametrize(
    ("number", "ways", "parts"), [(40, 3, [16, 16, 8]), (24, 3, [8, 8, 8]), (88, 4, [24, 24, 24, 16])]
)
def test_split_divisible(number: int, ways: int, parts: list[int]) -> None:
    assert conv_blocks.split_divisible(number, ways) == parts


@pytest.mark.parametrize(("number", "ways"), [(20, 2), (16, 3)])
def test_numbers_that_cannot_be_split(number: int, ways: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 8, and at least {ways} times that. Got {number}"):
        conv_blocks.split_divisible(number, ways)


@pytest.mark.parametrize(
    ("value", "divisor", "least", "expected"),
    [
        (3, 8, None, 8),
        (33, 8, None, 32),
        (11, 8, None, 16),
        (36, 8, None, 40),
        (3, 8, 16, 16),
        (44.8, 8, 8, 48),
        (7.5, 1, 1, 8),
    ],
)
def test_make_divisible(value: float, divisor: int, least: int | None, expected: int) -> None:
    assert conv_blocks.make_divisible(value, divisor, least) == expected


def test_expanded_conv_refuses() -> None:
    with pytest.raises(ValueError, match=r"`depthwise_location` must be one of .* Got 'middle'"):
        slim.build(conv_blocks.expanded_conv, torch.empty(1, 8, 6, 6), num_outputs=8, depthwise_location="middle")
    with pytest.raises(ValueError, match=r"takes the place of `padding`\. Got 'VALID'"):
        slim.build(
            conv_blocks.expanded_conv, torch.empty(1, 8, 6, 6), num_outputs=8, padding="VALID",
            use_explicit_padding=True)  # fmt: skip


def test_expanded_conv_with_functions_of_its_own() -> None:
    def network(x: slim.Symbol) -> slim.Symbol:
        return conv_blocks.expanded_conv(
            x, 8, expansion_size=lambda num_inputs, **_: num_inputs + 3,
            expansion_transform=lambda expansion_tensor, input_tensor: 0 * expansion_tensor,
            residual=lambda input_tensor, output_tensor: output_tensor - 2 * input_tensor,
            project_activation_fn=torch.sigmoid)  # fmt: skip

    x = torch.randn(2, 8, 6, 6)
    model = slim.build(network, x)
    assert model.expanded_conv.expand.weight.shape[0] == 11
    torch.testing.assert_close(model(x), 0.5 - 2 * x)


@pytest.mark.parametrize("scope", [None, "Conv2d_1"])
def test_split_separable_conv2d_has_two_activations(scope: str | None) -> None:
    torch.manual_seed(0)
    x, ends = torch.randn(2, 4, 6, 6), {}
    model = slim.build(
        conv_blocks.split_separable_conv2d, x, num_outputs=8, stride=2, scope=scope, endpoints=ends,
        use_explicit_padding=True)  # fmt: skip
    first, second = (m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    net = functional.conv2d(x, first.weight, first.bias, stride=2, padding=1, groups=4).relu()
    torch.testing.assert_close(model(x), functional.conv2d(net, second.weight, second.bias).relu())
    prefix = "" if scope is None else "Conv2d_1_"
    assert list(ends) == [f"{prefix}depthwise", f"{prefix}pointwise"]
    names = [variable.op.name for variable in slim.get_variables(module=model)]
    assert names[0] == f"{prefix or 'separable/'}depthwise/depthwise_weights"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("pool", "windows"), [(None, 1), (8, 1), (3, 2)])
def test_squeeze_excite(pool: int | None, windows: int, layout: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 6, 6)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        model = slim.build(conv_blocks.squeeze_excite, x if layout == "NCHW" else x.permute(0, 2, 3, 1), pool=pool)
    squeeze, excite = model.squeeze_excite.Conv, model.squeeze_excite.Conv_1
    assert squeeze.weight.shape == (8, 16, 1, 1)
    net = functional.adaptive_avg_pool2d(x, windows)
    net = functional.conv2d(functional.conv2d(net, squeeze.weight, squeeze.bias).relu(), excite.weight, excite.bias)
    scales = functional.interpolate(net.sigmoid(), (6, 6), mode="bilinear", align_corners=True)
    got = model(x) if layout == "NCHW" else model(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, x * scales)


def test_squeeze_excite_of_another_tensor() -> None:
    def network(x: slim.Symbol, other: slim.Symbol) -> slim.Symbol:
        return conv_blocks.squeeze_excite(x, squeeze_input_tensor=other, gating_fn=None, inner_activation_fn=None)

    x, other = torch.randn(2, 8, 6, 6), torch.zeros(2, 24, 3, 3)
    model = slim.build(network, x, other)
    assert model.squeeze_excite.Conv.weight.shape == (8, 24, 1, 1)
    assert torch.count_nonzero(model(x, other)) == 0
