"""The blocks of the MobileNets: separable convolutions, inverted residuals, squeeze and excitation."""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.layers import avg_pool2d, conv2d, separable_conv2d
from torchslim.layers.base import check_choice
from torchslim.nets.common import channel_dimension, channels_of, fixed_padding, join_channels, spatial_dimensions


def make_divisible(value: float, divisor: int, min_value: int | None = None) -> int:
    """The multiple of `divisor` next to `value`, at least `min_value` and 90% of `value`.

    Args:
        value: a number of channels.
        divisor: what hardware likes numbers of channels to be divisible by.
        min_value: default `divisor`.

    Example:
        >>> make_divisible(33, 8), make_divisible(11, 8), make_divisible(3, 8)
        (32, 16, 8)
    """
    rounded = max(divisor if min_value is None else min_value, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expand_input_by_factor(n: float, divisible_by: int = 8) -> Callable[..., int]:
    """An `expansion_size` for `expanded_conv`: so many times the channels that flow in.

    Args:
        n: the factor.
        divisible_by: the result is a multiple of it.

    Example:
        >>> expand_input_by_factor(6)(num_inputs=24), expand_input_by_factor(1, divisible_by=1)(num_inputs=13)
        (144, 13)
    """
    return functools.partial(_expanded, factor=n, divisible_by=divisible_by)


def _expanded(num_inputs: int, factor: float, divisible_by: int, **others: Any) -> int:
    return make_divisible(num_inputs * factor, divisible_by)


@add_arg_scope
def split_separable_conv2d(
    input_tensor: Symbol,
    num_outputs: int,
    scope: str | None = None,
    normalizer_fn: Callable[..., Any] | None = None,
    stride: int = 1,
    rate: int = 1,
    endpoints: dict[str, Symbol] | None = None,
    use_explicit_padding: bool = False,
) -> Symbol:
    """The layer of MobileNet v1: a 3x3 convolution of each channel, then a 1x1 convolution, each with its activation.

    `slim.separable_conv2d` has nothing between the two.

    Args:
        input_tensor: features `[N, C, H, W]`.
        num_outputs: channels that come out.
        scope: the layers are `SCOPE_depthwise` and `SCOPE_pointwise`; None: `separable/depthwise` and so on.
        normalizer_fn: of both convolutions; None: a bias.
        stride: step of the 3x3 convolution.
        rate: distance between its taps.
        endpoints: a dict that gets the outputs of both by their names.
        use_explicit_padding: pad by the kernel rather than by the size of the image.

    Returns:
        The features `[N, num_outputs, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(split_separable_conv2d, torch.empty(1, 8, 6, 6), num_outputs=16, stride=2)
        >>> model(torch.empty(1, 8, 6, 6)).shape, [v.op.name for v in slim.get_variables(module=model)][0]
        (torch.Size([1, 16, 3, 3]), 'separable/depthwise/depthwise_weights')
    """
    named = {} if endpoints is None else endpoints
    prefix = "" if scope is None else f"{scope}_"
    with variable_scope(None, "separable") if scope is None else contextlib.nullcontext():
        net, padding = input_tensor, "SAME"
        if use_explicit_padding:
            net, padding = fixed_padding(net, 3, rate), "VALID"
        options: dict[str, Any] = {"normalizer_fn": normalizer_fn, "scope": f"{prefix}depthwise"}
        net = separable_conv2d(net, None, [3, 3], stride=stride, padding=padding, rate=rate, **options)
        named[f"{prefix}depthwise"] = net
        net = conv2d(net, num_outputs, [1, 1], normalizer_fn=normalizer_fn, scope=f"{prefix}pointwise")
        named[f"{prefix}pointwise"] = net
    return net


def split_conv(
    input_tensor: Symbol,
    num_outputs: int,
    num_ways: int,
    scope: str,
    divisible_by: int = 8,
    endpoints: dict[str, Symbol] | None = None,
    **kwargs: Any,
) -> Symbol:
    """A 1x1 convolution in groups: each part of the channels makes a part of the output.

    Args:
        input_tensor: features `[N, C, H, W]`.
        num_outputs: channels that come out.
        num_ways: how many groups. Where one would have less than `divisible_by` channels, there is only one.
        scope: the groups are `SCOPE_part_0` and so on; one by itself is `SCOPE`.
        divisible_by: the channels of each group are a multiple of it.
        endpoints: a dict that gets the output of each group.
        kwargs: go to `slim.conv2d`.

    Returns:
        The features `[N, num_outputs, H, W]`.

    Raises:
        ValueError: if the channels that flow in or out are no multiple of `divisible_by`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(split_conv, torch.empty(1, 24, 6, 6), num_outputs=32, num_ways=2, scope='expand')
        >>> [v.tf_shape for v in slim.get_variables(suffix='weights', module=model)]
        [(1, 1, 16, 16), (1, 1, 8, 16)]
    """
    dimension = channel_dimension()
    channels = channels_of(input_tensor)
    if num_ways == 1 or min(channels // num_ways, num_outputs // num_ways) < divisible_by:
        return conv2d(input_tensor, num_outputs, [1, 1], scope=scope, **kwargs)
    parts = input_tensor.split(split_divisible(channels, num_ways, divisible_by), dimension)
    outputs = []
    for number, size in enumerate(split_divisible(num_outputs, num_ways, divisible_by)):
        name = f"{scope}_part_{number}"
        outputs.append(conv2d(parts[number], size, [1, 1], scope=name, **kwargs))
        if endpoints is not None:
            endpoints[f"{name}_output"] = outputs[-1]
    return join_channels(outputs)


def split_divisible(num: int, num_ways: int, divisible_by: int = 8) -> list[int]:
    """`num` in parts as equal as multiples of `divisible_by` can be.

    Args:
        num: what to divide.
        num_ways: the number of parts.
        divisible_by: of each part.

    Raises:
        ValueError: if `num` is no multiple of `divisible_by`, or too small.

    Example:
        >>> split_divisible(40, 3)
        [16, 16, 8]
    """
    if num % divisible_by or num < num_ways * divisible_by:
        raise ValueError(
            f"split_divisible: `num` must be a multiple of {divisible_by}, and at least {num_ways} times that. "
            f"Got {num}."
        )
    steps = num // divisible_by
    ends = [-(-steps * number // num_ways) for number in range(num_ways + 1)]
    return [(end - begin) * divisible_by for begin, end in itertools.pairwise(ends)]


@add_arg_scope
def expanded_conv(
    input_tensor: Symbol,
    num_outputs: int,
    expansion_size: int | Callable[..., int] = expand_input_by_factor(6),  # noqa: B008
    stride: int = 1,
    rate: int = 1,
    kernel_size: int | Sequence[int] = (3, 3),
    residual: bool | Callable[..., Symbol] = True,
    normalizer_fn: Callable[..., Any] | None = None,
    split_projection: int = 1,
    split_expansion: int = 1,
    split_divisible_by: int = 8,
    expansion_transform: Callable[..., Symbol] | None = None,
    depthwise_location: str | None = "expansion",
    depthwise_channel_multiplier: int = 1,
    endpoints: dict[str, Symbol] | None = None,
    use_explicit_padding: bool = False,
    padding: str = "SAME",
    inner_activation_fn: Callable[..., Any] | None = None,
    depthwise_activation_fn: Callable[..., Any] | None = None,
    project_activation_fn: Callable[..., Any] | None = None,
    depthwise_fn: Callable[..., Symbol] = separable_conv2d,
    expansion_fn: Callable[..., Symbol] = split_conv,
    projection_fn: Callable[..., Symbol] = split_conv,
    scope: str | None = None,
) -> Symbol:
    """The inverted residual of MobileNet v2 (arXiv:1801.04381): 1x1 to many channels, 3x3 of each, 1x1 to few, sum.

    Args:
        input_tensor: features `[N, C, H, W]`.
        num_outputs: channels that come out.
        expansion_size: channels in between: a number, or a function of `num_inputs`. Where they are not more than flow
            in, there is no first convolution.
        stride: step of the convolution of each channel.
        rate: distance between its taps.
        kernel_size: of that convolution.
        residual: add the input where it has the shape of the output; or a function of `input_tensor` and
            `output_tensor`.
        normalizer_fn: of all convolutions; None: a bias.
        split_projection: into how many groups the last convolution is split.
        split_expansion: into how many groups the first convolution is split.
        split_divisible_by: the channels of a group are a multiple of it.
        expansion_transform: a function of `expansion_tensor` and `input_tensor`, before the last convolution.
        depthwise_location: where the convolution of each channel is: `'expansion'` (in between), `'input'`, `'output'`
            or None (nowhere).
        depthwise_channel_multiplier: its filters for each channel.
        endpoints: a dict that gets `expansion_output`, `depthwise_output` and `projection_output` of what there is.
        use_explicit_padding: pad by the kernel rather than by the size of the image.
        padding: of that convolution.
        inner_activation_fn: of the convolutions but the last; None: as the arg_scope says.
        depthwise_activation_fn: of the convolution of each channel; None: `inner_activation_fn`.
        project_activation_fn: of the last convolution; None: linear.
        depthwise_fn: makes the convolution of each channel.
        expansion_fn: makes the first convolution. Another than `split_conv` gets no `split_expansion`.
        projection_fn: makes the last convolution. Another than `split_conv` gets no `split_projection`.
        scope: name of the block; default `expanded_conv`, made unique.

    Returns:
        The features `[N, num_outputs, ceil(H / stride), ceil(W / stride)]`.

    Raises:
        ValueError: if `depthwise_location` is another, or `padding` is given with `use_explicit_padding`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(expanded_conv, torch.empty(1, 8, 6, 6), num_outputs=16, stride=2)
        >>> model(torch.empty(1, 8, 6, 6)).shape, model.expanded_conv.depthwise.depthwise.weight.shape
        (torch.Size([1, 16, 3, 3]), torch.Size([48, 1, 3, 3]))
    """
    check_choice("expanded_conv", "depthwise_location", depthwise_location, (None, "input", "expansion", "output"))
    named = {} if endpoints is None else endpoints
    inputs = channels_of(input_tensor)
    depthwise = functools.partial(
        _depthwise, depthwise_fn, named, use_explicit_padding, kernel_size=kernel_size, stride=stride, rate=rate,
        padding=padding, depth_multiplier=depthwise_channel_multiplier, normalizer_fn=normalizer_fn,
    )  # fmt: skip
    pointwise = functools.partial(_pointwise, split_divisible_by, endpoints, normalizer_fn=normalizer_fn)
    with variable_scope(scope, "expanded_conv"), _activations(inner_activation_fn, depthwise_activation_fn):
        net: Any = depthwise(input_tensor, activation_fn=None) if depthwise_location == "input" else input_tensor
        channels = expansion_size(num_inputs=inputs) if callable(expansion_size) else expansion_size
        if channels > channels_of(net):
            net = pointwise(expansion_fn, split_expansion, net, channels, scope="expand")
            named["expansion_output"] = net
        if depthwise_location == "expansion":
            net = depthwise(net)
        if expansion_transform is not None:
            net = expansion_transform(expansion_tensor=net, input_tensor=input_tensor)
        last = {"scope": "project", "activation_fn": project_activation_fn}
        net = named["projection_output"] = pointwise(projection_fn, split_projection, net, num_outputs, **last)
        if depthwise_location == "output":
            net = depthwise(net, activation_fn=None)
        if callable(residual):
            return residual(input_tensor=input_tensor, output_tensor=net)
        return net + input_tensor if residual and stride == 1 and channels_of(net) == inputs else net


def _depthwise(
    layer: Callable[..., Symbol], named: dict[str, Symbol], explicit: bool, net: Symbol, *, padding: str, **options: Any
) -> Symbol:
    """The convolution of each channel of an `expanded_conv`; `explicit`: pads by its kernel."""
    if explicit:
        if padding != "SAME":
            raise ValueError(f"expanded_conv: `use_explicit_padding` takes the place of `padding`. Got {padding!r}.")
        net, padding = fixed_padding(net, options["kernel_size"], options["rate"]), "VALID"
    named["depthwise_output"] = layer(net, num_outputs=None, padding=padding, scope="depthwise", **options)
    return named["depthwise_output"]


def _pointwise(
    divisible_by: int,
    endpoints: dict[str, Symbol] | None,
    function: Callable[..., Symbol],
    ways: int,
    net: Symbol,
    num_outputs: int,
    **options: Any,
) -> Symbol:
    """The first or last convolution of an `expanded_conv`."""
    if function is split_conv:
        options.update(num_ways=ways, divisible_by=divisible_by, endpoints=endpoints, stride=1)
    return function(net, num_outputs, **options)


@contextlib.contextmanager
def _activations(inner: Callable[..., Any] | None, depthwise: Callable[..., Any] | None) -> Iterator[None]:
    """Activations for the convolutions of an `expanded_conv`, where they are given."""
    with contextlib.ExitStack() as scopes:
        for layer, activation in ((conv2d, inner), (separable_conv2d, depthwise or inner)):
            if activation is not None:
                scopes.enter_context(arg_scope([layer], activation_fn=activation))
        yield


@add_arg_scope
def squeeze_excite(
    input_tensor: Symbol,
    divisible_by: int = 8,
    squeeze_factor: float = 3,
    inner_activation_fn: Callable[..., Any] | None = torch.relu,
    gating_fn: Callable[..., Any] | None = torch.sigmoid,
    squeeze_input_tensor: Symbol | None = None,
    pool: int | None = None,
) -> Symbol:
    """Scales each channel by what all of them say on average over space (arXiv:1709.01507).

    Args:
        input_tensor: features `[N, C, H, W]`.
        divisible_by: the number of channels in between is a multiple of it.
        squeeze_factor: how many times fewer they are.
        inner_activation_fn: of the first of the two layers.
        gating_fn: of the second, which makes the scales.
        squeeze_input_tensor: what the scales are made from; None: `input_tensor`.
        pool: average over windows of this size instead, and interpolate the scales between them.

    Returns:
        The features `[N, C, H, W]`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(squeeze_excite, torch.empty(1, 48, 6, 6))
        >>> [v.tf_shape for v in slim.get_variables(suffix='weights', module=model)]
        [(1, 1, 48, 16), (1, 1, 16, 48)]
    """
    space, dimension = spatial_dimensions(), channel_dimension()
    source = input_tensor if squeeze_input_tensor is None else squeeze_input_tensor
    height = source.shape[space[0]]
    channels = make_divisible(channels_of(source) / squeeze_factor, divisible_by)
    with variable_scope("squeeze_excite"), arg_scope([conv2d], normalizer_fn=None):
        if pool is None or (height is not None and height < pool):
            net = source.mean(space, keepdim=True)
        else:
            net = avg_pool2d(source, [pool, pool], stride=pool, padding="VALID")
        net = conv2d(net, channels, [1, 1], activation_fn=inner_activation_fn)
        net = conv2d(net, channels_of(input_tensor), [1, 1], activation_fn=gating_fn)
        if pool is not None:
            sizes = [input_tensor.size(side) for side in space]
            net = functional.interpolate(net.movedim(dimension, 1), sizes, mode="bilinear", align_corners=True)
            net = net.movedim(1, dimension)
        return input_tensor * net
