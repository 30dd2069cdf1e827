"""`repeat` and `stack`: chains of layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn

from torchslim.graph import Symbol, Variable, variable_scope
from torchslim.graph.tree import container, make_sequential
from torchslim.layers.incoming import Incoming

Call = tuple[tuple[Any, ...], dict[str, Any]]


def repeat(inputs: Any, repetitions: int, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Applies a layer several times with the same arguments (TF-Slim's `repeat`).

    The layers are named `conv3/conv3_1`, `conv3/conv3_2`, ... and make one `nn.Sequential`.

    Args:
        inputs: a Symbol, a tensor, or the number of input channels.
        repetitions: how often.
        layer: a layer, or any function that takes `inputs` and a `scope`.
        args: arguments of `layer`.
        kwargs: arguments of `layer`; `scope` names the chain, default `Repeat`, made unique.

    Returns:
        What the last layer gave, or the `nn.Sequential` if `inputs` is a number.

    Raises:
        ValueError: if `repetitions` is not a whole number, or negative.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.repeat(128, 3, slim.conv2d, 256, [3, 3], scope='conv3')
        Sequential(
          (conv3_1): Conv2d(128, 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (conv3_2): Conv2d(256, 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (conv3_3): Conv2d(256, 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
        )
    """
    if not isinstance(repetitions, int) or isinstance(repetitions, bool) or repetitions < 0:
        raise ValueError(f"repeat: `repetitions` must be a whole number, 0 or more. Got {repetitions!r}.")
    scope = kwargs.pop("scope", None)
    return _chain(inputs, layer, [(args, kwargs)] * repetitions, scope, "Repeat")


def stack(inputs: Any, layer: Callable[..., Any], stack_args: Sequence[Any], **kwargs: Any) -> Any:
    """Applies a layer several times, each time with its own arguments (TF-Slim's `stack`).

    Args:
        inputs: a Symbol, a tensor, or the number of input channels.
        layer: a layer, or any function that takes `inputs` and a `scope`.
        stack_args: for each layer, its positional arguments: a tuple or list, or just one value.
        kwargs: arguments of every layer; `scope` names the chain, default `Stack`, made unique.

    Returns:
        What the last layer gave, or the `nn.Sequential` if `inputs` is a number.

    Raises:
        ValueError: if `stack_args` is not a list or a tuple.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.stack(784, slim.fully_connected, [32, 64], scope='fc')
        Sequential(
          (fc_1): Linear(in_features=784, out_features=32, bias=True)
          (fc_2): Linear(in_features=32, out_features=64, bias=True)
        )
    """
    if not isinstance(stack_args, list | tuple):
        raise ValueError(
            f"stack: `stack_args` must be a list or a tuple with the arguments of each layer. Got {stack_args!r}."
        )
    scope = kwargs.pop("scope", None)
    calls = [(tuple(args) if isinstance(args, list | tuple) else (args,), kwargs) for args in stack_args]
    return _chain(inputs, layer, calls, scope, "Stack")


def _chain(inputs: Any, layer: Callable[..., Any], calls: list[Call], scope: str | None, default: str) -> Any:
    name = scope or _name_of(layer)
    named = [(f"{name}_{number}", args, kwargs) for number, (args, kwargs) in enumerate(calls, 1)]
    if isinstance(inputs, Variable):
        inputs = inputs.value
    if isinstance(inputs, int | Incoming):
        return _modules(inputs, layer, named)
    with variable_scope(scope, default, [inputs]) as variables:
        outputs = inputs
        for unit, args, kwargs in named:
            outputs = layer(outputs, *args, **{**kwargs, "scope": unit})
        if isinstance(inputs, Symbol) and isinstance(outputs, Symbol):
            _join(inputs, outputs, variables.name, [unit for unit, _, _ in named])
        return outputs


def _name_of(layer: Callable[..., Any]) -> str:
    while isinstance(layer, functools.partial):
        layer = layer.func
    return getattr(layer, "__name__", "repeat")


def _modules(inputs: int | Incoming, layer: Callable[..., Any], named: list[Any]) -> nn.Sequential:
    chain = nn.Sequential()
    for unit, args, kwargs in named:
        module = layer(inputs, *args, **{**kwargs, "scope": unit})
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"given a number of channels, every layer of a chain must give a module. Got {module!r} of {unit!r}: "
                "write it with `slim.layer`, or give `repeat` a Symbol inside `slim.build`."
            )
        chain.add_module(unit, module)
        sizes = (getattr(module, name, None) for name in ("out_channels", "out_features"))
        inputs = next((size for size in sizes if size is not None), inputs)
    return chain


def _join(inputs: Symbol, outputs: Symbol, scope: str, units: list[str]) -> None:
    """Makes the scope an `nn.Sequential`, if its units are single layers that feed each other."""
    graph = outputs.owner
    module, path = container(graph.root, scope)
    node: fx.Node = outputs.node
    for unit in reversed(units):
        if node.op != "call_module" or node.target != f"{path}.{unit}" or len(node.args) != 1:
            return
        (node,) = node.args  # type: ignore[assignment]
    if node is inputs.node and list(module._modules) == units and not module._parameters:
        make_sequential(graph.root, scope)
