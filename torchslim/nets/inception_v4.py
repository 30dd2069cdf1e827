"""Inception v4: a deeper, more regular Inception (arXiv:1602.07261).

Input: 299x299 RGB between -1 and 1.
"""

from __future__ import annotations

from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.layers import batch_norm, dropout
from torchslim.nets.inception_modules import POOL, EndPoints, Mixed, auxiliary_logits, classify_flat, run_rows
from torchslim.nets.inception_utils import inception_arg_scope

inception_v4_arg_scope = inception_arg_scope

_INCEPTION_A = Mixed((
    {"Conv2d_0a_1x1": 96},
    {"Conv2d_0a_1x1": 64, "Conv2d_0b_3x3": 96},
    {"Conv2d_0a_1x1": 64, "Conv2d_0b_3x3": 96, "Conv2d_0c_3x3": 96},
    {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 96},
))  # fmt: skip
_REDUCTION_A = Mixed((
    {"Conv2d_1a_3x3": 384},
    {"Conv2d_0a_1x1": 192, "Conv2d_0b_3x3": 224, "Conv2d_1a_3x3": 256},
    {"MaxPool_1a_3x3": POOL},
), stride=2, padding="VALID")  # fmt: skip
_INCEPTION_B = Mixed((
    {"Conv2d_0a_1x1": 384},
    {"Conv2d_0a_1x1": 192, "Conv2d_0b_1x7": 224, "Conv2d_0c_7x1": 256},
    {"Conv2d_0a_1x1": 192, "Conv2d_0b_7x1": 192, "Conv2d_0c_1x7": 224, "Conv2d_0d_7x1": 224, "Conv2d_0e_1x7": 256},
    {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 128},
))  # fmt: skip
_REDUCTION_B = Mixed((
    {"Conv2d_0a_1x1": 192, "Conv2d_1a_3x3": 192},
    {"Conv2d_0a_1x1": 256, "Conv2d_0b_1x7": 256, "Conv2d_0c_7x1": 320, "Conv2d_1a_3x3": 320},
    {"MaxPool_1a_3x3": POOL},
), stride=2, padding="VALID")  # fmt: skip
_INCEPTION_C = Mixed((
    {"Conv2d_0a_1x1": 256},
    {"Conv2d_0a_1x1": 384, ("Conv2d_0b_1x3", "Conv2d_0c_3x1"): 256},
    {"Conv2d_0a_1x1": 384, "Conv2d_0b_3x1": 448, "Conv2d_0c_1x3": 512, ("Conv2d_0d_1x3", "Conv2d_0e_3x1"): 256},
    {"AvgPool_0a_3x3": POOL, "Conv2d_0b_1x1": 256},
))  # fmt: skip

_ROWS: dict[str, Any] = {
    "Conv2d_1a_3x3": {"num_outputs": 32, "stride": 2, "padding": "VALID"},
    "Conv2d_2a_3x3": {"num_outputs": 32, "padding": "VALID"},
    "Conv2d_2b_3x3": 64,
    "Mixed_3a": Mixed(({"MaxPool_0a_3x3": POOL}, {"Conv2d_0a_3x3": 96}), stride=2, padding="VALID"),
    "Mixed_4a": Mixed((
        {"Conv2d_0a_1x1": 64, "Conv2d_1a_3x3": 96},
        {"Conv2d_0a_1x1": 64, "Conv2d_0b_1x7": 64, "Conv2d_0c_7x1": 64, "Conv2d_1a_3x3": 96},
    ), padding="VALID"),
    "Mixed_5a": Mixed(({"Conv2d_1a_3x3": 192}, {"MaxPool_1a_3x3": POOL}), stride=2, padding="VALID"),
    **{f"Mixed_5{letter}": _INCEPTION_A for letter in "bcde"},
    "Mixed_6a": _REDUCTION_A,
    **{f"Mixed_6{letter}": _INCEPTION_B for letter in "bcdefgh"},
    "Mixed_7a": _REDUCTION_B,
    **{f"Mixed_7{letter}": _INCEPTION_C for letter in "bcd"},
}  # fmt: skip


def _block(mixed: Mixed, inputs: Symbol, scope: str | None, default: str, reuse: Any) -> Symbol:
    with variable_scope(scope, default, [inputs], reuse=reuse):
        return mixed.join(inputs)


def block_inception_a(inputs: Symbol, scope: str | None = None, reuse: Any = None) -> Symbol:
    """The module for maps of 35x35 (figure 4 of the paper): 384 channels.

    Args:
        inputs: features `[N, C, H, W]`.
        scope: its name; default `BlockInceptionA`, made unique.
        reuse: share the variables of an earlier call.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_v4
        >>> slim.build(inception_v4.block_inception_a, torch.empty(1, 64, 8, 8))(torch.zeros(2, 64, 8, 8)).shape
        torch.Size([2, 384, 8, 8])
    """
    return _block(_INCEPTION_A, inputs, scope, "BlockInceptionA", reuse)


