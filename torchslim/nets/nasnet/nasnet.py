"""NASNet-A: a cell and a cell that halves the image, found by search on CIFAR-10, repeated (arXiv:1707.07012).

Input: 32x32 RGB (the preprocessing `cifarnet`), 224x224 (mobile) or 331x331 (large) RGB between -1 and 1 (the
preprocessing `inception`). The published checkpoints for ImageNet have 1001 classes, the first of them background.
"""

from __future__ import annotations

from typing import Any

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol
from torchslim.initializers import variance_scaling_initializer
from torchslim.layers import batch_norm, conv2d, fully_connected, separable_conv2d
from torchslim.nets.nasnet.nasnet_utils import NasNetANormalCell, NasNetAReductionCell
from torchslim.nets.nasnet.network import Cells, Config, build_network
from torchslim.regularizers import l2_regularizer


def cifar_config() -> Config:
    """NASNet-A (6 @ 768) for CIFAR-10; trained by a cosine schedule from 0.025, with gradients clipped at 5."""
    return Config(32, 18, 3.0, 0.6, 1.0, 937500, skip_reduction_layer_input=0)


def large_imagenet_config() -> Config:
    """NASNet-A (6 @ 4032) for ImageNet; trained with label smoothing 0.1, gradients clipped at 10."""
    return Config(168, 18, 3.0, 0.7, 0.5, 250000, skip_reduction_layer_input=1)


def mobile_imagenet_config() -> Config:
    """NASNet-A (4 @ 1056) for ImageNet; trained with label smoothing 0.1, gradients clipped at 10."""
    return Config(44, 12, 1.0, 1.0, 0.5, 250000, skip_reduction_layer_input=0)


def _arg_scope(weight_decay: float, batch_norm_decay: float, batch_norm_epsilon: float) -> ArgScope:
    with (
        arg_scope(
            [fully_connected, conv2d, separable_conv2d],
            weights_regularizer=l2_regularizer(weight_decay),
            weights_initializer=variance_scaling_initializer(mode="FAN_OUT"),
            activation_fn=None,
        ),
        arg_scope([fully_connected], scope="FC"),
        arg_scope([conv2d, separable_conv2d], biases_initializer=None),
        arg_scope([batch_norm], decay=batch_norm_decay, epsilon=batch_norm_epsilon, scale=True, fused=True) as scope,
    ):
        return scope


