"""Convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function, WeightedLayer, check_choice, make_normalizer
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer
from torchslim.layers.padding import constant_pads, pad, same_pads, symmetric
from torchslim.layers.utils import two_element_tuple


class Conv2d(WeightedLayer, nn.Conv2d):
    """The module of `slim.conv2d`: an `nn.Conv2d` with TensorFlow's padding, a normalizer and an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        rate: tuple[int, ...],
        padding: str,
        data_format: str,
        bias: bool,
    ) -> None:
        fixed = [0, 0] if padding == "VALID" else constant_pads(kernel_size, stride, rate)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,  # type: ignore[arg-type]
            stride,  # type: ignore[arg-type]
            padding=tuple(fixed or (0, 0)),  # type: ignore[arg-type]
            dilation=rate,  # type: ignore[arg-type]
            bias=bias,
        )
        self.pads_by_size = fixed is None
        self.data_format = data_format

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, H, W]` (or `[N, H, W, C]`)."""
        net = inputs.permute(0, 3, 1, 2) if self.data_format == "NHWC" else inputs
        if self.pads_by_size:
            pads = same_pads(net.shape[2:], self.kernel_size, self.stride, self.dilation)
            even = symmetric(pads)
            if even is None:
                net, even = pad(net, pads), [0, 0]
            net = nn.functional.conv2d(net, self.weight, self.bias, self.stride, even, self.dilation)
        else:
            net = self._conv_forward(net, self.weight, self.bias)
        return self.finish(net.permute(0, 2, 3, 1) if self.data_format == "NHWC" else net)


@add_arg_scope
@layer("Conv")
def convolution2d(
    inputs: Any,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: int | Sequence[int] = 1,
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
) -> Any:
    """A 2-D convolution, then a normalizer or a bias, then an activation (TF-Slim's `conv2d`).

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number, or height and width.
        stride: step of the filters; one number or two. Not together with a `rate`.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        rate: distance between the taps of the filter (dilation); one number or two.
        activation_fn: applied last; None: linear.
        normalizer_fn: a layer such as `slim.batch_norm`; it takes the place of the bias.
        normalizer_params: its arguments.
        weights_initializer: fills the kernel; default Xavier (Glorot) uniform, as TF-Slim.
        weights_regularizer: e.g. `slim.l2_regularizer(0.0005)`; its loss is collected.
        biases_initializer: fills the bias; None: no bias.
        biases_regularizer: of the bias.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables; a name, a list, or a dict by `'weights'` and `'biases'`.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        scope: its name; default `Conv`, made unique.

    Returns:
        A Symbol or tensor `[N, num_outputs, H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 4, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.conv2d(torch.zeros(1, 3, 9, 9), 8, [3, 3], stride=2, scope='doc_conv').shape
        torch.Size([1, 8, 5, 5])
        >>> slim.conv2d(3, 8, [3, 3], normalizer_fn=slim.batch_norm).weight.shape
        torch.Size([8, 3, 3, 3])
    """
    data_format = check_choice("conv2d", "data_format", data_format or scoped_data_format(), ("NCHW", "NHWC"))
    check_choice("conv2d", "padding", padding.upper() if isinstance(padding, str) else padding, ("SAME", "VALID"))
    inputs.check_rank("conv2d", (4,))
    kernel, strides, rates = (two_element_tuple(value) for value in (kernel_size, stride, rate))
    if max(strides) > 1 and max(rates) > 1:
        raise ValueError(f"conv2d: `stride` and `rate` cannot both be greater than 1. Got {stride} and {rate}.")
    (num_outputs,) = _positive("conv2d", "num_outputs", num_outputs)
    _check_fits(inputs, data_format, padding.upper(), kernel, rates)
    module = Conv2d(
        inputs.channels(data_format),
        num_outputs,
        kernel,
        strides,
        rates,
        padding.upper(),
        data_format,
        bias=normalizer_fn is None and biases_initializer is not None,
    )
    shape = (None, num_outputs, None, None) if data_format == "NCHW" else (None, None, None, num_outputs)
    module.set_up(
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        activation_fn=activation_fn,
        normalizer=make_normalizer(normalizer_fn, normalizer_params, shape, data_format=data_format),
        trainable=trainable,
    )
    return module


conv2d = convolution2d


def _positive(op: str, argument: str, value: Any) -> tuple[int]:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{op}: `{argument}` must be a positive integer. Got {value!r}.")
    return (value,)


def _check_fits(inputs: Incoming, data_format: str, padding: str, kernel: Sequence[int], rate: Sequence[int]) -> None:
    """A window that is larger than a VALID input has nowhere to go."""
    if inputs.shape is None or padding == "SAME":
        return
    sizes = inputs.shape[2:] if data_format == "NCHW" else inputs.shape[1:3]
    for size, window, gap in zip(sizes, kernel, rate, strict=True):
        if size is not None and (window - 1) * gap + 1 > size:
            raise ValueError(
                f"conv2d: with `padding='VALID'` the kernel must fit into the input. Got `kernel_size` {list(kernel)} "
                f"(rate {list(rate)}) for an input of shape {inputs.shape}."
            )
