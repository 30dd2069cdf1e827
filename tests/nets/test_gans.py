"""The arguments of DCGAN, CycleGAN and pix2pix; their names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets import cyclegan, dcgan, pix2pix


def on_meta(function: Any, *shape: int | None, **kwargs: Any) -> slim.Model:
    with torch.device("meta"):
        return slim.build(function, slim.InputSpec((None, *shape)), **kwargs)


@pytest.mark.parametrize("side", [8, 64])
def test_dcgan_s_generator_feeds_its_discriminator(side: int) -> None:
    generator = on_meta(dcgan.generator, 10, depth=4, final_size=side, num_outputs=1)
    discriminator = on_meta(dcgan.discriminator, 1, side, side, depth=4)
    images = generator(torch.empty(2, 10, device="meta"))
    assert images.shape == (2, 1, side, side)
    assert discriminator(images).shape == (2, 1)
    layers = side.bit_length() - 1
    assert list(discriminator.end_points) == [*(f"conv{n}" for n in range(1, layers + 1)), "logits"]
    assert list(generator.end_points) == [*(f"deconv{n}" for n in range(1, layers)), "logits"]


def test_dcgan_trains_with_the_fused_kernel_s_variance() -> None:
    images = torch.randn(4, 3, 8, 8)
    variances = []
    for fused in (False, True):
        with slim.Graph():
            torch.manual_seed(0)
            model = slim.build(dcgan.discriminator, images, depth=4, fused_batch_norm=fused, scope="D")
        model.train()(images)
        variances.append(model.get_submodule("D.conv2.BatchNorm").running_var - 0.999)
    torch.testing.assert_close(variances[1], variances[0] * 16 / 15)  # 4 images of 2x2


@pytest.mark.parametrize("shape", [(3, 8, 16), (3, 12, 12), (3, None, None), (3, 8)])
def test_the_discriminator_refuses_other_images(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match=rf"square images .* Got shape \(None, {', '.join(map(str, shape))}\)"):
        on_meta(dcgan.discriminator, *shape)


def test_the_generator_refuses_other_arguments() -> None:
    with pytest.raises(ValueError, match=r"`inputs` must be of rank 2. Got shape \(None, 3, 8, 8\)"):
        on_meta(dcgan.generator, 3, 8, 8)
    for size in (4, 24):
        with pytest.raises(ValueError, match=rf"`final_size` must be a power of 2, and at least 8. Got {size}"):
            on_meta(dcgan.generator, 10, final_size=size)


@pytest.mark.parametrize("method", ["nn_upsample_conv", "bilinear_upsample_conv", "conv2d_transpose"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_cyclegan_s_ways_to_upsample(method: str, layout: str) -> None:
    shape = (3, 24, 32) if layout == "NCHW" else (24, 32, 3)

    def upsample(net: slim.Symbol, **kwargs: Any) -> slim.Symbol:
        return cyclegan.cyclegan_upsample(net, **kwargs, method=method, pad_mode="SYMMETRIC")

    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        model = on_meta(
            cyclegan.cyclegan_generator_resnet, *shape, upsample_fn=upsample, num_filters=4, num_resnet_blocks=2,
            kernel_size=[3, 4], tanh_linear_slope=0.1,
        )  # fmt: skip
    assert model(torch.empty(2, *shape, device="meta")).shape == (2, *shape)
    assert [end for end in model.end_points if "block" in end] == ["resnet_block_0", "resnet_block_1"]
    kind = "Conv2d_transpose" if method == "conv2d_transpose" else "Conv"
    assert f"decoder.decoder1.upconv.{kind}.weight" in model.state_dict()


def test_cyclegan_on_images_of_unknown_size() -> None:
    model = on_meta(cyclegan.cyclegan_generator_resnet, 3, None, None, num_filters=4)
    assert model(torch.empty(1, 3, 20, 28, device="meta")).shape == (1, 3, 20, 28)


def test_cyclegan_s_scope() -> None:
    def scope() -> slim.ArgScope:
        return cyclegan.cyclegan_arg_scope(instance_norm_center=False, weight_decay=0.5)

    model = on_meta(cyclegan.cyclegan_generator_resnet, 3, 8, 8, arg_scope_fn=scope, num_filters=4)
    assert not slim.get_variables(suffix="beta", module=model)
    (weights,) = slim.get_variables("input/Conv/weights", module=model)
    assert weights.regularizer == slim.l2_regularizer(0.5)


def test_cyclegan_refuses_other_arguments() -> None:
    with pytest.raises(ValueError, match=r"multiples of 4. Got shape \(None, 3, 8, 10\)"):
        on_meta(cyclegan.cyclegan_generator_resnet, 3, 8, 10)
    with pytest.raises(ValueError, match=r"cyclegan_upsample: `method` must be one of .* Got 'cubic'"):
        on_meta(cyclegan.cyclegan_upsample, 3, 8, 8, num_outputs=4, stride=[2, 2], method="cubic")


@pytest.mark.parametrize("method", ["nn_upsample_conv", "conv2d_transpose"])
def test_pix2pix_s_ways_to_upsample(method: str) -> None:
    blocks = [pix2pix.Block(4, 0.5), pix2pix.Block(8, 0), pix2pix.Block(8, 0)]
    with slim.arg_scope(pix2pix.pix2pix_arg_scope()):
        model = on_meta(pix2pix.pix2pix_generator, 3, 16, 24, num_outputs=2, blocks=blocks, upsample_method=method)
    assert model(torch.empty(2, 3, 16, 24, device="meta")).shape == (2, 2, 16, 24)
    kind = "Conv2d_transpose" if method == "conv2d_transpose" else "Conv"
    assert f"decoder.{kind}_2.InstanceNorm.weight" in model.state_dict()


def test_pix2pix_drops_at_inference_too() -> None:
    images = torch.randn(1, 3, 8, 8)
    blocks = [pix2pix.Block(8, 0.5), pix2pix.Block(8, 0)]
    model = slim.build(pix2pix.pix2pix_generator, images, num_outputs=3, blocks=blocks).eval()
    assert not torch.equal(model(images), model(images))
    torch.manual_seed(1)
    first = model(images)
    torch.manual_seed(1)
    assert torch.equal(model(images), first)


def test_pix2pix_s_discriminator() -> None:
    filters = [4, 8, 8]
    model = on_meta(pix2pix.pix2pix_discriminator, 6, 32, 32, num_filters=filters, padding=1, pad_mode="CONSTANT")
    assert list(model.end_points) == ["conv0", "conv1", "conv2", "logits", "predictions"]
    assert model.end_points["logits"].shape == (None, 1, 6, 6)  # 16, 8, 7, 6
    unpadded = on_meta(pix2pix.pix2pix_discriminator, 6, 46, 46, num_filters=filters, padding=0)
    assert unpadded.end_points["logits"].shape == (None, 1, 4, 4)  # 22, 10, 7, 4


def test_pix2pix_refuses_other_arguments() -> None:
    with pytest.raises(ValueError, match=r"multiples of 128 for 7 blocks. Got shape \(None, 3, 192, 128\)"):
        on_meta(pix2pix.pix2pix_generator, 3, 192, 128, num_outputs=3)
    with pytest.raises(ValueError, match=r"upsample: `method` must be one of .* Got 'cubic'"):
        on_meta(pix2pix.upsample, 3, 8, 8, num_outputs=4, kernel_size=[2, 2], method="cubic")
