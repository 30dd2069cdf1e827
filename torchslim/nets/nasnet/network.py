"""The network around the cells of NASNet and PNASNet: stem, cells, a second classifier in the middle, head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.layers import (
    DATA_FORMAT_LAYERS,
    avg_pool2d,
    batch_norm,
    conv2d,
    dropout,
    flatten,
    fully_connected,
    softmax,
)
from torchslim.layers.incoming import scoped_data_format
from torchslim.nets.common import spatial_dimensions
from torchslim.nets.nasnet.nasnet_utils import NasNetABaseCell, calc_reduction_layers, global_avg_pool
from torchslim.nets.nasnet.paths import drop_path

EndPoints = dict[str, Symbol]


@dataclasses.dataclass
class Config:
    """The numbers of a network.

    Attributes:
        num_conv_filters: channels of each operation in the first cells.
        num_cells: cells that keep the size.
        stem_multiplier: of the channels of the first convolution.
        drop_path_keep_prob: probability of keeping a path while training.
        dense_dropout_keep_prob: probability of keeping a feature in front of the last layer.
        total_training_steps: of the training, along which more and more paths are dropped.
        skip_reduction_layer_input: whether the cell behind a reduction looks past it to the cell in front.
        filter_scaling_rate: of the channels at each reduction.
        num_reduction_layers: how often the image is halved.
        use_aux_head: train a second classifier in the middle.
        data_format: the layout to compute in, `'NCHW'` or `'NHWC'`; None: that of the images. TF-Slim: `'NHWC'`.
        use_bounded_activation: keep all values within 6, for quantized inference.

    Example:
        >>> from torchslim.nets.nasnet import nasnet
        >>> config = nasnet.mobile_imagenet_config()
        >>> config.num_cells = 6
        >>> config.num_conv_filters
        44
    """

    num_conv_filters: int
    num_cells: int
    stem_multiplier: float
    drop_path_keep_prob: float
    dense_dropout_keep_prob: float
    total_training_steps: int
    skip_reduction_layer_input: int
    filter_scaling_rate: float = 2.0
    num_reduction_layers: int = 2
    use_aux_head: int = 1
    data_format: str | None = None
    use_bounded_activation: bool = False


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a network.

    Attributes:
        normal: keeps the size.
        reduction: halves the image; None: `normal` does it, with a stride.
        in_stem: makes the cells of the stem, which halve the image as well; None: there are none.
        current_step: the step of the training, for dropping paths; None: the global step.
    """

    normal: NasNetABaseCell
    reduction: NasNetABaseCell | None
    in_stem: NasNetABaseCell | None
    current_step: Any = None


def build_network(
    images: Symbol,
    num_classes: int | None,
    is_training: bool | None,
    final_endpoint: str | None,
    config: Config,
    cells_of: Callable[[float], Cells],
) -> tuple[Symbol, EndPoints]:
    """The network of any configuration; the arguments are explained at `build_nasnet_mobile`.

    `cells_of` makes the cells for a probability of keeping a path.
    """
    layout = config.data_format or scoped_data_format()
    if layout != scoped_data_format():
        images = images.permute((0, 2, 3, 1) if layout == "NHWC" else (0, 3, 1, 2))
    inference = is_training is False
    cells = cells_of(1.0 if inference else config.drop_path_keep_prob)
    with (
        arg_scope([dropout, drop_path, batch_norm], is_training=is_training),
        arg_scope(DATA_FORMAT_LAYERS, data_format=layout),
    ):
        if None in (images.shape[dimension] for dimension in spatial_dimensions()):
            raise ValueError(
                "nasnet: the height and width of `images` must be fixed: they tell which features are to be halved. "
                f"Got shape {images.shape}."
            )
        net, end_points = images, {}
        for name, output in _features(images, config, cells, 0 if inference else num_classes or 0):
            end_points[name] = output
            if name != "AuxLogits":
                net = output
            if name == final_endpoint:
                return net, end_points
        return _classify(net, end_points, num_classes, config, final_endpoint)


