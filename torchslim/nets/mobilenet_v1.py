"""MobileNet v1: convolutions of each channel by itself, then of all channels at each place (arXiv:1704.04861).

Input: 224x224 RGB between -1 and 1 (Inception's preprocessing) for the published TF-Slim checkpoints, which exist for
depth multipliers 1.0, 0.75, 0.5 and 0.25 and for 224, 192, 160 and 128 pixels, with 1001 classes of which the first is
the background.
"""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch.nn import functional

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import avg_pool2d, batch_norm, conv2d, dropout, separable_conv2d, softmax
from torchslim.nets.common import Strides, fixed_padding, shrunk_window, spatial_dimensions, squeezed, variant
from torchslim.regularizers import l2_regularizer


class Conv(NamedTuple):
    """A convolution of a MobileNet v1: kernel, stride, number of channels before the multiplier."""

    kernel: Sequence[int]
    stride: int
    depth: int


class DepthSepConv(NamedTuple):
    """A convolution of each channel, with this kernel and stride, then a 1x1 convolution to `depth` channels."""

    kernel: Sequence[int]
    stride: int
    depth: int


MOBILENETV1_CONV_DEFS: tuple[Conv | DepthSepConv, ...] = (
    Conv([3, 3], 2, 32),
    *(
        DepthSepConv([3, 3], stride, depth)
        for stride, depth in (
            (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
    ),
)  # fmt: skip
"""Table 1 of the paper."""


def mobilenet_v1_base(
    inputs: Symbol,
    final_endpoint: str = "Conv2d_13_pointwise",
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | VariableScope | None = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v1 without its head: the features of `final_endpoint`.

    Args:
        inputs: images `[N, 3, H, W]`.
        final_endpoint: the last layer: `Conv2d_0`, or `Conv2d_I_depthwise` or `Conv2d_I_pointwise` with I from 1 to 13.
        min_depth: the least number of channels of a layer, where the multiplier makes them fewer.
        depth_multiplier: of the channels of all layers.
        conv_defs: the layers; None: those of the paper.
        output_stride: the ratio of the sizes of images and features, 8, 16 or 32; None: 32 for the layers of the paper.
            Where it is reached, separable convolutions leave gaps instead of stepping; a `Conv` always steps.
        use_explicit_padding: pad by the kernel rather than by the size of the image, as detectors do.
        scope: name of the network; default `MobilenetV1`.

    Returns:
        The features `[N, C, H / output_stride, W / output_stride]`, rounded up, and the end points: every layer by its
        name.

    Raises:
        ValueError: if `depth_multiplier` is not positive, `output_stride` is another number, or `final_endpoint` is
            none of the layers.
        TypeError: if one of `conv_defs` is no `Conv` or `DepthSepConv`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(mobilenet_v1_arg_scope()):
        ...     model = slim.build(mobilenet_v1_base, torch.empty(1, 3, 224, 224, device='meta'), output_stride=16)
        >>> model(torch.empty(1, 3, 224, 224, device='meta')).shape
        torch.Size([1, 1024, 14, 14])
    """
    if depth_multiplier <= 0:
        raise ValueError(f"mobilenet_v1: `depth_multiplier` must be greater than zero. Got {depth_multiplier}.")
    if output_stride not in (None, 8, 16, 32):
        raise ValueError(f"mobilenet_v1: `output_stride` must be 8, 16, 32 or None. Got {output_stride}.")
    padding = "VALID" if use_explicit_padding else "SAME"
    strides = Strides(output_stride)
    end_points: dict[str, Symbol] = {}
    net = inputs
    with variable_scope(scope, "MobilenetV1", [inputs]), arg_scope([conv2d, separable_conv2d], padding=padding):
        for number, row in enumerate(MOBILENETV1_CONV_DEFS if conv_defs is None else conv_defs):
            if not isinstance(row, Conv | DepthSepConv):
                raise TypeError(f"mobilenet_v1: each of `conv_defs` must be a Conv or a DepthSepConv. Got {row!r}.")
            channels = max(int(row.depth * depth_multiplier), min_depth)
            for name, layer, settings in _layers(f"Conv2d_{number}", row, channels, *strides.take(row.stride)):
                if use_explicit_padding:
                    net = fixed_padding(net, settings["kernel_size"], settings.get("rate", 1))
                net = end_points[name] = layer(net, scope=name, **settings)
                if name == final_endpoint:
                    return net, end_points
    raise ValueError(f"mobilenet_v1: `final_endpoint` must be one of {', '.join(end_points)}. Got {final_endpoint!r}.")


def _layers(
    name: str, row: Conv | DepthSepConv, channels: int, stride: int, rate: int
) -> list[tuple[str, Callable[..., Symbol], dict[str, Any]]]:
    """The layers of a row: name, function, arguments."""
    if isinstance(row, Conv):
        return [(name, conv2d, {"num_outputs": channels, "kernel_size": row.kernel, "stride": row.stride})]
    depthwise = {"num_outputs": None, "kernel_size": row.kernel, "stride": stride, "rate": rate}
    return [
        (f"{name}_depthwise", separable_conv2d, depthwise),
        (f"{name}_pointwise", conv2d, {"num_outputs": channels, "kernel_size": [1, 1]}),
    ]


def mobilenet_v1(
    inputs: Symbol,
    num_classes: int | None = 1000,
    dropout_keep_prob: float = 0.999,
    is_training: bool | None = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    prediction_fn: Callable[..., Symbol] | None = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "MobilenetV1",
    global_pool: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v1 for classification: 4,233,001 parameters for 1001 classes.

    `mobilenet_v1_075`, `mobilenet_v1_050` and `mobilenet_v1_025` are the same with another `depth_multiplier`:
    2,586,329, 1,332,105 and 470,329 parameters.

    Args:
        inputs: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the features come out.
        dropout_keep_prob: probability of keeping a feature before the last layer.
        is_training: whether batch norm uses the statistics of the batch and dropout drops; None or True: as the
            module's mode says, False: never.
        min_depth: the least number of channels of a layer.
        depth_multiplier: of the channels of all layers.
        conv_defs: the layers; None: those of the paper.
        prediction_fn: makes predictions of the logits; None: no such end point.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        global_pool: average over all of space before the last layer, for images of any size; else over 7x7 (less for
            small images), so that large images give maps.

    Returns:
        The logits `[N, num_classes]` (or features), and the end points: every layer of `mobilenet_v1_base` by its name,
        then `AvgPool_1a` or `global_pool`, `Logits` and `Predictions`.

    Raises:
        ValueError: if `inputs` is not of rank 4, `depth_multiplier` not positive, or a map is to be squeezed.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(mobilenet_v1_arg_scope()):
        ...     model = slim.build(mobilenet_v1, torch.empty(1, 3, 224, 224, device='meta'), num_classes=1001)
        >>> sum(p.numel() for p in model.parameters()), list(model.end_points)[-2:]
        (4233001, ['Logits', 'Predictions'])
    """
    if inputs.ndim != 4:
        raise ValueError(f"mobilenet_v1: `inputs` must be images, of rank 4. Got shape {tuple(inputs.shape)}.")
    mode = {} if is_training is None else {"is_training": is_training}
    with variable_scope(scope, "MobilenetV1", [inputs], reuse=reuse) as variables:
        with arg_scope([batch_norm, dropout], **mode):
            net, end_points = mobilenet_v1_base(
                inputs, min_depth=min_depth, depth_multiplier=depth_multiplier, conv_defs=conv_defs, scope=variables
            )
            with variable_scope("Logits"):
                if global_pool:
                    net = end_points["global_pool"] = net.mean(spatial_dimensions(), keepdim=True)
                else:
                    window = shrunk_window(net, (7, 7))
                    net = end_points["AvgPool_1a"] = avg_pool2d(net, window, padding="VALID", scope="AvgPool_1a")
                if not num_classes:
                    return net, end_points
                net = dropout(net, keep_prob=dropout_keep_prob, scope="Dropout_1b")
                net = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
                logits = end_points["Logits"] = squeezed(net, spatial_squeeze)
        if prediction_fn is not None:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
        return logits, end_points


def mobilenet_v1_arg_scope(
    is_training: bool | None = True,
    weight_decay: float = 0.00004,
    stddev: float = 0.09,
    regularize_depthwise: bool = False,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    batch_norm_updates_collections: Any = "update_ops",
    normalizer_fn: Callable[..., Any] | None = batch_norm,
) -> ArgScope:
    """The defaults that MobileNet v1 was trained with.

    Args:
        is_training: of batch norm; None or True: as the module's mode says, False: inference, for good.
        weight_decay: scale of the L2 regularization of the weights.
        stddev: of the truncated normal distribution that weights start with.
        regularize_depthwise: regularize the convolutions of each channel as well, which have few weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        batch_norm_updates_collections: as `updates_collections` of `slim.batch_norm`.
        normalizer_fn: behind the convolutions.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import mobilenet_v1
        >>> with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(weight_decay=0.001)):
        ...     model = slim.build(mobilenet_v1.mobilenet_v1_025, torch.empty(1, 3, 128, 128, device='meta'))
    """
    normalization: dict[str, Any] = {
        "center": True,
        "scale": True,
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
    }
    if is_training is not None:
        normalization["is_training"] = is_training
    regularizer = l2_regularizer(weight_decay)
    with (
        arg_scope(
            [conv2d, separable_conv2d],
            weights_initializer=truncated_normal_initializer(stddev=stddev),
            activation_fn=functional.relu6,
            normalizer_fn=normalizer_fn,
        ),
        arg_scope([batch_norm], **normalization),
        arg_scope([conv2d], weights_regularizer=regularizer),
        arg_scope([separable_conv2d], weights_regularizer=regularizer if regularize_depthwise else None) as scope,
    ):
        return scope


mobilenet_v1.default_image_size = 224  # type: ignore[attr-defined]
mobilenet_v1_075 = variant(mobilenet_v1, depth_multiplier=0.75)
mobilenet_v1_050 = variant(mobilenet_v1, depth_multiplier=0.5)
mobilenet_v1_025 = variant(mobilenet_v1, depth_multiplier=0.25)
