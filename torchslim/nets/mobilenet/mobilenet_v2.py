"""MobileNet v2: inverted residuals with linear bottlenecks (arXiv:1801.04381).

Input: 224x224 RGB between -1 and 1 (Inception's preprocessing) for the published TF-Slim checkpoints, which exist for
depth multipliers from 0.35 to 1.4 and for 96 to 224 pixels, with 1001 classes of which the first is the background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.nn import functional

from torchslim.arg_scope import add_arg_scope, arg_scope
from torchslim.graph import Symbol, VariableScope
from torchslim.layers import batch_norm, conv2d, fully_connected, group_norm, separable_conv2d
from torchslim.nets.common import variant
from torchslim.nets.mobilenet.conv_blocks import expand_input_by_factor, expanded_conv
from torchslim.nets.mobilenet.mobilenet import ConvDefs, op, training_scope
from torchslim.nets.mobilenet.mobilenet import depth_multiplier as multiply_depth
from torchslim.nets.mobilenet.mobilenet import mobilenet as network_of

__all__ = [
    "V2_DEF",
    "V2_DEF_GROUP_NORM",
    "mobilenet",
    "mobilenet_base",
    "mobilenet_base_group_norm",
    "mobilenet_v2_035",
    "mobilenet_v2_050",
    "mobilenet_v2_140",
    "training_scope",
]

# The layers that have an activation.
_LAYERS = (conv2d, fully_connected, separable_conv2d)

# Table 2 of the paper: channels, repetitions, stride of the first of them.
_BOTTLENECKS = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))

V2_DEF: ConvDefs = {
    "defaults": {
        (batch_norm,): {"center": True, "scale": True},
        _LAYERS: {"normalizer_fn": batch_norm, "activation_fn": functional.relu6},
        (expanded_conv,): {
            "expansion_size": expand_input_by_factor(6),
            "split_expansion": 1,
            "normalizer_fn": batch_norm,
            "residual": True,
        },
        (conv2d, separable_conv2d): {"padding": "SAME"},
    },
    "spec": [
        op(conv2d, stride=2, num_outputs=32, kernel_size=[3, 3]),
        op(expanded_conv, expansion_size=expand_input_by_factor(1, divisible_by=1), num_outputs=16),
        *(
            op(expanded_conv, stride=1 if number else stride, num_outputs=channels)
            for channels, repetitions, stride in _BOTTLENECKS
            for number in range(repetitions)
        ),
        op(conv2d, stride=1, kernel_size=[1, 1], num_outputs=1280),
    ],
}
"""MobileNet v2, with batch normalization."""


def _with_defaults(conv_defs: ConvDefs, layers: Any, **settings: Any) -> ConvDefs:
    """A table with other arguments for `layers`."""
    defaults = conv_defs.get("defaults", {})
    return {**conv_defs, "defaults": {**defaults, layers: {**defaults.get(layers, {}), **settings}}}


V2_DEF_GROUP_NORM: ConvDefs = _with_defaults(
    _with_defaults(V2_DEF, _LAYERS, normalizer_fn=group_norm), (expanded_conv,), normalizer_fn=group_norm
)
"""MobileNet v2, with group normalization."""


@add_arg_scope
def mobilenet(
    input_tensor: Symbol,
    num_classes: int | None = 1001,
    depth_multiplier: float = 1.0,
    scope: str | VariableScope | None = "MobilenetV2",
    conv_defs: ConvDefs | None = None,
    finegrain_classification_mode: bool = False,
    min_depth: int | None = None,
    divisible_by: int | None = None,
    activation_fn: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v2 for classification: 3,506,153 parameters for 1001 classes.

    `mobilenet_v2_140`, `mobilenet_v2_050` and `mobilenet_v2_035` are the same with another `depth_multiplier`, the
    latter two with `finegrain_classification_mode`; 1.4 has 6,110,569 parameters, 0.35 has 1,678,409.

    Without `training_scope` the network is built for inference, as in TF-Slim.

    Args:
        input_tensor: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        depth_multiplier: of the channels of all layers.
        scope: name of the network.
        conv_defs: another table.
        finegrain_classification_mode: keep the channels of the last convolution for multipliers below 1, as the paper
            does.
        min_depth: the least number of channels of a layer; None: 8.
        divisible_by: the number of channels of each layer is a multiple of it; None: 8.
        activation_fn: of all layers that have one; None: `relu6`.
        kwargs: of `mobilenet.mobilenet` and `mobilenet.mobilenet_base`: `prediction_fn`, `reuse`, `base_only`,
            `final_endpoint`, `output_stride`, `use_explicit_padding`, `is_training`.

    Returns:
        The logits `[N, num_classes]`, and the end points: `layer_1` to `layer_19`, `layer_2/depthwise_output` and the
        like, `global_pool`, `Logits`, `Predictions`.

    Raises:
        ValueError: if `multiplier` is given, or as `mobilenet_base` says.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(training_scope()):
        ...     model = slim.build(mobilenet, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters()), model.end_points['layer_19'].shape
        (3506153, (None, 1280, 7, 7))
    """
    if "multiplier" in kwargs:
        raise ValueError(f"mobilenet_v2: give `depth_multiplier`, not `multiplier`. Got {kwargs['multiplier']}.")
    conv_defs = V2_DEF if conv_defs is None else conv_defs
    if finegrain_classification_mode and depth_multiplier < 1:
        *rows, last = conv_defs["spec"]
        wide = {**last.params, "num_outputs": last.params["num_outputs"] / depth_multiplier}
        conv_defs = {**conv_defs, "spec": [*rows, last._replace(params=wide)]}
    if activation_fn is not None:
        conv_defs = _with_defaults(conv_defs, _LAYERS, activation_fn=activation_fn)
    limits = {"min_depth": min_depth, "divisible_by": divisible_by}
    given = {name: value for name, value in limits.items() if value is not None}
    with arg_scope([multiply_depth], **given):
        return network_of(
            input_tensor,
            num_classes=num_classes,
            conv_defs=conv_defs,
            scope=scope,
            multiplier=depth_multiplier,
            **kwargs,
        )


