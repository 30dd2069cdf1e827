"""What the networks that make images share: TensorFlow's leaky ReLU, its ways to pad images, and to enlarge them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.graph.symbol import Value
from torchslim.layers.base import check_choice
from torchslim.nets.common import channel_dimension


def leaky_relu(features: Value) -> Value:
    """`features` where they are positive, else a fifth of them: TensorFlow's slope, where PyTorch has 0.01.

    Example:
        >>> leaky_relu(torch.tensor([-1.0, 1.0]))
        tensor([-0.2000,  1.0000])
    """
    return functional.leaky_relu(features, 0.2)


def pad_images(images: Value, pads: Sequence[tuple[int, int]], mode: str = "REFLECT") -> Value:
    """Pads images as `tf.pad` does.

    Args:
        images: `[N, C, H, W]`, or `[N, H, W, C]` by the rule of `spatial_dimensions`.
        pads: two pairs: what is added above and below, left and right.
        mode: `'CONSTANT'` (zeros), `'REFLECT'` (the image mirrored, without its edge) or `'SYMMETRIC'` (with it).

    Raises:
        ValueError: if `mode` is another.

    Example:
        >>> row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> pad_images(row, [(0, 0), (1, 2)]).flatten(), pad_images(row, [(0, 0), (1, 2)], 'SYMMETRIC').flatten()
        (tensor([2., 1., 2., 3., 2., 1.]), tensor([1., 1., 2., 3., 3., 2.]))
    """
    check_choice("pad_images", "mode", mode, ("CONSTANT", "REFLECT", "SYMMETRIC"))
    channels = channel_dimension()
    net = _moved(images, channels, 1)
    if mode != "SYMMETRIC":
        net = functional.pad(net, [size for pair in reversed(pads) for size in pair], mode=mode.lower())
        return _moved(net, 1, channels)
    for dimension, (before, after) in enumerate(pads, 2):
        first, last = net.narrow(dimension, 0, before).flip(dimension), net.flip(dimension).narrow(dimension, 0, after)
        net = torch.cat([first, net, last], dimension)
    return _moved(net, 1, channels)


def enlarge_images(images: Value, factors: Sequence[int], *, bilinear: bool, align_corners: bool = False) -> Value:
    """Enlarges images as TensorFlow 1's `resize_images` does: without half-pixel centres.

    Args:
        images: `[N, C, H, W]`, or `[N, H, W, C]` by the rule of `spatial_dimensions`.
        factors: how much higher and wider.
        bilinear: interpolate; otherwise repeat the pixels.
        align_corners: put the centres of the corner pixels on each other, for `bilinear`.

    Example:
        >>> row = torch.tensor([[[[0.0, 2.0]]]])
        >>> enlarge_images(row, [1, 2], bilinear=True).flatten(), enlarge_images(row, [1, 2], bilinear=False).flatten()
        (tensor([0., 1., 2., 2.]), tensor([0., 0., 2., 2.]))
    """
    channels, scale = channel_dimension(), tuple(map(float, factors))
    net = _moved(images, channels, 1)
    if not bilinear:
        net = functional.interpolate(net, scale_factor=scale, mode="nearest")
    elif align_corners:
        net = functional.interpolate(net, scale_factor=scale, mode="bilinear", align_corners=True)
    else:
        net = _interpolate(net, factors)
    return _moved(net, 1, channels)


def _moved(images: Value, channels: int, to: int) -> Value:
    return images if channels == to else images.movedim(channels, to)


def _interpolate(images: Value, factors: Sequence[int]) -> Value:
    """Pixel `i` is read at `i / factor`: what lies on a grid that begins and ends on corners, less its end."""
    if has_torch_function((images,)):
        return handle_torch_function(_interpolate, (images,), images, factors)
    height, width = (size * factor + 1 for size, factor in zip(images.shape[2:], factors, strict=True))
    images = functional.pad(images, [0, 1, 0, 1], mode="replicate")
    return functional.interpolate(images, (height, width), mode="bilinear", align_corners=True)[..., :-1, :-1]
