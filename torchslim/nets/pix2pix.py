"""pix2pix: images become other images (arXiv:1611.07004): a U-Net as generator, and a discriminator of patches.

Images: RGB between -1 and 1, 256x256 in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.graph.symbol import Value
from torchslim.initializers import random_normal_initializer
from torchslim.layers import conv2d, conv2d_transpose, instance_norm
from torchslim.layers.base import check_choice
from torchslim.nets.common import join_channels, spatial_dimensions
from torchslim.nets.generative import enlarge_images, leaky_relu, pad_images


def pix2pix_arg_scope() -> ArgScope:
    """The defaults of pix2pix.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import pix2pix
        >>> with slim.arg_scope(pix2pix.pix2pix_arg_scope()):
        ...     model = slim.build(pix2pix.pix2pix_generator, torch.empty(1, 3, 256, 256, device='meta'), num_outputs=3)
    """
    with arg_scope(
        [conv2d, conv2d_transpose],
        normalizer_fn=instance_norm,
        normalizer_params={"center": True, "scale": True, "epsilon": 0.00001},
        weights_initializer=random_normal_initializer(0.0, 0.02),
    ) as scope:
        return scope


def upsample(net: Value, num_outputs: int, kernel_size: Sequence[int], method: str = "nn_upsample_conv") -> Value:
    """Enlarges features.

    Args:
        net: features `[N, C, H, W]`.
        num_outputs: how many features come out.
        kernel_size: how much higher and wider they become.
        method: `'nn_upsample_conv'`: repeat the pixels, then convolve; or `'conv2d_transpose'`.

    Returns:
        The features `[N, num_outputs, H * kernel_size[0], W * kernel_size[1]]`.

    Raises:
        ValueError: if `method` is unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(upsample, torch.empty(1, 8, 5, 5), num_outputs=4, kernel_size=[2, 3])
        >>> model(torch.empty(1, 8, 5, 5)).shape
        torch.Size([1, 4, 10, 15])
    """
    check_choice("upsample", "method", method, ("nn_upsample_conv", "conv2d_transpose"))
    if method == "conv2d_transpose":
        return conv2d_transpose(net, num_outputs, [4, 4], stride=kernel_size, activation_fn=None)
    net = enlarge_images(net, kernel_size, bilinear=False)
    return conv2d(net, num_outputs, [4, 4], activation_fn=None)


class Block(NamedTuple):
    """A step down in the encoder, and the step up at the same size in the decoder.

    Attributes:
        num_filters: channels of both.
        decoder_keep_prob: probability of keeping a value of the decoder; 0: all are kept.
    """

    num_filters: int
    decoder_keep_prob: float


_BLOCKS = (
    Block(64, 0.5),
    Block(128, 0.5),
    Block(256, 0.5),
    Block(512, 0),
    Block(512, 0),
    Block(512, 0),
    Block(512, 0),
)


def pix2pix_generator(
    net: Value,
    num_outputs: int,
    blocks: Sequence[Block] | None = None,
    upsample_method: str = "nn_upsample_conv",
    is_training: bool | None = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The generator of pix2pix, a U-Net: 48,839,875 parameters.

    Dropout is what makes its images vary, so it is on while training and at inference, whatever the module's mode is.

    Args:
        net: images `[N, C, H, W]` between -1 and 1; H and W are multiples of `2 ** len(blocks)`, 128 by default.
        num_outputs: channels of the images that come out.
        blocks: the blocks; default: 64, 128, 256 and four times 512 channels, dropping half of the last three steps up.
        upsample_method: of the decoder: `'nn_upsample_conv'` or `'conv2d_transpose'`.
        is_training: has no effect: nothing here differs while training.

    Returns:
        The images before their activation, and the end points `encoder0` and so on, `decoder0` and so on, `logits` and
        `predictions`, their tanh.

    Raises:
        ValueError: if H or W is no such multiple.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import pix2pix
        >>> with slim.arg_scope(pix2pix.pix2pix_arg_scope()):
        ...     model = slim.build(pix2pix.pix2pix_generator, torch.empty(1, 3, 256, 256, device='meta'), num_outputs=3)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['encoder6'].shape
        (48839875, (None, 512, 2, 2))
    """
    blocks, ends = blocks or _BLOCKS, {}
    sizes = [net.shape[dimension] for dimension in spatial_dimensions()]
    if any(size is not None and size % 2 ** len(blocks) for size in sizes):
        raise ValueError(
            f"pix2pix_generator: the height and width of `net` must be multiples of {2 ** len(blocks)} for "
            f"{len(blocks)} blocks. Got shape {tuple(net.shape)}."
        )
    encoded = []
    with variable_scope("encoder"):
        for number, block in enumerate(blocks):
            options: dict[str, Any] = {"activation_fn": leaky_relu}
            if number == 0:
                options = {"activation_fn": leaky_relu, "normalizer_fn": None}
            elif number == len(blocks) - 1:
                options = {"activation_fn": None, "normalizer_fn": None}
            net = ends[f"encoder{number}"] = conv2d(net, block.num_filters, [4, 4], stride=2, **options)
            encoded.append(net)
    with variable_scope("decoder"):
        for number, block in enumerate(reversed(blocks)):
            if number:
                net = join_channels([net, encoded[-number - 1]])
            net = upsample(torch.relu(net), block.num_filters, [2, 2], upsample_method)
            if block.decoder_keep_prob > 0:
                net = functional.dropout(net, 1 - block.decoder_keep_prob, training=True)
            ends[f"decoder{number}"] = net
    with variable_scope("output"):
        logits = conv2d(net, num_outputs, [4, 4], activation_fn=None, normalizer_fn=None)
    ends["logits"] = logits
    ends["predictions"] = torch.tanh(logits)
    return logits, ends


