"""The defaults that all Inception networks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.initializers import variance_scaling_initializer
from torchslim.layers import batch_norm, conv2d, fully_connected
from torchslim.regularizers import l2_regularizer


def inception_arg_scope(
    weight_decay: float = 0.00004,
    use_batch_norm: bool = True,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: Callable[..., Any] | None = torch.relu,
    batch_norm_updates_collections: Any = "update_ops",
    batch_norm_scale: bool = False,
) -> ArgScope:
    """The defaults that Inception v1 to v4 were trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        use_batch_norm: normalize behind every convolution; else they have biases.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        activation_fn: behind every convolution.
        batch_norm_updates_collections: as in `batch_norm`.
        batch_norm_scale: multiply by `gamma`; the published checkpoints have none.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import inception
        >>> with slim.arg_scope(inception.inception_v3_arg_scope()):
        ...     model = slim.build(inception.inception_v3, torch.empty(1, 3, 299, 299, device='meta'))
    """
    normalization = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "fused": None,
        "scale": batch_norm_scale,
    }
    with arg_scope(
        [conv2d, fully_connected], weights_regularizer=l2_regularizer(weight_decay)
    ), arg_scope(
        [conv2d],
        weights_initializer=variance_scaling_initializer(),
        activation_fn=activation_fn,
        normalizer_fn=batch_norm if use_batch_norm else None,
        normalizer_params=normalization if use_batch_norm else {},
    ) as scope:  # fmt: skip
        return scope
