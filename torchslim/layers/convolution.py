"""Convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from torchslim.arg_scope import add_arg_scope
from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function, check_choice
from torchslim.layers.conv_modules import make_convolution
from torchslim.layers.layer import layer
from torchslim.layers.windows import FORMATS, dims_of


@add_arg_scope
@layer("Conv")
def convolution(
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
    conv_dims: int | None = None,
) -> Any:
    """A convolution over 1 to 3 dimensions, then a normalizer or a bias, then an activation (TF-Slim's function).

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` (`[N, ..., C]` for channels-last), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number, or one for each dimension.
        stride: step of the filters; one number, or one for each dimension. Not together with a `rate`.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        data_format: channels-first (`'NCW'`, `'NCHW'`, `'NCDHW'`) or channels-last (`'NWC'`, `'NHWC'`, `'NDHWC'`);
            whichever name of the three. None: as the arg_scope says, else channels-first.
        rate: distance between the taps of the filter (dilation); one number, or one for each dimension.
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
        conv_dims: the number of dimensions of space; None: by the rank of `inputs` (or the length of `kernel_size`).

    Returns:
        A Symbol or tensor `[N, num_outputs, ...]`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not `conv_dims + 2`, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.convolution(torch.zeros(1, 3, 9, 9), 8, 3, stride=2, scope='doc_convolution').shape
        torch.Size([1, 8, 5, 5])
        >>> slim.convolution(3, 8, 5, conv_dims=1)
        Conv1d(3, 8, kernel_size=(5,), stride=(1,), padding=(2,))
    """
    if conv_dims is None:
        conv_dims = dims_of("convolution", inputs, kernel_size)
    check_choice("convolution", "conv_dims", conv_dims, (1, 2, 3))
    return make_convolution(
        "convolution",
        conv_dims,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        rate=rate,
        formats=FORMATS,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


@add_arg_scope
@layer("Conv")
def convolution1d(
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
    """A 1-D convolution, over sequences, then a normalizer or a bias, then an activation (TF-Slim's `conv1d`).

    Args:
        inputs: a Symbol or tensor `[N, C, W]` (`[N, W, C]` for NWC), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number.
        stride: step of the filters; one number. Not together with a `rate`.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        data_format: `'NCW'` or `'NWC'` (or as for images). None: as the arg_scope says, else channels-first.
        rate: distance between the taps of the filter (dilation); one number.
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
        A Symbol or tensor `[N, num_outputs, W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 3, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.conv1d(torch.zeros(1, 3, 9), 8, 3, stride=2, scope='doc_conv1d').shape
        torch.Size([1, 8, 5])
    """
    return make_convolution(
        "conv1d",
        1,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        rate=rate,
        formats=FORMATS,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


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
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first.
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
    return make_convolution(
        "conv2d",
        2,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        rate=rate,
        formats=FORMATS,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


@add_arg_scope
@layer("Conv")
def convolution3d(
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
    """A 3-D convolution, then a normalizer or a bias, then an activation (TF-Slim's `conv3d`).

    Args:
        inputs: a Symbol or tensor `[N, C, D, H, W]` (`[N, D, H, W, C]` for NDHWC), or the number of input channels.
        num_outputs: the number of filters.
        kernel_size: of the filters: one number, or depth, height and width.
        stride: step of the filters; one number or three. Not together with a `rate`.
        padding: `'SAME'` (the output has `ceil(size / stride)`, as TensorFlow pads) or `'VALID'` (none).
        data_format: `'NCDHW'` or `'NDHWC'` (or as for images). None: as the arg_scope says, else channels-first.
        rate: distance between the taps of the filter (dilation); one number or three.
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
        A Symbol or tensor `[N, num_outputs, D', H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range, the rank is not 5, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.conv3d(torch.zeros(1, 3, 4, 9, 9), 8, [1, 3, 3], stride=[1, 2, 2], scope='doc_conv3d').shape
        torch.Size([1, 8, 4, 5, 5])
    """
    return make_convolution(
        "conv3d",
        3,
        inputs,
        num_outputs,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
        rate=rate,
        formats=FORMATS,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        trainable=trainable,
    )


# TF-Slim's short names.
conv1d = convolution1d
conv2d = convolution2d
conv3d = convolution3d