@add_arg_scope
def mobilenet_base(
    input_tensor: Symbol, depth_multiplier: float = 1.0, **kwargs: Any
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v2 without its head: the features of the last layer, or of `final_endpoint`.

    Args:
        input_tensor: images `[N, 3, H, W]`.
        depth_multiplier: of the channels of all layers.
        kwargs: those of `mobilenet`.

    Returns:
        The features, and the end points of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(training_scope()):
        ...     model = slim.build(mobilenet_base, torch.empty(1, 3, 256, 256, device='meta'), output_stride=16)
        >>> model(torch.empty(1, 3, 256, 256, device='meta')).shape
        torch.Size([1, 1280, 16, 16])
    """
    return mobilenet(input_tensor, depth_multiplier=depth_multiplier, base_only=True, **kwargs)


@add_arg_scope
def mobilenet_base_group_norm(
    input_tensor: Symbol, depth_multiplier: float = 1.0, **kwargs: Any
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v2 without its head, with group normalization.

    Args:
        input_tensor: images `[N, 3, H, W]`.
        depth_multiplier: of the channels of all layers.
        kwargs: those of `mobilenet`, and `groups`, by default 8.

    Returns:
        The features, and the end points of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(mobilenet_base_group_norm, torch.empty(1, 3, 64, 64, device='meta'))
        >>> slim.get_variables(module=model)[1].op.name
        'MobilenetV2/Conv/GroupNorm/beta'
    """
    groups = kwargs.pop("groups", 8)
    conv_defs = _with_defaults(V2_DEF_GROUP_NORM, (group_norm,), groups=groups)
    return mobilenet(input_tensor, depth_multiplier=depth_multiplier, base_only=True, conv_defs=conv_defs, **kwargs)


mobilenet.default_image_size = 224  # type: ignore[attr-defined]
mobilenet_v2_140 = variant(mobilenet, depth_multiplier=1.4)
mobilenet_v2_050 = variant(mobilenet, depth_multiplier=0.5, finegrain_classification_mode=True)
mobilenet_v2_035 = variant(mobilenet, depth_multiplier=0.35, finegrain_classification_mode=True)
