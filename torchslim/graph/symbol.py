"""Symbols: values that are known by shape and dtype, and record what is computed with them.

A `Symbol` is a `torch.fx.Proxy`, so every torch function, method and operator works on it. Each call is first
run on two sets of `meta` tensors that differ in the sizes that may vary; only if both runs succeed is it
recorded as one `torch.fx` node. So an impossible call fails at the line that makes it, and no shape is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.fx.proxy import GraphAppendingTracer
from torch.utils._pytree import tree_leaves, tree_map

from torchslim.graph.scopes import get_variable_scope

if TYPE_CHECKING:
    from torchslim.graph.graph import Graph

# The key of `node.meta` that holds what the two runs gave, and the one that holds TF-Slim's tensor aliases.
RUNS = "slim_runs"
ALIASES = "slim_aliases"
# What a built model keeps of them: the scope in which a call was made, and the shape and dtype of a placeholder.
SCOPE = "slim_scope"
INPUT = "slim_input"


def needed_for(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes, and all that they are computed from.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     x, y = slim.placeholder((None, 2), name='x'), slim.placeholder((None, 2), name='y')
        >>> sorted(node.name for node in needed_for([(x + 1).node]))
        ['add', 'x']
    """
    needed: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed


# In signatures: what TensorFlow code calls a tensor, that is a tensor, a Symbol or a Variable.
Value = Any


