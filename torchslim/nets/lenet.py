"""LeNet: two convolutions and two dense layers, for handwritten digits (LeCun et al., 1998), as TF-Slim widens them.

Input: 28x28, one channel, `(pixels - 128) / 128` (the preprocessing `lenet`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.initializers import truncated_normal_initializer
from torchslim.layers import conv2d, dropout, flatten, fully_connected, max_pool2d, softmax
from torchslim.regularizers import l2_regularizer


def lenet_arg_scope(weight_decay: float = 0.0) -> ArgScope:
    """The defaults that LeNet was trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import lenet
        >>> with slim.arg_scope(lenet.lenet_arg_scope(weight_decay=0.0005)):
        ...     model = slim.build(lenet.lenet, torch.empty(1, 1, 28, 28, device='meta'))
    """
    with arg_scope(
        [conv2d, fully_connected],
        weights_regularizer=l2_regularizer(weight_decay),
        weights_initializer=truncated_normal_initializer(stddev=0.1),
        activation_fn=torch.relu,
    ) as scope:
        return scope


def lenet(
    images: Symbol,
    num_classes: int | None = 10,
    is_training: bool | None = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., Symbol] = softmax,
    scope: str = "LeNet",
) -> tuple[Symbol, dict[str, Symbol]]:
    """LeNet as TF-Slim has it: 3,274,634 parameters for 10 classes and images of one channel.

    Args:
        images: `[N, C, H, W]`; the published size is 28x28 with one channel.
        num_classes: how many; None or 0: no last layer, the features of `fc3` come out.
        is_training: whether dropout drops; None or True: as the module's mode says. False, TF-Slim's default: never.
        dropout_keep_prob: probability of keeping a value of `fc3`.
        prediction_fn: from the logits to `Predictions`.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points `conv1`, `pool1`, `conv2`, `pool2`, `Flatten`, `fc3`,
        `dropout3`, `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import lenet
        >>> model = slim.build(lenet.lenet, torch.empty(1, 1, 28, 28, device='meta'), is_training=True)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['pool2'].shape
        (3274634, (None, 64, 7, 7))
    """
    ends: dict[str, Symbol] = {}
    with variable_scope(scope, "LeNet", [images]):
        net = ends["conv1"] = conv2d(images, 32, [5, 5], scope="conv1")
        net = ends["pool1"] = max_pool2d(net, [2, 2], 2, scope="pool1")
        net = ends["conv2"] = conv2d(net, 64, [5, 5], scope="conv2")
        net = ends["pool2"] = max_pool2d(net, [2, 2], 2, scope="pool2")
        net = ends["Flatten"] = flatten(net)
        net = ends["fc3"] = fully_connected(net, 1024, scope="fc3")
        if not num_classes:
            return net, ends
        net = ends["dropout3"] = dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout3")
        logits = ends["Logits"] = fully_connected(net, num_classes, activation_fn=None, scope="fc4")
    ends["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, ends


lenet.default_image_size = 28  # type: ignore[attr-defined]
