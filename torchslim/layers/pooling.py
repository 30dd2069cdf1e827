"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer
from torchslim.layers.padding import Pads, pad, same_pads
from torchslim.layers.utils import two_element_tuple


class Pool2d(nn.Module):
    """The module of the 2-D pools, with TensorFlow's padding.

    What pads is never counted: maxima ignore it, averages divide by the number of real elements.
    """

    def __init__(self, kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: str, data_format: str) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.data_format = data_format

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}"

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, H, W]` (or `[N, H, W, C]`)."""
        net = inputs.permute(0, 3, 1, 2) if self.data_format == "NHWC" else inputs
        if self.padding == "VALID":
            net = self.pool(net, 0, False)
        else:
            pads = same_pads(net.shape[2:], self.kernel_size, self.stride, (1, 1))
            if all(before == after for before, after in pads):
                net = self.pool(net, [before for before, _ in pads], False)
            elif all(
                before == 0 and (after == 0 or step > 1)
                for (before, after), step in zip(pads, self.stride, strict=True)
            ):
                net = self.pool(net, 0, True)  # rounding up adds what is missing behind, and does not count it
            else:
                net = self.pool_padded(net, pads)
        return net.permute(0, 2, 3, 1) if self.data_format == "NHWC" else net

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        raise TypeError("Pool2d: use MaxPool2d or AvgPool2d.")

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        raise TypeError("Pool2d: use MaxPool2d or AvgPool2d.")


class MaxPool2d(Pool2d):
    """The module of `slim.max_pool2d`."""

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        return functional.max_pool2d(net, self.kernel_size, self.stride, padding, ceil_mode=ceil_mode)

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        return self.pool(pad(net, pads, -torch.inf), 0, False)


class AvgPool2d(Pool2d):
    """The module of `slim.avg_pool2d`."""

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        return functional.avg_pool2d(net, self.kernel_size, self.stride, padding, ceil_mode, count_include_pad=False)

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        real = pad(torch.ones_like(net[:1, :1]), pads)
        return self.pool(pad(net, pads), 0, False) / self.pool(real, 0, False)


def _pool(
    op: str,
    module: type[Pool2d],
    inputs: Incoming,
    kernel_size: Any,
    stride: Any,
    padding: str,
    data_format: str | None,
) -> Pool2d:
    data_format = check_choice(op, "data_format", data_format or scoped_data_format(), ("NCHW", "NHWC"))
    padding = check_choice(op, "padding", padding.upper() if isinstance(padding, str) else padding, ("SAME", "VALID"))
    inputs.check_rank(op, (4,))
    kernel = two_element_tuple(kernel_size)
    if inputs.shape is not None and padding == "VALID":
        sizes = inputs.shape[2:] if data_format == "NCHW" else inputs.shape[1:3]
        if any(size is not None and window > size for size, window in zip(sizes, kernel, strict=True)):
            raise ValueError(
                f"{op}: with `padding='VALID'` the window must fit the input. Got `kernel_size` {list(kernel)} for "
                f"an input of shape {inputs.shape}."
            )
    return module(kernel, two_element_tuple(stride), padding, data_format)


@add_arg_scope
@layer("MaxPool2D", variables=False)
def max_pool2d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Maxima over windows (TF-Slim's `max_pool2d`).

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of channels.
        kernel_size: of the window: one number, or height and width.
        stride: step of the window; default 2, as in TF-Slim.
        padding: `'VALID'` or TensorFlow's `'SAME'`, which never wins a maximum.
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        outputs_collections: collections for the output.
        scope: its name; default `MaxPool2D`, made unique.

    Returns:
        A Symbol or tensor `[N, C, H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or the window does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.max_pool2d(torch.zeros(1, 3, 9, 9), [2, 2]).shape
        torch.Size([1, 3, 4, 4])
        >>> slim.max_pool2d(torch.zeros(1, 3, 9, 9), [2, 2], padding='SAME').shape
        torch.Size([1, 3, 5, 5])
    """
    return _pool("max_pool2d", MaxPool2d, inputs, kernel_size, stride, padding, data_format)


@add_arg_scope
@layer("AvgPool2D", variables=False)
def avg_pool2d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Averages over windows (TF-Slim's `avg_pool2d`).

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` (`[N, H, W, C]` for NHWC), or the number of channels.
        kernel_size: of the window: one number, or height and width.
        stride: step of the window; default 2, as in TF-Slim.
        padding: `'VALID'` or TensorFlow's `'SAME'`, which is not counted in the average.
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        outputs_collections: collections for the output.
        scope: its name; default `AvgPool2D`, made unique.

    Returns:
        A Symbol or tensor `[N, C, H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or the window does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.avg_pool2d(torch.ones(1, 1, 3, 3), [2, 2], padding='SAME')[0, 0]
        tensor([[1., 1.],
                [1., 1.]])
    """
    return _pool("avg_pool2d", AvgPool2d, inputs, kernel_size, stride, padding, data_format)
