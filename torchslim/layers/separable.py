"""Convolutions that treat every channel by itself: separable and in-plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function, WeightedLayer
from torchslim.layers.conv_modules import Conv2d, check_positive, has_bias, normalizer_of
from torchslim.layers.layer import layer
from torchslim.layers.windows import Window


class DepthwiseConv2d(Conv2d):
    """The first part of `slim.separable_conv2d`: `depth_multiplier` filters for every channel."""

    slim_names = MappingProxyType({"weight": "../depthwise_weights", "bias": "../biases"})

    def __init__(self, channels: int, multiplier: int, window: Window, bias: bool) -> None:
        super().__init__(channels, channels * multiplier, window, bias, groups=channels)

    def to_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` in TensorFlow's layout: [height, width, channels, multiplier]."""
        if attribute != "weight":
            return tensor
        return tensor.squeeze(1).unflatten(0, (self.groups, -1)).permute(2, 3, 0, 1)

    def from_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `to_tf`."""
        return tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1) if attribute == "weight" else tensor


class PointwiseConv2d(Conv2d):
    """The second part of `slim.separable_conv2d`: it mixes the channels."""

    slim_names = MappingProxyType({"weight": "../pointwise_weights", "bias": "../biases"})


class SeparableConv2d(WeightedLayer):
    """The module of `slim.separable_conv2d`.

    Attributes:
        depthwise: the convolution of every channel by itself.
        pointwise: the 1x1 convolution behind it, or None.
    """

    slim_names = MappingProxyType({})

    def __init__(self, channels: int, multiplier: int, num_outputs: int | None, window: Window, bias: bool) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, multiplier, window, bias and num_outputs is None)
        self.pointwise: PointwiseConv2d | None = None
        self.out_channels = self.depthwise.out_channels
        self.data_format = window.data_format
        self.gives_view = window.channels_last
        if num_outputs is not None:
            point = Window((1, 1), (1, 1), (1, 1), "VALID", window.data_format)
            self.pointwise = PointwiseConv2d(self.out_channels, num_outputs, point, bias)
            self.out_channels = num_outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, H, W]` (or `[N, H, W, C]`)."""
        net = self.depthwise(inputs)
        return self.finish(net if self.pointwise is None else self.pointwise(net))


