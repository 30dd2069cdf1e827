"""ResNet v2: residual units that begin with normalization and activation (arXiv:1603.05027), as TF-Slim has them.

Input: RGB; 224x224, or 299x299 between -1 and 1 for the published TF-Slim checkpoints (`resnet_v2_50` to
`resnet_v2_152`, 1001 classes of which the first is the background, trained with Inception's preprocessing). Larger
images are fine, and with `output_stride` and without `global_pool` the networks compute dense maps.

TF-Slim, and so this module, puts the stride of a block in its last unit, where the paper has it in the first of the
next block.
"""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.layers import batch_norm, conv2d
from torchslim.layers.utils import collect_named_outputs
from torchslim.nets.common import channels_of
from torchslim.nets.resnet_utils import Block, conv2d_same, residual_network, resnet_arg_scope, subsample

__all__ = [
    "bottleneck",
    "resnet_arg_scope",
    "resnet_v2",
    "resnet_v2_50",
    "resnet_v2_101",
    "resnet_v2_152",
    "resnet_v2_200",
    "resnet_v2_block",
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
) -> Symbol:
    """A residual unit: batch norm and ReLU, then three convolutions, 1x1, 3x3 and 1x1; nothing behind the sum.

    Args:
        inputs: features `[N, C, H, W]`.
        depth: channels that come out. Where they are as many as come in, the shortcut is the input itself.
        depth_bottleneck: channels of the 3x3 convolution.
        stride: step of the 3x3 convolution, and of the shortcut.
        rate: distance between the taps of the 3x3 convolution.
        outputs_collections: collections for the output.
        scope: name of the unit.

    Returns:
        The features `[N, depth, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(bottleneck, torch.empty(1, 8, 5, 5), depth=16, depth_bottleneck=4, stride=2)
        >>> model(torch.empty(1, 8, 5, 5)).shape
        torch.Size([1, 16, 3, 3])
    """
    linear: dict[str, Any] = {"normalizer_fn": None, "activation_fn": None}
    with variable_scope(scope, "bottleneck_v2", [inputs]) as unit:
        activated = batch_norm(inputs, activation_fn=torch.relu, scope="preact")
        if depth == channels_of(inputs):
            shortcut = subsample(inputs, stride, "shortcut")
        else:
            shortcut = conv2d(activated, depth, [1, 1], stride=stride, scope="shortcut", **linear)
        residual = conv2d(activated, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = conv2d_same(residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        residual = conv2d(residual, depth, [1, 1], stride=1, scope="conv3", **linear)
        return collect_named_outputs(outputs_collections, unit.name, shortcut + residual)


def resnet_v2_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """A block of bottleneck units for `resnet_v2`.

    Args:
        scope: its name.
        base_depth: channels of the 3x3 convolutions; four times as many come out.
        num_units: how many units.
        stride: of the last unit; the others have 1.

    Example:
        >>> resnet_v2_block('block2', base_depth=128, num_units=4, stride=2).args[-1]
        {'depth': 512, 'depth_bottleneck': 128, 'stride': 2}
    """
    unit = {"depth": base_depth * 4, "depth_bottleneck": base_depth}
    return Block(scope, bottleneck, [{**unit, "stride": 1}] * (num_units - 1) + [{**unit, "stride": stride}])


def resnet_v2(
    inputs: Symbol,
    blocks: Sequence[Block],
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str | None = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """A ResNet v2 of any blocks.

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
        reuse: share the variables of an earlier call; needs a `scope`.
        scope: name of the network; default `resnet_v2`.

    Returns:
        The logits `[N, num_classes]` (or features, or maps), and the end points: every convolution, unit and block by
        its name, then `global_pool`, `SCOPE/logits`, `SCOPE/spatial_squeeze` and `predictions`, their softmax.

    Raises:
        ValueError: if `output_stride` is no multiple of 4, or not reached exactly, or if a map is to be squeezed.

    Example:
        >>> import torch, torchslim as slim
        >>> blocks = [resnet_v2_block('block1', base_depth=4, num_units=2, stride=2)]
        >>> model = slim.build(resnet_v2, torch.empty(1, 3, 32, 32, device='meta'), blocks=blocks, num_classes=10)
        >>> model.end_points['resnet_v2/block1'].shape
        (None, 16, 4, 4)
    """
    return residual_network(
        inputs,
        blocks,
        bottleneck,
        "resnet_v2",
        preactivated=True,
        num_classes=num_classes,
        is_training=is_training,
        global_pool=global_pool,
        output_stride=output_stride,
        include_root_block=include_root_block,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope=scope,
    )


def _blocks(units: Sequence[int]) -> list[Block]:
    return [
        resnet_v2_block(f"block{number}", depth, count, stride)
        for number, (depth, count, stride) in enumerate(
            zip((64, 128, 256, 512), units, (2, 2, 2, 1), strict=True), 1)
    ]  # fmt: skip


def resnet_v2_50(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "resnet_v2_50",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v2 with 50 layers: 25,568,360 parameters for 1000 classes.

    Args:
        inputs: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the features come out.
        is_training: None or True: as the module's mode says, False: inference, for good.
        global_pool: average over space before the last layer.
        output_stride: ratio of the sizes of images and features; see `resnet_v2`.
        spatial_squeeze: remove the two dimensions of space from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points of `resnet_v2`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v2_50, torch.empty(1, 3, 299, 299, device='meta'), num_classes=1000)
        >>> sum(p.numel() for p in model.parameters()), list(model.end_points)[-1]
        (25568360, 'predictions')
    """
    return resnet_v2(inputs, _blocks((3, 4, 6, 3)), num_classes, is_training, global_pool, output_stride, True,
                     spatial_squeeze, reuse, scope)  # fmt: skip


def resnet_v2_101(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "resnet_v2_101",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v2 with 101 layers: 44,577,896 parameters for 1000 classes.

    The arguments and what is returned are those of `resnet_v2_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     features = slim.build(resnet_v2_101, torch.empty(1, 3, 256, 256, device='meta'), output_stride=8,
        ...                           global_pool=False)
        >>> features(torch.empty(1, 3, 256, 256, device='meta')).shape
        torch.Size([1, 2048, 32, 32])
    """
    return resnet_v2(inputs, _blocks((3, 4, 23, 3)), num_classes, is_training, global_pool, output_stride, True,
                     spatial_squeeze, reuse, scope)  # fmt: skip


def resnet_v2_152(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "resnet_v2_152",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v2 with 152 layers: 60,236,904 parameters for 1000 classes.

    The arguments and what is returned are those of `resnet_v2_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v2_152, torch.empty(1, 3, 299, 299, device='meta'), num_classes=20)
    """
    return resnet_v2(inputs, _blocks((3, 8, 36, 3)), num_classes, is_training, global_pool, output_stride, True,
                     spatial_squeeze, reuse, scope)  # fmt: skip


def resnet_v2_200(
    inputs: Symbol,
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "resnet_v2_200",
) -> tuple[Symbol, dict[str, Symbol]]:
    """ResNet v2 with 200 layers: 64,726,120 parameters for 1000 classes.

    The arguments and what is returned are those of `resnet_v2_50`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(resnet_arg_scope()):
        ...     model = slim.build(resnet_v2_200, torch.empty(1, 3, 299, 299, device='meta'), num_classes=20)
    """
    return resnet_v2(inputs, _blocks((3, 24, 36, 3)), num_classes, is_training, global_pool, output_stride, True,
                     spatial_squeeze, reuse, scope)  # fmt: skip


resnet_v2.default_image_size = 224  # type: ignore[attr-defined]
resnet_v2_50.default_image_size = 224  # type: ignore[attr-defined]
resnet_v2_101.default_image_size = 224  # type: ignore[attr-defined]
resnet_v2_152.default_image_size = 224  # type: ignore[attr-defined]
resnet_v2_200.default_image_size = 224  # type: ignore[attr-defined]
