"""What AlexNet, OverFeat and VGG share: dense layers that are convolutions."""

from __future__ import annotations

from typing import Any

from torchslim.graph import Symbol
from torchslim.layers import conv2d, dropout
from torchslim.layers.utils import convert_collection_to_dict
from torchslim.nets.common import spatial_dimensions, squeezed


def dense_as_convolutions(
    net: Symbol,
    window: int,
    num_classes: int | None,
    *,
    scope: str,
    collection: str,
    is_training: bool | None,
    keep_prob: float,
    spatial_squeeze: bool,
    global_pool: bool,
    channels: tuple[int, int] = (4096, 4096),
    padding: str = "VALID",
    **logits: Any,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The dense layers `fc6`, `fc7` and `fc8`, which give a map of logits for an image that is larger.

    Args:
        net: the features.
        window: height and width of `fc6`.
        num_classes: channels of `fc8`; None or 0: leave it out.
        scope: name of the network.
        collection: where the outputs of its layers were collected.
        is_training: of the dropout.
        keep_prob: of the dropout.
        spatial_squeeze: remove the two dimensions of space from the logits.
        global_pool: average over space before `fc8`.
        channels: of `fc6` and `fc7`.
        padding: of `fc6`.
        logits: more arguments of `fc8`.

    Returns:
        The logits, and the end points.
    """
    net = conv2d(net, channels[0], [window, window], padding=padding, scope="fc6")
    net = dropout(net, keep_prob, is_training=is_training, scope="dropout6")
    net = conv2d(net, channels[1], [1, 1], scope="fc7")
    end_points = convert_collection_to_dict(collection)
    if global_pool:
        net = end_points["global_pool"] = net.mean(spatial_dimensions(), keepdim=True)
    if num_classes:
        net = dropout(net, keep_prob, is_training=is_training, scope="dropout7")
        net = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="fc8", **logits)
        net = end_points[f"{scope}/fc8"] = squeezed(net, spatial_squeeze)
    return net, end_points
