"""What the networks share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from torchslim.arg_scope import arg_scope_func_key, current_arg_scope
from torchslim.graph import Symbol
from torchslim.graph.symbol import Value
from torchslim.layers import conv2d
from torchslim.layers.utils import two_element_tuple


def spatial_dimensions() -> tuple[int, int]:
    """The dimensions of height and width: those of the `data_format` that an arg_scope gives to `conv2d`.

    Example:
        >>> import torchslim as slim
        >>> with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format='NHWC'):
        ...     spatial_dimensions()
        (1, 2)
    """
    setting = current_arg_scope().get(arg_scope_func_key(conv2d), {}).get("data_format")
    return (1, 2) if setting is not None and setting.value == "NHWC" else (2, 3)


def channel_dimension() -> int:
    """The dimension of the channels, by the same rule.

    Example:
        >>> channel_dimension()
        1
    """
    return 3 if spatial_dimensions() == (1, 2) else 1


def join_channels(features: Sequence[Any]) -> Any:
    """Features side by side: all channels of the first, then all of the second, ...

    Example:
        >>> import torch
        >>> join_channels([torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 8, 8)]).shape
        torch.Size([1, 8, 8, 8])
    """
    return torch.cat(list(features), channel_dimension())


def squeezed(logits: Symbol, spatial_squeeze: bool = True) -> Symbol:
    """Logits `[N, classes, 1, 1]` without the dimensions of space, if they are to go.

    Raises:
        ValueError: if they are to go but hold more than one place, or an unknown number.

    Example:
        >>> import torch
        >>> squeezed(torch.zeros(2, 10, 1, 1)).shape
        torch.Size([2, 10])
    """
    space = spatial_dimensions()
    if not spatial_squeeze:
        return logits
    if any(logits.shape[dimension] != 1 for dimension in space):
        raise ValueError(
            f"logits: with `spatial_squeeze` they must be of one place. Got shape {tuple(logits.shape)}. Give "
            "`spatial_squeeze=False` for a map of logits, or images of the network's size, or `global_pool=True`."
        )
    return logits.squeeze(space)


def shrunk_window(net: Symbol, window: tuple[int, int]) -> tuple[int, int]:
    """`window`, or the image where that is smaller; images of unknown size count as large enough.

    Example:
        >>> import torch
        >>> shrunk_window(torch.zeros(1, 3, 5, 9), (7, 7))
        (5, 7)
    """
    sizes = [net.shape[dimension] for dimension in spatial_dimensions()]
    height, width = (side if size is None else min(side, size) for side, size in zip(window, sizes, strict=True))
    return height, width


def channels_of(inputs: Symbol) -> int:
    """How many channels there are, which must be known.

    Example:
        >>> import torch
        >>> channels_of(torch.zeros(1, 3, 8, 8))
        3
    """
    channels = inputs.shape[channel_dimension()]
    if channels is None:
        raise ValueError(f"channels_of: the number of channels must be known. Got shape {inputs.shape}.")
    return channels


def fixed_padding(inputs: Value, kernel_size: int | Sequence[int], rate: int = 1) -> Value:
    """Pads images with zeros as a convolution of stride 1 needs it, whatever their size.

    Before a `'VALID'` convolution with a stride, the windows then begin where they would with a stride of 1; those of
    `'SAME'` depend on the size of the image.

    Args:
        inputs: images `[N, C, H, W]`, or `[N, H, W, C]` by the rule of `spatial_dimensions`.
        kernel_size: of the convolution: one number, or height and width.
        rate: distance between its taps.

    Example:
        >>> import torch
        >>> fixed_padding(torch.zeros(1, 3, 8, 8), 3).shape, fixed_padding(torch.zeros(1, 3, 8, 8), [1, 4], 2).shape
        (torch.Size([1, 3, 10, 10]), torch.Size([1, 3, 8, 14]))
    """
    pads = [0, 0] if channel_dimension() == 3 else []  # the last dimension comes first
    for size in reversed(two_element_tuple(kernel_size)):
        total = (size - 1) * rate
        pads += [total // 2, total - total // 2]
    return functional.pad(inputs, pads) if any(pads) else inputs


class Strides:
    """Divides the strides of a network's layers into steps and gaps, so that its stride stays at a target.

    Where the target is reached, a layer steps by one and the layers behind it leave gaps ("atrous" convolutions,
    arXiv:1606.00915): they see the same features, at more places.

    Args:
        target: the ratio of the sizes of input and output; None: all strides are steps.

    Attributes:
        reached: the stride so far.
        rate: the gaps that the next layer leaves once the target is reached.

    Example:
        >>> strides = Strides(4)
        >>> [strides.take(stride) for stride in (2, 1, 2, 2, 1, 2, 1)]
        [(2, 1), (1, 1), (2, 1), (1, 1), (1, 2), (1, 2), (1, 4)]
    """

    def __init__(self, target: int | None) -> None:
        self.target = target
        self.reached = 1
        self.rate = 1

    def take(self, stride: int) -> tuple[int, int]:
        """The step and the rate of the next layer, whose stride is `stride` by itself."""
        if self.reached != self.target:
            self.reached *= stride
            return stride, 1
        rate, self.rate = self.rate, self.rate * stride
        return 1, rate


def variant(function: Callable[..., Any], **defaults: Any) -> Callable[..., Any]:
    """A network with other defaults: `function` under its name and docstring, and its `default_image_size`.

    Example:
        >>> import inspect
        >>> from torchslim.nets import mobilenet_v1
        >>> inspect.signature(variant(mobilenet_v1.mobilenet_v1, num_classes=5)).parameters['num_classes'].default
        5
    """
    changed = functools.update_wrapper(functools.partial(function, **defaults), function)
    del changed.__wrapped__  # or its signature would be that of `function`
    return changed
