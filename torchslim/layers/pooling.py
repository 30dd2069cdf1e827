"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import layer
from torchslim.layers.padding import Pads, pad, same_pads
from torchslim.layers.windows import Window, dims_of

# By the number of dimensions of space.
_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE: dict[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONVOLVE: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Pool(nn.Module):
    """A pool over any number of dimensions, with TensorFlow's padding.

    What pads is never counted: maxima ignore it, averages divide by the number of real elements.
    """

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation, self.padding, self.data_format = window
        self.channels_last = window.channels_last

    def extra_repr(self) -> str:
        """What printing the module shows."""
        rate = f", dilation={self.dilation}" if max(self.dilation) > 1 else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}{rate}, padding={self.padding!r}"

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        net = inputs.movedim(-1, 1) if self.channels_last else inputs
        if self.padding == "VALID":
            net = self.pool(net, 0, False)
        else:
            pads = same_pads(net.shape[2:], self.kernel_size, self.stride, self.dilation)
            uneven = [step for (before, after), step in zip(pads, self.stride, strict=True) if before != after]
            if 1 in uneven:
                net = self.pool_padded(net, pads)
            else:
                # Rounding up adds what is missing behind, and does not count it.
                net = self.pool(net, [before for before, _ in pads], bool(uneven))
        return net.movedim(1, -1) if self.channels_last else net

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        raise TypeError("Pool: use MaxPool or AvgPool.")

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        raise TypeError("Pool: use MaxPool or AvgPool.")


class MaxPool(Pool):
    """The module of `slim.max_pool2d` and `slim.max_pool3d`."""

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        pool = _MAX[len(self.kernel_size)]
        return pool(net, self.kernel_size, self.stride, padding, self.dilation, ceil_mode=ceil_mode)

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        return self.pool(pad(net, pads, -torch.inf), 0, False)


class AvgPool(Pool):
    """The module of `slim.avg_pool2d` and `slim.avg_pool3d`."""

    def pool(self, net: torch.Tensor, padding: Any, ceil_mode: bool) -> torch.Tensor:
        """Pools, with PyTorch's ways of padding."""
        dims = len(self.kernel_size)
        if max(self.dilation) > 1:  # PyTorch's averages have no gaps: convolve each channel with a constant
            taps = torch.Size(self.kernel_size).numel()
            kernel = net.new_full((net.shape[1], 1, *self.kernel_size), 1 / taps)
            return _CONVOLVE[dims](net, kernel, dilation=self.dilation, groups=net.shape[1])
        return _AVERAGE[dims](net, self.kernel_size, self.stride, padding, ceil_mode, count_include_pad=False)

    def pool_padded(self, net: torch.Tensor, pads: Pads) -> torch.Tensor:
        """Pools, with any padding."""
        real = pad(torch.ones_like(net[:1, :1]), pads)
        return self.pool(pad(net, pads), 0, False) / self.pool(real, 0, False)


def _make(
    op: str, module: type[Pool], inputs: Incoming, dims: int, *, rate_name: str = "rate", **arguments: Any
) -> Pool:
    window = Window.of(op, inputs, dims, rate_name=rate_name, **arguments)
    window.check_fits(op, inputs)
    return module(window)


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
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first.
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
    return _make(
        "max_pool2d",
        MaxPool,
        inputs,
        2,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
    )


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
        data_format: `'NCHW'` or `'NHWC'`. None: as the arg_scope says, else channels-first.
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
    return _make(
        "avg_pool2d",
        AvgPool,
        inputs,
        2,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
    )


