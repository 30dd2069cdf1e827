"""The modules of convolutions: PyTorch's, with TensorFlow's padding, a normalizer and an activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from torchslim.layers.base import Function, WeightedLayer, make_normalizer
from torchslim.layers.incoming import Incoming
from torchslim.layers.padding import constant_pads, pad, same_pads, symmetric
from torchslim.layers.windows import Window


class Convolution(WeightedLayer):
    """A convolution over any number of dimensions, beside `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`.

    Attributes:
        function: the function that convolves, given the padding.
        data_format: the layout of what flows in and out.
        pads_by_size: whether the padding depends on the size of what flows in, or is not symmetric.
        covers_image: whether the window covers the images that the layer was built for: it is a dense layer then.
    """

    function: ClassVar[Function]
    weight: torch.Tensor
    bias: torch.Tensor | None
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    _conv_forward: Any

    def __init__(self, in_channels: int, out_channels: int, window: Window, bias: bool, groups: int = 1) -> None:
        fixed = [0] * len(window.kernel)
        pads = fixed if window.padding == "VALID" else constant_pads(window.kernel, window.stride, window.rate)
        super().__init__(
            in_channels,
            out_channels,
            window.kernel,
            window.stride,
            padding=tuple(pads or fixed),
            dilation=window.rate,
            groups=groups,
            bias=bias,
        )
        self.pads_by_size = pads is None
        self.covers_image = False
        self.data_format = window.data_format
        self.channels_last = self.gives_view = window.channels_last

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        net = self.convolve(inputs.movedim(-1, 1) if self.channels_last else inputs, self.weight)
        return self.finish(net.movedim(1, -1) if self.channels_last else net)

    def convolve(self, net: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Convolves `[N, C, ...]`; copies it only where PyTorch cannot pad as TensorFlow does."""
        if not self.pads_by_size:
            return self._conv_forward(net, weight, self.bias)
        pads = same_pads(net.shape[2:], self.kernel_size, self.stride, self.dilation)
        even = symmetric(pads)
        if even is None:
            net, even = pad(net, pads), [0] * len(pads)
        return type(self).function(net, weight, self.bias, self.stride, even, self.dilation, self.groups)


class Conv1d(Convolution, nn.Conv1d):
    """The module of `slim.conv1d`."""

    function = functional.conv1d


class Conv2d(Convolution, nn.Conv2d):
    """The module of `slim.conv2d`: an `nn.Conv2d` with TensorFlow's padding, a normalizer and an activation."""

    function = functional.conv2d

    def convolve(self, net: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Convolves; where one window covers the whole image (the dense layers of VGG), as the matrix product it is."""
        if self.pads_by_size or any(self.padding) or max(self.dilation) > 1 or self.groups > 1:
            return super().convolve(net, weight)
        # Sizes that are symbols stay open: a model exported for any image size keeps its convolution.
        if not all(type(size) is int and size == k for size, k in zip(net.shape[2:], self.kernel_size, strict=True)):
            return super().convolve(net, weight)
        order = (0, 1, 2, 3) if weight.is_contiguous() else (0, 2, 3, 1)  # as the kernel lies in memory: no copy
        product = functional.linear(net.permute(order).flatten(1), weight.permute(order).flatten(1), self.bias)
        return product[:, :, None, None]


class Conv3d(Convolution, nn.Conv3d):
    """The module of `slim.conv3d`."""

    function = functional.conv3d


CONVOLUTIONS: dict[int, Any] = {1: Conv1d, 2: Conv2d, 3: Conv3d}


def make_convolution(
    op: str,
    dims: int,
    inputs: Incoming,
    num_outputs: int,
    *,
    normalizer_fn: Function | None,
    normalizer_params: Mapping[str, Any] | None,
    weights: tuple[Any, Any],
    biases: tuple[Any, Any],
    activation_fn: Function | None,
    trainable: bool,
    **window: Any,
) -> Convolution:
    """The module of a convolution; `weights` and `biases` are pairs of an initializer and a regularizer."""
    at = Window.of(op, inputs, dims, **window)
    at.check_fits(op, inputs)
    check_positive(op, "num_outputs", num_outputs)
    bias = has_bias(normalizer_fn, biases)
    module: Convolution = CONVOLUTIONS[dims](inputs.channels(at.data_format), num_outputs, at, bias)
    if inputs.shape is not None and at.padding == "VALID":
        module.covers_image = at.kernel == (inputs.shape[1:-1] if at.channels_last else inputs.shape[2:])
    module.set_up(
        weights=weights,
        biases=biases,
        activation_fn=activation_fn,
        normalizer=normalizer_of(normalizer_fn, normalizer_params, at, at.output_shape(inputs, num_outputs)),
        trainable=trainable,
    )
    return module


def has_bias(normalizer_fn: Function | None, biases: tuple[Any, Any]) -> bool:
    """Whether there is a bias: a normalizer takes its place, and without an initializer there is none."""
    return normalizer_fn is None and biases[0] is not None


def normalizer_of(
    function: Function | None, parameters: Mapping[str, Any] | None, window: Window, shape: tuple[int | None, ...]
) -> nn.Module | None:
    """The module of a `normalizer_fn` behind a convolution."""
    return make_normalizer(function, parameters, shape, data_format="NHWC" if window.channels_last else "NCHW")


def check_positive(op: str, argument: str, value: Any) -> None:
    """Raises a ValueError unless `value` is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{op}: `{argument}` must be a positive integer. Got {value!r}.")
