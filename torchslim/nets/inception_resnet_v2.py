"""Inception-ResNet v2: Inception modules that add to what flows in (arXiv:1602.07261).

Input: 299x299 RGB between -1 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.layers import batch_norm, conv2d, dropout, fully_connected, repeat
from torchslim.nets.common import channel_dimension
from torchslim.nets.inception_modules import (
    POOL,
    EndPoints,
    Mixed,
    auxiliary_logits,
    classify_flat,
    run_layer,
    run_rows,
)
from torchslim.regularizers import l2_regularizer

Activation = Callable[..., Any] | None

_BLOCK35 = Mixed((
    {"Conv2d_1x1": 32},
    {"Conv2d_0a_1x1": 32, "Conv2d_0b_3x3": 32},
    {"Conv2d_0a_1x1": 32, "Conv2d_0b_3x3": 48, "Conv2d_0c_3x3": 64},
))  # fmt: skip
_BLOCK17 = Mixed((
    {"Conv2d_1x1": 192},
    {"Conv2d_0a_1x1": 128, "Conv2d_0b_1x7": 160, "Conv2d_0c_7x1": 192},
))  # fmt: skip
_BLOCK8 = Mixed((
    {"Conv2d_1x1": 192},
    {"Conv2d_0a_1x1": 192, "Conv2d_0b_1x3": 224, "Conv2d_0c_3x1": 256},
))  # fmt: skip


def inception_resnet_v2_arg_scope(
    weight_decay: float = 0.00004,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: Activation = torch.relu,
    batch_norm_updates_collections: Any = "update_ops",
    batch_norm_scale: bool = False,
) -> ArgScope:
    """The defaults that Inception-ResNet v2 was trained with; unlike Inception's they regularize biases as well.

    Args:
        weight_decay: scale of the L2 regularization of weights and biases.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        activation_fn: behind every convolution.
        batch_norm_updates_collections: as in `batch_norm`.
        batch_norm_scale: multiply by `gamma`; the published checkpoint has none.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_resnet_v2_arg_scope()):
        ...     model = slim.build(inception.inception_resnet_v2, torch.empty(1, 3, 299, 299, device='meta'))
    """
    normalization = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "fused": None,
        "scale": batch_norm_scale,
    }
    decay = l2_regularizer(weight_decay)
    with arg_scope(
        [conv2d, fully_connected], weights_regularizer=decay, biases_regularizer=decay
    ), arg_scope(
        [conv2d], activation_fn=activation_fn, normalizer_fn=batch_norm, normalizer_params=normalization
    ) as scope:  # fmt: skip
        return scope


def _residual(
    net: Symbol, mixed: Mixed, scale: float, activation_fn: Activation, scope: str | None, default: str, reuse: Any
) -> Symbol:
    """What flows in, plus `scale` times what a module sees in it."""
    with variable_scope(scope, default, [net], reuse=reuse):
        channels: Any = net.shape[channel_dimension()]
        change = conv2d(
            mixed.join(net),
            channels,
            [1, 1],
            normalizer_fn=None,
            activation_fn=None,
            scope="Conv2d_1x1",
        )
        net = net + scale * change
        return net if activation_fn is None else activation_fn(net)


def block35(
    net: Symbol, scale: float = 1.0, activation_fn: Activation = torch.relu, scope: str | None = None, reuse: Any = None
) -> Symbol:
    """The residual module for maps of 35x35 (figure 16 of the paper).

    Args:
        net: features `[N, C, H, W]`.
        scale: of what the module adds; small values keep deep networks stable.
        activation_fn: applied to the sum; None: nothing is.
        scope: its name; default `Block35`, made unique.
        reuse: share the variables of an earlier call.

    Returns:
        Features of the shape of `net`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_resnet_v2
        >>> model = slim.build(inception_resnet_v2.block35, torch.empty(1, 16, 8, 8), scale=0.17)
        >>> model(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """
    return _residual(net, _BLOCK35, scale, activation_fn, scope, "Block35", reuse)


def block17(
    net: Symbol, scale: float = 1.0, activation_fn: Activation = torch.relu, scope: str | None = None, reuse: Any = None
) -> Symbol:
    """The residual module for maps of 17x17 (figure 17). The arguments are those of `block35`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_resnet_v2
        >>> model = slim.build(inception_resnet_v2.block17, torch.empty(1, 16, 8, 8))
        >>> model(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """
    return _residual(net, _BLOCK17, scale, activation_fn, scope, "Block17", reuse)


def block8(
    net: Symbol, scale: float = 1.0, activation_fn: Activation = torch.relu, scope: str | None = None, reuse: Any = None
) -> Symbol:
    """The residual module for maps of 8x8 (figure 19). The arguments are those of `block35`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_resnet_v2
        >>> model = slim.build(inception_resnet_v2.block8, torch.empty(1, 16, 8, 8))
        >>> model(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """
    return _residual(net, _BLOCK8, scale, activation_fn, scope, "Block8", reuse)


def _rows(padding: str, dense: bool, activation_fn: Activation) -> dict[str, Any]:
    """The network; `dense`: from `Mixed_6a` on at twice the resolution, with dilated convolutions."""
    reduction_6 = Mixed((
        {"Conv2d_1a_3x3": 384},
        {"Conv2d_0a_1x1": 256, "Conv2d_0b_3x3": 256, "Conv2d_1a_3x3": 384},
        {"MaxPool_1a_3x3": POOL},
    ), stride=1 if dense else 2, padding=padding)  # fmt: skip

    def mixed_6a(net: Symbol, name: str, depth: Callable[[int], int]) -> Symbol:
        return reduction_6(repeat(net, 10, block35, scale=0.17, activation_fn=activation_fn), name)

    def before_auxiliary_logits(net: Symbol, name: str, depth: Callable[[int], int]) -> Symbol:
        with arg_scope([conv2d], rate=2 if dense else 1):
            return repeat(net, 20, block17, scale=0.1, activation_fn=activation_fn)

    def conv2d_7b(net: Symbol, name: str, depth: Callable[[int], int]) -> Symbol:
        net = repeat(net, 9, block8, scale=0.2, activation_fn=activation_fn)
        return run_layer(block8(net, activation_fn=None), name, 1536)

    return {
        "Conv2d_1a_3x3": {"num_outputs": 32, "stride": 2, "padding": padding},
        "Conv2d_2a_3x3": {"num_outputs": 32, "padding": padding},
        "Conv2d_2b_3x3": 64,
        "MaxPool_3a_3x3": {"stride": 2, "padding": padding},
        "Conv2d_3b_1x1": 80,
        "Conv2d_4a_3x3": {"num_outputs": 192, "padding": padding},
        "MaxPool_5a_3x3": {"stride": 2, "padding": padding},
        "Mixed_5b": Mixed((
            {"Conv2d_1x1": 96},
            {"Conv2d_0a_1x1": 48, "Conv2d_0b_5x5": 64},
            {"Conv2d_0a_1x1": 64, "Conv2d_0b_3x3": 96, "Conv2d_0c_3x3": 96},
            {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 64},
        )),
        "Mixed_6a": mixed_6a,
        "PreAuxLogits": before_auxiliary_logits,
        "Mixed_7a": Mixed((
            {"Conv2d_0a_1x1": 256, "Conv2d_1a_3x3": 384},
            {"Conv2d_0a_1x1": 256, "Conv2d_1a_3x3": 288},
            {"Conv2d_0a_1x1": 256, "Conv2d_0b_3x3": 288, "Conv2d_1a_3x3": 320},
            {"MaxPool_1a_3x3": POOL},
        ), stride=2, padding=padding),
        "Conv2d_7b_1x1": conv2d_7b,
    }  # fmt: skip


def inception_resnet_v2_base(
    inputs: Symbol,
    final_endpoint: str = "Conv2d_7b_1x1",
    output_stride: int = 16,
    align_feature_maps: bool = False,
    scope: str | VariableScope | None = None,
    activation_fn: Activation = torch.relu,
) -> tuple[Symbol, EndPoints]:
    """Inception-ResNet v2 without its heads: the features of `final_endpoint`.

    Args:
        inputs: images `[N, 3, H, W]`, of any size from 75x75.
        final_endpoint: the last layer: `Conv2d_1a_3x3`, `Conv2d_2a_3x3`, `Conv2d_2b_3x3`, `MaxPool_3a_3x3`,
            `Conv2d_3b_1x1`, `Conv2d_4a_3x3`, `MaxPool_5a_3x3`, `Mixed_5b`, `Mixed_6a`, `PreAuxLogits`, `Mixed_7a` or
            `Conv2d_7b_1x1`.
        output_stride: size of the image relative to `PreAuxLogits`: 16, or 8 by dilated convolutions; with 8 nothing
            comes after `PreAuxLogits`.
        align_feature_maps: pad everywhere, so that the maps of all layers lie exactly over the image.
        scope: name of the network; default `InceptionResnetV2`.
        activation_fn: behind every residual module.

    Returns:
        The features, and the end points: the output of every layer by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers, or `output_stride` is neither 8 nor 16.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> images = torch.empty(1, 3, 256, 256, device='meta')
        >>> model = slim.build(inception.inception_resnet_v2_base, images, final_endpoint='Mixed_6a', output_stride=8,
        ...                    align_feature_maps=True)
        >>> model.end_points['Mixed_6a'].shape
        (None, 1088, 32, 32)
    """
    if output_stride not in (8, 16):
        raise ValueError(f"inception_resnet_v2: `output_stride` must be 8 or 16. Got {output_stride}.")
    rows = _rows("SAME" if align_feature_maps else "VALID", output_stride == 8, activation_fn)
    if output_stride == 8 and final_endpoint in ("Mixed_7a", "Conv2d_7b_1x1"):
        raise ValueError(
            f"inception_resnet_v2: with `output_stride=8` the last `final_endpoint` is 'PreAuxLogits'. "
            f"Got {final_endpoint!r}."
        )
    with variable_scope(scope, "InceptionResnetV2", [inputs]):
        return run_rows(inputs, rows, final_endpoint)


def inception_resnet_v2(
    inputs: Symbol,
    num_classes: int | None = 1001,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.8,
    reuse: Any = None,
    scope: str = "InceptionResnetV2",
    create_aux_logits: bool = True,
    activation_fn: Activation = torch.relu,
) -> tuple[Symbol, EndPoints]:
    """Inception-ResNet v2 (arXiv:1602.07261): 59,182,258 parameters for the 1001 classes of its checkpoint.

    Args:
        inputs: images `[N, 3, H, W]` between -1 and 1, 299x299 or larger.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        dropout_keep_prob: probability of keeping a feature.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        create_aux_logits: have the second head, too; the size of the images must then be known.
        activation_fn: behind every residual module.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `inception_resnet_v2_base`, `AuxLogits`,
        `global_pool`, `PreLogitsFlatten`, `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_resnet_v2_arg_scope()):
        ...     model = slim.build(inception.inception_resnet_v2, torch.empty(1, 3, 299, 299, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        59182258
    """
    with (
        variable_scope(scope, "InceptionResnetV2", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_resnet_v2_base(inputs, scope=variables, activation_fn=activation_fn)
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = auxiliary_logits(
                end_points["PreAuxLogits"], num_classes, "Conv2d_1a_3x3", "Conv2d_2a_5x5", "Logits"
            )
        return classify_flat(net, end_points, num_classes, dropout_keep_prob)


inception_resnet_v2.default_image_size = 299  # type: ignore[attr-defined]
