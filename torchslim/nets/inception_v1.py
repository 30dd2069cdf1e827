"""Inception v1, also called GoogLeNet: modules of 1x1, 3x3 and 5x5 convolutions (arXiv:1409.4842).

Input: 224x224 RGB between -1 and 1. As TF-Slim has it, with batch normalization, with 3x3 in place of the 5x5
convolutions, and without the auxiliary classifiers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import avg_pool2d, batch_norm, conv2d, dropout, fully_connected, softmax
from torchslim.nets.common import spatial_dimensions, squeezed
from torchslim.nets.inception_modules import POOL, EndPoints, Mixed, run_rows
from torchslim.nets.inception_utils import inception_arg_scope

inception_v1_arg_scope = inception_arg_scope


_ROOT: dict[str, Any] = {
    "Conv2d_1a_7x7": {"num_outputs": 64, "stride": 2},
    "MaxPool_2a_3x3": {"stride": 2},
    "Conv2d_2b_1x1": 64,
    "Conv2d_2c_3x3": 192,
    "MaxPool_3a_3x3": {"stride": 2},
}
ROWS: dict[str, Any] = {
    **_ROOT,
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "MaxPool_4a_3x3": {"stride": 2},
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "MaxPool_5a_2x2": {"stride": 2},
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""The layers, and of modules the channels, as in table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool."""


def _mixed(name: str, channels: tuple[int, ...]) -> Mixed:
    point, narrow, middle, narrower, wide, pooled = channels
    last = "Conv2d_0a_3x3" if name == "Mixed_5b" else "Conv2d_0b_3x3"  # the names that checkpoints have
    return Mixed((
        {"Conv2d_0a_1x1": point},
        {"Conv2d_0a_1x1": narrow, "Conv2d_0b_3x3": middle},
        {"Conv2d_0a_1x1": narrower, last: wide},
        {"MaxPool_0a_3x3": POOL, "Conv2d_0b_1x1": pooled},
    ))  # fmt: skip


def inception_v1_base(
    inputs: Symbol,
    final_endpoint: str = "Mixed_5c",
    include_root_block: bool = True,
    scope: str | VariableScope | None = "InceptionV1",
) -> tuple[Symbol, EndPoints]:
    """Inception v1 without its head: the features of `final_endpoint`.

    Args:
        inputs: images `[N, 3, H, W]`, of any size; without root block features at 1/8 of their size.
        final_endpoint: the last layer: `Conv2d_1a_7x7`, `MaxPool_2a_3x3`, `Conv2d_2b_1x1`, `Conv2d_2c_3x3`,
            `MaxPool_3a_3x3`, `Mixed_3b`, `Mixed_3c`, `MaxPool_4a_3x3`, `Mixed_4b` to `Mixed_4f`, `MaxPool_5a_2x2`,
            `Mixed_5b` or `Mixed_5c`.
        include_root_block: begin with the layers before `Mixed_3b`.
        scope: name of the network.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> images = torch.empty(1, 3, 128, 128, device='meta')
        >>> slim.build(inception.inception_v1_base, images, final_endpoint='Mixed_4f').end_points['Mixed_4f'].shape
        (None, 832, 8, 8)
    """
    rows = {
        name: _mixed(name, row) if isinstance(row, tuple) else row
        for name, row in ROWS.items()
        if include_root_block or name not in _ROOT
    }
    with (
        variable_scope(scope, "InceptionV1", [inputs]),
        arg_scope([conv2d, fully_connected], weights_initializer=truncated_normal_initializer(stddev=0.01)),
    ):
        return run_rows(inputs, rows, final_endpoint)


def inception_v1(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.8,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "InceptionV1",
    global_pool: bool = False,
) -> tuple[Symbol, EndPoints]:
    """Inception v1 (arXiv:1409.4842): 6,617,624 parameters for 1000 classes; the published checkpoint has 1001.

    Args:
        inputs: images `[N, 3, H, W]` between -1 and 1; 224x224 gives one vector of logits.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        dropout_keep_prob: probability of keeping a feature.
        prediction_fn: from the logits to `Predictions`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        global_pool: average over all of space, for images that are not 224x224.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `inception_v1_base`, `AvgPool_0a_7x7` (or
        `global_pool`), `Logits` and `Predictions`.

    Raises:
        ValueError: if with `spatial_squeeze` there is a map of logits.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_v1_arg_scope()):
        ...     model = slim.build(inception.inception_v1, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        6617624
    """
    with (
        variable_scope(scope, "InceptionV1", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v1_base(inputs, scope=variables)
        with variable_scope("Logits"):
            if global_pool:
                net = end_points["global_pool"] = net.mean(spatial_dimensions(), keepdim=True)
            else:
                net = end_points["AvgPool_0a_7x7"] = avg_pool2d(net, [7, 7], stride=1, scope="AvgPool_0a_7x7")
            if not num_classes:
                return net, end_points
            net = dropout(net, dropout_keep_prob, scope="Dropout_0b")
            logits = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_0c_1x1")
            logits = squeezed(logits, spatial_squeeze)
        end_points["Logits"] = logits
        end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
        return logits, end_points


inception_v1.default_image_size = 224  # type: ignore[attr-defined]
