"""The arguments of I3D and S3D-G and what they are made of; their names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets import i3d, i3d_utils, s3dg


def on_meta(function: Any, *shape: int | None, **kwargs: Any) -> slim.Model:
    with torch.device("meta"):
        return slim.build(function, slim.InputSpec((None, *shape)), **kwargs)


def names(model: slim.Model, suffix: str) -> list[str]:
    variables = slim.get_variables(suffix=suffix, module=model)
    return [v.op.name.removeprefix("InceptionV1/").removesuffix(f"/{suffix}") for v in variables]


def test_the_center_initializer_starts_as_the_identity() -> None:
    layer = slim.conv3d(4, 4, [3, 1, 1], weights_initializer=i3d_utils.center_initializer(), activation_fn=None)
    videos = torch.randn(2, 4, 5, 3, 3)
    torch.testing.assert_close(layer(videos), videos)
    for shape in ([2, 1, 1, 4, 4], [3, 3, 1, 4, 4], [3, 1, 1, 4, 5], [1, 1, 4, 4]):
        with pytest.raises(ValueError, match=rf"center_initializer: .* Got \[{', '.join(map(str, shape))}\]"):
            i3d_utils.center_initializer()(shape)


@pytest.mark.parametrize(("stride", "frames"), [(2, 4), ([1, 2, 2], 7)])
def test_a_separable_convolution_has_the_shapes_of_the_whole_one(stride: Any, frames: int) -> None:
    for separable in (False, True):
        model = on_meta(
            i3d_utils.conv3d_spatiotemporal, 3, 7, 9, 9, num_outputs=8, kernel_size=[3, 5, 5], stride=stride,
            separable=separable, normalizer_fn=slim.batch_norm, scope="conv",
        )  # fmt: skip
        assert model(torch.empty(1, 3, 7, 9, 9, device="meta")).shape == (1, 8, frames, 5, 5)
        kernels = [list(v.tf_shape) for v in slim.get_variables(suffix="weights", module=model)]
        assert kernels == ([[1, 5, 5, 3, 8], [3, 1, 1, 8, 8]] if separable else [[3, 5, 5, 3, 8]])
    with pytest.raises(ValueError, match=r"`kernel_size` must have three numbers. Got \[3, 3\]"):
        on_meta(i3d_utils.conv3d_spatiotemporal, 3, 7, 9, 9, num_outputs=8, kernel_size=[3, 3], scope="conv")


@pytest.mark.parametrize("data_format", ["NCDHW", "NDHWC"])
def test_the_layout_can_be_an_argument(data_format: str) -> None:
    shape = (3, 8, 40, 48) if data_format == "NCDHW" else (8, 40, 48, 3)
    with slim.arg_scope(s3dg.s3dg_arg_scope()):
        model = on_meta(s3dg.s3dg, *shape, num_classes=5, data_format=data_format, spatial_squeeze=False)
    point = (None, 5, 1, 1) if data_format == "NCDHW" else (None, 1, 1, 5)
    assert model.end_points["Logits"].shape == model.end_points["Predictions"].shape == point
    with pytest.raises(ValueError, match=r"`data_format` must be one of .* Got 'NWC'"):
        on_meta(s3dg.s3dg, *shape, data_format="NWC")


def test_blocks_are_gated_and_convolve_over_time_from_where_they_should() -> None:
    with slim.arg_scope(s3dg.s3dg_arg_scope()):
        model = on_meta(s3dg.s3dg_base, 3, 8, 32, 32, temporal_conv_startat="Mixed_5b", gating_startat="Mixed_5c")
        plain = on_meta(s3dg.s3dg_base, 3, 8, 32, 32, temporal_conv_startat=None, gating_startat=None)
    weights = names(model, "weights")
    assert [name for name in weights if name.endswith("temporal")] == [
        f"Mixed_5{block}/Branch_{branch}/Conv2d_0b_3x3/temporal" for block in "bc" for branch in (1, 2)
    ]
    assert len([name for name in weights if "self_gating" in name]) == 4
    assert not [name for name in names(plain, "weights") if "temporal" in name or "gating" in name]


def test_gates_scale_the_channels() -> None:
    videos = torch.randn(2, 4, 3, 5, 6)
    model = slim.build(s3dg.self_gating, videos, scope="conv1")
    weight = model.get_submodule("conv1.self_gating.transformer_W").weight.squeeze()
    gates = torch.sigmoid(videos.mean((2, 3, 4)) @ weight.T)
    torch.testing.assert_close(model(videos), videos * gates[:, :, None, None, None])


@pytest.mark.parametrize("base", [s3dg.s3dg_base, i3d.i3d_base])
def test_every_end_point_can_be_the_last(base: Any) -> None:
    ends = list(on_meta(base, 3, 8, 32, 32).end_points)
    assert len(ends) == 16
    for last in ends[::3]:
        assert list(on_meta(base, 3, 8, 32, 32, final_endpoint=last).end_points) == ends[: ends.index(last) + 1]
    with pytest.raises(ValueError, match=r"`final_endpoint` must be one of .* Got 'Mixed_9z'"):
        on_meta(base, 3, 8, 32, 32, final_endpoint="Mixed_9z")


def test_numbers_of_s3dg() -> None:
    thin = on_meta(s3dg.s3dg, 3, 8, 32, 32, depth_multiplier=0.25, min_depth=8, num_classes=5, reuse=None)
    assert thin.end_points["Conv2d_1a_7x7"].shape == (None, 16, 4, 16, 16)
    assert thin.end_points["Mixed_3b"].shape[1] == 16 + 32 + 8 + 8
    for name, value in (("first_temporal_kernel_size", 2), ("depth_multiplier", -1.0)):
        with pytest.raises(ValueError, match=rf"`{name}` must be .* Got {value}"):
            on_meta(s3dg.s3dg, 3, 8, 32, 32, **{name: value})


def test_i3d_s_scope() -> None:
    with slim.arg_scope(i3d.i3d_arg_scope(use_renorm=True, separable_conv3d=True, weight_decay=0.5)):
        model = on_meta(i3d.i3d, 3, 8, 32, 32, num_classes=5, is_training=False)
    assert names(model, "renorm_mean")
    assert "Conv2d_2c_3x3/temporal" in names(model, "weights")
    assert slim.get_variables("InceptionV1/Conv2d_2c_3x3/weights", module=model)[0].regularizer.scale == 0.5
    assert not any(module.training for module in model.train().modules() if hasattr(module, "running_mean"))


def test_windows_shrink_with_the_video() -> None:
    assert i3d_utils.reduced_kernel_size_3d(torch.empty(1, 8, 1, 9, 4), [2, 7, 7]) == [1, 7, 4]
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
        assert i3d_utils.reduced_kernel_size_3d(torch.empty(1, 3, 9, 4, 8), [2, 7, 7]) == [2, 7, 4]
    model = on_meta(i3d.i3d, 3, None, None, None, num_classes=5, spatial_squeeze=False)
    assert model(torch.empty(1, 3, 20, 256, 288, device="meta")).shape == (1, 5, 2, 3)


def test_reuse_shares_every_variable() -> None:
    def twins(videos: slim.Symbol) -> slim.Symbol:
        return i3d.i3d(videos, 5)[0] + i3d.i3d(videos, 5, reuse=True)[0]

    with slim.arg_scope(i3d.i3d_arg_scope()):
        shared, alone = on_meta(twins, 3, 8, 32, 32), on_meta(i3d.i3d, 3, 8, 32, 32, num_classes=5)
    assert list(shared.state_dict()) == list(alone.state_dict())