@add_arg_scope
@layer("MaxPool3D", variables=False)
def max_pool3d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Maxima over windows (TF-Slim's `max_pool3d`).

    Args:
        inputs: a Symbol or tensor `[N, C, D, H, W]` (`[N, D, H, W, C]` for NDHWC), or the number of channels.
        kernel_size: of the window: one number, or depth, height and width.
        stride: step of the window; default 2, as in TF-Slim.
        padding: `'VALID'` or TensorFlow's `'SAME'`, which never wins a maximum.
        data_format: `'NCDHW'` or `'NDHWC'` (or as for images). None: as the arg_scope says, else channels-first.
        outputs_collections: collections for the output.
        scope: its name; default `MaxPool3D`, made unique.

    Returns:
        A Symbol or tensor `[N, C, D', H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or the window does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.max_pool3d(torch.zeros(1, 3, 4, 9, 9), [1, 2, 2], [1, 2, 2]).shape
        torch.Size([1, 3, 4, 4, 4])
    """
    return _make(
        "max_pool3d",
        MaxPool,
        inputs,
        3,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
    )


@add_arg_scope
@layer("AvgPool3D", variables=False)
def avg_pool3d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Averages over windows (TF-Slim's `avg_pool3d`).

    Args:
        inputs: a Symbol or tensor `[N, C, D, H, W]` (`[N, D, H, W, C]` for NDHWC), or the number of channels.
        kernel_size: of the window: one number, or depth, height and width.
        stride: step of the window; default 2, as in TF-Slim.
        padding: `'VALID'` or TensorFlow's `'SAME'`, which is not counted in the average.
        data_format: `'NCDHW'` or `'NDHWC'` (or as for images). None: as the arg_scope says, else channels-first.
        outputs_collections: collections for the output.
        scope: its name; default `AvgPool3D`, made unique.

    Returns:
        A Symbol or tensor `[N, C, D', H', W']`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or the window does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.avg_pool3d(torch.ones(1, 1, 3, 3, 3), 2, padding='SAME').sum()
        tensor(8.)
    """
    return _make(
        "avg_pool3d",
        AvgPool,
        inputs,
        3,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        data_format=data_format,
    )


@add_arg_scope
def pool(
    inputs: Any,
    kernel_size: int | Sequence[int],
    pooling_type: str,
    padding: str = "VALID",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    stride: int | Sequence[int] = 1,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Maxima or averages over windows in 1 to 3 dimensions (TF-Slim's `pool`).

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` (`[N, ..., C]` for channels-last), or the number of channels.
        kernel_size: of the window: one number, or one for each dimension.
        pooling_type: `'MAX'` or `'AVG'`.
        padding: `'VALID'` or TensorFlow's `'SAME'`, which is never counted. Not `'SAME'` with a `dilation_rate`.
        data_format: channels-first (`'NCW'`, `'NCHW'`, `'NCDHW'`) or channels-last (`'NWC'`, `'NHWC'`, `'NDHWC'`).
            None: as the arg_scope says, else channels-first.
        dilation_rate: distance between the elements of a window. Not together with a `stride`.
        stride: step of the window, not larger than it; default 1, as in TF-Slim.
        outputs_collections: collections for the output.
        scope: its name; default `max_pool` or `avg_pool`, made unique.

    Returns:
        A Symbol or tensor `[N, C, ...]`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or the window does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.pool(torch.arange(6.0).reshape(1, 1, 6), 2, 'MAX', dilation_rate=2)
        tensor([[[2., 3., 4., 5.]]])
        >>> slim.pool(torch.arange(6.0).reshape(1, 1, 6), 3, 'AVG', 'SAME', stride=2)
        tensor([[[1.0000, 3.0000, 4.5000]]])
    """
    kind = check_choice("pool", "pooling_type", pooling_type, ("MAX", "AVG"))
    return _POOLS[kind](
        inputs,
        kernel_size,
        padding,
        data_format,
        dilation_rate,
        stride,
        outputs_collections=outputs_collections,
        scope=scope,
    )


pool.is_slim_layer = True  # type: ignore[attr-defined]  # it is one of two layers that have names of their own


def _any_pool(module: type[Pool]) -> Any:
    def pool(
        inputs: Incoming, kernel_size: Any, padding: str, data_format: str | None, dilation_rate: Any, stride: Any
    ) -> Pool:
        dims = dims_of("pool", inputs, kernel_size)
        made = _make(
            "pool",
            module,
            inputs,
            dims,
            rate_name="dilation_rate",
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            data_format=data_format,
            rate=dilation_rate,
        )
        if made.padding == "SAME" and max(made.dilation) > 1:
            raise ValueError(f"pool: `padding='SAME'` needs a `dilation_rate` of 1. Got {dilation_rate!r}.")
        if any(step > window for step, window in zip(made.stride, made.kernel_size, strict=True)):
            raise ValueError(f"pool: `stride` must not be larger than `kernel_size`. Got {stride} and {kernel_size}.")
        return made

    return pool


_POOLS = {
    "MAX": layer("max_pool", variables=False)(_any_pool(MaxPool)),
    "AVG": layer("avg_pool", variables=False)(_any_pool(AvgPool)),
}