def pix2pix_discriminator(
    net: Symbol,
    num_filters: Sequence[int],
    padding: int = 2,
    pad_mode: str = "REFLECT",
    activation_fn: Callable[..., Any] | None = leaky_relu,
    is_training: bool | None = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The discriminator of pix2pix, which judges patches: 2,768,705 parameters for 64, 128, 256 and 512 filters.

    Args:
        net: images, the given and the generated one on top of each other: `[N, 2 * C, H, W]`.
        num_filters: channels of each layer; all but the last halve the image.
        padding: what is added on each side before each convolution; 0: nothing.
        pad_mode: `'CONSTANT'`, `'REFLECT'` or `'SYMMETRIC'`.
        activation_fn: of the layers.
        is_training: has no effect: nothing here differs while training.

    Returns:
        A logit for each patch `[N, 1, H', W']`, and the end points `conv0`, `conv1`, ..., `logits` and `predictions`,
        their sigmoid.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import pix2pix
        >>> with slim.arg_scope(pix2pix.pix2pix_arg_scope()):
        ...     model = slim.build(pix2pix.pix2pix_discriminator, torch.empty(1, 6, 128, 128, device='meta'),
        ...                        num_filters=[64, 128, 256, 512])
        >>> sum(p.numel() for p in model.parameters()), model.end_points['logits'].shape
        (2768705, (None, 1, 19, 19))
    """
    ends: dict[str, Value] = {}

    def convolved(net: Value, channels: int, number: int, **options: Any) -> Value:
        if padding:
            net = pad_images(net, [(padding, padding)] * 2, pad_mode)
        return conv2d(net, channels, [4, 4], padding="VALID", **options, scope=f"conv{number}")

    for number, channels in enumerate(num_filters):
        options: dict[str, Any] = {"stride": 2 if number < len(num_filters) - 1 else 1}
        if number == 0:
            options["normalizer_fn"] = None
        net = ends[f"conv{number}"] = convolved(net, channels, number, activation_fn=activation_fn, **options)
    logits: Value = convolved(net, 1, len(num_filters), stride=1, activation_fn=None, normalizer_fn=None)
    ends["logits"] = logits
    ends["predictions"] = torch.sigmoid(logits)
    return logits, ends
