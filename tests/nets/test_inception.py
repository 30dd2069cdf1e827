"""Inception's arguments; names and numbers of the networks are in test_nets_goldens.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets import inception, inception_resnet_v2, inception_v4

NETWORKS = [
    (inception.inception_v1, inception.inception_v1_arg_scope, 224),
    (inception.inception_v2, inception.inception_v2_arg_scope, 224),
    (inception.inception_v3, inception.inception_v3_arg_scope, 299),
    (inception.inception_v4, inception.inception_v4_arg_scope, 299),
    (inception.inception_resnet_v2, inception.inception_resnet_v2_arg_scope, 299),
]


def build(function: Callable[..., Any], size: int | None, **kwargs: Any) -> slim.Model:
    """`function` on images of `size`; None: of a size that is not known."""
    with torch.device("meta"):
        return slim.build(function, slim.InputSpec((None, 3, size, size)), **kwargs)


@pytest.mark.parametrize(("function", "scope", "size"), NETWORKS)
def test_default_image_size(function: Any, scope: Any, size: int) -> None:
    assert function.default_image_size == size


@pytest.mark.parametrize(("function", "scope", "size"), NETWORKS)
def test_without_logits_the_pooled_features_come_out(function: Any, scope: Any, size: int) -> None:
    channels = {"inception_v1": 1024, "inception_v2": 1024, "inception_v3": 2048}.get(function.__name__, 1536)
    for none in (None, 0):
        model = build(function, size, num_classes=none)
        assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, channels, 1, 1)
        assert not {"Logits", "AuxLogits", "Predictions"} & model.end_points.keys()


@pytest.mark.parametrize(("function", "scope", "size"), NETWORKS)
def test_reuse_shares_every_variable(function: Any, scope: Any, size: int) -> None:
    def twins(images: slim.Symbol) -> slim.Symbol:
        return function(images, 5)[0] + function(images, 5, reuse=True)[0]

    with slim.arg_scope(scope()):
        shared, alone = build(twins, size), build(function, size, num_classes=5)
    assert list(shared.state_dict()) == list(alone.state_dict())


@pytest.mark.parametrize(("function", "scope", "size"), NETWORKS)
def test_the_scope_and_the_mode_can_be_set(function: Any, scope: Any, size: int) -> None:
    with slim.arg_scope(scope(batch_norm_scale=True)):
        model = build(function, size, num_classes=5, scope="tower", is_training=False)
    names = [variable.op.name for variable in slim.get_variables(module=model)]
    assert all(name.startswith("tower/") for name in names)
    assert any(name.endswith("BatchNorm/gamma") for name in names)
    assert not any(module.training for module in model.train().modules() if isinstance(module, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("scope", [inception.inception_v1_arg_scope, inception.inception_v4_arg_scope])
def test_without_batch_normalization_convolutions_have_biases(scope: Any) -> None:
    with slim.arg_scope(scope(use_batch_norm=False)):
        model = build(inception.inception_v1, 224)
    assert not slim.get_variables(suffix="beta", module=model)
    assert len(slim.get_variables(suffix="biases", module=model)) == 58


@pytest.mark.parametrize(
    "base",
    [
        inception.inception_v1_base,
        inception.inception_v2_base,
        inception.inception_v3_base,
        inception.inception_v4_base,
        inception.inception_resnet_v2_base,
    ],
)
def test_every_end_point_can_be_the_last(base: Any) -> None:
    ends = list(build(base, 128).end_points)
    for last in ends:
        assert list(build(base, 128, final_endpoint=last).end_points) == ends[: ends.index(last) + 1]
    with pytest.raises(ValueError, match=r"`final_endpoint` must be one of .* Got 'Mixed_9z'"):
        build(base, 128, final_endpoint="Mixed_9z")


@pytest.mark.parametrize("base", [inception.inception_v1_base, inception.inception_v2_base])
def test_the_root_block_can_be_left_out(base: Any) -> None:
    with torch.device("meta"):
        model = slim.build(base, torch.empty(1, 192, 28, 28), include_root_block=False)
    assert next(iter(model.end_points)) == "Mixed_3b"
    assert model.end_points["Mixed_3b"].shape == (None, 256, 28, 28)


@pytest.mark.parametrize("function", [inception.inception_v1, inception.inception_v2, inception.inception_v3])
def test_larger_images(function: Any) -> None:
    images = torch.empty(2, 3, 400, 340, device="meta")
    known = {"create_aux_logits": False} if function is inception.inception_v3 else {}
    pooled = build(function, None, num_classes=5, global_pool=True, **known)
    assert pooled(images).shape == (2, 5)
    assert pooled.end_points["Logits"].shape[1] == 5
    maps = build(function, 448, num_classes=5, spatial_squeeze=False)
    assert maps.end_points["Logits"].shape[:2] == (None, 5)
    assert min(maps.end_points["Logits"].shape[2:]) > 1
    with pytest.raises(ValueError, match=r"with `spatial_squeeze` they must be of one place. Got shape \(None, 5, "):
        build(function, 448, num_classes=5)


@pytest.mark.parametrize("function", [inception.inception_v2, inception.inception_v3])
def test_windows_shrink_with_the_image(function: Any) -> None:
    model = build(function, 150, num_classes=5)
    assert model.end_points["AvgPool_1a"].shape[2:] == (1, 1)


@pytest.mark.parametrize("function", [inception.inception_v4, inception.inception_resnet_v2])
def test_images_of_unknown_size_go_without_auxiliary_logits(function: Any) -> None:
    model = build(function, None, num_classes=5, create_aux_logits=False)
    assert model(torch.empty(2, 3, 320, 384, device="meta")).shape == (2, 5)
    assert "AuxLogits" not in model.end_points
    with pytest.raises(
        ValueError, match=r"`create_aux_logits` needs images of a known size. Got .*\(None, 128, None, "
    ):
        build(function, None, num_classes=5)


@pytest.mark.parametrize("function", [inception.inception_v3, inception.inception_v4, inception.inception_resnet_v2])
def test_the_second_head_is_computed_only_when_it_is_asked_for(function: Any) -> None:
    model = build(function, 299, num_classes=5)
    heads = model.extract("Logits", "AuxLogits")
    images, larger = (torch.empty(2, 3, side, side, device="meta") for side in (299, 331))
    assert [logits.shape for logits in heads(images)] == [(2, 5), (2, 5)]
    # The window of the second head is all that there is of an image of 299x299. Of a larger one it makes a map.
    assert model(larger).shape[:2] == (2, 5)
    assert "AuxLogits" not in model.code
    assert "AuxLogits" in heads.code


@pytest.mark.parametrize("function", [inception.inception_v2, inception.inception_v3])
def test_depth_multiplier(function: Any) -> None:
    model = build(function, function.default_image_size, num_classes=5, depth_multiplier=0.01, min_depth=4)
    channels = {v.op.name.partition("/")[2]: v.shape[0] for v in slim.get_variables(suffix="weights", module=model)}
    assert channels["Conv2d_2b_1x1/weights" if function is inception.inception_v2 else "Conv2d_4a_3x3/weights"] == 4
    assert channels["Logits/Conv2d_1c_1x1/weights"] == 5
    assert max(count for name, count in channels.items() if "Mixed" in name) == 4
    for wrong in (0, -0.5):
        with pytest.raises(ValueError, match=f"`depth_multiplier` must be positive. Got {wrong}"):
            build(function, 299, depth_multiplier=wrong)


def test_the_first_layer_of_v2_can_be_a_plain_convolution() -> None:
    model = build(inception.inception_v2_base, 64, use_separable_conv=False, final_endpoint="Conv2d_1a_7x7")
    assert [v.tf_shape for v in slim.get_variables(suffix="weights", module=model)] == [(7, 7, 3, 64)]


def test_v2_takes_a_data_format() -> None:
    with torch.device("meta"):
        model = slim.build(inception.inception_v2_base, torch.empty(1, 64, 64, 3), data_format="NHWC")
    assert model.end_points["Mixed_5c"].shape == (None, 2, 2, 1024)


def initializers(function: Any, scope: Any) -> dict[str, Any]:
    with slim.arg_scope(scope()):
        model = build(function, function.default_image_size)
    return {v.op.name.partition("/")[2]: v.initializer for v in slim.get_variables(suffix="weights", module=model)}


def test_initializers() -> None:
    """As TF-Slim's graphs draw them."""
    normal, scaled = slim.truncated_normal_initializer, slim.variance_scaling_initializer()
    first = initializers(inception.inception_v1, inception.inception_v1_arg_scope)
    assert sum(initializer == normal(stddev=0.01) for initializer in first.values()) == 57
    assert first["Logits/Conv2d_0c_1x1/weights"] == scaled
    second = initializers(inception.inception_v2, inception.inception_v2_arg_scope)
    assert sum(initializer == normal(stddev=0.09) for initializer in second.values()) == 20
    assert second["Mixed_4a/Branch_0/Conv2d_0a_1x1/weights"] == normal(stddev=0.09)
    assert second["Mixed_5c/Branch_3/Conv2d_0b_1x1/weights"] == normal(stddev=0.1)
    assert second["Mixed_5c/Branch_0/Conv2d_0a_1x1/weights"] == scaled
    third = initializers(inception.inception_v3, inception.inception_v3_arg_scope)
    assert third.pop("AuxLogits/Conv2d_2a_5x5/weights") == normal(stddev=0.01)
    assert third.pop("AuxLogits/Conv2d_2b_1x1/weights") == normal(stddev=0.001)
    assert set(third.values()) == {scaled}
    residual = initializers(inception.inception_resnet_v2, inception.inception_resnet_v2_arg_scope)
    assert set(residual.values()) == {slim.xavier_initializer()}


