"""`slim.layer`: makes a layer of a small function from what flows in to a module."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from torchslim.graph import (
    Graph,
    Layer,
    Symbol,
    Variable,
    get_default_graph,
    get_variable_scope,
    name_scope,
    variable_scope,
)
from torchslim.graph.scopes import Reuse, join
from torchslim.graph.symbol import call_with
from torchslim.graph.tree import hang
from torchslim.layers.incoming import Incoming
from torchslim.layers.utils import collect_named_outputs, get_variable_collections
from torchslim.variables.getting import ask_custom_getter

F = TypeVar("F", bound=Callable[..., Any])

# What the decorator itself deals with. A layer function may list them (TF-Slim's order) or leave them out.
_COMMON = {"reuse": None, "variables_collections": None, "outputs_collections": None, "scope": None}


def layer(default_scope: str, *, variables: bool = True, beside: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Decorator: a function from what flows in, and hyper-parameters, to a module becomes a layer.

    The layer then takes a Symbol (it is recorded in the graph), a tensor (it is created in the current graph and
    applied at once) or the number of input channels (it is only made). The decorator adds scope and name, sharing and
    collections, with the arguments `reuse`, `variables_collections`, `outputs_collections` and `scope`. Put
    `slim.add_arg_scope` above it to give the layer scoped defaults.

    Args:
        default_scope: the name of a layer that is given none: `Conv`, then `Conv_1`, ...
        variables: whether the layer has variables. TensorFlow names those that have none by another rule.
        beside: arguments that flow in beside the first: a Symbol or tensor given for one goes to the module's
            `forward` by that name, and the function sees an `Incoming` of it.

    Example:
        >>> import torch, torchslim as slim
        >>> @slim.add_arg_scope
        ... @slim.layer('Scale')
        ... def scale(inputs, initial=1.0):
        ...     class Scale(torch.nn.Module):
        ...         def __init__(self):
        ...             super().__init__()
        ...             self.factor = torch.nn.Parameter(torch.full([inputs.channels(), 1, 1], initial))
        ...         def forward(self, x):
        ...             return x * self.factor
        ...     return Scale()
        >>> scale(torch.ones(1, 2, 3, 3), initial=2.0).sum()
        tensor(36., grad_fn=<SumBackward0>)
        >>> scale(16).factor.shape
        torch.Size([16, 1, 1])
    """

    def decorate(make: F) -> F:
        signature = inspect.signature(make)
        missing = [name for name in _COMMON if name not in signature.parameters]
        public = _with_keywords(signature, missing)

        @functools.wraps(make)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = public.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{make.__name__}: {error}. It takes: {', '.join(public.parameters)}.") from None
            bound.apply_defaults()
            inputs = next(iter(bound.arguments.values()))
            return _Call(make, bound, missing, default_scope, variables, beside).on(inputs)

        call.__signature__ = public  # type: ignore[attr-defined]
        call.is_slim_layer = True  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def is_layer(function: Any) -> bool:
    """Whether a function (or a `functools.partial` of it) is a layer."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "is_slim_layer", False)


def _with_keywords(signature: inspect.Signature, names: list[str]) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    rest = parameters.pop() if parameters[-1].kind is inspect.Parameter.VAR_KEYWORD else None
    parameters += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=_COMMON[n]) for n in names]
    return signature.replace(parameters=[*parameters, *([rest] if rest else [])])


class _Call:
    """One call of a layer."""

    def __init__(
        self,
        make: Callable[..., Any],
        bound: inspect.BoundArguments,
        added: list[str],
        default: str,
        variables: bool,
        beside: tuple[str, ...],
    ) -> None:
        self.make = make
        self.bound = bound
        self.added = added
        self.default_scope = default
        self.variables = variables
        self.beside = beside
        self.common = {name: bound.arguments.get(name) for name in _COMMON}

    def on(self, inputs: Any) -> Any:
        if isinstance(inputs, Variable):
            inputs = inputs.value
        if isinstance(inputs, int | Incoming) and not isinstance(inputs, bool):
            self._refuse_beside()
            made = Incoming(channels=inputs) if isinstance(inputs, int) else inputs
            return self.module(made, join(get_variable_scope().name, self.common["scope"] or self.default_scope))
        if not isinstance(inputs, Symbol | torch.Tensor):
            raise TypeError(
                f"{self.make.__name__}: `inputs` is a Symbol, a torch.Tensor or the number of input channels. "
                f"Got {inputs!r} ({type(inputs).__name__})."
            )
        graph = inputs.owner if isinstance(inputs, Symbol) else get_default_graph()
        self._take_beside(inputs)
        with _entered(graph), self._scope() as (scope, operations, reuse), graph.error_notes():
            around = get_variable_scope(graph)
            custom = self.variables and around.custom_getter is not None
            module = self._made_for(inputs, scope, custom)
            if custom:
                path = hang(graph.root, scope, module, keeps_name=True)
                values = ask_custom_getter(graph, around, module, path)
            else:
                path = graph.add_layer(scope, module, reuse=reuse, specification=self._specification())
                values = {}
            self._collect_variables(graph, path)
            outputs = self._apply(graph, path, inputs, values)
            if isinstance(outputs, Symbol):
                graph.end_points.setdefault(operations, outputs)
                for module in graph.get_module(path).modules():
                    if recorded := getattr(module, "recorded", None):  # it has something to do with its recorded call
                        recorded(outputs)
            return collect_named_outputs(self.common["outputs_collections"], scope, outputs)

    @contextlib.contextmanager
    def _scope(self) -> Iterator[tuple[str, str, Reuse]]:
        if self.variables:
            with variable_scope(self.common["scope"], self.default_scope, reuse=self.common["reuse"]) as scope:
                yield scope.name, scope.original_name_scope.rstrip("/"), scope.reuse
        else:
            with name_scope(self.common["scope"], self.default_scope) as operations:
                yield operations.rstrip("/"), operations.rstrip("/"), None

    def _refuse_beside(self) -> None:
        for name, value in self._beside_given().items():
            if isinstance(value, Symbol | torch.Tensor | Variable):
                raise ValueError(
                    f"{self.make.__name__}: `{name}` cannot flow in where only the module is made (for a number of "
                    f"channels, or as a `normalizer_fn`). Got {value!r}. Give `{name}=True` and pass it to the module, "
                    "or call the layer by itself."
                )

    def _take_beside(self, inputs: Symbol | torch.Tensor) -> None:
        for name, value in self._beside_given().items():
            value = value.value if isinstance(value, Variable) else value
            if not isinstance(value, Symbol | torch.Tensor):
                value = torch.as_tensor(value, device=None if isinstance(inputs, Symbol) else inputs.device)
            if isinstance(value, Symbol) and isinstance(inputs, torch.Tensor):
                raise TypeError(f"{self.make.__name__}: `inputs` is a tensor, so `{name}` must be one. Got {value!r}.")
            self.bound.arguments[name] = value

    def _beside_given(self) -> dict[str, Any]:
        given = {name: self.bound.arguments.get(name) for name in self.beside}
        return {name: value for name, value in given.items() if value is not None}

    def module(self, incoming: Incoming, scope: str) -> nn.Module:
        """Only makes the module; `scope` is where it will be, as far as that is known."""
        arguments = {name: value for name, value in self.bound.arguments.items() if name not in self.added}
        arguments[next(iter(arguments))] = incoming
        for name, value in self._beside_given().items():
            arguments[name] = Incoming.of(value) if isinstance(value, Symbol | torch.Tensor) else value
        positional = inspect.BoundArguments(inspect.signature(self.make), arguments)
        module = self.make(*positional.args, **positional.kwargs)
        if not isinstance(module, nn.Module):
            raise TypeError(f"layer {self.make.__name__}: the function must return an nn.Module. Got {module!r}.")
        module.__dict__["scope_name"] = self.common["scope"] or self.default_scope
        if made_in := getattr(module, "made_in", None):  # a module whose variables are named after where it is
            made_in(scope)
        return module

    def _made_for(self, inputs: Symbol | torch.Tensor, scope: str, later: bool) -> nn.Module:
        """Makes the module; `later`: without memory also for a tensor, since its variables may be made otherwise."""
        incoming = Incoming.of(inputs)
        if isinstance(inputs, torch.Tensor) and not later:
            with inputs.device:
                return self.module(incoming, scope)
        with torch.device("meta"):
            module = self.module(incoming, scope)
        # Only slim's own layers know how to fill what was made without memory.
        known = {
            id(t) for m in module.modules() if isinstance(m, Layer) for t in (getattr(m, n) for n in m.initializers)
        }
        tensors = [*module.parameters(), *module.buffers()]
        return module if all(id(tensor) in known for tensor in tensors) else self.module(incoming, scope)

    def _apply(self, graph: Graph, path: str, inputs: Symbol | torch.Tensor, values: dict[str, Any]) -> Any:
        """Calls the module that hangs at `path`, with `values` in the place of some of its variables."""
        beside = self._beside_given()
        if isinstance(inputs, Symbol):
            if values:
                return graph.call_with(path, values, inputs, **beside)
            return graph.recorder.create_proxy("call_module", path, (inputs,), beside)
        module = graph.get_module(path)
        graph.initialize(inputs.device, module)
        if values:
            computed = graph.module(values, inputs=[], initialize=False)
            graph.initialize(inputs.device, computed)
            return call_with(module, computed(), inputs, **beside)
        return module(inputs, **beside)

    def _specification(self) -> str:
        skipped = ("inputs", "trainable", *_COMMON)
        return repr([
            (name, value if name not in self.beside else value is not None)
            for name, value in self.bound.arguments.items()
            if name not in skipped and not name.endswith(("_initializer", "_regularizer"))
        ])  # fmt: skip

    def _collect_variables(self, graph: Graph, path: str) -> None:
        collections = self.common["variables_collections"]
        if not collections:
            return
        for variable in graph.variables.values():
            if variable.layer_path == path:
                own = variable.op.name.rpartition("/")[2]
                kinds = (own, "weights") if own.endswith("_weights") else (own,)  # a layer may have several kernels
                for name in (name for kind in kinds for name in get_variable_collections(collections, kind)):
                    if variable not in graph.get_collection(name):
                        graph.add_to_collection(name, variable)


@contextlib.contextmanager
def _entered(graph: Graph) -> Iterator[None]:
    if graph is get_default_graph():
        yield
    else:
        with graph:
            yield
