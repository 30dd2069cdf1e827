"""What the Inception networks are made of: rows of layers, modules of branches, and the head that classifies.

The names of the layers say most of it: `Conv2d_0b_1x7` is a convolution with a window of 1x7, `MaxPool_0a_3x3` a pool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torchslim.graph import Symbol, variable_scope
from torchslim.layers import avg_pool2d, conv2d, dropout, flatten, fully_connected, max_pool2d, softmax
from torchslim.nets.common import join_channels, shrunk_window, spatial_dimensions, squeezed

EndPoints = dict[str, Symbol]
Step = int | Mapping[str, Any]
"""One layer: its number of channels, or its arguments."""
Branch = Mapping[str | tuple[str, str], Step]
"""Layers by their names, one after the other; two names: both look at the same input, and are joined."""

POOL: Step = {}
"""A pool: its name says all."""


@dataclass(frozen=True)
class Mixed:
    """An Inception module: branches beside each other, joined along the channels.

    Attributes:
        branches: the branches.
        stride: of the last layer of each branch: 2 where the module halves the image.
        padding: of the last layer of each branch.
    """

    branches: tuple[Branch, ...]
    stride: int = 1
    padding: str = "SAME"

    def __call__(self, inputs: Symbol, scope: str, depth: Callable[[int], int] = int) -> Symbol:
        """The output of the module; `depth` is from a number of channels to the one that is taken."""
        with variable_scope(scope):
            return self.join(inputs, depth)

    def join(self, inputs: Symbol, depth: Callable[[int], int] = int) -> Symbol:
        """The joined branches, in the scope that is open."""
        outputs = []
        for number, branch in enumerate(self.branches):
            with variable_scope(f"Branch_{number}"):
                net = inputs
                for position, (names, step) in enumerate(branch.items(), 1):
                    last = {"stride": self.stride, "padding": self.padding} if position == len(branch) else {}
                    beside = [names] if isinstance(names, str) else names
                    layers = [run_layer(net, name, step, depth, **last) for name in beside]
                    net = layers[0] if len(layers) == 1 else join_channels(layers)
                outputs.append(net)
        return join_channels(outputs)


def run_layer(net: Symbol, name: str, step: Step, depth: Callable[[int], int] = int, **defaults: Any) -> Symbol:
    """The layer that `name` and `step` describe.

    Args:
        net: what flows in.
        name: its scope: `Conv2d_...`, `MaxPool_...` or `AvgPool_...`, the window at its end.
        step: its number of channels, or its arguments.
        depth: from a number of channels to the one that is taken.
        defaults: arguments that `step` may replace; the stride is 1 and the padding `SAME` where nothing says else.
    """
    window = [int(size) for size in re.findall(r"(\d+)x(\d+)$", name)[0]]
    options = {"stride": 1, "padding": "SAME", "kernel_size": window, **defaults}
    options |= {"num_outputs": step} if isinstance(step, int) else step
    if name.startswith("Conv"):
        return conv2d(net, **options | {"num_outputs": depth(options["num_outputs"])}, scope=name)
    return (max_pool2d if name.startswith("Max") else avg_pool2d)(net, **options, scope=name)


def run_rows(
    inputs: Symbol,
    rows: Mapping[str, Step | Mixed | Callable[..., Symbol]],
    final_endpoint: str,
    depth: Callable[[int], int] = int,
) -> tuple[Symbol, EndPoints]:
    """Applies the rows of a network up to `final_endpoint`.

    Args:
        inputs: the images.
        rows: by name a layer, a module, or a function of what flows in, the name and `depth`.
        final_endpoint: the name of the last row that is built.
        depth: from a number of channels to the one that is taken.

    Returns:
        The output of the last row, and those of all rows by their names.

    Raises:
        ValueError: if there is no row of that name.
    """
    if final_endpoint not in rows:
        raise ValueError(f"inception: `final_endpoint` must be one of {', '.join(rows)}. Got {final_endpoint!r}.")
    net, end_points = inputs, {}
    for name, row in rows.items():
        net = row(net, name, depth) if callable(row) else run_layer(net, name, row, depth)
        end_points[name] = net
        if name == final_endpoint:
            break
    return net, end_points


def depth_of(function: str, depth_multiplier: float, min_depth: int) -> Callable[[int], int]:
    """From a number of channels to the one of a network that is `depth_multiplier` as wide.

    Raises:
        ValueError: if `depth_multiplier` is not positive.

    Example:
        >>> depth_of('inception_v3', 0.25, 16)(320), depth_of('inception_v3', 0.25, 16)(32)
        (80, 16)
    """
    if depth_multiplier <= 0:
        raise ValueError(f"{function}: `depth_multiplier` must be positive. Got {depth_multiplier}.")
    return lambda channels: max(int(channels * depth_multiplier), min_depth)


def classify(
    net: Symbol,
    end_points: EndPoints,
    num_classes: int | None,
    *,
    window: tuple[int, int],
    dropout_keep_prob: float,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    global_pool: bool = False,
) -> tuple[Symbol, EndPoints]:
    """The head of Inception v2 and v3: an average over space, and the logits as a convolution."""
    with variable_scope("Logits"):
        if global_pool:
            net = end_points["global_pool"] = net.mean(spatial_dimensions(), keepdim=True)
        else:
            height, width = shrunk_window(net, window)
            net = avg_pool2d(net, [height, width], padding="VALID", scope=f"AvgPool_1a_{height}x{width}")
            end_points["AvgPool_1a"] = net
        if not num_classes:
            return net, end_points
        net = end_points["PreLogits"] = dropout(net, dropout_keep_prob, scope="Dropout_1b")
        logits = conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
        logits = squeezed(logits, spatial_squeeze)
    end_points["Logits"] = logits
    end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def classify_flat(
    net: Symbol, end_points: EndPoints, num_classes: int | None, dropout_keep_prob: float
) -> tuple[Symbol, EndPoints]:
    """The head of Inception v4 and Inception-ResNet v2: an average over all of space, and a dense layer."""
    with variable_scope("Logits"):
        net = end_points["global_pool"] = net.mean(spatial_dimensions(), keepdim=True)
        if not num_classes:
            return net, end_points
        net = flatten(dropout(net, dropout_keep_prob, scope="Dropout_1b"), scope="PreLogitsFlatten")
        end_points["PreLogitsFlatten"] = net
        logits = end_points["Logits"] = fully_connected(net, num_classes, activation_fn=None, scope="Logits")
    end_points["Predictions"] = softmax(logits, scope="Predictions")
    return logits, end_points


def auxiliary_logits(net: Symbol, num_classes: int, pool: str, whole: str, logits: str) -> Symbol:
    """The second head of these two, which helps the gradient in training.

    Args:
        net: what it looks at; the size of the image must be known.
        num_classes: how many.
        pool: name of the pool.
        whole: name of the convolution whose window is the whole image.
        logits: name of the dense layer.

    Raises:
        ValueError: if the size of the image is not known.
    """
    with variable_scope("AuxLogits"):
        net = avg_pool2d(net, [5, 5], stride=3, padding="VALID", scope=pool)
        net = conv2d(net, 128, [1, 1], scope="Conv2d_1b_1x1")
        height, width = (net.shape[dimension] for dimension in spatial_dimensions())
        if height is None or width is None:
            raise ValueError(
                f"inception: `create_aux_logits` needs images of a known size. Got features of shape {net.shape}; give "
                "that size, or `create_aux_logits=False`."
            )
        net = conv2d(net, 768, [height, width], padding="VALID", scope=whole)
        return fully_connected(flatten(net), num_classes, activation_fn=None, scope=logits)
