"""Normalization of each example by itself: over features, channels, groups of channels, or to unit length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Layer
from torchslim.initializers import ones_initializer, zeros_initializer
from torchslim.layers.base import _IN_PLACE, Function, check_choice
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer

_INITIALIZERS = {"beta": zeros_initializer(), "gamma": ones_initializer()}
_ATTRIBUTES = {"beta": "bias", "gamma": "weight"}


class Normalized(Layer):
    """A layer `activation(normalized(inputs) * gamma + beta)`; `gamma` and `beta` are there or not."""

    slim_names = {"bias": "beta", "weight": "gamma"}  # noqa: RUF012
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def set_up(
        self,
        op: str,
        shape: Sequence[int],
        center: bool,
        scale: bool,
        activation_fn: Function | None,
        trainable: bool,
        initializers: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes the parameters, of `shape`, and takes over the activation."""
        unknown = [name for name in initializers or {} if name not in _ATTRIBUTES]
        if unknown:
            raise ValueError(f"{op}: there are the parameters {', '.join(_ATTRIBUTES)}. Got {unknown[0]!r}.")
        for name, there in (("beta", center), ("gamma", scale)):
            attribute = _ATTRIBUTES[name]
            self.register_parameter(attribute, nn.Parameter(torch.empty(*shape)) if there else None)
            if there:
                self.initializers[attribute] = (initializers or {}).get(name, _INITIALIZERS[name])
        self.activation = _IN_PLACE.get(activation_fn, activation_fn)
        self.requires_grad_(trainable)
        self.reset_parameters()

    def finish(self, net: torch.Tensor) -> torch.Tensor:
        """Activates."""
        return net if self.activation is None else self.activation(net)


class LayerNorm(Normalized):
    """The module of `slim.layer_norm`: normalizes the dimensions from `first` on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, ...]`."""
        shape = inputs.shape[self.first :]
        own = [p.shape for p in (self.weight, self.bias) if p is not None]
        epsilon = 1e-12 if inputs.dtype != torch.float16 else 1e-3  # half precision knows no 1e-12
        if all(parameter == shape for parameter in own):
            return self.finish(functional.layer_norm(inputs, shape, self.weight, self.bias, epsilon))
        net = functional.layer_norm(inputs, shape, None, None, epsilon)
        net = net if self.weight is None else net * self.weight.to(net.dtype)
        return self.finish(net if self.bias is None else net + self.bias.to(net.dtype))


