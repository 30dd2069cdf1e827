"""ResNet v1: residual units that end in their activation (arXiv:1512.03385), as TF-Slim has them.

Input: 224x224 RGB, minus the means (123.68, 116.78, 103.94) of each channel for the published TF-Slim checkpoints
(`resnet_v1_50` to `resnet_v1_152`, 1000 classes). Larger images are fine, and with `output_stride` and without
`global_pool` the networks compute dense maps.

TF-Slim, and so this module, puts the stride of a block in its last unit, where the paper has it in the first of the
next block, and on the 3x3 convolution, where the paper has it on the first 1x1.
"""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.layers import conv2d
from torchslim.layers.utils import collect_named_outputs
from torchslim.nets.common import channels_of
from torchslim.nets.resnet_utils import Block, conv2d_same, residual_network, resnet_arg_scope, subsample

__all__ = [
    "bottleneck",
    "resnet_arg_scope",
    "resnet_v1",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_152",
    "resnet_v1_200",
    "resnet_v1_block",
]


@add_arg_scope
def bottleneck(
    inputs: Symbol,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: Any = None,
    scope: str | None = None,
    use_bounded_activations: bool = False,
) -> Symbol:
    """A residual unit of three convolutions, 1x1, 3x3 and 1x1, with a ReLU behind the sum.

    Args:
        inputs: features `[N, C, H, W]`.
        depth: channels that come out. Where they are as many as come in, the shortcut is the input itself.
        depth_bottleneck: channels of the 3x3 convolution.
        stride: step of the 3x3 convolution, and of the shortcut.
        rate: distance between the taps of the 3x3 convolution.
        outputs_collections: collections for the output.
        scope: name of the unit.
        use_bounded_activations: keep the values within bounds (`relu6` and clipping), for quantized inference.

    Returns:
        The features `[N, depth, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(bottleneck, torch.empty(1, 8, 5, 5), depth=16, depth_bottleneck=4, stride=2)
        >>> model(torch.empty(1, 8, 5, 5)).shape
        torch.Size([1, 16, 3, 3])
    """
    with variable_scope(scope, "bottleneck_v1", [inputs]) as unit:
        if depth == channels_of(inputs):
            shortcut: Any = subsample(inputs, stride, "shortcut")
        else:
            bounded = functional.relu6 if use_bounded_activations else None
            shortcut = conv2d(inputs, depth, [1, 1], stride=stride, activation_fn=bounded, scope="shortcut")
        residual = conv2d(inputs, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = conv2d_same(residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        residual = conv2d(residual, depth, [1, 1], stride=1, activation_fn=None, scope="conv3")
        if use_bounded_activations:
            output: Any = functional.relu6(shortcut + residual.clamp(-6, 6))
        else:
            output = torch.relu_(shortcut + residual)  # nobody else sees the sum
        return collect_named_outputs(outputs_collections, unit.name, output)


def resnet_v1_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """A block of bottleneck units for `resnet_v1`.

    Args:
        scope: its name.
        base_depth: channels of the 3x3 convolutions; four times as many come out.
        num_units: how many units.
        stride: of the last unit; the others have 1.

    Example:
        >>> resnet_v1_block('block2', base_depth=128, num_units=4, stride=2).args[-1]
        {'depth': 512, 'depth_bottleneck': 128, 'stride': 2}
    """
    unit = {"depth": base_depth * 4, "depth_bottleneck": base_depth}
    return Block(scope, bottleneck, [{**unit, "stride": 1}] * (num_units - 1) + [{**unit, "stride": stride}])


def resnet_v1(
    inputs: Symbol,
    blocks: Sequence[Block],
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    store_non_strided_activations: bool = False,
    reuse: Any = None,
    scope: str | None = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """A ResNet v1 of any blocks.

    Args:
        inputs: images `[N, 3, H, W]`, or features without `include_root_block`.
        blocks: the blocks of residual units.
        num_classes: how many; None or 0: no last layer, the features come out.
        is_training: whether batch norm uses and updates the statistics of the batch; None or True: as the module's
            mode says, False: never.
        global_pool: average over space before the last layer; off for dense maps.
        output_stride: the ratio of the sizes of the images and of the features, a multiple of 4 (of the stride of the
            first layers); None: 32 for the published networks. Where it is reached, convolutions leave gaps instead of
            stepping.
        include_root_block: begin with a 7x7 convolution and a pool, both of stride 2.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits. Off for dense maps.
        store_non_strided_activations: give the end points of the blocks the size they have before the blocks' stride.
        reuse: share the variables of an earlier call; needs a `scope`.
        scope: name of the network; default `resnet_v1`.

    Returns:
        The logits `[N, num_classes]` (or features, or maps), and the end points: every convolution, unit and block by
        its name, then `global_pool`, `SCOPE/logits`, `SCOPE/spatial_squeeze` and `predictions`, their softmax.

    Raises:
        ValueError: if `output_stride` is no multiple of 4, or not reached exactly, or if a map is to be squeezed.

    Example:
        >>> import torch, torchslim as slim
        >>> blocks = [resnet_v1_block('block1', base_depth=4, num_units=2, stride=2)]
        >>> model = slim.build(resnet_v1, torch.empty(1, 3, 32, 32, device='meta'), blocks=blocks, num_classes=10)
        >>> model.end_points['resnet_v1/block1'].shape
        (None, 16, 4, 4)
    """
    return residual_network(
        inputs,
        blocks,
        bottleneck,
        "resnet_v1",
        preactivated=False,
        num_classes=num_classes,
        is_training=is_training,
        global_pool=global_pool,
        output_stride=output_stride,
        include_root_block=include_root_block,
        spatial_squeeze=spatial_squeeze,
        store_non_strided_activations=store_non_strided_activations,
        reuse=reuse,
        scope=scope,
    )


def _blocks(units: Sequence[int], min_base_depth: int, depth_multiplier: float) -> list[Block]:
    return [
        resnet_v1_block(f"block{number}", max(int(depth * depth_multiplier), min_base_depth), count, stride)
        for number, (depth, count, stride) in enumerate(
            zip((64, 128, 256, 512), units, (2, 2, 2, 1), strict=True), 1)
    ]  # fmt: skip


def resnet_v1_50(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    store_non_strided_activations: bool = False,
    min_base_depth: int = 8,
    depth_multiplier: float = 1,
    reuse: Any = None,
    scope: str = "resnet_v1_50",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v1 with 50 layers: 25,557,032 parameters for 1000 classes.

    Args:
        inputs: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the features come out.
        is_training: None or True: as the module's mode says, False: inference, for good.
        global_pool: average over space before the last layer.
        output_stride: ratio of the sizes of images and features; see `resnet_v1`.
        spatial_squeeze: remove the two dimensions of space from the logits.
        store_non_strided_activations: see `resnet_v1`.
        min_base_depth: the least number of channels of a block's 3x3 convolutions.
        depth_multiplier: of the channels of all units; the first layer keeps its 64.
        reuse: share the variables of an earlier call.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points of `resnet_v1`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v1_50, torch.empty(1, 3, 224, 224, device='meta'), num_classes=1000)
        >>> sum(p.numel() for p in model.parameters()), list(model.end_points)[-1]
        (25557032, 'predictions')
    """
    blocks = _blocks((3, 4, 6, 3), min_base_depth, depth_multiplier)
    return resnet_v1(inputs, blocks, num_classes, is_training, global_pool, output_stride, True, spatial_squeeze,
                     store_non_strided_activations, reuse, scope)  # fmt: skip


def resnet_v1_101(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    store_non_strided_activations: bool = False,
    min_base_depth: int = 8,
    depth_multiplier: float = 1,
    reuse: Any = None,
    scope: str = "resnet_v1_101",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v1 with 101 layers: 44,549,160 parameters for 1000 classes.

    The arguments and what is returned are those of `resnet_v1_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     features = slim.build(resnet_v1_101, torch.empty(1, 3, 256, 256, device='meta'), output_stride=8,
        ...                           global_pool=False)
        >>> features(torch.empty(1, 3, 256, 256, device='meta')).shape
        torch.Size([1, 2048, 32, 32])
    """
    blocks = _blocks((3, 4, 23, 3), min_base_depth, depth_multiplier)
    return resnet_v1(inputs, blocks, num_classes, is_training, global_pool, output_stride, True, spatial_squeeze,
                     store_non_strided_activations, reuse, scope)  # fmt: skip


def resnet_v1_152(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    spatial_squeeze: bool = True,
    min_base_depth: int = 8,
    depth_multiplier: float = 1,
    reuse: Any = None,
    scope: str = "resnet_v1_152",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v1 with 152 layers: 60,192,808 parameters for 1000 classes.

    The arguments, in TF-Slim's order, and what is returned are those of `resnet_v1_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v1_152, torch.empty(1, 3, 224, 224, device='meta'), num_classes=20)
    """
    blocks = _blocks((3, 8, 36, 3), min_base_depth, depth_multiplier)
    return resnet_v1(inputs, blocks, num_classes, is_training, global_pool, output_stride, True, spatial_squeeze,
                     store_non_strided_activations, reuse, scope)  # fmt: skip


def resnet_v1_200(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    spatial_squeeze: bool = True,
    min_base_depth: int = 8,
    depth_multiplier: float = 1,
    reuse: Any = None,
    scope: str = "resnet_v1_200",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v1 with 200 layers (the depths of arXiv:1603.05027): 64,673,832 parameters for 1000 classes.

    The arguments, in TF-Slim's order, and what is returned are those of `resnet_v1_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v1_200, torch.empty(1, 3, 224, 224, device='meta'), num_classes=20)
    """
    blocks = _blocks((3, 24, 36, 3), min_base_depth, depth_multiplier)
    return resnet_v1(inputs, blocks, num_classes, is_training, global_pool, output_stride, True, spatial_squeeze,
                     store_non_strided_activations, reuse, scope)  # fmt: skip


resnet_v1.default_image_size = 224  # type: ignore[attr-defined]
resnet_v1_50.default_image_size = 224  # type: ignore[attr-defined]
resnet_v1_101.default_image_size = 224  # type: ignore[attr-defined]
resnet_v1_152.default_image_size = 224  # type: ignore[attr-defined]
resnet_v1_200.default_image_size = 224  # type: ignore[attr-defined]
