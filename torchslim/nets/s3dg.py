"""S3D-G: Inception v1 for video, its convolutions apart in space and time, its features gated (arXiv:1712.04851).

Input: 64 frames of 224x224 RGB between -1 and 1, as `[N, 3, D, H, W]`; any number of frames and any size will do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.graph.symbol import Value
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import batch_norm, conv3d, dropout, max_pool3d, softmax
from torchslim.nets.i3d_utils import (
    classify_video,
    conv3d_spatiotemporal,
    inception_block_v1_3d,
    video_dimensions,
    video_layout,
)
from torchslim.nets.inception_modules import depth_of
from torchslim.nets.inception_v1 import ROWS
from torchslim.regularizers import l2_regularizer

# Those of Inception v1, but windows and strides of pools begin with the frames.
_ROWS: dict[str, Any] = {
    **ROWS,
    "MaxPool_2a_3x3": ([1, 3, 3], [1, 2, 2]),
    "MaxPool_3a_3x3": ([1, 3, 3], [1, 2, 2]),
    "MaxPool_4a_3x3": ([3, 3, 3], [2, 2, 2]),
    "MaxPool_5a_2x2": ([2, 2, 2], [2, 2, 2]),
}
_BLOCKS = [name for name in _ROWS if name == "Conv2d_2c_3x3" or name.startswith("Mixed")]


def s3dg_arg_scope(
    weight_decay: float = 1e-7, batch_norm_decay: float = 0.999, batch_norm_epsilon: float = 0.001
) -> ArgScope:
    """The defaults that S3D-G was trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import s3dg
        >>> with slim.arg_scope(s3dg.s3dg_arg_scope()):
        ...     model = slim.build(s3dg.s3dg, torch.empty(1, 3, 16, 224, 224, device='meta'), num_classes=400)
    """
    return video_arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon, use_renorm=False, separable=True)


def video_arg_scope(
    weight_decay: float, batch_norm_decay: float, batch_norm_epsilon: float, *, use_renorm: bool, separable: bool
) -> ArgScope:
    """The defaults that `s3dg_arg_scope` and `i3d_arg_scope` share, where the arguments are explained."""
    statistics = ["moving_vars"]
    normalization = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "fused": False,
        "renorm": use_renorm,
        "variables_collections": {"moving_mean": statistics, "moving_variance": statistics},
    }
    with arg_scope(
        [conv3d, conv3d_spatiotemporal],
        weights_regularizer=l2_regularizer(weight_decay),
        activation_fn=torch.relu,
        normalizer_fn=batch_norm,
        normalizer_params=normalization,
    ), arg_scope([conv3d_spatiotemporal], separable=separable) as scope:  # fmt: skip
        return scope


def self_gating(input_tensor: Value, scope: str, data_format: str | None = None) -> Value:
    """Scales each channel by what all of them say on average over the video.

    Args:
        input_tensor: features `[N, C, D, H, W]`.
        scope: of the layer in front; the variables are in `SCOPE/self_gating/transformer_W`.
        data_format: `'NCDHW'` or `'NDHWC'`; None: as the arg_scope says, else channels-first.

    Returns:
        Features of the same shape.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(self_gating, torch.empty(1, 4, 2, 8, 8), scope='conv1')
        >>> list(model.state_dict())
        ['conv1.self_gating.transformer_W.weight']
    """
    with video_layout(data_format):
        channels, *space = video_dimensions()
        gates = conv3d(
            input_tensor.mean(space, keepdim=True),
            input_tensor.shape[channels],
            [1, 1, 1],
            activation_fn=None,
            normalizer_fn=None,
            biases_initializer=None,
            weights_initializer=truncated_normal_initializer(stddev=0.01),
            scope=f"{scope}/self_gating/transformer_W",
        )
    return torch.sigmoid(gates) * input_tensor


def s3dg_base(
    inputs: Symbol,
    first_temporal_kernel_size: int = 3,
    temporal_conv_startat: str | None = "Conv2d_2c_3x3",
    gating_startat: str | None = "Conv2d_2c_3x3",
    final_endpoint: str = "Mixed_5c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    data_format: str | None = None,
    scope: str | VariableScope | None = "InceptionV1",
) -> tuple[Symbol, dict[str, Symbol]]:
    """S3D-G without its head: the features of `final_endpoint`.

    The names are those of Inception v1, so that its checkpoints can be inflated.

    Args:
        inputs: videos `[N, 3, D, H, W]`.
        first_temporal_kernel_size: frames that `Conv2d_1a_7x7` sees: 1, 3, 5 or 7.
        temporal_conv_startat: the first block that convolves over time, `Conv2d_2c_3x3` or one of the `Mixed_...`;
            None: none does.
        gating_startat: the first block that is gated, one of the same; None: none is.
        final_endpoint: the last layer: `Conv2d_1a_7x7`, `MaxPool_2a_3x3`, `Conv2d_2b_1x1`, `Conv2d_2c_3x3`,
            `MaxPool_3a_3x3`, `Mixed_3b`, `Mixed_3c`, `MaxPool_4a_3x3`, `Mixed_4b` to `Mixed_4f`, `MaxPool_5a_2x2`,
            `Mixed_5b` or `Mixed_5c`.
        min_depth: the least number of channels of a convolution.
        depth_multiplier: of the channels.
        data_format: `'NCDHW'` or `'NDHWC'`; None: as the arg_scope says, else channels-first.
        scope: name of the network.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers, or a number is out of range.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import s3dg
        >>> videos = torch.empty(1, 3, 16, 64, 64, device='meta')
        >>> slim.build(s3dg.s3dg_base, videos, final_endpoint='Mixed_4b').end_points['Mixed_4b'].shape
        (None, 512, 4, 4, 4)
    """
    if first_temporal_kernel_size not in (1, 3, 5, 7):
        raise ValueError(
            f"s3dg: `first_temporal_kernel_size` must be 1, 3, 5 or 7. Got {first_temporal_kernel_size!r}."
        )
    if final_endpoint not in _ROWS:
        raise ValueError(f"s3dg: `final_endpoint` must be one of {', '.join(_ROWS)}. Got {final_endpoint!r}.")
    depth = depth_of("s3dg", depth_multiplier, min_depth)
    in_time, gated = _blocks_from(temporal_conv_startat), _blocks_from(gating_startat)
    net, end_points = inputs, {}
    with (
        video_layout(data_format),
        variable_scope(scope, "InceptionV1", [inputs]),
        arg_scope([conv3d], weights_initializer=truncated_normal_initializer(stddev=0.01)),
        arg_scope([conv3d, max_pool3d, conv3d_spatiotemporal], stride=1, padding="SAME"),
    ):
        for name, row in _ROWS.items():
            frames, gate = 3 if name in in_time else 1, self_gating if name in gated else None
            if name == "Conv2d_1a_7x7":  # taking it apart would make it slower
                window = [first_temporal_kernel_size, 7, 7]
                net = conv3d_spatiotemporal(net, depth(64), window, stride=2, separable=False, scope=name)
            elif name.startswith("Conv"):
                size = int(name[-1])
                net = conv3d_spatiotemporal(net, depth(row), [frames, size, size], scope=name)
                net = gate(net, scope=name) if gate else net
            elif name.startswith("MaxPool"):
                window, stride = row
                net = max_pool3d(net, window, stride=stride, scope=name)
            else:
                point, narrow, middle, narrower, wide, pooled = map(depth, row)
                net = inception_block_v1_3d(
                    net, point, narrow, middle, narrower, wide, pooled, frames, gate, scope=name
                )
            end_points[name] = net
            if name == final_endpoint:
                break
    return net, end_points


def _blocks_from(name: str | None) -> list[str]:
    return _BLOCKS[_BLOCKS.index(name) :] if name in _BLOCKS else []


def s3dg(
    inputs: Symbol,
    num_classes: int = 1000,
    first_temporal_kernel_size: int = 3,
    temporal_conv_startat: str | None = "Conv2d_2c_3x3",
    gating_startat: str | None = "Conv2d_2c_3x3",
    final_endpoint: str = "Mixed_5c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    dropout_keep_prob: float = 0.8,
    is_training: bool | None = True,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    data_format: str | None = None,
    scope: str = "InceptionV1",
) -> tuple[Symbol, dict[str, Symbol]]:
    """S3D-G (arXiv:1712.04851): 9,518,848 parameters for the 400 classes of Kinetics.

    Args:
        inputs: videos `[N, 3, D, H, W]` between -1 and 1; those of 224x224 give one vector of logits.
        num_classes: how many.
        first_temporal_kernel_size: frames that `Conv2d_1a_7x7` sees: 1, 3, 5 or 7.
        temporal_conv_startat: the first block that convolves over time; see `s3dg_base`.
        gating_startat: the first block that is gated; see `s3dg_base`.
        final_endpoint: the layer that the head stands on.
        min_depth: the least number of channels of a convolution.
        depth_multiplier: of the channels.
        dropout_keep_prob: probability of keeping a feature.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        prediction_fn: from the logits to `Predictions`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        data_format: `'NCDHW'` or `'NDHWC'`; None: as the arg_scope says, else channels-first. TF-Slim: `'NDHWC'`.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `s3dg_base`, `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import s3dg
        >>> with slim.arg_scope(s3dg.s3dg_arg_scope()):
        ...     model = slim.build(s3dg.s3dg, torch.empty(1, 3, 16, 224, 224, device='meta'), num_classes=400)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['Mixed_5c'].shape
        (9518848, (None, 1024, 2, 7, 7))
    """
    with (
        video_layout(data_format),
        variable_scope(scope, "InceptionV1", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = s3dg_base(
            inputs,
            first_temporal_kernel_size,
            temporal_conv_startat,
            gating_startat,
            final_endpoint,
            min_depth,
            depth_multiplier,
            scope=variables,
        )
        return classify_video(net, end_points, num_classes, dropout_keep_prob, prediction_fn, spatial_squeeze)


s3dg.default_image_size = 224  # type: ignore[attr-defined]