class GroupNorm(Normalized):
    """A normalization of groups of channels over all other dimensions but the batch."""

    def __init__(self, groups: int, channels_axis: int) -> None:
        super().__init__()
        self.groups = groups
        self.channels_axis = channels_axis

    epsilon = 1e-12

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, ...]`."""
        moved = self.channels_axis not in (1, 1 - inputs.ndim)
        net = inputs.movedim(self.channels_axis, 1) if moved else inputs
        net = self.finish(torch.group_norm(net, self.groups, self.weight, self.bias, self.epsilon))
        return net.movedim(1, self.channels_axis) if moved else net


class PartialGroupNorm(GroupNorm):
    """A normalization of groups of channels over only some of the other dimensions."""

    axes: tuple[int, ...] = ()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on any shape."""
        axis, rank = self.channels_axis % inputs.ndim, inputs.ndim
        net = inputs.unflatten(axis, (self.groups, -1))
        axes = [axis + 1, *((a % rank) + ((a % rank) > axis) for a in self.axes)]
        variance, mean = torch.var_mean(net, axes, correction=0, keepdim=True)
        net = ((net - mean) * torch.rsqrt(variance + self.epsilon)).flatten(axis, axis + 1)
        shape = [-1, *[1] * (rank - 1 - axis)]
        net = net if self.weight is None else net * self.weight.view(shape).to(net.dtype)
        return self.finish(net if self.bias is None else net + self.bias.view(shape).to(net.dtype))


@add_arg_scope
@layer("LayerNorm")
def layer_norm(
    inputs: Any,
    center: bool = True,
    scale: bool = True,
    activation_fn: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int | None = None,
    scope: str | None = None,
) -> Any:
    """Normalizes each example over its features (TF-Slim's `layer_norm`, arXiv:1607.06450); epsilon is 1e-12.

    TF-Slim: `begin_params_axis` is -1: one `beta` and `gamma` per channel, the last axis there. Here its default is
    the channels as well, which are the second axis of an image where `data_format` is `'NCHW'`.

    Args:
        inputs: a Symbol or tensor `[N, ...]`, or the number of features.
        center: add `beta`.
        scale: multiply by `gamma`.
        activation_fn: applied last; None: linear.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        begin_norm_axis: the first dimension that is normalized over, with all behind it; may be negative.
        begin_params_axis: the first dimension of `beta` and `gamma`, with all behind it; may be negative. None: the
            channels of images, normalized as a whole (`begin_norm_axis=1`); otherwise the last dimension.
        scope: its name; default `LayerNorm`, made unique.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an axis is out of range, the sizes from `begin_params_axis` on are not fixed, or the variables
            exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> net = slim.layer_norm(torch.arange(6.0).view(2, 3), scope='doc_layer_norm')
        >>> net[0].detach().round(decimals=3)
        tensor([-1.2250,  0.0000,  1.2250])
        >>> slim.layer_norm(torch.zeros(2, 8, 5, 5), scope='doc_image_norm').shape
        torch.Size([2, 8, 5, 5])
    """
    rank = 2 if inputs.rank is None else inputs.rank
    for name, axis in (("begin_norm_axis", begin_norm_axis), ("begin_params_axis", begin_params_axis)):
        _check_axis("layer_norm", name, axis, rank, inputs)
    if begin_params_axis is None and begin_norm_axis == 1:
        channels = 1 if scoped_data_format() == "NCHW" else -1
        module: Normalized = LayerNorm(1) if inputs.rank == 2 else GroupNorm(1, channels)
        shape: tuple[int | None, ...] = (inputs.channels(None if channels == 1 else "NHWC"),)
    else:
        module = LayerNorm(begin_norm_axis % rank)
        first = rank - 1 if begin_params_axis is None else begin_params_axis % rank
        shape = (inputs.channels(),) if inputs.shape is None else inputs.shape[first:]
    if None in shape:
        raise ValueError(f"layer_norm: the sizes of `beta` and `gamma` must be fixed. Got {shape} of {inputs.shape}.")
    module.set_up("layer_norm", shape, center, scale, activation_fn, trainable)  # type: ignore[arg-type]
    return module


@add_arg_scope
@layer("InstanceNorm")
def instance_norm(
    inputs: Any,
    center: bool = True,
    scale: bool = True,
    epsilon: float = 1e-6,
    activation_fn: Function | None = None,
    param_initializers: Mapping[str, Any] | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    data_format: str | None = None,
    scope: str | None = None,
) -> Any:
    """Normalizes each channel of each example (TF-Slim's `instance_norm`, arXiv:1607.08022).

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` (`[N, ..., C]` for NHWC), or the number of channels.
        center: add `beta`.
        scale: multiply by `gamma`.
        epsilon: added to the variance.
        activation_fn: applied last; None: linear.
        param_initializers: a dict by `beta`, `gamma`.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        scope: its name; default `InstanceNorm`, made unique.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if `data_format` is unknown, the channels are not fixed, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.instance_norm(torch.randn(2, 3, 5, 5), scope='doc_instance').mean((2, 3)).abs().max() < 1e-5
        tensor(True)
    """
    data_format = check_choice("instance_norm", "data_format", data_format or scoped_data_format(), ("NCHW", "NHWC"))
    channels = inputs.channels(data_format)
    module = GroupNorm(channels, 1 if data_format == "NCHW" or inputs.rank == 2 else -1)
    module.epsilon = epsilon
    module.set_up("instance_norm", [channels], center, scale, activation_fn, trainable, param_initializers)
    return module


@add_arg_scope
@layer("GroupNorm")
def group_norm(
    inputs: Any,
    groups: int = 32,
    channels_axis: int | None = None,
    reduction_axes: Sequence[int] | None = None,
    center: bool = True,
    scale: bool = True,
    epsilon: float = 1e-6,
    activation_fn: Function | None = None,
    param_initializers: Mapping[str, Any] | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
    mean_close_to_zero: bool = False,
) -> Any:
    """Normalizes groups of channels of each example (TF-Slim's `group_norm`, arXiv:1803.08494).

    TF-Slim: the defaults are `channels_axis=-1, reduction_axes=(-3, -2)`, the axes of an image there. Here they are the
    axes of an image as well: -3 and (-2, -1) where `data_format` is `'NCHW'`.

    Args:
        inputs: a Symbol or tensor, or the number of channels.
        groups: into how many groups of consecutive channels.
        channels_axis: the dimension of the channels. None: that of an image.
        reduction_axes: the dimensions that are normalized over beside the channels of a group. None: those of an image.
        center: add `beta`.
        scale: multiply by `gamma`.
        epsilon: added to the variance.
        activation_fn: applied last; None: linear.
        param_initializers: a dict by `beta`, `gamma`.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        scope: its name; default `GroupNorm`, made unique.
        mean_close_to_zero: accepted: TF-Slim then computes the variance in one pass, which is less exact for means
            far from zero; the variance here is exact in both cases.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if `groups` does not divide the channels, an axis is out of range or given twice, a size that is
            normalized over is not fixed, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.group_norm(torch.randn(2, 6, 5, 5), groups=3, scope='doc_group').shape
        torch.Size([2, 6, 5, 5])
    """
    first = scoped_data_format() == "NCHW"
    axis = (-3 if first else -1) if channels_axis is None else channels_axis
    axes = tuple(((-2, -1) if first else (-3, -2)) if reduction_axes is None else reduction_axes)
    rank = 4 if inputs.rank is None else inputs.rank
    channels = _grouped_channels(inputs, groups, axis, axes, rank)
    whole = axis % rank != 0 and {axis % rank, *(a % rank for a in axes)} == set(range(1, rank))
    module = (GroupNorm if whole else PartialGroupNorm)(groups, axis)
    module.epsilon = epsilon
    if isinstance(module, PartialGroupNorm):
        module.axes = axes
    module.set_up("group_norm", [channels], center, scale, activation_fn, trainable, param_initializers)
    return module


def _grouped_channels(inputs: Incoming, groups: int, axis: int, axes: tuple[int, ...], rank: int) -> int:
    for name, value in (("channels_axis", axis), *(("reduction_axes", a) for a in axes)):
        _check_axis("group_norm", name, value, rank, inputs)
    if axis % rank in {a % rank for a in axes}:
        raise ValueError(f"group_norm: `channels_axis` must not be one of `reduction_axes`. Got {axis} and {axes}.")
    channels = inputs.channels() if inputs.shape is None else inputs.shape[axis]
    if channels is None:
        raise ValueError(f"group_norm: the channels must be fixed. Got shape {inputs.shape}, `channels_axis` {axis}.")
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1 or channels % groups:
        raise ValueError(f"group_norm: `groups` must divide the number of channels, {channels}. Got {groups!r}.")
    return channels


def _check_axis(op: str, name: str, axis: int | None, rank: int, inputs: Incoming) -> None:
    if axis is not None and not -rank <= axis < rank:
        raise ValueError(f"{op}: `{name}` must be a dimension of `inputs`, of shape {inputs.shape}. Got {axis}.")


class UnitNorm(nn.Module):
    """The module of `slim.unit_norm`."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.dim = dim
        self.epsilon = epsilon

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer."""
        return inputs * torch.rsqrt(self.epsilon + inputs.square().sum(self.dim, keepdim=True))


@add_arg_scope
@layer("UnitNorm", variables=False)
def unit_norm(inputs: Any, dim: int, epsilon: float = 1e-7, scope: str | None = None) -> Any:
    """Scales `inputs` to unit length along a dimension (TF-Slim's `unit_norm`): `x / sqrt(epsilon + sum(x ** 2))`.

    Args:
        inputs: a Symbol or tensor, or a number: then only the module is made.
        dim: the dimension; not negative, as in TF-Slim.
        epsilon: added to the squared length.
        scope: its name; default `UnitNorm`, made unique.

    Returns:
        A Symbol or tensor of the shape of `inputs`.

    Raises:
        ValueError: if `dim` is not a dimension of `inputs`.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.unit_norm(torch.tensor([[3.0, 4.0]]), dim=1)
        tensor([[0.6000, 0.8000]])
    """
    if dim < 0 or (inputs.rank is not None and dim >= inputs.rank):
        raise ValueError(f"unit_norm: `dim` must be from 0 to the rank less 1. Got {dim} for shape {inputs.shape}.")
    return UnitNorm(dim, epsilon)
