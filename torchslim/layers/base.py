"""What convolutions and dense layers have in common: variables, then a normalizer or a bias, then an activation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import arg_scope_func_key, current_arg_scope, has_arg_scope
from torchslim.graph import Layer, build
from torchslim.graph.build import InputSpec
from torchslim.graph.variable import _KERNEL
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import is_layer

Function = Callable[..., Any]


def _hardswish(net: torch.Tensor) -> torch.Tensor:
    """In place, unless its gradient needs what flows in: to keep a copy costs more than a result of its own."""
    return functional.hardswish(net, inplace=not torch.is_grad_enabled())


# Nobody else sees what a layer computes before its activation, so these may overwrite it.
_IN_PLACE: dict[Any, Function] = {
    torch.relu: torch.relu_,
    functional.relu: torch.relu_,
    functional.relu6: functools.partial(functional.relu6, inplace=True),
    functional.hardswish: _hardswish,
}


class WeightedLayer(Layer):
    """A layer `activation(normalizer(f(inputs, weight)) [+ bias])`.

    Attributes:
        normalizer: the name of the child module that normalizes, or None.
        activation: the function applied last, or None.
        gives_view: what is activated is a view (another layout, a part): to overwrite one costs a copy of the gradient.
    """

    normalizer: str | None = None
    activation: Function | None = None
    gives_view = False

    def set_up(
        self,
        *,
        weights: tuple[Any, Any] = (None, None),
        biases: tuple[Any, Any] = (None, None),
        activation_fn: Function | None = None,
        normalizer: nn.Module | None = None,
        trainable: bool,
    ) -> None:
        """Takes over initializers, regularizers (a pair each), normalizer and activation, and fills the variables."""
        for attribute, (initializer, regularizer) in (("weight", weights), ("bias", biases)):
            if getattr(self, attribute, None) is not None:
                self.initializers[attribute] = initializer
                if regularizer is not None:
                    check_regularizer(f"{_KERNEL[attribute]}_regularizer", regularizer)
                    self.regularizers[attribute] = regularizer
        self.requires_grad_(trainable)
        if normalizer is not None:
            self.normalizer = normalizer.__dict__.get("scope_name", "normalizer")
            self.add_module(self.normalizer, normalizer)
        own = not self.gives_view and isinstance(normalizer, nn.modules.batchnorm._NormBase | None)
        self.activation = _IN_PLACE.get(activation_fn, activation_fn) if own else activation_fn
        self.reset_parameters()

    def finish(self, net: torch.Tensor) -> torch.Tensor:
        """Normalizes and activates."""
        if self.normalizer is not None:
            net = self._modules[self.normalizer](net)  # type: ignore[misc]
        return net if self.activation is None else self.activation(net)


def make_normalizer(
    function: Function | None,
    parameters: Mapping[str, Any] | None,
    shape: tuple[int | None, ...],
    **defaults: Any,
) -> nn.Module | None:
    """The module of a `normalizer_fn`, for what flows into it.

    Args:
        function: a layer, or any function of a Symbol; None for no normalizer.
        parameters: the `normalizer_params`.
        shape: of what flows in.
        defaults: given to a layer that takes them, unless `parameters` or an arg_scope do.
    """
    if function is None:
        return None
    parameters = dict(parameters or {})
    if is_layer(function):
        return function(Incoming(shape), **{**_unset(function, defaults), **parameters})
    model = build(function, InputSpec(shape), **parameters)
    model.__dict__["scope_name"] = ":normalizer"  # a scope without a name: its variables are named as if here
    return model


def _unset(function: Function, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `defaults` that a layer takes and that neither a `functools.partial` nor an arg_scope sets."""
    arguments = inspect.signature(function).parameters
    given: set[str] = set()
    while isinstance(function, functools.partial):
        given |= function.keywords.keys()
        function = function.func
    if has_arg_scope(function):
        given |= current_arg_scope().get(arg_scope_func_key(function), {}).keys()
    return {name: value for name, value in defaults.items() if name in arguments and name not in given}


def check_regularizer(argument: str, value: Any) -> None:
    """Raises a TypeError unless `value` is a function."""
    if not callable(value):
        raise TypeError(
            f"`{argument}` must be a function such as `slim.l2_regularizer(0.0005)`. "
            f"Got {value!r} ({type(value).__name__})."
        )


def check_choice(op: str, argument: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Raises a ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{op}: `{argument}` must be one of {', '.join(map(repr, choices))}. Got {value!r}.")
    return value
