"""TF-Slim's `slim.utils`: names of outputs, collections, small conversions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from torchslim.graph import Symbol, Variable, get_default_graph
from torchslim.layers.regions import Borrower, cut_region, record

T = TypeVar("T")


def collect_named_outputs(collections: str | Sequence[str] | None, alias: str, outputs: T) -> T:
    """Gives `outputs` an alias and adds it to collections (TF-Slim's function of this name).

    Args:
        collections: a name, a list of names, or None for no collection.
        alias: the name that `convert_collection_to_dict` will give it.
        outputs: a Symbol or a tensor.

    Returns:
        `outputs`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.utils.collect_named_outputs('end_points', 'input', slim.placeholder((None, 3)))
        ...     list(slim.utils.convert_collection_to_dict('end_points'))
        ['input']
    """
    append_tensor_alias(outputs, alias)
    names = [collections] if isinstance(collections, str) else collections or ()
    graph = outputs.owner if isinstance(outputs, Symbol) else get_default_graph()
    for name in names:
        graph.add_to_collection(name, outputs)
    return outputs


def append_tensor_alias(tensor: T, alias: str) -> T:
    """Adds a name to a Symbol or tensor.

    Example:
        >>> import torch
        >>> get_tensor_aliases(append_tensor_alias(torch.zeros(2), 'net/logits/'))
        ['net/logits']
    """
    alias = alias.rstrip("/")
    if isinstance(tensor, Symbol):
        tensor.aliases.append(alias)
    elif isinstance(tensor, torch.Tensor):
        tensor.slim_aliases = [*get_tensor_aliases(tensor), alias]  # type: ignore[attr-defined]
    return tensor


def get_tensor_aliases(tensor: Any) -> list[str]:
    """The names that layers gave to a Symbol or tensor; if none did, the name of a Symbol.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3), name='x')
        ...     get_tensor_aliases(x), get_tensor_aliases(slim.fully_connected(x, 2, scope='a/fc'))
        (['x'], ['a/fc'])
    """
    if isinstance(tensor, Symbol):
        return list(tensor.aliases) or [tensor.name]
    return list(getattr(tensor, "slim_aliases", ()))


def gather_tensors_aliases(tensors: Iterable[Any]) -> list[str]:
    """The names of all of `tensors`, in order.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     gather_tensors_aliases([slim.placeholder((), name=name) for name in 'ab'])
        ['a', 'b']
    """
    return [alias for tensor in tensors for alias in get_tensor_aliases(tensor)]


def convert_collection_to_dict(collection: str, clear_collection: bool = False) -> dict[str, Any]:
    """The outputs in a collection by their names, in creation order; a name given twice holds the last.

    Args:
        collection: its name.
        clear_collection: empty it.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3))
        ...     net = slim.stack(x, slim.fully_connected, [4, 2], scope='fc', outputs_collections='end_points')
        ...     list(convert_collection_to_dict('end_points'))
        ['fc/fc_1', 'fc/fc_2']
    """
    graph = get_default_graph()
    found = {alias: value for value in graph.get_collection(collection) for alias in get_tensor_aliases(value)}
    if clear_collection:
        graph.clear_collection(collection)
    return found


def get_variable_collections(
    variables_collections: str | Sequence[str] | Mapping[str, Sequence[str]] | None, name: str
) -> list[str]:
    """The collections for the variable `name` of a layer; `variables_collections` may be a dict by that name.

    Example:
        >>> get_variable_collections({'weights': ['decayed']}, 'weights'), get_variable_collections(['all'], 'biases')
        (['decayed'], ['all'])
    """
    if isinstance(variables_collections, Mapping):
        variables_collections = variables_collections.get(name)
    if isinstance(variables_collections, str):
        return [variables_collections]
    return list(variables_collections or ())


def n_positive_integers(n: int, value: int | Sequence[int]) -> tuple[int, ...]:
    """`value` as `n` positive integers; one number stands for all of them.

    Raises:
        ValueError: if it is neither one nor `n` positive integers.

    Example:
        >>> n_positive_integers(2, 3), n_positive_integers(2, [3, 1])
        ((3, 3), (3, 1))
    """
    values = tuple(value) if isinstance(value, Sequence | torch.Size) else (value,) * n
    if len(values) != n or not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        raise ValueError(f"expected a positive integer or {n} of them. Got {value!r}.")
    return values


def two_element_tuple(int_or_tuple: int | Sequence[int]) -> tuple[int, int]:
    """A number twice, or a pair as it is (TF-Slim's function of this name).

    Raises:
        ValueError: if it is neither a whole number nor a list of two.

    Example:
        >>> two_element_tuple(3), two_element_tuple([3, 1])
        ((3, 3), (3, 1))
    """
    if isinstance(int_or_tuple, int):
        return int(int_or_tuple), int(int_or_tuple)
    if isinstance(int_or_tuple, list | tuple) and len(int_or_tuple) == 2:
        return int(int_or_tuple[0]), int(int_or_tuple[1])
    raise ValueError(f"two_element_tuple: `int_or_tuple` must be a whole number or two of them. Got {int_or_tuple!r}.")


def constant_value(value_or_tensor_or_var: Any, dtype: torch.dtype | None = None) -> Any:
    """The value, if it is known while the model is built; None for a Symbol and for a variable.

    Args:
        value_or_tensor_or_var: a Python value, a Symbol, a tensor or a `Variable`.
        dtype: what a Symbol, tensor or variable must be of.

    Raises:
        ValueError: if it is None, or of another dtype.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.utils.constant_value(3), slim.utils.constant_value(slim.placeholder(()))
        (3, None)
    """
    value = value_or_tensor_or_var
    if value is None:
        raise ValueError("constant_value: `value_or_tensor_or_var` must not be None. Got None.")
    if not isinstance(value, Symbol | torch.Tensor | Variable):
        return value
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"constant_value: `value_or_tensor_or_var` must be of dtype {dtype}. Got {value.dtype}.")
    return value if isinstance(value, torch.Tensor) and not value.is_meta else None


def static_cond(pred: Any, fn1: Callable[[], T], fn2: Callable[[], T]) -> T:
    """`fn1()` if `pred`, else `fn2()`: decided while the model is built.

    Raises:
        TypeError: if `fn1` or `fn2` is not a function.

    Example:
        >>> static_cond(True, lambda: 'yes', lambda: 'no')
        'yes'
    """
    _check_functions("static_cond", fn1=fn1, fn2=fn2)
    return fn1() if pred else fn2()


def _check_functions(op: str, **functions: Any) -> None:
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{op}: `{name}` must be a function without arguments. Got {function!r}.")


class Cond(Borrower):
    """Runs one of two modules: the first if the condition holds."""

    def __init__(self, bodies: tuple[torch.nn.Module, torch.nn.Module], sizes: tuple[int, int]) -> None:
        super().__init__()
        self.bodies = bodies  # in a tuple, modules are no children
        self.sizes = sizes
        self.has_statistics = any(True for body in bodies for _ in body.buffers())

    def forward(self, pred: torch.Tensor, *inputs: torch.Tensor) -> Any:
        """What the chosen module computes; `inputs` are those of the first, then those of the second."""
        if torch.compiler.is_compiling() and not (self.training and self.has_statistics):
            # The branches may neither change a buffer nor return what flows in.
            return torch.cond(
                pred.bool(), lambda *x: _copied(self.first(x)), lambda *x: _copied(self.second(x)), inputs
            )
        return self.first(inputs) if pred else self.second(inputs)

    def first(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        """What the first module computes of its part of the inputs."""
        return self.bodies[0](*inputs[: self.sizes[0]])

    def second(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        """What the second module computes of its part of the inputs."""
        return self.bodies[1](*inputs[self.sizes[0] :])


def _copied(outputs: Any) -> Any:
    return torch.utils._pytree.tree_map(torch.clone, outputs)


def smart_cond(pred: Any, fn1: Callable[[], Any], fn2: Callable[[], Any], name: str | None = None) -> Any:
    """`fn1()` or `fn2()`, decided now if `pred` is known, else each time that the module runs.

    Only the chosen one runs; the layers of both are made. Compiled or exported, a module that decides when it runs has
    a `torch.cond` there. That cannot update statistics: while it trains layers such as `batch_norm`, the module cannot
    be exported, or compiled with `fullgraph=True`.

    Args:
        pred: a Python value, a tensor, or a scalar Symbol.
        fn1: taken if `pred` is true; a function without arguments.
        fn2: taken otherwise; it must give what `fn1` gives: a Symbol, or a tuple of them, of the same shapes.
        name: the name of the module that decides; default `cond`.

    Returns:
        What the chosen function gives.

    Raises:
        TypeError: if `fn1` or `fn2` is not a function, or one gives something else than Symbols.
        ValueError: if they give different shapes.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(x):
        ...     return slim.utils.smart_cond(x.sum() > 0, lambda: x + 1, lambda: -x)
        >>> slim.build(net, torch.empty(1, 2))(torch.tensor([[-1.0, 0.5]]))
        tensor([[ 1.0000, -0.5000]])
    """
    pred = pred.value if isinstance(pred, Variable) else pred
    if not isinstance(pred, Symbol):
        return static_cond(constant_value(pred), fn1, fn2)
    _check_functions("smart_cond", fn1=fn1, fn2=fn2)
    graph = pred.owner
    first, second = (cut_region(graph, function, []) for function in (fn1, fn2))
    shapes = [torch.utils._pytree.tree_map(lambda value: value.shape, region.outputs) for region in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"smart_cond: `fn1` and `fn2` must give the same shapes. Got {shapes[0]} and {shapes[1]}.")
    module = Cond((first.body, second.body), (len(first.inputs), len(second.inputs)))
    module.borrowed = (*first.layers, *second.layers)
    return record(graph, name or "cond", module, (pred.node, *first.inputs, *second.inputs), first.outputs)


def channel_dimension(shape: Sequence[int | None], data_format: str, min_rank: int = 1) -> int:
    """The number of channels in a shape.

    Args:
        shape: `tensor.shape`.
        data_format: `'channels_first'` or `'channels_last'`.
        min_rank: the least number of dimensions.

    Raises:
        ValueError: if there are fewer dimensions, or the number varies.

    Example:
        >>> channel_dimension((None, 3, 8, 8), 'channels_first')
        3
    """
    return _dimension("channel_dimension", shape, 1 if data_format == "channels_first" else -1, min_rank)


def last_dimension(shape: Sequence[int | None], min_rank: int = 1) -> int:
    """The last size in a shape.

    Args:
        shape: `tensor.shape`.
        min_rank: the least number of dimensions.

    Raises:
        ValueError: if there are fewer dimensions, or the size varies.

    Example:
        >>> last_dimension((None, 8, 3), min_rank=2)
        3
    """
    return _dimension("last_dimension", shape, -1, min_rank)


def _dimension(op: str, shape: Sequence[int | None], where: int, min_rank: int) -> int:
    if len(shape) < min_rank:
        raise ValueError(f"{op}: `shape` must have at least {min_rank} dimensions. Got {tuple(shape)}.")
    size = shape[where]
    if size is None:
        raise ValueError(f"{op}: dimension {where} of `shape` must be fixed. Got {tuple(shape)}.")
    return size