def block_reduction_a(inputs: Symbol, scope: str | None = None, reuse: Any = None) -> Symbol:
    """From 35x35 to 17x17: 640 channels, and those of `inputs`. The arguments are those of `block_inception_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_v4
        >>> slim.build(inception_v4.block_reduction_a, torch.empty(1, 64, 9, 9))(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 704, 4, 4])
    """
    return _block(_REDUCTION_A, inputs, scope, "BlockReductionA", reuse)


def block_inception_b(inputs: Symbol, scope: str | None = None, reuse: Any = None) -> Symbol:
    """The module for maps of 17x17 (figure 5): 1024 channels. The arguments are those of `block_inception_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_v4
        >>> slim.build(inception_v4.block_inception_b, torch.empty(1, 64, 8, 8))(torch.zeros(2, 64, 8, 8)).shape
        torch.Size([2, 1024, 8, 8])
    """
    return _block(_INCEPTION_B, inputs, scope, "BlockInceptionB", reuse)


def block_reduction_b(inputs: Symbol, scope: str | None = None, reuse: Any = None) -> Symbol:
    """From 17x17 to 8x8 (figure 8): 512 channels, and those of `inputs`. The arguments: see `block_inception_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_v4
        >>> slim.build(inception_v4.block_reduction_b, torch.empty(1, 64, 9, 9))(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 576, 4, 4])
    """
    return _block(_REDUCTION_B, inputs, scope, "BlockReductionB", reuse)


def block_inception_c(inputs: Symbol, scope: str | None = None, reuse: Any = None) -> Symbol:
    """The module for maps of 8x8 (figure 6): 1536 channels. The arguments are those of `block_inception_a`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception_v4
        >>> slim.build(inception_v4.block_inception_c, torch.empty(1, 64, 8, 8))(torch.zeros(2, 64, 8, 8)).shape
        torch.Size([2, 1536, 8, 8])
    """
    return _block(_INCEPTION_C, inputs, scope, "BlockInceptionC", reuse)


def inception_v4_base(
    inputs: Symbol, final_endpoint: str = "Mixed_7d", scope: str | VariableScope | None = None
) -> tuple[Symbol, EndPoints]:
    """Inception v4 without its heads: the features of `final_endpoint`.

    Args:
        inputs: images `[N, 3, H, W]`, of any size from 75x75.
        final_endpoint: the last layer: `Conv2d_1a_3x3`, `Conv2d_2a_3x3`, `Conv2d_2b_3x3`, `Mixed_3a`, `Mixed_4a`,
            `Mixed_5a` to `Mixed_5e`, `Mixed_6a` to `Mixed_6h`, or `Mixed_7a` to `Mixed_7d`.
        scope: name of the network; default `InceptionV4`.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> images = torch.empty(1, 3, 299, 299, device='meta')
        >>> slim.build(inception.inception_v4_base, images, final_endpoint='Mixed_6h').end_points['Mixed_6h'].shape
        (None, 1024, 17, 17)
    """
    with variable_scope(scope, "InceptionV4", [inputs]):
        return run_rows(inputs, _ROWS, final_endpoint)


def inception_v4(
    inputs: Symbol,
    num_classes: int | None = 1001,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.8,
    reuse: Any = None,
    scope: str = "InceptionV4",
    create_aux_logits: bool = True,
) -> tuple[Symbol, EndPoints]:
    """Inception v4 (arXiv:1602.07261): 46,009,106 parameters for the 1001 classes of the published checkpoint.

    Args:
        inputs: images `[N, 3, H, W]` between -1 and 1, 299x299 or larger.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        dropout_keep_prob: probability of keeping a feature.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        create_aux_logits: have the second head, too; the size of the images must then be known.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `inception_v4_base`, `AuxLogits`, `global_pool`,
        `PreLogitsFlatten`, `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_v4_arg_scope()):
        ...     model = slim.build(inception.inception_v4, torch.empty(1, 3, 299, 299, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        46009106
    """
    with (
        variable_scope(scope, "InceptionV4", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = inception_v4_base(inputs, scope=variables)
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = auxiliary_logits(
                end_points["Mixed_6h"], num_classes, "AvgPool_1a_5x5", "Conv2d_2a", "Aux_logits"
            )
        return classify_flat(net, end_points, num_classes, dropout_keep_prob)


inception_v4.default_image_size = 299  # type: ignore[attr-defined]
