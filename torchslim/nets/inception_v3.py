"""Inception v3: convolutions factorized into smaller and into asymmetric ones (arXiv:1512.00567).

Input: 299x299 RGB between -1 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import avg_pool2d, batch_norm, conv2d, dropout, softmax
from torchslim.nets.common import shrunk_window, squeezed
from torchslim.nets.inception_modules import POOL, EndPoints, Mixed, classify, depth_of, run_rows
from torchslim.nets.inception_utils import inception_arg_scope

inception_v3_arg_scope = inception_arg_scope


def _mixed_35(pooled: int, middle: tuple[str, str] = ("Conv2d_0a_1x1", "Conv2d_0b_5x5")) -> Mixed:
    """Figure 5 of the paper, with a 5x5 convolution left in it."""
    return Mixed((
        {"Conv2d_0a_1x1": 64},
        {middle[0]: 48, middle[1]: 64},
        {"Conv2d_0a_1x1": 64, "Conv2d_0b_3x3": 96, "Conv2d_0c_3x3": 96},
        {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": pooled},
    ))  # fmt: skip


def _mixed_17(narrow: int) -> Mixed:
    """Figure 6: 7x7 convolutions as 1x7 and 7x1."""
    return Mixed((
        {"Conv2d_0a_1x1": 192},
        {"Conv2d_0a_1x1": narrow, "Conv2d_0b_1x7": narrow, "Conv2d_0c_7x1": 192},
        {"Conv2d_0a_1x1": narrow, "Conv2d_0b_7x1": narrow, "Conv2d_0c_1x7": narrow, "Conv2d_0d_7x1": narrow,
         "Conv2d_0e_1x7": 192},
        {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 192},
    ))  # fmt: skip


def _mixed_8(tall: str) -> Mixed:
    """Figure 7: 1x3 and 3x1 beside each other."""
    return Mixed((
        {"Conv2d_0a_1x1": 320},
        {"Conv2d_0a_1x1": 384, ("Conv2d_0b_1x3", tall): 384},
        {"Conv2d_0a_1x1": 448, "Conv2d_0b_3x3": 384, ("Conv2d_0c_1x3", "Conv2d_0d_3x1"): 384},
        {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 192},
    ))  # fmt: skip


def _wide(channels: int) -> dict[str, Any]:
    """A window of 3x3 under the name of one of 1x1, which checkpoints have."""
    return {"num_outputs": channels, "kernel_size": [3, 3]}


_ROWS: dict[str, Any] = {
    "Conv2d_1a_3x3": {"num_outputs": 32, "stride": 2, "padding": "VALID"},
    "Conv2d_2a_3x3": {"num_outputs": 32, "padding": "VALID"},
    "Conv2d_2b_3x3": 64,
    "MaxPool_3a_3x3": {"stride": 2, "padding": "VALID"},
    "Conv2d_3b_1x1": {"num_outputs": 80, "padding": "VALID"},
    "Conv2d_4a_3x3": {"num_outputs": 192, "padding": "VALID"},
    "MaxPool_5a_3x3": {"stride": 2, "padding": "VALID"},
    "Mixed_5b": _mixed_35(32),
    "Mixed_5c": _mixed_35(64, ("Conv2d_0b_1x1", "Conv_1_0c_5x5")),  # the names that checkpoints have
    "Mixed_5d": _mixed_35(64),
    "Mixed_6a": Mixed((
        {"Conv2d_1a_1x1": _wide(384)},
        {"Conv2d_0a_1x1": 64, "Conv2d_0b_3x3": 96, "Conv2d_1a_1x1": _wide(96)},
        {"MaxPool_1a_3x3": POOL},
    ), stride=2, padding="VALID"),
    "Mixed_6b": _mixed_17(128),
    "Mixed_6c": _mixed_17(160),
    "Mixed_6d": _mixed_17(160),
    "Mixed_6e": _mixed_17(192),
    "Mixed_7a": Mixed((
        {"Conv2d_0a_1x1": 192, "Conv2d_1a_3x3": 320},
        {"Conv2d_0a_1x1": 192, "Conv2d_0b_1x7": 192, "Conv2d_0c_7x1": 192, "Conv2d_1a_3x3": 192},
        {"MaxPool_1a_3x3": POOL},
    ), stride=2, padding="VALID"),
    "Mixed_7b": _mixed_8("Conv2d_0b_3x1"),
    "Mixed_7c": _mixed_8("Conv2d_0c_3x1"),
}  # fmt: skip


def inception_v3_base(
    inputs: Symbol,
    final_endpoint: str = "Mixed_7c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    scope: str | VariableScope | None = None,
) -> tuple[Symbol, EndPoints]:
    """Inception v3 without its heads: the features of `final_endpoint`.

    Args:
        inputs: images `[N, 3, H, W]`, of any size from 75x75.
        final_endpoint: the last layer: `Conv2d_1a_3x3`, `Conv2d_2a_3x3`, `Conv2d_2b_3x3`, `MaxPool_3a_3x3`,
            `Conv2d_3b_1x1`, `Conv2d_4a_3x3`, `MaxPool_5a_3x3`, `Mixed_5b` to `Mixed_5d`, `Mixed_6a` to `Mixed_6e`, or
            `Mixed_7a` to `Mixed_7c`.
        min_depth: the least number of channels of a layer that `depth_multiplier` makes narrower.
        depth_multiplier: number of channels relative to the paper's.
        scope: name of the network; default `InceptionV3`.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers, or `depth_multiplier` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> images = torch.empty(1, 3, 299, 299, device='meta')
        >>> slim.build(inception.inception_v3_base, images, final_endpoint='Mixed_6e').end_points['Mixed_6e'].shape
        (None, 768, 17, 17)
    """
    depth = depth_of("inception_v3", depth_multiplier, min_depth)
    with variable_scope(scope, "InceptionV3", [inputs]):
        return run_rows(inputs, _ROWS, final_endpoint, depth)


def _auxiliary_logits(net: Symbol, num_classes: int, depth: Callable[[int], int], spatial_squeeze: bool) -> Symbol:
    """The logits of a second head, which helps the gradient in training."""
    with variable_scope("AuxLogits"):
        net = avg_pool2d(net, [5, 5], stride=3, padding="VALID", scope="AvgPool_1a_5x5")
        net = conv2d(net, depth(128), [1, 1], scope="Conv2d_1b_1x1")
        height, width = shrunk_window(net, (5, 5))
        net = conv2d(
            net,
            depth(768),
            [height, width],
            weights_initializer=truncated_normal_initializer(stddev=0.01),
            padding="VALID",
            scope=f"Conv2d_2a_{height}x{width}",
        )
        net = conv2d(
            net,
            num_classes,
            [1, 1],
            activation_fn=None,
            normalizer_fn=None,
            weights_initializer=truncated_normal_initializer(stddev=0.001),
            scope="Conv2d_2b_1x1",
        )
        return squeezed(net, spatial_squeeze)


def inception_v3(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    create_aux_logits: bool = True,
    scope: str = "InceptionV3",
    global_pool: bool = False,
) -> tuple[Symbol, EndPoints]:
    """Inception v3 (arXiv:1512.00567): 27,143,152 parameters for 1000 classes; the published checkpoint has 1001.

    3.3 million of them are those of the auxiliary logits, which only training needs.

    Args:
        inputs: images `[N, 3, H, W]` between -1 and 1; 299x299 gives one vector of logits.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        dropout_keep_prob: probability of keeping a feature.
        min_depth: the least number of channels of a layer that `depth_multiplier` makes narrower.
        depth_multiplier: number of channels relative to the paper's.
        prediction_fn: from the logits to `Predictions`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        create_aux_logits: have the second head, too; the size of the images must then be known.
        scope: name of the network.
        global_pool: average over all of space, for images that are larger than 299x299.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `inception_v3_base`, `AuxLogits`, `AvgPool_1a` (or
        `global_pool`), `PreLogits`, `Logits` and `Predictions`.

    Raises:
        ValueError: if `depth_multiplier` is not positive, or with `spatial_squeeze` there is a map of logits.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_v3_arg_scope()):
        ...     model = slim.build(inception.inception_v3, torch.empty(1, 3, 299, 299, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        27143152
    """
    depth = depth_of("inception_v3", depth_multiplier, min_depth)
    with (
        variable_scope(scope, "InceptionV3", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v3_base(
            inputs, min_depth=min_depth, depth_multiplier=depth_multiplier, scope=variables
        )
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = _auxiliary_logits(end_points["Mixed_6e"], num_classes, depth, spatial_squeeze)
        return classify(
            net,
            end_points,
            num_classes,
            window=(8, 8),
            dropout_keep_prob=dropout_keep_prob,
            prediction_fn=prediction_fn,
            spatial_squeeze=spatial_squeeze,
            global_pool=global_pool,
        )


inception_v3.default_image_size = 299  # type: ignore[attr-defined]