def _features(images: Symbol, config: Config, cells: Cells, aux_classes: int) -> Iterator[tuple[str, Symbol]]:
    """What the stem, the cells and the classifier in the middle give, by name."""
    reductions = calc_reduction_layers(config.num_cells, config.num_reduction_layers)
    aux_cell = reductions[1] - 1 if len(reductions) > 1 and config.use_aux_head and aux_classes else None
    net, outputs = _stem(images, config, cells)
    yield "Stem", net
    scaling, position, previous = 1.0, 2 if cells.in_stem else 0, None
    for number in range(config.num_cells):
        reduces, in_front = number in reductions, outputs[-2]
        if reduces:
            scaling *= config.filter_scaling_rate
        if reduces and cells.reduction:
            index = reductions.index(number)
            net = cells.reduction(net, f"reduction_cell_{index}", scaling, 2, in_front, position, cells.current_step)
            yield f"Reduction_Cell_{index}", net
            outputs.append(net)
            position += 1
        strides = reduces and not cells.reduction
        if config.skip_reduction_layer_input:
            previous = in_front
        elif not strides:
            previous = outputs[-2]
        net = cells.normal(net, f"cell_{number}", scaling, 2 if strides else 1, previous, position, cells.current_step)
        yield f"Cell_{number}", net
        outputs.append(net)
        position += 1
        if number == aux_cell:
            yield "AuxLogits", _aux_head(net, aux_classes, activation_of(config), f"aux_{number}")


def _aux_head(net: Symbol, num_classes: int, activation: Callable[..., Any], scope: str) -> Symbol:
    """The logits of the second classifier, which stands in the middle."""
    with variable_scope(scope), variable_scope("aux_logits"):
        net = avg_pool2d(activation(net), [5, 5], stride=3, padding="VALID")
        net = conv2d(net, 128, [1, 1], scope="proj")
        net = activation(batch_norm(net, scope="aux_bn0"))
        height, width = (net.shape[dimension] or 1 for dimension in spatial_dimensions())
        net = conv2d(net, 768, [height, width], padding="VALID")
        net = activation(batch_norm(net, scope="aux_bn1"))
        return fully_connected(flatten(net), num_classes)


def _stem(images: Symbol, config: Config, cells: Cells) -> tuple[Symbol, list[Symbol | None]]:
    """A convolution, and for ImageNet two cells behind it, all of which halve the image; and what `_features` keeps."""
    if cells.in_stem is None:
        net = conv2d(images, int(config.num_conv_filters * config.stem_multiplier), 3, scope="l1_stem_3x3")
        net = batch_norm(net, scope="l1_stem_bn")
        return net, [None, net]
    net = conv2d(images, int(32 * config.stem_multiplier), [3, 3], stride=2, scope="conv0", padding="VALID")
    net = batch_norm(net, scope="conv0_bn")
    outputs: list[Symbol | None] = [None, net]
    for number in range(2):
        scaling = config.filter_scaling_rate ** (number - 2)
        net = cells.in_stem(net, f"cell_stem_{number}", scaling, 2, outputs[-2], number, cells.current_step)
        outputs.append(net)
    return net, outputs


def _classify(
    net: Symbol, end_points: EndPoints, num_classes: int | None, config: Config, final_endpoint: str | None
) -> tuple[Symbol, EndPoints]:
    with variable_scope("final_layer"):
        net = end_points["global_pool"] = global_avg_pool(activation_of(config)(net))
        if not num_classes or final_endpoint == "global_pool":
            return net, end_points
        net = dropout(net, config.dense_dropout_keep_prob, scope="dropout")
        logits = end_points["Logits"] = fully_connected(net, num_classes)
        if final_endpoint == "Logits":
            return net, end_points
        end_points["Predictions"] = softmax(logits, scope="predictions")
        if final_endpoint == "Predictions":
            return net, end_points
    if final_endpoint:
        raise ValueError(f"nasnet: `final_endpoint` must be one of {', '.join(end_points)}. Got {final_endpoint!r}.")
    return logits, end_points


def activation_of(config: Config) -> Callable[..., Any]:
    """The activation outside of the cells."""
    return functional.relu6 if config.use_bounded_activation else torch.relu