class Symbol(fx.Proxy):
    """A value of the graph under construction: it has a shape and a dtype, but no numbers yet.

    Symbols come from `slim.build`, `slim.placeholder` and `slim.data.batch`, and from every call on them.
    A size that varies (the batch) is `None` in `shape`; `x.size(0)` gives it as a Symbol.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3, 8, 8))
        ...     y = torch.cat([x, x.relu() + 1], 1).mean((2, 3))
        >>> y.shape, y.dtype
        ((None, 6), torch.float32)
    """

    tracer: Recorder

    @property
    def owner(self) -> Graph:
        """The `slim.Graph` that this Symbol belongs to."""
        return self.tracer.owner

    @property
    def name(self) -> str:
        """The name of its node in the graph."""
        return self.node.name

    @property
    def runs(self) -> tuple[Any, Any]:
        """What the two runs on `meta` tensors gave."""
        return self.node.meta[RUNS]

    @property
    def aliases(self) -> list[str]:
        """The names that layers gave to it, as in TF-Slim's `get_tensor_aliases`."""
        return self.node.meta.setdefault(ALIASES, [])

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, with `None` for those that vary."""
        first, second = (run.shape for run in self._tensors("shape"))
        return tuple(a if a == b else None for a, b in zip(first, second, strict=True))

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return self._tensors("dtype")[0].dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._tensors("ndim")[0].ndim

    def _tensors(self, what: str) -> tuple[torch.Tensor, torch.Tensor]:
        if not all(isinstance(run, torch.Tensor) for run in self.runs):
            raise AttributeError(f"{self!r} is a {type(self.runs[0]).__name__}, not a tensor: it has no `{what}`.")
        return self.runs

    def __getattr__(self, name: str) -> Any:
        value = self.runs[0]
        if not hasattr(value, name):
            raise AttributeError(f"{type(value).__name__} has no attribute {name!r} (asked of {self!r}).")
        if callable(getattr(value, name)):
            return fx.proxy.Attribute(self, name)
        # What a Symbol lives on is known when it runs, so a `meta` run must not answer for it.
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __repr__(self) -> str:
        if all(isinstance(run, torch.Tensor) for run in self.runs):
            return f"Symbol({self.name!r}, shape={self.shape}, dtype={self.dtype})"
        return f"Symbol({self.name!r}, {type(self.runs[0]).__name__})"

    def __bool__(self) -> bool:
        raise self._unknown("bool", "Use `torch.where`, or decide with a Python value when the graph is built.")

    def __float__(self) -> float:
        raise self._unknown("float", "Keep computing with it as a tensor, or evaluate it: `graph.run(symbol, {...})`.")

    def __int__(self) -> int:
        raise self._unknown("int", "Keep computing with it as a tensor, or evaluate it: `graph.run(symbol, {...})`.")

    __index__ = __int__

    def _unknown(self, what: str, instead: str) -> TypeError:
        return TypeError(
            f"{what}({self!r}): a Symbol has no value while the graph is built, it gets one when the module runs. "
            + instead
        )

    def __len__(self) -> int:
        size = self.shape[0] if self.shape else None
        if size is None:
            raise self._unknown("len", "Use `x.size(0)`: the size as a Symbol.")
        return size

    def __iter__(self) -> Iterator[Any]:
        first, second = self.runs
        if isinstance(first, torch.Tensor) or len(first) != len(second):
            raise self._unknown("iter", "Use `torch.unbind(x, dim)`, `x.split(...)` or index it: `x[:, 0]`.")
        return (self[i] for i in range(len(first)))  # type: ignore[index]


def is_symbolic(value: Any) -> bool:
    """Whether a Symbol (or a variable that stands for one) is in `value`, at any depth."""
    return any(isinstance(leaf, fx.Proxy) or hasattr(leaf, "__fx_create_arg__") for leaf in tree_leaves(value))


def to_meta(value: Any) -> Any:
    """`value` with its tensors replaced by `meta` tensors of the same shape and dtype."""
    return tree_map(lambda leaf: leaf.detach().to("meta") if isinstance(leaf, torch.Tensor) else leaf, value)


class Recorder(GraphAppendingTracer):
    """Runs each call on `meta` tensors, then appends it to the `fx.Graph` of its owner."""

    def __init__(self, owner: Graph) -> None:
        super().__init__(owner.fx_graph)
        self.owner = owner

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any | None = None,
        proxy_factory_fn: Callable[[fx.Node], fx.Proxy] | None = None,
    ) -> Any:
        """Records one call; a result that is the same plain Python value in both runs is returned as it is."""
        with self.owner.error_notes():
            runs = self._runs(kind, target, args, kwargs)
            if _is_known(*runs):
                return runs[0]
            node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr)
        return self.symbol(node, runs)

    def symbol(self, node: fx.Node, runs: tuple[Any, Any]) -> Symbol:
        """The Symbol of a node, which takes over what the two runs gave."""
        node.meta[RUNS] = runs
        node.meta.setdefault(SCOPE, get_variable_scope(self.owner).name)
        return Symbol(node, self)

    def run_again(self, node: fx.Node, which: int = 0) -> Any:
        """What a recorded call gives on `meta` tensors, in the first or the second of its two runs."""
        args, kwargs = tree_map(
            lambda leaf: Symbol(leaf, self) if isinstance(leaf, fx.Node) else leaf, (node.args, dict(node.kwargs))
        )
        return self._run(node.op, node.target, args, kwargs, which)

    def create_arg(self, value: Any) -> Any:
        """As in `torch.fx`; tensors become constants of the graph, foreign Symbols are an error."""
        if isinstance(value, torch.Tensor):
            return self.owner.constant(value)
        if isinstance(value, Symbol) and value.owner is not self.owner:
            raise ValueError(
                f"{value!r} belongs to another Graph than the Symbols that it is used with. "
                "Build both in one `with slim.Graph():`, or run one and feed its result to the other."
            )
        return super().create_arg(value)

    def _runs(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        first = self._run(kind, target, args, kwargs, 0)
        try:
            return first, self._run(kind, target, args, kwargs, 1)
        except Exception as error:
            error.add_note(
                "the call works with one size of a dimension that varies (the batch) and fails with another: it fixes "
                "that size. Leave it open, e.g. `x.reshape(-1, ...)`, `x.flatten(1)`."
            )
            raise

    def _run(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], which: int) -> Any:
        def value_of(leaf: Any) -> Any:
            if isinstance(leaf, fx.Proxy):
                return leaf.node.meta[RUNS][which]
            if hasattr(leaf, "__fx_create_arg__"):
                return leaf.__fx_create_arg__(self).meta[RUNS][which]
            return leaf

        args, kwargs = to_meta(tree_map(value_of, (args, kwargs)))
        with torch.no_grad(), torch.device("meta"):
            if kind == "call_module":
                return call_on_meta(self.owner.root.get_submodule(target), args, kwargs)
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            return target(*args, **kwargs)


def _is_known(first: Any, second: Any) -> bool:
    if any(isinstance(leaf, torch.Tensor | torch.device) for leaf in tree_leaves(first)):
        return False
    return type(first) is type(second) and first == second


def call_on_meta(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a module on `meta` tensors, wherever its own tensors are."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if all(tensor.is_meta for tensor in tensors.values()):
        return module(*args, **kwargs)
    return torch.func.functional_call(module, to_meta(tensors), args, kwargs)


def call_with(module: torch.nn.Module, variables: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
    """Calls a module with other values for some of its parameters and buffers."""
    variables = dict(variables)  # the call leaves in it what it took over
    if any(value.is_meta for value in variables.values()):
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        variables = {**to_meta(own), **variables}
    return torch.func.functional_call(module, variables, args, kwargs)
