"""Networks as tables of operations: what MobileNet v2 and v3 are built by."""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torchslim.arg_scope import ArgScope, add_arg_scope, arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.initializers import truncated_normal_initializer, xavier_initializer, zeros_initializer
from torchslim.layers import batch_norm, conv2d, dropout, fully_connected, separable_conv2d, softmax
from torchslim.nets.common import Strides, fixed_padding, spatial_dimensions, squeezed
from torchslim.nets.mobilenet.conv_blocks import expanded_conv, make_divisible
from torchslim.regularizers import l2_regularizer

# 'spec': the rows, each an `op`. 'defaults' and 'overrides': arguments by layers, set around all rows; the latter win.
ConvDefs = Mapping[str, Any]


class Op(NamedTuple):
    """A row of a table: a layer, its arguments, and what changes these for a depth multiplier."""

    op: Callable[..., Symbol]
    params: dict[str, Any]
    multiplier_func: Callable[..., Any]


@add_arg_scope
def depth_multiplier(
    output_params: dict[str, Any], multiplier: float, divisible_by: int = 8, min_depth: int = 8, **unused_kwargs: Any
) -> None:
    """Multiplies `num_outputs` in the arguments of a layer, if it is there.

    Args:
        output_params: the arguments; changed.
        multiplier: the factor.
        divisible_by: the result is a multiple of it.
        min_depth: the least result.
        unused_kwargs: what else an arg_scope may set for such functions.

    Example:
        >>> params = {'num_outputs': 96, 'stride': 2}
        >>> depth_multiplier(params, 0.35)
        >>> params
        {'num_outputs': 32, 'stride': 2}
    """
    if "num_outputs" in output_params:
        channels = make_divisible(output_params["num_outputs"] * multiplier, divisible_by, min_depth)
        output_params["num_outputs"] = channels


def op(opfunc: Callable[..., Symbol], multiplier_func: Callable[..., Any] = depth_multiplier, **params: Any) -> Op:
    """A row of a table.

    Args:
        opfunc: the layer: a function of a Symbol.
        multiplier_func: called with a copy of `params` and the depth multiplier, it changes the former.
        params: arguments of the layer.

    Example:
        >>> import torchslim as slim
        >>> op(slim.conv2d, num_outputs=32, kernel_size=[3, 3], stride=2).params['stride']
        2
    """
    return Op(opfunc, params, multiplier_func)