def nasnet_cifar_arg_scope(
    weight_decay: float = 5e-4, batch_norm_decay: float = 0.9, batch_norm_epsilon: float = 1e-5
) -> ArgScope:
    """The defaults that NASNet-A was trained with on CIFAR-10.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.arg_scope(nasnet_cifar_arg_scope()):
        ...     model = slim.build(build_nasnet_cifar, torch.empty(1, 3, 32, 32, device='meta'), num_classes=10)
    """
    return _arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def nasnet_mobile_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> ArgScope:
    """The defaults that NASNet-A mobile was trained with; the arguments are those of `nasnet_cifar_arg_scope`."""
    return _arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def nasnet_large_arg_scope(
    weight_decay: float = 5e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> ArgScope:
    """The defaults that NASNet-A large was trained with; the arguments are those of `nasnet_cifar_arg_scope`."""
    return _arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def _build(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None,
    final_endpoint: str | None,
    config: Config,
    current_step: Any,
    has_stem_cells: bool,
) -> tuple[Symbol, dict[str, Symbol]]:
    def cells_of(keep_prob: float) -> Cells:
        # The cells that halve the image count as well, and those of the stem.
        count = config.num_cells + (4 if has_stem_cells else 2)
        settings = (keep_prob, count, config.total_training_steps, config.use_bounded_activation)
        reduction = NasNetAReductionCell(config.num_conv_filters, *settings)
        normal = NasNetANormalCell(config.num_conv_filters, *settings)
        return Cells(normal, reduction, reduction if has_stem_cells else None, current_step)

    return build_network(images, num_classes, is_training, final_endpoint, config, cells_of)


def build_nasnet_cifar(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None = True,
    config: Config | None = None,
    current_step: Any = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """NASNet-A (6 @ 768) for CIFAR-10: 3,346,538 parameters for 10 classes, without the second classifier.

    Args:
        images: `[N, 3, H, W]` of fixed size; the published one is 32x32.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        is_training: None or True: as the module's mode says, with a second classifier in the middle; False: inference.
        config: the numbers of the network; default `cifar_config()`.
        current_step: the step of the training, for dropping paths; None: the global step.

    Returns:
        The logits `[N, num_classes]`, and the end points `Stem`, `Cell_0` and so on, `Reduction_Cell_0` and
        `Reduction_Cell_1` before the cells that follow them, `AuxLogits`, `global_pool`, `Logits` and `Predictions`.

    Raises:
        ValueError: if height or width is not fixed.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.nasnet import nasnet
        >>> with slim.arg_scope(nasnet.nasnet_cifar_arg_scope()):
        ...     model = slim.build(nasnet.build_nasnet_cifar, torch.empty(1, 3, 32, 32, device='meta'), num_classes=10,
        ...                        is_training=False)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['Cell_17'].shape
        (3346538, (None, 768, 8, 8))
    """
    return _build(images, num_classes, is_training, None, config or cifar_config(), current_step, False)


def build_nasnet_mobile(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None = True,
    final_endpoint: str | None = None,
    config: Config | None = None,
    current_step: Any = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """NASNet-A (4 @ 1056) for ImageNet: 5,291,035 parameters for 1001 classes, without the second classifier.

    Args:
        images: `[N, 3, H, W]` of fixed size, between -1 and 1; the published one is 224x224.
        num_classes: how many, 1001 in the published checkpoint; None or 0: no last layer, the pooled features come out.
        is_training: None or True: as the module's mode says, with a second classifier in the middle; False: inference.
        final_endpoint: the last end point that is built; None: all are. TF-Slim, and so this function, returns the
            pooled features for `Logits` and `Predictions`.
        config: the numbers of the network; default `mobile_imagenet_config()`.
        current_step: the step of the training, for dropping paths; None: the global step.

    Returns:
        The logits `[N, num_classes]`, or what `final_endpoint` says, and the end points of `build_nasnet_cifar`.

    Raises:
        ValueError: if height or width is not fixed, or there is no `final_endpoint` of that name.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.nasnet import nasnet
        >>> with slim.arg_scope(nasnet.nasnet_mobile_arg_scope()):
        ...     model = slim.build(nasnet.build_nasnet_mobile, torch.empty(1, 3, 224, 224, device='meta'),
        ...                        num_classes=1001, is_training=False)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['Cell_11'].shape
        (5291035, (None, 1056, 7, 7))
    """
    config = config or mobile_imagenet_config()
    return _build(images, num_classes, is_training, final_endpoint, config, current_step, True)


def build_nasnet_large(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None = True,
    final_endpoint: str | None = None,
    config: Config | None = None,
    current_step: Any = None,
) -> tuple[Symbol, dict[str, Symbol]]:
    """NASNet-A (6 @ 4032) for ImageNet: 88,757,183 parameters for 1001 classes, without the second classifier.

    The published size is 331x331. The arguments and what is returned are those of `build_nasnet_mobile`, with
    `large_imagenet_config()`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.nasnet import nasnet
        >>> with slim.arg_scope(nasnet.nasnet_large_arg_scope()):
        ...     model = slim.build(nasnet.build_nasnet_large, torch.empty(1, 3, 331, 331, device='meta'),
        ...                        num_classes=1001, is_training=False)
        >>> sum(p.numel() for p in model.parameters())
        88757183
    """
    config = config or large_imagenet_config()
    return _build(images, num_classes, is_training, final_endpoint, config, current_step, True)


build_nasnet_cifar.default_image_size = 32  # type: ignore[attr-defined]
build_nasnet_mobile.default_image_size = 224  # type: ignore[attr-defined]
build_nasnet_large.default_image_size = 331  # type: ignore[attr-defined]
