"""Activations that are layers: softmax, spatial softmax, maxout; and functions of a tensor."""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Layer
from torchslim.graph.symbol import Value
from torchslim.initializers import constant_initializer
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer


def _channel_axis(op: str, inputs: Incoming, data_format: str | None) -> int:
    data_format = check_choice(op, "data_format", data_format or scoped_data_format(), ("NHWC", "NCHW"))
    inputs.channels(data_format)  # an error if they are not fixed
    return -1 if data_format == "NHWC" else 1


@add_arg_scope
@layer("softmax")
def softmax(logits: Any, scope: str | None = None, *, data_format: str | None = None) -> Any:
    """Probabilities over the classes, which are where the channels are (TF-Slim's `softmax`).

    Args:
        logits: a Symbol or tensor `[N, classes]`, `[N, classes, ...]` for `'NCHW'`, `[N, ..., classes]` for `'NHWC'`;
            or a number: then only the module is made.
        scope: its name; default `softmax`, made unique.
        data_format: None: as the arg_scope says of any layer, else `'NCHW'`. TF-Slim has the last dimension only.

    Returns:
        A Symbol or tensor of the shape of `logits`.

    Raises:
        ValueError: if `logits` has less than two dimensions, or the number of classes is not fixed.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.softmax(torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.5000]])
    """
    return nn.Softmax(_channel_axis("softmax", logits, data_format))


