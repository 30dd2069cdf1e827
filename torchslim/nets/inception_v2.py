"""Inception v2: batch normalization, and two 3x3 convolutions in place of 5x5 ones (arXiv:1502.03167).

Input: 224x224 RGB between -1 and 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import DATA_FORMAT_LAYERS, batch_norm, dropout, separable_conv2d, softmax
from torchslim.nets.inception_modules import POOL, EndPoints, Mixed, classify, depth_of, run_rows
from torchslim.nets.inception_utils import inception_arg_scope

inception_v2_arg_scope = inception_arg_scope


def _narrow(channels: int, stddev: float = 0.09) -> dict[str, Any]:
    return {"num_outputs": channels, "weights_initializer": truncated_normal_initializer(stddev=stddev)}


def _mixed(point: int, single: tuple[int, int], double: tuple[int, int], pool: str, pooled: int) -> Mixed:
    """1x1; 1x1 and 3x3; 1x1 and twice 3x3; a pool and 1x1."""
    return Mixed((
        {"Conv2d_0a_1x1": point},
        {"Conv2d_0a_1x1": _narrow(single[0]), "Conv2d_0b_3x3": single[1]},
        {"Conv2d_0a_1x1": _narrow(double[0]), "Conv2d_0b_3x3": double[1], "Conv2d_0c_3x3": double[1]},
        {f"{pool}_0a_3x3": POOL, "Conv2d_0b_1x1": _narrow(pooled, 0.1)},
    ))  # fmt: skip


def _halving(single: tuple[int, int], double: tuple[int, int]) -> Mixed:
    return Mixed((
        {"Conv2d_0a_1x1": _narrow(single[0]), "Conv2d_1a_3x3": single[1]},
        {"Conv2d_0a_1x1": _narrow(double[0]), "Conv2d_0b_3x3": double[1], "Conv2d_1a_3x3": double[1]},
        {"MaxPool_1a_3x3": POOL},
    ), stride=2)  # fmt: skip


_ROOT: dict[str, Any] = {
    "MaxPool_2a_3x3": {"stride": 2},
    "Conv2d_2b_1x1": _narrow(64, 0.1),
    "Conv2d_2c_3x3": 192,
    "MaxPool_3a_3x3": {"stride": 2},
}
_MODULES: dict[str, Any] = {
    "Mixed_3b": _mixed(64, (64, 64), (64, 96), "AvgPool", 32),
    "Mixed_3c": _mixed(64, (64, 96), (64, 96), "AvgPool", 64),
    "Mixed_4a": _halving((128, 160), (64, 96)),
    "Mixed_4b": _mixed(224, (64, 96), (96, 128), "AvgPool", 128),
    "Mixed_4c": _mixed(192, (96, 128), (96, 128), "AvgPool", 128),
    "Mixed_4d": _mixed(160, (128, 160), (128, 160), "AvgPool", 96),
    "Mixed_4e": _mixed(96, (128, 192), (160, 192), "AvgPool", 96),
    "Mixed_5a": _halving((128, 192), (192, 256)),
    "Mixed_5b": _mixed(352, (192, 320), (160, 224), "AvgPool", 128),
    "Mixed_5c": _mixed(352, (192, 320), (192, 224), "MaxPool", 128),
}


def _separable(inputs: Symbol, name: str, depth: Callable[[int], int]) -> Symbol:
    """The first layer, as a separable convolution of as many filters as fit the number of channels."""
    return separable_conv2d(
        inputs,
        depth(64),
        [7, 7],
        depth_multiplier=min(depth(64) // 3, 8),
        stride=2,
        padding="SAME",
        weights_initializer=truncated_normal_initializer(stddev=1.0),
        scope=name,
    )


def inception_v2_base(
    inputs: Symbol,
    final_endpoint: str = "Mixed_5c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    use_separable_conv: bool = True,
    data_format: str | None = None,
    include_root_block: bool = True,
    scope: str | VariableScope | None = None,
) -> tuple[Symbol, EndPoints]:
    """Inception v2 without its head: the features of `final_endpoint`.

    TF-Slim: there `data_format` is `'NHWC'` by default, and `'NCHW'` has no separable convolution; here it has.

    Args:
        inputs: images `[N, 3, H, W]`, of any size; without root block features at 1/8 of their size.
        final_endpoint: the last layer: `Conv2d_1a_7x7`, `MaxPool_2a_3x3`, `Conv2d_2b_1x1`, `Conv2d_2c_3x3`,
            `MaxPool_3a_3x3`, `Mixed_3b`, `Mixed_3c`, `Mixed_4a` to `Mixed_4e`, or `Mixed_5a` to `Mixed_5c`.
        min_depth: the least number of channels of a layer that `depth_multiplier` makes narrower.
        depth_multiplier: number of channels relative to the paper's.
        use_separable_conv: whether the first layer is a separable convolution, as in the published checkpoint.
        data_format: `'NCHW'` or `'NHWC'`; None: as the arg_scope says, else `'NCHW'`.
        include_root_block: begin with the layers before `Mixed_3b`.
        scope: name of the network; default `InceptionV2`.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers, or `depth_multiplier` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> images = torch.empty(1, 3, 128, 128, device='meta')
        >>> slim.build(inception.inception_v2_base, images, final_endpoint='Mixed_4e').end_points['Mixed_4e'].shape
        (None, 576, 8, 8)
    """
    depth = depth_of("inception_v2", depth_multiplier, min_depth)
    first = _separable if use_separable_conv else {**_narrow(64, 1.0), "stride": 2}
    rows = {**({"Conv2d_1a_7x7": first, **_ROOT} if include_root_block else {}), **_MODULES}
    layout = arg_scope(DATA_FORMAT_LAYERS, data_format=data_format) if data_format else contextlib.nullcontext()
    with variable_scope(scope, "InceptionV2", [inputs]), layout:
        return run_rows(inputs, rows, final_endpoint, depth)


def inception_v2(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "InceptionV2",
    global_pool: bool = False,
) -> tuple[Symbol, EndPoints]:
    """Inception v2 (arXiv:1502.03167): 11,178,336 parameters for 1000 classes; the published checkpoint has 1001.

    Args:
        inputs: images `[N, 3, H, W]` between -1 and 1; 224x224 gives one vector of logits.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        dropout_keep_prob: probability of keeping a feature.
        min_depth: the least number of channels of a layer that `depth_multiplier` makes narrower.
        depth_multiplier: number of channels relative to the paper's.
        prediction_fn: from the logits to `Predictions`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        global_pool: average over all of space, for images that are larger than 224x224.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `inception_v2_base`, `AvgPool_1a` (or
        `global_pool`), `PreLogits`, `Logits` and `Predictions`.

    Raises:
        ValueError: if `depth_multiplier` is not positive, or with `spatial_squeeze` there is a map of logits.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_v2_arg_scope()):
        ...     model = slim.build(inception.inception_v2, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        11178336
    """
    with (
        variable_scope(scope, "InceptionV2", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v2_base(
            inputs, min_depth=min_depth, depth_multiplier=depth_multiplier, scope=variables
        )
        return classify(
            net,
            end_points,
            num_classes,
            window=(7, 7),
            dropout_keep_prob=dropout_keep_prob,
            prediction_fn=prediction_fn,
            spatial_squeeze=spatial_squeeze,
            global_pool=global_pool,
        )


inception_v2.default_image_size = 224  # type: ignore[attr-defined]
