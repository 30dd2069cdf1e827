"""What the residual networks share: blocks of units, convolutions that pad by their kernel, the network around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from torchslim.arg_scope import ArgScope, add_arg_scope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.initializers import variance_scaling_initializer
from torchslim.layers import batch_norm, conv2d, max_pool2d, softmax
from torchslim.layers.utils import collect_named_outputs, convert_collection_to_dict
from torchslim.nets.common import Strides, fixed_padding, spatial_dimensions, squeezed
from torchslim.regularizers import l2_regularizer


class Block(NamedTuple):
    """A block of residual units.

    Attributes:
        scope: its name.
        unit_fn: makes a unit: a function of a Symbol, with the arguments `stride` and `rate` among others.
        args: the arguments of each unit.

    Example:
        >>> from torchslim.nets import resnet_v1
        >>> block = resnet_v1.resnet_v1_block('block1', base_depth=64, num_units=3, stride=2)
        >>> block.scope, [unit['stride'] for unit in block.args]
        ('block1', [1, 1, 2])
    """

    scope: str
    unit_fn: Callable[..., Symbol]
    args: Sequence[Mapping[str, Any]]


def subsample(inputs: Symbol, factor: int, scope: str | None = None) -> Symbol:
    """Keeps every `factor`-th row and column.

    Args:
        inputs: features `[N, C, H, W]`.
        factor: how far they are apart; 1: all are kept.
        scope: name of the layer.

    Returns:
        The features `[N, C, ceil(H / factor), ceil(W / factor)]`.

    Example:
        >>> import torch
        >>> subsample(torch.arange(9.0).reshape(1, 1, 3, 3), 2)
        tensor([[[[0., 2.],
                  [6., 8.]]]])
    """
    return inputs if factor == 1 else max_pool2d(inputs, [1, 1], stride=factor, scope=scope)


def conv2d_same(
    inputs: Symbol, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: str | None = None
) -> Symbol:
    """A convolution that gives every `stride`-th value of the one with stride 1.

    `conv2d` with `'SAME'` padding pads by the size of the image where it has a stride, and so shifts its windows by one
    for even sizes. ResNet's checkpoints pad by the kernel alone.

    Args:
        inputs: features `[N, C, H, W]`.
        num_outputs: the number of filters.
        kernel_size: height and width of the filters.
        stride: step of the filters.
        rate: distance between the taps of the filters.
        scope: name of the layer.

    Returns:
        The features `[N, num_outputs, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> import torch
        >>> conv2d_same(torch.zeros(1, 3, 8, 8), 4, 3, stride=2, scope='doc_conv2d_same').shape
        torch.Size([1, 4, 4, 4])
    """
    if stride == 1:
        return conv2d(inputs, num_outputs, kernel_size, rate=rate, padding="SAME", scope=scope)
    inputs = fixed_padding(inputs, kernel_size, rate)
    return conv2d(inputs, num_outputs, kernel_size, stride=stride, rate=rate, padding="VALID", scope=scope)


@add_arg_scope
def stack_blocks_dense(
    net: Symbol,
    blocks: Sequence[Block],
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    outputs_collections: Any = None,
) -> Symbol:
    """Stacks blocks of units, and keeps the stride of what comes out at `output_stride`.

    Args:
        net: features `[N, C, H, W]`.
        blocks: the blocks, in order.
        output_stride: the ratio of the sizes of `net` and of what comes out; None: as the units say. Where it is
            reached, units step by one and convolve with gaps instead.
        store_non_strided_activations: give the end point of a block the size that it has before the stride of its last
            unit, which becomes a subsampling behind the block.
        outputs_collections: collections for the output of each block.

    Returns:
        What comes out of the last block.

    Raises:
        ValueError: if the strides of the units do not multiply to `output_stride` somewhere.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import resnet_v1
        >>> block = resnet_v1.resnet_v1_block('block1', base_depth=4, num_units=2, stride=2)
        >>> model = slim.build(stack_blocks_dense, torch.empty(1, 16, 9, 9), blocks=[block], output_stride=2)
        >>> model(torch.empty(1, 16, 9, 9)).shape
        torch.Size([1, 16, 5, 5])
    """
    strides = Strides(output_stride)

    def take(stride: int) -> tuple[int, int]:
        taken = strides.take(stride)
        if output_stride is not None and strides.reached > output_stride:
            raise _unreachable(output_stride, strides.reached)
        return taken

    for block in blocks:
        with variable_scope(block.scope, "block", [net]) as scope:
            behind = 1
            for number, arguments in enumerate(block.args, 1):
                stride = arguments.get("stride", 1)
                if store_non_strided_activations and number == len(block.args):
                    stride, behind = 1, stride
                step, rate = take(stride)
                with variable_scope(f"unit_{number}", values=[net]):
                    net = block.unit_fn(net, **{**arguments, "stride": step, "rate": rate})
            net = collect_named_outputs(outputs_collections, scope.name, net)
            net = subsample(net, take(behind)[0])
    if output_stride is not None and strides.reached != output_stride:
        raise _unreachable(output_stride, strides.reached)
    return net


def _unreachable(output_stride: int, reached: int) -> ValueError:
    return ValueError(
        f"stack_blocks_dense: the strides of the units must multiply to `output_stride`. Got {output_stride}, and they "
        f"come to {reached}."
    )


def residual_network(
    inputs: Symbol,
    blocks: Sequence[Block],
    bottleneck: Callable[..., Symbol],
    default_scope: str,
    *,
    preactivated: bool,
    num_classes: int | None,
    is_training: bool | None,
    global_pool: bool,
    output_stride: int | None,
    include_root_block: bool,
    spatial_squeeze: bool,
    store_non_strided_activations: bool = False,
    reuse: Any,
    scope: str | None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The root, the blocks and the head of `resnet_v1` and `resnet_v2`, where the arguments are explained.

    With `preactivated` the units normalize and activate what they get, so the root leaves that to the first of them,
    and the head does it for the last.
    """
    if include_root_block and output_stride is not None and output_stride % 4:
        raise ValueError(
            f"{default_scope}: `output_stride` must be a multiple of 4, the stride of the root block. Got "
            f"{output_stride}."
        )
    space = spatial_dimensions()
    mode = {} if is_training is None else {"is_training": is_training}
    with variable_scope(scope, default_scope, [inputs], reuse=reuse) as variables:
        collection = f"{variables.original_name_scope}_end_points"
        ops = [conv2d, bottleneck, stack_blocks_dense]
        with arg_scope(ops, outputs_collections=collection), arg_scope([batch_norm], **mode):
            net = inputs
            if include_root_block:
                output_stride = output_stride and output_stride // 4
                with arg_scope([conv2d], **({"activation_fn": None, "normalizer_fn": None} if preactivated else {})):
                    net = conv2d_same(net, 64, 7, stride=2, scope="conv1")
                net = max_pool2d(net, [3, 3], stride=2, scope="pool1")
            net = stack_blocks_dense(net, blocks, output_stride, store_non_strided_activations)
            if preactivated:
                net = batch_norm(net, activation_fn=torch.relu, scope="postnorm")
            end_points = convert_collection_to_dict(collection)
            if global_pool:
                net = end_points["global_pool"] = net.mean(space, keepdim=True)
            if num_classes:
                net = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits")
                end_points[f"{variables.name}/logits"] = net
                if spatial_squeeze:
                    net = end_points[f"{variables.name}/spatial_squeeze"] = squeezed(net)
                end_points["predictions"] = softmax(net, scope="predictions")
            return net, end_points


def resnet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.997,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
    activation_fn: Callable[..., Any] | None = torch.relu,
    use_batch_norm: bool = True,
    batch_norm_updates_collections: Any = "update_ops",
) -> ArgScope:
    """The defaults that the residual networks were trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        batch_norm_scale: multiply by `gamma`.
        activation_fn: of the convolutions.
        use_batch_norm: normalize behind the convolutions; else they have biases.
        batch_norm_updates_collections: as `updates_collections` of `slim.batch_norm`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import resnet_v1
        >>> with slim.arg_scope(resnet_v1.resnet_arg_scope()):
        ...     model = slim.build(resnet_v1.resnet_v1_50, torch.empty(1, 3, 224, 224, device='meta'), num_classes=5)
    """
    normalization = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "scale": batch_norm_scale,
        "updates_collections": batch_norm_updates_collections,
        "fused": None,
    }
    with (
        arg_scope(
            [conv2d],
            weights_regularizer=l2_regularizer(weight_decay),
            weights_initializer=variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=batch_norm if use_batch_norm else None,
            normalizer_params=normalization,
        ),
        arg_scope([batch_norm], **normalization),
        arg_scope([max_pool2d], padding="SAME") as scope,
    ):
        return scope
