"""PNASNet-5: one cell, found by a progressive search; with a stride it halves the image (arXiv:1712.00559).

Input: 224x224 (mobile) or 331x331 (large) RGB between -1 and 1 (the preprocessing `inception`). The published
checkpoints for ImageNet have 1001 classes, the first of them background.
"""

from __future__ import annotations

from torchslim.arg_scope import ArgScope
from torchslim.graph import Symbol
from torchslim.nets.nasnet.nasnet import nasnet_large_arg_scope, nasnet_mobile_arg_scope
from torchslim.nets.nasnet.nasnet_utils import NasNetABaseCell, Recipe
from torchslim.nets.nasnet.network import Cells, Config, build_network

_CELL = Recipe(
    (
        *("separable_5x5_2", "max_pool_3x3"),
        *("separable_7x7_2", "max_pool_3x3"),
        *("separable_5x5_2", "separable_3x3_2"),
        *("separable_3x3_2", "max_pool_3x3"),
        *("separable_3x3_2", "none"),
    ),
    used_hiddenstates=(1, 1, 0, 0, 0, 0, 0),
    hiddenstate_indices=(1, 1, 0, 0, 0, 0, 4, 0, 1, 0),
)


class PNasNetNormalCell(NasNetABaseCell):
    """The cell of PNASNet-5; its arguments are those of `NasNetABaseCell`."""

    def __init__(
        self,
        num_conv_filters: int,
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        super().__init__(
            num_conv_filters,
            *_CELL,
            drop_path_keep_prob,
            total_num_cells,
            total_training_steps,
            use_bounded_activation,
        )


def large_imagenet_config() -> Config:
    """PNASNet-5 (4 @ 4320) for ImageNet."""
    return Config(216, 12, 3.0, 0.6, 0.5, 250000, skip_reduction_layer_input=1)


def mobile_imagenet_config() -> Config:
    """PNASNet-5 (3 @ 1080) for ImageNet."""
    return Config(54, 9, 1.0, 1.0, 0.5, 250000, skip_reduction_layer_input=1)


def pnasnet_large_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 0.001
) -> ArgScope:
    """The defaults that PNASNet-5 large was trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(pnasnet_large_arg_scope()):
        ...     model = slim.build(build_pnasnet_large, torch.empty(1, 3, 331, 331, device='meta'), num_classes=1001)
    """
    return nasnet_large_arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def pnasnet_mobile_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 0.001
) -> ArgScope:
    """The defaults that PNASNet-5 mobile was trained with; the arguments are those of `pnasnet_large_arg_scope`."""
    return nasnet_mobile_arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def _build(
    images: Symbol, num_classes: int | None, is_training: bool | None, final_endpoint: str | None, config: Config
) -> tuple[Symbol, dict[str, Symbol]]:
    def cells_of(keep_prob: float) -> Cells:
        count = config.num_cells + 2  # those of the stem
        steps, bounded = config.total_training_steps, config.use_bounded_activation
        cell = PNasNetNormalCell(config.num_conv_filters, keep_prob, count, steps, bounded)
        return Cells(cell, None, cell)

    return build_network(images, num_classes, is_training, final_endpoint, config, cells_of)


def build_pnasnet_large(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None = True,
    final_endpoint: str | None = None,
    config: Config | None = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """PNASNet-5 large for ImageNet: 86,061,989 parameters for 1001 classes, without the second classifier.

    Args:
        images: `[N, 3, H, W]` of fixed size, between -1 and 1; the published one is 331x331.
        num_classes: how many, 1001 in the published checkpoint; None or 0: no last layer, the pooled features come out.
        is_training: None or True: as the module's mode says, with a second classifier in the middle; False: inference.
        final_endpoint: the last end point that is built; None: all are. TF-Slim, and so this function, returns the
            pooled features for `Logits` and `Predictions`.
        config: the numbers of the network; default `large_imagenet_config()`.

    Returns:
        The logits `[N, num_classes]`, or what `final_endpoint` says, and the end points `Stem`, `Cell_0` and so on,
        `AuxLogits`, `global_pool`, `Logits` and `Predictions`.

    Raises:
        ValueError: if height or width is not fixed, or there is no `final_endpoint` of that name.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.nasnet import pnasnet
        >>> with slim.arg_scope(pnasnet.pnasnet_large_arg_scope()):
        ...     model = slim.build(pnasnet.build_pnasnet_large, torch.empty(1, 3, 331, 331, device='meta'),
        ...                        num_classes=1001, is_training=False)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['Cell_11'].shape
        (86061989, (None, 4320, 11, 11))
    """
    return _build(images, num_classes, is_training, final_endpoint, config or large_imagenet_config())


def build_pnasnet_mobile(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None = True,
    final_endpoint: str | None = None,
    config: Config | None = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """PNASNet-5 mobile for ImageNet: 5,065,568 parameters for 1001 classes, without the second classifier.

    The published size is 224x224. The arguments and what is returned are those of `build_pnasnet_large`, with
    `mobile_imagenet_config()`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.nasnet import pnasnet
        >>> with slim.arg_scope(pnasnet.pnasnet_mobile_arg_scope()):
        ...     model = slim.build(pnasnet.build_pnasnet_mobile, torch.empty(1, 3, 224, 224, device='meta'),
        ...                        num_classes=1001, is_training=False)
        >>> sum(p.numel() for p in model.parameters())
        5065568
    """
    return _build(images, num_classes, is_training, final_endpoint, config or mobile_imagenet_config())


build_pnasnet_large.default_image_size = 331  # type: ignore[attr-defined]
build_pnasnet_mobile.default_image_size = 224  # type: ignore[attr-defined]
