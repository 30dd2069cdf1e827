"""CifarNet: two convolutions and three dense layers for CIFAR-10, after Krizhevsky's cuda-convnet, as TF-Slim has it.

Input: 32x32 RGB, each image less its mean and divided by its standard deviation (the preprocessing `cifarnet`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.graph.symbol import Value
from torchslim.initializers import constant_initializer, truncated_normal_initializer, zeros_initializer
from torchslim.layers import conv2d, dropout, flatten, fully_connected, max_pool2d, softmax
from torchslim.nets.common import channel_dimension
from torchslim.regularizers import l2_regularizer


def cifarnet_arg_scope(weight_decay: float = 0.004) -> ArgScope:
    """The defaults that CifarNet was trained with.

    Args:
        weight_decay: scale of the L2 regularization of the dense layers; the convolutions and the logits have none.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import cifarnet
        >>> with slim.arg_scope(cifarnet.cifarnet_arg_scope()):
        ...     model = slim.build(cifarnet.cifarnet, torch.empty(1, 3, 32, 32, device='meta'))
    """
    with arg_scope(
        [conv2d], weights_initializer=truncated_normal_initializer(stddev=0.05), activation_fn=torch.relu
    ), arg_scope(
        [fully_connected],
        biases_initializer=constant_initializer(0.1),
        weights_initializer=truncated_normal_initializer(stddev=0.04),
        weights_regularizer=l2_regularizer(weight_decay),
        activation_fn=torch.relu,
    ) as scope:  # fmt: skip
        return scope


def cifarnet(
    images: Symbol,
    num_classes: int | None = 10,
    is_training: bool | None = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., Symbol] = softmax,
    scope: str = "CifarNet",
) -> tuple[Symbol, dict[str, Symbol]]:
    """CifarNet: 1,756,426 parameters for 10 classes.

    Args:
        images: `[N, 3, H, W]`; the published size is 32x32.
        num_classes: how many; None or 0: no last layer, the features of `fc4` come out.
        is_training: whether dropout drops; None or True: as the module's mode says. False, TF-Slim's default: never.
        dropout_keep_prob: probability of keeping a value of `fc3`.
        prediction_fn: from the logits to `Predictions`.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points `conv1`, `pool1`, `conv2`, `pool2`, `Flatten`, `fc3`, `fc4`,
        `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import cifarnet
        >>> model = slim.build(cifarnet.cifarnet, torch.empty(1, 3, 32, 32, device='meta'), is_training=True)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['pool2'].shape
        (1756426, (None, 64, 8, 8))
    """
    ends: dict[str, Symbol] = {}
    with variable_scope(scope, "CifarNet", [images]):
        net = ends["conv1"] = conv2d(images, 64, [5, 5], scope="conv1")
        net = ends["pool1"] = max_pool2d(net, [2, 2], 2, scope="pool1")
        net = ends["conv2"] = conv2d(_normalized(net), 64, [5, 5], scope="conv2")
        net = ends["pool2"] = max_pool2d(_normalized(net), [2, 2], 2, scope="pool2")
        net = ends["Flatten"] = flatten(net)
        net = ends["fc3"] = fully_connected(net, 384, scope="fc3")
        net = dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout3")
        net = ends["fc4"] = fully_connected(net, 192, scope="fc4")
        if not num_classes:
            return net, ends
        logits = ends["Logits"] = fully_connected(
            net,
            num_classes,
            biases_initializer=zeros_initializer(),
            weights_initializer=truncated_normal_initializer(stddev=1 / 192),
            weights_regularizer=None,
            activation_fn=None,
            scope="logits",
        )
    ends["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, ends


def _normalized(net: Value) -> Value:
    """Each value divided by `(1 + 0.001 * the mean square of 9 channels around it) ** 0.75`."""
    channels = channel_dimension()
    if channels == 1:
        return functional.local_response_norm(net, 9, alpha=0.001, beta=0.75, k=1.0)
    return functional.local_response_norm(net.movedim(channels, 1), 9, 0.001, 0.75, 1.0).movedim(1, channels)


cifarnet.default_image_size = 32  # type: ignore[attr-defined]
