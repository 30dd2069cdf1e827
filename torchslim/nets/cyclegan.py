"""CycleGAN's generator: images of one kind become images of another (arXiv:1703.10593).

Images: RGB between -1 and 1, height and width multiples of 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.graph.symbol import Value
from torchslim.initializers import random_normal_initializer
from torchslim.layers import conv2d, conv2d_transpose, instance_norm
from torchslim.layers.base import check_choice
from torchslim.layers.utils import two_element_tuple
from torchslim.nets.common import channel_dimension, channels_of, spatial_dimensions
from torchslim.nets.generative import enlarge_images, pad_images
from torchslim.regularizers import l2_regularizer

_METHODS = ("nn_upsample_conv", "bilinear_upsample_conv", "conv2d_transpose")


def cyclegan_arg_scope(
    instance_norm_center: bool = True,
    instance_norm_scale: bool = True,
    instance_norm_epsilon: float = 0.001,
    weights_init_stddev: float = 0.02,
    weight_decay: float = 0.0,
) -> ArgScope:
    """The defaults of CycleGAN's convolutions; the transposed ones have none of them.

    Args:
        instance_norm_center: add `beta` behind each instance normalization.
        instance_norm_scale: multiply by `gamma`.
        instance_norm_epsilon: added to the variance.
        weights_init_stddev: standard deviation of the first weights.
        weight_decay: scale of the L2 regularization of the weights; 0: none.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(cyclegan_arg_scope()):
        ...     model = slim.build(slim.conv2d, torch.empty(1, 3, 8, 8), num_outputs=4, kernel_size=3)
        >>> list(model.state_dict())
        ['Conv.weight', 'Conv.InstanceNorm.bias', 'Conv.InstanceNorm.weight']
    """
    with arg_scope(
        [conv2d],
        normalizer_fn=instance_norm,
        normalizer_params={
            "center": instance_norm_center,
            "scale": instance_norm_scale,
            "epsilon": instance_norm_epsilon,
        },
        weights_initializer=random_normal_initializer(0.0, weights_init_stddev),
        weights_regularizer=l2_regularizer(weight_decay) if weight_decay and weight_decay > 0 else None,
    ) as scope:
        return scope


def cyclegan_upsample(
    net: Value,
    num_outputs: int,
    stride: Sequence[int],
    method: str = "conv2d_transpose",
    pad_mode: str = "REFLECT",
    align_corners: bool = False,
) -> Value:
    """Enlarges features.

    Args:
        net: features `[N, C, H, W]`.
        num_outputs: how many features come out.
        stride: how much higher and wider they become.
        method: `'conv2d_transpose'`; or `'nn_upsample_conv'` and `'bilinear_upsample_conv'`, which repeat pixels or
            interpolate, and then convolve.
        pad_mode: how these two pad: `'CONSTANT'`, `'REFLECT'` or `'SYMMETRIC'`.
        align_corners: for `'bilinear_upsample_conv'`: the corner pixels stay at the corners.

    Returns:
        The features `[N, num_outputs, H * stride[0], W * stride[1]]`.

    Raises:
        ValueError: if `method` or `pad_mode` is unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(cyclegan_upsample, torch.empty(1, 8, 5, 5), num_outputs=4, stride=[2, 2])
        >>> model(torch.empty(1, 8, 5, 5)).shape
        torch.Size([1, 4, 10, 10])
    """
    check_choice("cyclegan_upsample", "method", method, _METHODS)
    with variable_scope("upconv"):
        if method == "conv2d_transpose":
            # Without its first row and column it is aligned as the convolutions that made the image smaller.
            net = conv2d_transpose(net, num_outputs, [3, 3], stride=stride, padding="VALID")
            return net[:, :, 1:, 1:] if channel_dimension() == 1 else net[:, 1:, 1:]
        net = enlarge_images(net, stride, bilinear=method == "bilinear_upsample_conv", align_corners=align_corners)
        net = pad_images(net, [(1, 1), (1, 1)], pad_mode)
        return conv2d(net, num_outputs, kernel_size=[3, 3], padding="VALID")


def cyclegan_generator_resnet(
    images: Symbol,
    arg_scope_fn: Callable[[], ArgScope] = cyclegan_arg_scope,
    num_resnet_blocks: int = 6,
    num_filters: int = 64,
    upsample_fn: Callable[..., Symbol] = cyclegan_upsample,
    kernel_size: int | Sequence[int] = 3,
    tanh_linear_slope: float = 0.0,
    is_training: bool | None = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """CycleGAN's generator: 7,841,219 parameters; the paper's has 6 residual blocks for 128x128 and 9 for 256x256.

    Args:
        images: `[N, C, H, W]` between -1 and 1; H and W are multiples of 4.
        arg_scope_fn: makes the arg_scope that the network is built in.
        num_resnet_blocks: residual blocks in the middle.
        num_filters: channels of the first layer.
        upsample_fn: enlarges features: a function of them, `num_outputs` and `stride`.
        kernel_size: of all layers but the first and the last, which have 7x7: one number, or height and width.
        tanh_linear_slope: how much of the logits is added to their tanh.
        is_training: has no effect: nothing here differs while training.

    Returns:
        The images, and the end points `encoder_0` to `encoder_2`, `resnet_block_0` and so on, `decoder1`, `decoder2`,
        `logits` and `predictions`, the images.

    Raises:
        ValueError: if H or W is no multiple of 4.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import cyclegan
        >>> model = slim.build(cyclegan.cyclegan_generator_resnet, torch.empty(1, 3, 128, 128, device='meta'))
        >>> sum(p.numel() for p in model.parameters()), model.end_points['encoder_2'].shape
        (7841219, (None, 256, 32, 32))
    """
    sizes = [images.shape[dimension] for dimension in spatial_dimensions()]
    if any(size is not None and size % 4 for size in sizes):
        raise ValueError(
            "cyclegan_generator_resnet: the height and width of `images` must be multiples of 4. "
            f"Got shape {tuple(images.shape)}."
        )
    kernel = two_element_tuple(kernel_size)
    ends: dict[str, Symbol] = {}

    def convolved(net: Value, channels: int, **options: Any) -> Value:
        net = pad_images(net, [((size - 1) // 2, size // 2) for size in kernel])
        return conv2d(net, channels, kernel, padding="VALID", **options)

    with arg_scope(arg_scope_fn()):
        with variable_scope("input"):
            net = pad_images(images, [(3, 3), (3, 3)])
            net = ends["encoder_0"] = conv2d(net, num_filters, [7, 7], padding="VALID")
        with variable_scope("encoder"):
            net = ends["encoder_1"] = convolved(net, num_filters * 2, stride=2, activation_fn=torch.relu)
            net = ends["encoder_2"] = convolved(net, num_filters * 4, stride=2, activation_fn=torch.relu)
        with variable_scope("residual_blocks"):
            for number in range(num_resnet_blocks):
                with variable_scope(f"block_{number}"):
                    residual = convolved(net, num_filters * 4, stride=1, activation_fn=torch.relu)
                    residual = convolved(residual, num_filters * 4, stride=1, activation_fn=None)
                net = ends[f"resnet_block_{number}"] = net + residual
        with (
            variable_scope("decoder"),
            arg_scope([conv2d], kernel_size=kernel, stride=1, activation_fn=torch.relu),
        ):
            for name, channels in (("decoder1", num_filters * 2), ("decoder2", num_filters)):
                with variable_scope(name):
                    net = ends[name] = upsample_fn(net, num_outputs=channels, stride=[2, 2])
        with variable_scope("output"):
            net = pad_images(net, [(3, 3), (3, 3)])
            logits = conv2d(net, channels_of(images), [7, 7], activation_fn=None, normalizer_fn=None, padding="VALID")
            logits = ends["logits"] = logits.reshape_as(images)
        ends["predictions"] = torch.tanh(logits) + logits * tanh_linear_slope
    return ends["predictions"], ends