@add_arg_scope
def mobilenet_base(
    inputs: Symbol,
    conv_defs: ConvDefs,
    multiplier: float = 1.0,
    final_endpoint: str | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | VariableScope | None = None,
    is_training: bool | None = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The rows of a table, one behind the other.

    Args:
        inputs: images `[N, 3, H, W]`.
        conv_defs: a dict with the rows under `'spec'`, and under `'defaults'` and `'overrides'` arguments by layers:
            `{(slim.conv2d,): {'padding': 'SAME'}}`.
        multiplier: of the channels of all layers.
        final_endpoint: the last row, `layer_1` and so on; None: all.
        output_stride: the ratio of the sizes of images and features: 1 or an even number; None: as the rows say. Where
            it is reached, rows with a `kernel_size` other than 1x1, or with none, get a `rate` instead.
        use_explicit_padding: pad by the kernel rather than by the size of the image, as detectors do.
        scope: name of the network; default `Mobilenet`.
        is_training: of batch norm. False: inference, for good; True: as the module's mode says; None: as the arg_scope
            around says. `training_scope` sets it.

    Returns:
        The features, and the end points: `layer_1` and so on, then what is inside of each `expanded_conv`:
        `layer_2/expansion_output`, `layer_2/depthwise_output`, `layer_2/output`.

    Raises:
        ValueError: if `multiplier` is not positive, `output_stride` is odd, or `final_endpoint` is no row.

    Example:
        >>> import torch, torchslim as slim
        >>> rows = [op(slim.conv2d, num_outputs=32, kernel_size=[3, 3], stride=2), op(expanded_conv, num_outputs=16)]
        >>> model = slim.build(mobilenet_base, torch.empty(1, 3, 32, 32), conv_defs={'spec': rows}, multiplier=0.5)
        >>> list(model.end_points)
        ['layer_1', 'layer_2', 'layer_2/expansion_output', 'layer_2/depthwise_output', 'layer_2/output']
    """
    if multiplier <= 0:
        raise ValueError(f"mobilenet: `multiplier` must be greater than zero. Got {multiplier}.")
    if output_stride is not None and (output_stride < 1 or (output_stride > 1 and output_stride % 2)):
        raise ValueError(f"mobilenet: `output_stride` must be None, 1 or an even number. Got {output_stride}.")
    last = _position(final_endpoint, len(conv_defs["spec"]))
    padding: dict[Any, Any] = {(conv2d, separable_conv2d): {"padding": "VALID"}} if use_explicit_padding else {}
    strides = Strides(output_stride)
    layers: dict[str, Symbol] = {}
    parts: dict[str, Symbol] = {}
    net = inputs
    with (
        variable_scope(scope, "Mobilenet"),
        _defaults({(batch_norm,): {"is_training": is_training}} if is_training is not None else {}),
        _defaults(conv_defs.get("defaults", {})),
        _defaults({**conv_defs.get("overrides", {}), **padding}),
    ):
        for number, row in enumerate(conv_defs["spec"][:last], 1):
            params = dict(row.params)
            row.multiplier_func(params, multiplier)
            params["stride"], rate = strides.take(params.get("stride", 1))
            if rate > 1 and tuple(params.get("kernel_size", ())) != (1, 1):
                params["rate"] = rate
            if use_explicit_padding and "kernel_size" in params:
                net = fixed_padding(net, params["kernel_size"], rate)
            elif use_explicit_padding:
                params["use_explicit_padding"] = True
            inside: dict[str, Symbol] = {}
            with arg_scope([expanded_conv], endpoints=inside):
                net = layers[f"layer_{number}"] = row.op(net, **params)
            if inside:
                inside["output"] = net
            parts.update({f"layer_{number}/{name}": inside[name] for name in inside if name != "projection_output"})
    return net, {**layers, **parts}


def _position(final_endpoint: str | None, rows: int) -> int:
    if final_endpoint is None:
        return rows
    names = [f"layer_{number}" for number in range(1, rows + 1)]
    if final_endpoint not in names:
        raise ValueError(f"mobilenet: `final_endpoint` must be layer_1 to layer_{rows}. Got {final_endpoint!r}.")
    return names.index(final_endpoint) + 1


@contextlib.contextmanager
def _defaults(arguments: Mapping[Any, Mapping[str, Any]]) -> Iterator[None]:
    """Sets arguments by layers."""
    with contextlib.ExitStack() as scopes:
        for layers, settings in arguments.items():
            scopes.enter_context(arg_scope(layers, **settings))
        yield


@add_arg_scope
def mobilenet(
    inputs: Symbol,
    num_classes: int | None = 1001,
    prediction_fn: Callable[..., Symbol] | None = softmax,
    reuse: Any = None,
    scope: str | VariableScope | None = "Mobilenet",
    base_only: bool = False,
    use_reduce_mean_for_pooling: bool = False,
    **mobilenet_args: Any,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The rows of a table, and a head that classifies.

    Args:
        inputs: images `[N, 3, H, W]`.
        num_classes: how many; None or 0: no last layer, the pooled features come out.
        prediction_fn: makes predictions of the logits and a scope; None: no such end point.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        base_only: leave the head out.
        use_reduce_mean_for_pooling: as in `global_pool`.
        mobilenet_args: go to `mobilenet_base`.

    Returns:
        The logits `[N, num_classes]`, and the end points of `mobilenet_base`, then `global_pool`, `Logits` and
        `Predictions`.

    Raises:
        ValueError: if `inputs` is not of rank 4.

    Example:
        >>> import torch, torchslim as slim
        >>> rows = [op(slim.conv2d, num_outputs=16, kernel_size=[3, 3], stride=2), op(expanded_conv, num_outputs=24)]
        >>> with slim.arg_scope(training_scope()):
        ...     model = slim.build(mobilenet, torch.empty(1, 3, 32, 32), num_classes=5, conv_defs={'spec': rows})
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    if inputs.ndim != 4:
        raise ValueError(f"mobilenet: `inputs` must be images, of rank 4. Got shape {tuple(inputs.shape)}.")
    with variable_scope(scope, "Mobilenet", reuse=reuse) as variables:
        net, end_points = mobilenet_base(inputs, scope=variables, **mobilenet_args)
        if base_only:
            return net, end_points
        with variable_scope("Logits"):
            net = end_points["global_pool"] = global_pool(net, use_reduce_mean_for_pooling)
            if not num_classes:
                return net, end_points
            net = dropout(net, is_training=mobilenet_args.get("is_training", False), scope="Dropout")
            net = conv2d(
                net,
                num_classes,
                [1, 1],
                activation_fn=None,
                normalizer_fn=None,
                biases_initializer=zeros_initializer(),
                scope="Conv2d_1c_1x1",
            )
            logits = end_points["Logits"] = squeezed(net)
        if prediction_fn is not None:
            end_points["Predictions"] = prediction_fn(logits, "Predictions")
        return logits, end_points


def global_pool(
    input_tensor: Symbol, use_reduce_mean_for_pooling: bool = False, pool_op: Callable[..., Symbol] | None = None
) -> Symbol:
    """The average over space, whose dimensions stay, of size 1.

    Args:
        input_tensor: features `[N, C, H, W]`.
        use_reduce_mean_for_pooling: TF-Slim: which of two kernels computes it. Here there is one.
        pool_op: pools in place of the average: `slim.max_pool2d` or the like, called with the features and their height
            and width, which must be known then.

    Raises:
        ValueError: if `pool_op` is given and a size is not known.

    Example:
        >>> import torch, torchslim as slim
        >>> global_pool(torch.ones(1, 8, 7, 7)).shape
        torch.Size([1, 8, 1, 1])
        >>> global_pool(torch.arange(9.0).reshape(1, 1, 3, 3), pool_op=slim.max_pool2d)
        tensor([[[[8.]]]])
    """
    space = spatial_dimensions()
    if pool_op is None:
        return input_tensor.mean(space, keepdim=True)
    sizes = [input_tensor.shape[dimension] for dimension in space]
    if None in sizes:
        raise ValueError(
            "mobilenet.global_pool: height and width must be known for `pool_op`. "
            f"Got shape {tuple(input_tensor.shape)}."
        )
    return pool_op(input_tensor, sizes, stride=1)


def training_scope(
    is_training: bool | None = True,
    weight_decay: float = 0.00004,
    stddev: float = 0.09,
    dropout_keep_prob: float | None = 0.8,
    bn_decay: float | None = 0.997,
) -> ArgScope:
    """The defaults that MobileNet v2 and v3 were trained with. Without it the networks are built for inference.

    Args:
        is_training: of batch norm and dropout. True: as the module's mode says; False: inference, for good; None: as
            the networks are told themselves.
        weight_decay: scale of the L2 regularization of the weights, those of separable convolutions excepted.
        stddev: of the truncated normal distribution that weights start with; negative: Xavier's uniform one instead.
        dropout_keep_prob: probability of keeping a feature before the last layer; None: as the arg_scope around says.
        bn_decay: of the moving averages of batch norm; None: as the arg_scope around says.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets.mobilenet import mobilenet_v3
        >>> with slim.arg_scope(mobilenet_v3.training_scope(weight_decay=0.0001)):
        ...     model = slim.build(mobilenet_v3.small, torch.empty(1, 3, 224, 224, device='meta'))
        >>> model.MobilenetV3.Conv.BatchNorm.training
        True
    """
    initializer = xavier_initializer() if stddev < 0 else truncated_normal_initializer(stddev=stddev)
    layers = [conv2d, fully_connected, separable_conv2d]
    with (
        arg_scope(layers, weights_initializer=initializer, normalizer_fn=batch_norm),
        arg_scope([mobilenet_base, mobilenet], is_training=is_training),
        arg_scope([batch_norm], **_given(decay=bn_decay, is_training=is_training)),
        arg_scope([dropout], **_given(is_training=is_training, keep_prob=dropout_keep_prob)),
        arg_scope([conv2d], weights_regularizer=l2_regularizer(weight_decay)),
        arg_scope([separable_conv2d], weights_regularizer=None) as scope,
    ):
        return scope


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