class InPlaneConv2d(Conv2d):
    """The module of `slim.conv2d_in_plane`: one filter for all channels."""

    def __init__(self, channels: int, window: Window, bias: bool) -> None:
        super().__init__(channels, channels, window, bias, groups=channels)
        self.weight = nn.Parameter(self.weight.detach()[:1].clone())

    def convolve(self, net: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Convolves `[N, C, H, W]`."""
        return super().convolve(net, weight.expand(self.groups, -1, -1, -1))


@add_arg_scope
@layer("SeparableConv2d")
def separable_convolution2d(
    inputs: Any,
    num_outputs: int | None,
    kernel_size: int | Sequence[int],
    depth_multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: int | Sequence[int] = 1,
    activation_fn: Function | None = torch.relu,
    normalizer_fn: Function | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = xavier_initializer(),  # noqa: B008
    pointwise_initializer: Any = None,
    weights_regularizer: Function | None = None,
    biases_initializer: Any = zeros_initializer(),  # noqa: B008
    biases_regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Any:
    """A convolution of every channel by itself, then a 1x1 convolution that mixes them (TF-Slim's `separable_conv2d`).

    A normalizer or a bias and the activation come last; there is nothing between the two convolutions.

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of input channels.
        num_outputs: the number of filters of the 1x1 convolution; None: leave it out.
        kernel_size: of the filters of the channels: one number, or height and width.
        depth_multiplier: filters for every channel; those of one channel are neighbours in the output.
        stride: step of these filters; one number or two. Not together with a `rate`.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first.
        rate: distance between the taps of these filters (dilation); one number or two.
        activation_fn: applied last; None: linear.
        normalizer_fn: a layer such as `slim.batch_norm`; it takes the place of the bias.
        normalizer_params: its arguments.
        weights_initializer: fills the kernels; default Xavier (Glorot) uniform, as TF-Slim.
        pointwise_initializer: fills the kernel of the 1x1 convolution; None: `weights_initializer` does.
        weights_regularizer: of both kernels, e.g. `slim.l2_regularizer(0.0005)`; its losses are collected.
        biases_initializer: fills the bias; None: no bias.
        biases_regularizer: of the bias.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables; a name, a list, or a dict by `'weights'` (both kernels)
            and `'biases'`.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        scope: its name; default `SeparableConv2d`, made unique.

    Returns:
        A Symbol or tensor `[N, num_outputs, H', W']` (`C * depth_multiplier` channels without `num_outputs`), or the
        module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 4, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.separable_conv2d(torch.zeros(1, 3, 9, 9), 8, [3, 3], stride=2, scope='doc_separable').shape
        torch.Size([1, 8, 5, 5])
        >>> list(slim.separable_conv2d(3, 8, [3, 3], depth_multiplier=2).state_dict())
        ['depthwise.weight', 'pointwise.weight', 'pointwise.bias']
    """
    op = "separable_conv2d"
    window = Window.of(
        op, inputs, 2, kernel_size=kernel_size, stride=stride, padding=padding, data_format=data_format, rate=rate
    )
    window.check_fits(op, inputs)
    check_positive(op, "depth_multiplier", depth_multiplier)
    if num_outputs is not None:
        check_positive(op, "num_outputs", num_outputs)
    biases = (biases_initializer, biases_regularizer)
    bias = has_bias(normalizer_fn, biases)
    module = SeparableConv2d(inputs.channels(window.data_format), depth_multiplier, num_outputs, window, bias)
    if pointwise_initializer is None:
        pointwise_initializer = weights_initializer
    parts = ((module.depthwise, weights_initializer), (module.pointwise, pointwise_initializer))
    for part, initializer in parts:
        if part is not None:
            part.set_up(weights=(initializer, weights_regularizer), biases=biases, trainable=trainable)
    shape = window.output_shape(inputs, module.out_channels)
    module.set_up(
        activation_fn=activation_fn,
        normalizer=normalizer_of(normalizer_fn, normalizer_params, window, shape),
        trainable=trainable,
    )
    return module


@add_arg_scope
@layer("ConvInPlane")
def convolution2d_in_plane(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    activation_fn: Function | None = torch.relu,
    normalizer_fn: Function | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = xavier_initializer(),  # noqa: B008
    weights_regularizer: Function | None = None,
    biases_initializer: Any = zeros_initializer(),  # noqa: B008
    biases_regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
    data_format: str | None = None,
) -> Any:
    """The same convolution of every channel by itself (TF-Slim's `conv2d_in_plane`).

    Good for image gradients: the kernel `[1, -1]` in every channel.

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of input channels.
        kernel_size: of the filter: one number, or height and width.
        stride: step of the filter; one number or two.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        activation_fn: applied last; None: linear.
        normalizer_fn: a layer such as `slim.batch_norm`; it takes the place of the bias.
        normalizer_params: its arguments.
        weights_initializer: fills the kernel; default Xavier (Glorot) uniform, as TF-Slim.
        weights_regularizer: e.g. `slim.l2_regularizer(0.0005)`; its loss is collected.
        biases_initializer: fills the bias, one number for each channel; None: no bias.
        biases_regularizer: of the bias.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables; a name, a list, or a dict by `'weights'` and `'biases'`.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        scope: its name; default `ConvInPlane`, made unique.
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first. TF-Slim: NHWC only.

    Returns:
        A Symbol or tensor `[N, C, H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 4, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> difference = torch.tensor([-1.0, 1.0]).reshape(1, 2, 1, 1)
        >>> ramp = torch.arange(4.0).expand(1, 3, 2, 4)
        >>> slim.conv2d_in_plane(ramp, [1, 2], padding='VALID', weights_initializer=difference, scope='doc_dx')[0, 2]
        tensor([[1., 1., 1.],
                [1., 1., 1.]], grad_fn=<SelectBackward0>)
    """
    op = "conv2d_in_plane"
    window = Window.of(op, inputs, 2, kernel_size=kernel_size, stride=stride, padding=padding, data_format=data_format)
    window.check_fits(op, inputs)
    channels = inputs.channels(window.data_format)
    biases = (biases_initializer, biases_regularizer)
    module = InPlaneConv2d(channels, window, has_bias(normalizer_fn, biases))
    module.set_up(
        weights=(weights_initializer, weights_regularizer),
        biases=biases,
        activation_fn=activation_fn,
        normalizer=normalizer_of(normalizer_fn, normalizer_params, window, window.output_shape(inputs, channels)),
        trainable=trainable,
    )
    return module


# TF-Slim's short names.
separable_conv2d = separable_convolution2d
conv2d_in_plane = convolution2d_in_plane
