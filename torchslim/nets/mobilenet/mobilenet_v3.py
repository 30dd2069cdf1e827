"""MobileNet v3 (arXiv:1905.02244), large and small, its minimalistic variants, and MobileNet EdgeTPU.

Input: 224x224 RGB between -1 and 1 (Inception's preprocessing) for the published TF-Slim checkpoints, with 1001 classes
of which the first is the background. The minimalistic variants have no squeeze-and-excitation, no hard swish and no 5x5
convolutions; EdgeTPU's convolutions are whole ones where images are large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Symbol, VariableScope
from torchslim.layers import avg_pool2d, batch_norm, conv2d, fully_connected, group_norm, separable_conv2d
from torchslim.nets.common import spatial_dimensions, variant
from torchslim.nets.mobilenet.conv_blocks import expand_input_by_factor, expanded_conv, squeeze_excite
from torchslim.nets.mobilenet.mobilenet import ConvDefs, Op, op, training_scope
from torchslim.nets.mobilenet.mobilenet import mobilenet as network_of

__all__ = [
    "V3_EDGETPU",
    "V3_LARGE",
    "V3_LARGE_DETECTION",
    "V3_LARGE_MINIMALISTIC",
    "V3_SMALL",
    "V3_SMALL_DETECTION",
    "V3_SMALL_MINIMALISTIC",
    "edge_tpu",
    "edge_tpu_075",
    "hard_swish",
    "large",
    "large_minimalistic",
    "mbv3_fused",
    "mbv3_op",
    "mobilenet",
    "mobilenet_base",
    "reduce_to_1x1",
    "small",
    "small_minimalistic",
    "training_scope",
]

hard_swish = functional.hardswish


def _gate(features: torch.Tensor) -> torch.Tensor:
    """A sigmoid in straight lines, with the constant that the checkpoints were trained with."""
    return functional.relu6(features + 3) * 0.16667


def _squeezed(expansion_tensor: Symbol, input_tensor: Symbol) -> Symbol:
    """Squeeze and excitation in between the convolutions of a block."""
    return squeeze_excite(expansion_tensor, squeeze_factor=4, inner_activation_fn=torch.relu, gating_fn=_gate)


def reduce_to_1x1(
    input_tensor: Symbol, default_size: int = 7, rate: int = 1, use_explicit_padding: bool = False, **kwargs: Any
) -> Symbol:
    """An average over space; over windows of `default_size` where the image is not square, or its size not known.

    Args:
        input_tensor: features `[N, C, H, W]`.
        default_size: of the windows.
        rate: what `mobilenet_base` gives to layers behind its `output_stride`; an average has no use for it.
        use_explicit_padding: the same; it pads nothing.
        kwargs: go to `slim.avg_pool2d`.

    Example:
        >>> import torch
        >>> reduce_to_1x1(torch.ones(1, 8, 4, 4), stride=1).shape
        torch.Size([1, 8, 1, 1])
    """
    height, width = (input_tensor.shape[side] for side in spatial_dimensions())
    size = default_size if height is None or height != width else height
    return avg_pool2d(input_tensor, [size, size], **kwargs)


def mbv3_op(
    ef: float,
    n: int,
    k: int,
    s: int = 1,
    act: Callable[..., Any] = torch.relu,
    se: Callable[..., Symbol] | None = None,
    **kwargs: Any,
) -> Op:
    """A row of a MobileNet v3: an `expanded_conv`.

    Args:
        ef: how many times more channels there are in between.
        n: channels that come out.
        k: size of the kernel.
        s: stride.
        act: activation.
        se: what is done in between, such as squeeze and excitation.
        kwargs: further arguments of `expanded_conv`.

    Example:
        >>> mbv3_op(ef=6, n=80, k=3, s=2).params['kernel_size']
        (3, 3)
    """
    return op(
        expanded_conv,
        expansion_size=expand_input_by_factor(ef),
        kernel_size=(k, k),
        stride=s,
        num_outputs=n,
        inner_activation_fn=act,
        expansion_transform=se,
        **kwargs,
    )


def mbv3_fused(ef: float, n: int, k: int, s: int = 1, **kwargs: Any) -> Op:
    """A row of a MobileNet EdgeTPU: an `expanded_conv` whose first convolution is whole, in place of the first two.

    Args:
        ef: how many times more channels there are in between.
        n: channels that come out.
        k: size of the kernel.
        s: stride.
        kwargs: further arguments of `expanded_conv`.

    Example:
        >>> mbv3_fused(ef=8, n=32, k=3, s=2).params['depthwise_location'] is None
        True
    """
    return op(
        expanded_conv,
        expansion_size=expand_input_by_factor(ef),
        kernel_size=(1, 1),
        stride=s,
        num_outputs=n,
        depthwise_location=None,
        expansion_fn=functools.partial(conv2d, kernel_size=k, stride=s),
        **kwargs,
    )


def _defaults(normalizer_fn: Callable[..., Any], **settings: Any) -> dict[Any, dict[str, Any]]:
    return {
        (expanded_conv,): {"normalizer_fn": normalizer_fn, "residual": True},
        (conv2d, fully_connected, separable_conv2d): {"normalizer_fn": normalizer_fn, "activation_fn": torch.relu},
        (normalizer_fn,): settings,
    }


# The expansion of each block (as a ratio of channels), channels, kernel, stride, squeeze and excitation, hard swish.
_Row = tuple[float, int, int, int, bool, bool]
_LARGE: tuple[_Row, ...] = (
    (1, 16, 3, 1, False, False),
    (4, 24, 3, 2, False, False),
    (3, 24, 3, 1, False, False),
    (3, 40, 5, 2, True, False),
    (3, 40, 5, 1, True, False),
    (3, 40, 5, 1, True, False),
    (6, 80, 3, 2, False, True),
    (2.5, 80, 3, 1, False, True),
    (184 / 80, 80, 3, 1, False, True),
    (184 / 80, 80, 3, 1, False, True),
    (6, 112, 3, 1, True, True),
    (6, 112, 3, 1, True, True),
    (6, 160, 5, 2, True, True),
    (6, 160, 5, 1, True, True),
    (6, 160, 5, 1, True, True),
)
_SMALL: tuple[_Row, ...] = (
    (1, 16, 3, 2, True, False),
    (72 / 16, 24, 3, 2, False, False),
    (88 / 24, 24, 3, 1, False, False),
    (4, 40, 5, 2, True, True),
    (6, 40, 5, 1, True, True),
    (6, 40, 5, 1, True, True),
    (3, 48, 5, 1, True, True),
    (3, 48, 5, 1, True, True),
    (6, 96, 5, 2, True, True),
    (6, 96, 5, 1, True, True),
    (6, 96, 5, 1, True, True),
)


def _definition(rows: Iterable[_Row], features: int, embedding: int, minimalistic: bool = False) -> ConvDefs:
    """The table of tables 1 and 2 of the paper; `minimalistic`: only 3x3 kernels and ReLUs."""
    outer = {} if minimalistic else {"activation_fn": hard_swish}
    blocks = (
        mbv3_op(ef, n, 3, s) if minimalistic else
        mbv3_op(ef, n, k, s, hard_swish if swish else torch.relu, _squeezed if squeeze else None)
        for ef, n, k, s, squeeze, swish in rows
    )  # fmt: skip
    return {
        "defaults": _defaults(batch_norm, center=True, scale=True),
        "spec": [
            op(conv2d, stride=2, num_outputs=16, kernel_size=(3, 3), **outer),
            *blocks,
            op(conv2d, stride=1, kernel_size=[1, 1], num_outputs=features, **outer),
            op(reduce_to_1x1, default_size=7, stride=1),
            op(conv2d, stride=1, kernel_size=[1, 1], num_outputs=embedding, normalizer_fn=None, **outer),
        ],
    }


V3_LARGE = _definition(_LARGE, 960, 1280)
V3_LARGE_MINIMALISTIC = _definition(_LARGE, 960, 1280, minimalistic=True)
V3_SMALL = _definition(_SMALL, 576, 1024)
V3_SMALL_MINIMALISTIC = _definition(_SMALL, 576, 1024, minimalistic=True)

V3_EDGETPU: ConvDefs = {
    "defaults": _defaults(batch_norm, center=True, scale=True),
    "spec": [
        op(conv2d, stride=2, num_outputs=32, kernel_size=(3, 3)),
        mbv3_fused(ef=1, n=16, k=3),
        mbv3_fused(ef=8, n=32, k=3, s=2),
        *[mbv3_fused(ef=4, n=32, k=3)] * 3,
        mbv3_fused(ef=8, n=48, k=3, s=2),
        *[mbv3_fused(ef=4, n=48, k=3)] * 3,
        mbv3_op(ef=8, n=96, k=3, s=2),
        *[mbv3_op(ef=4, n=96, k=3)] * 3,
        mbv3_op(ef=8, n=96, k=3, residual=False),
        *[mbv3_op(ef=4, n=96, k=3)] * 3,
        mbv3_op(ef=8, n=160, k=5, s=2),
        *[mbv3_op(ef=4, n=160, k=5)] * 3,
        mbv3_op(ef=8, n=192, k=3),
        op(conv2d, stride=1, num_outputs=1280, kernel_size=(1, 1)),
    ],
}


def _reduced(conv_defs: ConvDefs, first: int, last: int) -> ConvDefs:
    """A table with half the channels in the rows from `first` to `last`, counted from 0."""
    rows = list(conv_defs["spec"])
    for number in range(first, last + 1):
        params = rows[number].params
        rows[number] = rows[number]._replace(params={**params, "num_outputs": params["num_outputs"] // 2})
    return {**conv_defs, "spec": rows}


# For detectors: half the channels in the last stage.
V3_LARGE_DETECTION = _reduced(V3_LARGE, 13, 16)
V3_SMALL_DETECTION = _reduced(V3_SMALL, 9, 12)


@add_arg_scope
def mobilenet(
    input_tensor: Symbol,
    num_classes: int | None = 1001,
    depth_multiplier: float = 1.0,
    scope: str | VariableScope | None = "MobilenetV3",
    conv_defs: ConvDefs | None = None,
    finegrain_classification_mode: bool = False,
    use_groupnorm: bool = False,
    **kwargs: Any,
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v3 for classification: 5,484,313 parameters for 1001 classes (large).

    `small` has 2,543,881, `large_minimalistic` 3,925,569, `small_minimalistic` 2,045,761, `edge_tpu` 4,092,713 and
    `edge_tpu_075` 2,989,441.

    Without `training_scope` the network is built for inference, as in TF-Slim.

    Args:
        input_tensor: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        depth_multiplier: of the channels of all layers.
        scope: name of the network; `MobilenetEdgeTPU` is the default of `edge_tpu` and `edge_tpu_075`.
        conv_defs: the table, such as `V3_SMALL`; None: `V3_LARGE`.
        finegrain_classification_mode: keep the channels of the last convolution, whatever the multiplier.
        use_groupnorm: group normalization in place of batch normalization, with the argument `groups`, by default 8.
        kwargs: of `mobilenet.mobilenet` and `mobilenet.mobilenet_base`: `prediction_fn`, `reuse`, `base_only`,
            `final_endpoint`, `output_stride`, `use_explicit_padding`, `is_training`.

    Returns:
        The logits `[N, num_classes]`, and the end points: `layer_1` and so on, `layer_2/depthwise_output` and the like,
        `global_pool`, `Logits`, `Predictions`.

    Raises:
        ValueError: if `multiplier` is given, or as `mobilenet_base` says.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(training_scope()):
        ...     model = slim.build(small, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters()), model.end_points['layer_15'].shape
        (2543881, (None, 1024, 1, 1))
    """
    if "multiplier" in kwargs:
        raise ValueError(f"mobilenet_v3: give `depth_multiplier`, not `multiplier`. Got {kwargs['multiplier']}.")
    conv_defs = V3_LARGE if conv_defs is None else conv_defs
    if finegrain_classification_mode:
        *rows, last = conv_defs["spec"]
        conv_defs = {**conv_defs, "spec": [*rows, last._replace(multiplier_func=_unchanged)]}
    if use_groupnorm:
        conv_defs = {**conv_defs, "defaults": _defaults(group_norm, groups=kwargs.pop("groups", 8))}
    return network_of(
        input_tensor,
        num_classes=num_classes,
        conv_defs=conv_defs,
        scope=scope,
        multiplier=depth_multiplier,
        **kwargs,
    )


