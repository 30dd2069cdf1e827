"""Transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function, WeightedLayer
from torchslim.layers.conv_modules import check_positive, has_bias, normalizer_of
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import layer
from torchslim.layers.windows import Window


class TransposedConvolution(WeightedLayer):
    """The gradient of a convolution, beside `nn.ConvTranspose2d` or `nn.ConvTranspose3d`.

    Attributes:
        function: the function that computes it.
        data_format: the layout of what flows in and out.
        kept: what is kept of each dimension: `SAME` cuts an odd one off behind, as the convolution that it is the
            gradient of pads there.
    """

    function: ClassVar[Function]
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, in_channels: int, out_channels: int, window: Window, bias: bool) -> None:
        over = [k - s if window.padding == "SAME" else 0 for k, s in zip(window.kernel, window.stride, strict=True)]
        super().__init__(
            in_channels,
            out_channels,
            window.kernel,
            window.stride,
            padding=tuple(max(size, 0) // 2 for size in over),
            # A kernel smaller than the stride leaves a gap behind the last window.
            output_padding=tuple(max(s - k, 0) for k, s in zip(window.kernel, window.stride, strict=True)),
            bias=bias,
        )
        self.kept = tuple(slice(-1) if size > 0 and size % 2 else slice(None) for size in over)
        self.cuts = any(part.stop for part in self.kept)
        self.data_format = window.data_format
        self.channels_last = window.channels_last
        self.gives_view = self.cuts or self.channels_last

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        net = inputs.movedim(-1, 1) if self.channels_last else inputs
        net = type(self).function(net, self.weight, self.bias, self.stride, self.padding, self.output_padding)
        if self.cuts:
            net = net[..., *self.kept]
        return self.finish(net.movedim(1, -1) if self.channels_last else net)


class ConvTranspose2d(TransposedConvolution, nn.ConvTranspose2d):  # type: ignore[misc]
    """The module of `slim.conv2d_transpose`."""

    function = functional.conv_transpose2d


class ConvTranspose3d(TransposedConvolution, nn.ConvTranspose3d):  # type: ignore[misc]
    """The module of `slim.conv3d_transpose`."""

    function = functional.conv_transpose3d


_MODULES: dict[int, Any] = {2: ConvTranspose2d, 3: ConvTranspose3d}


def _make(
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
) -> TransposedConvolution:
    at = Window.of(op, inputs, dims, **window)
    check_positive(op, "num_outputs", num_outputs)
    bias = has_bias(normalizer_fn, biases)
    module: TransposedConvolution = _MODULES[dims](inputs.channels(at.data_format), num_outputs, at, bias)
    sizes = [
        None if size is None else size * step + (max(window - step, 0) if at.padding == "VALID" else 0)
        for size, window, step in zip(at.sizes(inputs), at.kernel, at.stride, strict=True)
    ]
    module.set_up(
        weights=weights,
        biases=biases,
        activation_fn=activation_fn,
        normalizer=normalizer_of(normalizer_fn, normalizer_params, at, at.shape(num_outputs, sizes)),
        trainable=trainable,
    )
    return module


@add_arg_scope
@layer("Conv2d_transpose")
def convolution2d_transpose(
    inputs: Any,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
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
    """A transposed 2-D convolution, then a normalizer or a bias, then an activation (TF-Slim's `conv2d_transpose`).

    It is the gradient of the convolution that makes an input of this size of an output of its size.

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number, or height and width.
        stride: how much larger the output is: one number or two.
        padding: `'SAME'` (the output has `size * stride`) or `'VALID'` (`size * stride + max(kernel - stride, 0)`).
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first.
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
        scope: its name; default `Conv2d_transpose`, made unique.

    Returns:
        A Symbol or tensor `[N, num_outputs, H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 4, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.conv2d_transpose(torch.zeros(1, 3, 5, 5), 8, [3, 3], stride=2, scope='doc_deconv').shape
        torch.Size([1, 8, 10, 10])
        >>> slim.conv2d_transpose(torch.zeros(1, 3, 5, 5), 8, [3, 3], stride=2, padding='VALID').shape
        torch.Size([1, 8, 11, 11])
    """
    return _make(
        "conv2d_transpose",
        2,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


@add_arg_scope
@layer("Conv3d_transpose")
def convolution3d_transpose(
    inputs: Any,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
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
    """A transposed 3-D convolution, then a normalizer or a bias, then an activation (TF-Slim's `conv3d_transpose`).

    It is the gradient of the convolution that makes an input of this size of an output of its size.

    Args:
        inputs: a Symbol or tensor `[N, C, D, H, W]` (`[N, D, H, W, C]` for NDHWC), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number, or depth, height and width.
        stride: how much larger the output is: one number or three.
        padding: `'SAME'` (the output has `size * stride`) or `'VALID'` (`size * stride + max(kernel - stride, 0)`).
        data_format: `'NCDHW'` or `'NDHWC'` (or as for images). None: as the arg_scope says, else channels-first.
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
        scope: its name; default `Conv3d_transpose`, made unique.

    Returns:
        A Symbol or tensor `[N, num_outputs, D', H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 5, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.conv3d_transpose(torch.zeros(1, 3, 2, 5, 5), 8, 3, stride=[1, 2, 2], scope='doc_deconv3d').shape
        torch.Size([1, 8, 2, 10, 10])
    """
    return _make(
        "conv3d_transpose",
        3,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


# TF-Slim's short names.
conv2d_transpose = convolution2d_transpose
conv3d_transpose = convolution3d_transpose
