"""A VGG for small pictures, in slim syntax: the net that `make demo` fine-tunes.

`torchslim finetune --net examples/small_vgg.py:small_vgg ...` uses it as it would use `vgg_16`.
"""

from __future__ import annotations

import torch

import torchslim as slim


def small_vgg(images, num_classes: int | None = 20, is_training: bool | None = None, scope: str = "small_vgg"):
    """VGG (arXiv:1409.1556) with ten narrow, batch-normalised convolutions; 1.3 million parameters.

    Args:
        images: `[N, 3, H, W]`, H and W 96 or more, RGB, preprocessed.
        num_classes: size of the last layer; None: no dense layers, the last feature maps come out.
        is_training: None: dropout and batch norm follow `train()` and `eval()`; False: inference for good.
        scope: its name, the first part of every variable's name.

    Returns:
        The logits `[N, num_classes]`, or the feature maps `[N, 192, H / 32, W / 32]`.
    """
    batch_norm = {"decay": 0.9, "scale": True, "is_training": is_training}  # few steps: quick averages
    with (
        slim.variable_scope(scope),
        slim.arg_scope(
            [slim.conv2d],
            activation_fn=torch.relu,
            normalizer_fn=slim.batch_norm,
            normalizer_params=batch_norm,
            weights_initializer=slim.variance_scaling_initializer(),
            weights_regularizer=slim.l2_regularizer(0.0005),
        ),
    ):
        net = slim.repeat(images, 2, slim.conv2d, 16, [3, 3], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        net = slim.repeat(net, 2, slim.conv2d, 32, [3, 3], scope="conv2")
        net = slim.max_pool2d(net, [2, 2], scope="pool2")
        net = slim.repeat(net, 2, slim.conv2d, 64, [3, 3], scope="conv3")
        net = slim.max_pool2d(net, [2, 2], scope="pool3")
        net = slim.repeat(net, 2, slim.conv2d, 128, [3, 3], scope="conv4")
        net = slim.max_pool2d(net, [2, 2], scope="pool4")
        net = slim.repeat(net, 2, slim.conv2d, 192, [3, 3], scope="conv5")
        net = slim.max_pool2d(net, [2, 2], scope="pool5")
        if num_classes is None:
            return net
        # As in TF-Slim's VGG, the dense layers are convolutions; larger pictures give an averaged map.
        net = slim.conv2d(net, 256, [3, 3], padding="VALID", scope="fc6")
        net = slim.dropout(net, 0.5, is_training=is_training, scope="dropout6")
        net = slim.conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="fc7")
        return net.mean((2, 3))


small_vgg.default_image_size = 96
