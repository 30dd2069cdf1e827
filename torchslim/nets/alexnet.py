"""AlexNet, as one column for one device (arXiv:1404.5997), and fully convolutional.

Input: 224x224 RGB, minus the means (123.68, 116.78, 103.94) of each channel. TF-Slim publishes no checkpoint of it.
The dense layers are convolutions (`fc6` is 5x5), so larger images give a map of logits. There is no local response
normalization.
"""

from __future__ import annotations

import torch

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.initializers import constant_initializer, truncated_normal_initializer, zeros_initializer
from torchslim.layers import conv2d, fully_connected, max_pool2d
from torchslim.nets.fully_convolutional import dense_as_convolutions
from torchslim.regularizers import l2_regularizer


def alexnet_v2_arg_scope(weight_decay: float = 0.0005) -> ArgScope:
    """The defaults that AlexNet is trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import alexnet
        >>> with slim.arg_scope(alexnet.alexnet_v2_arg_scope()):
        ...     model = slim.build(alexnet.alexnet_v2, torch.empty(1, 3, 224, 224, device='meta'))
    """
    with arg_scope(
        [conv2d, fully_connected],
        activation_fn=torch.relu,
        biases_initializer=constant_initializer(0.1),
        weights_regularizer=l2_regularizer(weight_decay),
    ), arg_scope([conv2d], padding="SAME"), arg_scope([max_pool2d], padding="VALID") as scope:  # fmt: skip
        return scope


def alexnet_v2(
    inputs: Symbol,
    num_classes: int | None = 1000,
    is_training: bool | None = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    scope: str = "alexnet_v2",
    global_pool: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """AlexNet (arXiv:1404.5997): 50,303,912 parameters for 1000 classes.

    Args:
        inputs: images `[N, 3, H, W]`; 224x224 gives one vector of logits.
        num_classes: how many; None or 0: no last layer, the features come out.
        is_training: whether dropout drops; None or True: as the module's mode says, False: never.
        dropout_keep_prob: probability of keeping a value of `fc6` and `fc7`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        scope: name of the network.
        global_pool: average over space before the last layer, for larger images.

    Returns:
        The logits `[N, num_classes]`, and the end points: every convolution, pool and dense layer by its name.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import alexnet
        >>> model = slim.build(alexnet.alexnet_v2, torch.empty(1, 3, 224, 224, device='meta'))
        >>> sum(p.numel() for p in model.parameters())
        50303912
    """
    with variable_scope(scope, "alexnet_v2", [inputs]) as variables:
        collection = f"{variables.original_name_scope}_end_points"
        with arg_scope([conv2d, fully_connected, max_pool2d], outputs_collections=[collection]):
            net = conv2d(inputs, 64, [11, 11], stride=4, padding="VALID", scope="conv1")
            net = max_pool2d(net, [3, 3], stride=2, scope="pool1")
            net = conv2d(net, 192, [5, 5], scope="conv2")
            net = max_pool2d(net, [3, 3], stride=2, scope="pool2")
            for name, channels in (("conv3", 384), ("conv4", 384), ("conv5", 256)):
                net = conv2d(net, channels, [3, 3], scope=name)
            net = max_pool2d(net, [3, 3], stride=2, scope="pool5")
            with arg_scope(
                [conv2d],
                weights_initializer=truncated_normal_initializer(stddev=0.005),
                biases_initializer=constant_initializer(0.1),
            ):
                return dense_as_convolutions(
                    net,
                    5,
                    num_classes,
                    scope=variables.name,
                    collection=collection,
                    is_training=is_training,
                    keep_prob=dropout_keep_prob,
                    spatial_squeeze=spatial_squeeze,
                    global_pool=global_pool,
                    biases_initializer=zeros_initializer(),
                )


alexnet_v2.default_image_size = 224  # type: ignore[attr-defined]
