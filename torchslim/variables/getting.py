"""How the `custom_getter` of a scope takes part in making the variables of layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchslim.graph import Graph, Layer, Variable, VariableScope
from torchslim.graph.variable import variables_of
from torchslim.variables.making import get_or_make


def ask_custom_getter(graph: Graph, scope: VariableScope, module: nn.Module, path: str) -> dict[str, Any]:
    """Asks the custom getter of `scope` for each variable of a layer, and regularizes what it gives.

    Args:
        graph: where the layer hangs.
        scope: where it was called.
        module: the layer. It keeps those of its variables that were asked of the getter under their own names.
        path: where it hangs.

    Returns:
        What takes the place of variables: by their keys in `module`, Symbols.
    """
    values = {}
    for own in list(variables_of(module, path, graph)):
        name, regularizer, existing = own.op.name, own.regularizer, set(graph.variables)
        getter = _Getter(own, graph, scope)
        given = getter.ask()
        value = given.value if isinstance(given, Variable) else given
        if given is not getter.taken:
            values[own.key.removeprefix(f"{path}.")] = value
        if getter.taken is None:
            _drop(own)
        shared = isinstance(given, Variable) and given.op.name in existing
        if regularizer is not None and not shared:
            graph.regularize(name, regularizer, value)
    return values


class _Getter:
    """What a custom getter makes a layer's variable by: the one that the layer brought, another or a new one."""

    def __init__(self, own: Variable, graph: Graph, scope: VariableScope) -> None:
        self.own = own
        self.graph = graph
        self.scope = scope
        self.taken: Variable | None = None

    def ask(self) -> Any:
        """What the custom getter gives for the variable."""
        own, custom_getter = self.own, self.scope.custom_getter
        assert custom_getter is not None
        return custom_getter(
            self,
            own.op.name,
            shape=own.shape,
            dtype=own.dtype,
            initializer=own.initializer,
            regularizer=None,  # the layer regularizes what it gets
            trainable=own.trainable,
        )

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Variable:
        """Gets or makes the variable of this name; arguments as `slim.variable`."""
        if name != self.own.op.name or name in self.graph.variables:
            return get_or_make(self.graph, self.scope.reuse, "global", name, *args, **kwargs)
        if self.scope.reuse is True:
            raise ValueError(f"`reuse=True`: variable {name!r} does not exist. Use `slim.AUTO_REUSE` to make it.")
        self._adapt(*args, **kwargs)
        self.graph.variables[name] = self.taken = self.own
        return self.own

    def _adapt(
        self,
        shape: Any = None,
        dtype: torch.dtype | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
    ) -> None:
        own, module = self.own, self.own.module
        wanted = tuple(shape or own.shape), dtype or own.dtype
        if wanted != (own.shape, own.dtype):
            raise ValueError(
                f"custom_getter: {own.op.name!r} has the shape {own.shape} and {own.dtype}: its layer needs them. "
                f"Got {wanted[0]} and {wanted[1]}. Get it under another name, and return what the layer can use."
            )
        if isinstance(module, Layer) and initializer is not None:
            module.initializers[own.attribute] = initializer
        if isinstance(own._tensor, nn.Parameter):
            own._tensor.requires_grad_(trainable)
        if regularizer is not None:
            self.graph.regularize(own.op.name, regularizer, own.value)


def _drop(variable: Variable) -> None:
    module, attribute = variable.module, variable.attribute
    (module._parameters if attribute in module._parameters else module._buffers)[attribute] = None
    if isinstance(module, Layer):
        for notes in (module.initializers, module.regularizers, module.kinds):
            notes.pop(attribute, None)