class SpatialSoftmax(Layer):
    """The module of `slim.spatial_softmax`."""

    slim_names = MappingProxyType({"temperature": "temperature"})

    def __init__(self, data_format: str) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.empty(()))
        self.data_format = data_format

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The expected row and column of each channel: `[N, C * 2]`."""
        if self.data_format == "NHWC":
            features = features.permute(0, 3, 1, 2)
        height, width = features.shape[2:]
        attention = (features.flatten(2) / self.temperature).softmax(-1).unflatten(2, (height, width))
        rows = torch.linspace(-1, 1, height, device=features.device, dtype=attention.dtype)
        columns = torch.linspace(-1, 1, width, device=features.device, dtype=attention.dtype)
        return torch.stack([attention.sum(3) @ rows, attention.sum(2) @ columns], 2).flatten(1)


@add_arg_scope
def spatial_softmax(
    features: Any,
    temperature: float | None = None,
    name: str | None = None,
    variables_collections: Any = None,
    trainable: bool = True,
    data_format: str | None = None,
) -> Any:
    """Where each channel is strongest: the mean position under a softmax over space (TF-Slim's `spatial_softmax`).

    Deep Spatial Autoencoders for Visuomotor Learning, arXiv:1509.06113.

    Args:
        features: a Symbol or tensor `[N, C, H, W]` for `'NCHW'`, `[N, H, W, C]` for `'NHWC'`; or the number of
            channels: then only the module is made.
        temperature: the first value of the variable `temperature` that divides the features; None: 1.
        name: its scope; default `spatial_softmax`, made unique.
        variables_collections: collections for the temperature.
        trainable: whether training changes the temperature.
        data_format: None: as the arg_scope says of any layer, else `'NCHW'`.

    Returns:
        A Symbol or tensor `[N, C * 2]`: row and column, each from -1 to 1, of the first channel, of the second, ...

    Raises:
        ValueError: if `features` is not of rank 4, `data_format` is unknown, or the number of channels is not fixed.

    Example:
        >>> import torch, torchslim as slim
        >>> peak = torch.zeros(1, 1, 3, 3)
        >>> peak[0, 0, 0, 1] = 100
        >>> slim.spatial_softmax(peak, trainable=False, name='doc_peak')
        tensor([[-1., 0.]])
    """
    return _spatial_softmax(
        features,
        1.0 if temperature is None else temperature,
        trainable,
        data_format or scoped_data_format(),
        variables_collections=variables_collections if trainable else None,
        scope=name,
    )


@layer("spatial_softmax")
def _spatial_softmax(
    inputs: Incoming,
    temperature: float,
    trainable: bool,
    data_format: str,
    variables_collections: Any = None,
    scope: str | None = None,
) -> nn.Module:
    check_choice("spatial_softmax", "data_format", data_format, ("NHWC", "NCHW"))
    inputs.check_rank("spatial_softmax", (4,))
    inputs.channels(data_format)  # an error if they are not fixed
    module = SpatialSoftmax(data_format)
    module.initializers["temperature"] = constant_initializer(temperature)
    module.requires_grad_(trainable)
    module.reset_parameters()
    return module


class Maxout(nn.Module):
    """The module of `slim.maxout`."""

    def __init__(self, num_units: int, axis: int) -> None:
        super().__init__()
        self.num_units = num_units
        self.axis = axis

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The maximum of each group."""
        shape = list(inputs.shape)
        group = shape[self.axis] // self.num_units
        shape[self.axis] = self.num_units
        return inputs.reshape(*shape, group).amax(-1)


class ChannelMaxout(Maxout):
    """The same over groups of neighbouring channels, wherever they are."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The maximum of each group of channels."""
        axis = self.axis % inputs.ndim
        return inputs.unflatten(axis, (self.num_units, -1)).amax(axis + 1)


@add_arg_scope
@layer("MaxOut")
def maxout(
    inputs: Any, num_units: int, axis: int | None = None, scope: str | None = None, *, data_format: str | None = None
) -> Any:
    """The maximum over groups of channels (TF-Slim's `maxout`); Maxout Networks, arXiv:1302.4389.

    TF-Slim: an explicit `axis` other than the last groups values that follow each other in memory, not along `axis`.

    Args:
        inputs: a Symbol or tensor, or the number of channels: then only the module is made.
        num_units: how many are left along the axis; its size must be a multiple.
        axis: the dimension to reduce; None: that of the channels (TF-Slim's -1).
        scope: its name; default `MaxOut`, made unique.
        data_format: where the channels are; None: as the arg_scope says of any layer, else `'NCHW'`.

    Returns:
        A Symbol or tensor with `num_units` along the axis.

    Raises:
        ValueError: if `num_units` does not divide the size of the axis, or there is no such axis.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.maxout(torch.tensor([[1.0, 5.0, 2.0, 3.0]]), 2)
        tensor([[5., 3.]])
    """
    where = _channel_axis("maxout", inputs, data_format) if axis is None else axis
    if inputs.rank is not None and not -inputs.rank <= where < inputs.rank:
        raise ValueError(f"maxout: `axis` must be a dimension of `inputs`. Got {axis} for shape {inputs.shape}.")
    size = inputs.channels() if inputs.shape is None else inputs.shape[where]
    if num_units < 1 or size is None or size % num_units:
        raise ValueError(
            f"maxout: the number of features must be a multiple of `num_units`. Got {size} and {num_units}."
        )
    along_channels = axis is None or where in (-1, (inputs.rank or 0) - 1)
    return (ChannelMaxout if along_channels else Maxout)(num_units, where)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(inputs: torch.Tensor, multiplier: Any) -> torch.Tensor:
        return inputs.view_as(inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        multiplier = inputs[1]
        ctx.multiplier = None if isinstance(multiplier, torch.Tensor) else multiplier
        ctx.save_for_backward(*[multiplier] if isinstance(multiplier, torch.Tensor) else ())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (multiplier,) = ctx.saved_tensors or (ctx.multiplier,)
        return gradients[0] * multiplier, None


def scale_gradient(inputs: Value, gradient_multiplier: Value) -> Value:
    """`inputs`, but the gradient that flows back through it is multiplied (TF-Slim's `scale_gradient`).

    Args:
        inputs: a Symbol or tensor.
        gradient_multiplier: a number, or a Symbol or tensor that broadcasts to `inputs`; it gets no gradient. -1
            reverses the gradient, 0 stops it.

    Returns:
        `inputs`.

    Example:
        >>> import torch, torchslim as slim
        >>> x = torch.ones(2, requires_grad=True)
        >>> slim.scale_gradient(x, 0.5).sum().backward()
        >>> x.grad
        tensor([0.5000, 0.5000])
    """
    if has_torch_function((inputs, gradient_multiplier)):
        return handle_torch_function(scale_gradient, (inputs, gradient_multiplier), inputs, gradient_multiplier)
    return _ScaleGradient.apply(inputs, gradient_multiplier)


def poincare_normalize(
    x: Value, axis: int | Sequence[int] = 1, epsilon: float = 1e-5, name: str | None = None
) -> Value:
    """Pulls vectors back into the ball of radius `1 - epsilon` (TF-Slim's `poincare_normalize`).

    Poincare Embeddings for Learning Hierarchical Representations, arXiv:1705.08039.

    Args:
        x: a Symbol or tensor.
        axis: the dimension, or dimensions, along which the norm is taken.
        epsilon: the distance from the unit sphere.
        name: accepted because TF-Slim has it; a function without variables needs none.

    Returns:
        A Symbol or tensor of the shape of `x`; vectors inside the ball are as they were.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.poincare_normalize(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), epsilon=0.5)
        tensor([[0.3000, 0.4000], [0.3000, 0.4000]])
    """
    if has_torch_function((x,)):
        return handle_torch_function(poincare_normalize, (x,), x, axis, epsilon)
    radius = 1 - epsilon
    # Clamping the norm, not the quotient, keeps the gradient finite at 0.
    norm = torch.linalg.vector_norm(x, dim=axis, keepdim=True)
    return x * (radius / norm.clamp(min=radius))