def test_output_stride_of_the_residual_network() -> None:
    base = inception.inception_resnet_v2_base
    for stride, align, sizes in ((16, False, 14), (8, False, 27), (16, True, 16), (8, True, 32)):
        model = build(base, 256, final_endpoint="PreAuxLogits", output_stride=stride, align_feature_maps=align)
        assert model.end_points["PreAuxLogits"].shape == (None, 1088, sizes, sizes), (stride, align)
    with pytest.raises(ValueError, match=r"`output_stride` must be 8 or 16\. Got 32"):
        build(base, 256, output_stride=32)
    with pytest.raises(ValueError, match=r"with `output_stride=8` .* Got 'Conv2d_7b_1x1'"):
        build(base, 256, output_stride=8)


def test_dilated_modules_keep_the_receptive_field() -> None:
    model = build(inception.inception_resnet_v2_base, 128, final_endpoint="PreAuxLogits", output_stride=8)
    assert model.get_submodule("InceptionResnetV2.Repeat_1.block17_1.Branch_1.Conv2d_0b_1x7").dilation == (2, 2)


def test_activation_of_the_residual_network() -> None:
    with slim.arg_scope(inception.inception_resnet_v2_arg_scope(activation_fn=torch.tanh)):
        model = build(inception.inception_resnet_v2_base, 128, final_endpoint="Mixed_6a", activation_fn=torch.tanh)
    functions = [node.target for node in model.graph.nodes if node.op == "call_function"]
    assert functions.count(torch.tanh) == 10
    assert torch.relu not in functions


@pytest.mark.parametrize("name", ["block35", "block17", "block8"])
def test_a_residual_module_adds_a_scaled_change(name: str) -> None:
    block = getattr(inception_resnet_v2, name)
    images = torch.randn(2, 16, 9, 9)
    unchanged = slim.build(block, images, scale=0.0, activation_fn=None)
    assert next(iter(unchanged.state_dict())).startswith(name.capitalize())
    torch.testing.assert_close(unchanged(images), images)
    rectified = slim.build(block, images, scale=0.0)
    torch.testing.assert_close(rectified(images), images.relu())


@pytest.mark.parametrize("name", ["inception_a", "reduction_a", "inception_b", "reduction_b", "inception_c"])
def test_blocks_of_v4_have_default_names(name: str) -> None:
    def twice(net: slim.Symbol) -> slim.Symbol:
        block = getattr(inception_v4, f"block_{name}")
        return torch.cat([block(net), block(net), block(net, scope="named")])

    with torch.device("meta"):
        model = slim.build(twice, torch.empty(1, 8, 9, 9))
    default = "Block" + name.title().replace("_", "")
    assert {key.partition(".")[0] for key in model.state_dict()} == {default, f"{default}_1", "named"}