def _unchanged(params: dict[str, Any], multiplier: float) -> None:
    """The `multiplier_func` of a row that no multiplier changes."""


@add_arg_scope
def mobilenet_base(
    input_tensor: Symbol, depth_multiplier: float = 1.0, **kwargs: Any
) -> tuple[Symbol, dict[str, Symbol]]:
    """MobileNet v3 without its head: the features of the last layer, or of `final_endpoint`.

    Args:
        input_tensor: images `[N, 3, H, W]`.
        depth_multiplier: of the channels of all layers.
        kwargs: those of `mobilenet`.

    Returns:
        The features, and the end points of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(training_scope()):
        ...     model = slim.build(mobilenet_base, torch.empty(1, 3, 224, 224, device='meta'), conv_defs=V3_SMALL,
        ...                        final_endpoint='layer_13')
        >>> model(torch.empty(1, 3, 224, 224, device='meta')).shape
        torch.Size([1, 576, 7, 7])
    """
    return mobilenet(input_tensor, depth_multiplier=depth_multiplier, base_only=True, **kwargs)


mobilenet.default_image_size = 224  # type: ignore[attr-defined]
large = variant(mobilenet, conv_defs=V3_LARGE)
small = variant(mobilenet, conv_defs=V3_SMALL)
large_minimalistic = variant(mobilenet, conv_defs=V3_LARGE_MINIMALISTIC)
small_minimalistic = variant(mobilenet, conv_defs=V3_SMALL_MINIMALISTIC)
edge_tpu = variant(mobilenet, scope="MobilenetEdgeTPU", conv_defs=V3_EDGETPU)
edge_tpu_075 = variant(
    mobilenet,
    scope="MobilenetEdgeTPU",
    conv_defs=V3_EDGETPU,
    depth_multiplier=0.75,
    finegrain_classification_mode=True,
)
