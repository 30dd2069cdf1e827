"""VGG: stacks of 3x3 convolutions (arXiv:1409.1556), as fully convolutional networks.

Input: 224x224 RGB, minus the means (123.68, 116.78, 103.94) of each channel for the published TF-Slim checkpoints.
The dense layers are convolutions (`fc6` is 7x7), so larger images give a map of logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.initializers import zeros_initializer
from torchslim.layers import conv2d, fully_connected, max_pool2d, repeat
from torchslim.nets.fully_convolutional import dense_as_convolutions
from torchslim.regularizers import l2_regularizer

_CHANNELS = (64, 128, 256, 512, 512)


def vgg_arg_scope(weight_decay: float = 0.0005) -> ArgScope:
    """The defaults that the VGG networks were trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import vgg
        >>> with slim.arg_scope(vgg.vgg_arg_scope()):
        ...     model = slim.build(vgg.vgg_a, torch.empty(1, 3, 224, 224, device='meta'))
    """
    with arg_scope(
        [conv2d, fully_connected],
        activation_fn=torch.relu,
        weights_regularizer=l2_regularizer(weight_decay),
        biases_initializer=zeros_initializer(),
    ), arg_scope([conv2d], padding="SAME") as scope:  # fmt: skip
        return scope


def _vgg(
    inputs: Symbol,
    default_scope: str,
    convolutions: Sequence[int],
    num_classes: int | None,
    is_training: bool | None,
    dropout_keep_prob: float,
    spatial_squeeze: bool,
    reuse: Any,
    scope: str,
    fc_conv_padding: str,
    global_pool: bool,
) -> tuple[Symbol, dict[str, Symbol]]:
    """Five blocks of `convolutions` each, then three dense layers as convolutions."""
    with variable_scope(scope, default_scope, [inputs], reuse=reuse) as variables:
        collection = f"{variables.original_name_scope}_end_points"
        with arg_scope([conv2d, fully_connected, max_pool2d], outputs_collections=collection):
            net = inputs
            for block, (count, channels) in enumerate(zip(convolutions, _CHANNELS, strict=True), 1):
                net = repeat(net, count, conv2d, channels, [3, 3], scope=f"conv{block}")
                net = max_pool2d(net, [2, 2], scope=f"pool{block}")
            return dense_as_convolutions(
                net,
                7,
                num_classes,
                scope=variables.name,
                collection=collection,
                is_training=is_training,
                keep_prob=dropout_keep_prob,
                spatial_squeeze=spatial_squeeze,
                global_pool=global_pool,
                padding=fc_conv_padding,
            )


def vgg_a(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "vgg_a",
    fc_conv_padding: str = "VALID",
    global_pool: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """VGG with 11 layers, configuration A of arXiv:1409.1556: 132,863,336 parameters for 1000 classes.

    Args:
        inputs: images `[N, 3, H, W]`; 224x224 gives one vector of logits.
        num_classes: how many; None or 0: no last layer, the features come out.
        is_training: whether dropout drops; None or True: as the module's mode says, False: never.
        dropout_keep_prob: probability of keeping a value of `fc6` and `fc7`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        fc_conv_padding: of `fc6`; `'SAME'` for images that are not 224x224.
        global_pool: average over space before the last layer, for larger images.

    Returns:
        The logits `[N, num_classes]`, and the end points: every convolution, pool and dense layer by its name.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import vgg
        >>> model = slim.build(vgg.vgg_a, torch.empty(1, 3, 224, 224, device='meta'), num_classes=20)
        >>> list(model.end_points)[-1], model.end_points['vgg_a/fc8'].shape
        ('vgg_a/fc8', (None, 20))
    """
    return _vgg(inputs, "vgg_a", (1, 1, 2, 2, 2), num_classes, is_training, dropout_keep_prob, spatial_squeeze, reuse,
                scope, fc_conv_padding, global_pool)  # fmt: skip


def vgg_16(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "vgg_16",
    fc_conv_padding: str = "VALID",
    global_pool: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """VGG with 16 layers, configuration D of arXiv:1409.1556: 138,357,544 parameters for 1000 classes.

    The arguments and what is returned are those of `vgg_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import vgg
        >>> model = slim.build(vgg.vgg_16, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        138357544
    """
    return _vgg(inputs, "vgg_16", (2, 2, 3, 3, 3), num_classes, is_training, dropout_keep_prob, spatial_squeeze, reuse,
                scope, fc_conv_padding, global_pool)  # fmt: skip


def vgg_19(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "vgg_19",
    fc_conv_padding: str = "VALID",
    global_pool: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """VGG with 19 layers, configuration E of arXiv:1409.1556: 143,667,240 parameters for 1000 classes.

    The arguments and what is returned are those of `vgg_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import vgg
        >>> model = slim.build(vgg.vgg_19, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        143667240
    """
    return _vgg(inputs, "vgg_19", (2, 2, 4, 4, 4), num_classes, is_training, dropout_keep_prob, spatial_squeeze, reuse,
                scope, fc_conv_padding, global_pool)  # fmt: skip


vgg_a.default_image_size = 224  # type: ignore[attr-defined]
vgg_16.default_image_size = 224  # type: ignore[attr-defined]
vgg_19.default_image_size = 224  # type: ignore[attr-defined]
vgg_d = vgg_16
vgg_e = vgg_19
