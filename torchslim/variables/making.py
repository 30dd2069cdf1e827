"""Making variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Layer, Variable, get_default_graph, get_variable_scope
from torchslim.graph.devices import to_device
from torchslim.graph.scopes import check_scope_name, join
from torchslim.initializers import xavier_initializer, zeros_initializer


@add_arg_scope
def variable(
    name: str,
    shape: Sequence[int] | int | None = None,
    dtype: torch.dtype = torch.float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: str | Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> Variable:
    """Gets or makes a variable in the current scope (TF-Slim's `variable`).

    Args:
        name: its name; may have slashes.
        shape: its shape; may be left out if `initializer` is a tensor or an array.
        dtype: the element type.
        initializer: e.g. `slim.truncated_normal_initializer(stddev=0.1)`, a `torch.nn.init` function or a value;
            default Xavier uniform.
        regularizer: e.g. `slim.l2_regularizer(0.05)`; its loss is collected.
        trainable: whether training changes it.
        collections: collections that it is added to, beside those that make the queries work.
        device: `'/CPU:0'`, `'cuda:1'`, a `torch.device`: it gets its memory there now; None: when it is needed.

    Returns:
        The `Variable`; it computes like a Symbol.

    Raises:
        ValueError: if it exists and the scope does not reuse, or the reverse, or there is no shape.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     weights = slim.variable('weights', shape=[10, 10, 3, 3],
        ...                             initializer=slim.truncated_normal_initializer(stddev=0.1),
        ...                             regularizer=slim.l2_regularizer(0.05), device='/CPU:0')
        ...     len(slim.losses.get_regularization_losses())
        1
    """
    return _make(name, shape, dtype, initializer, regularizer, trainable, collections, device, "global")


@add_arg_scope
def model_variable(
    name: str,
    shape: Sequence[int] | int | None = None,
    dtype: torch.dtype = torch.float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: str | Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> Variable:
    """Gets or makes a variable that is a parameter of the model (TF-Slim's `model_variable`); arguments as `variable`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     weights = slim.model_variable('weights', shape=[10, 10])
        ...     [v.name for v in slim.get_model_variables()]
        ['weights:0']
    """
    return _make(name, shape, dtype, initializer, regularizer, trainable, collections, device, "model")


def _make(
    name: str,
    shape: Sequence[int] | int | None,
    dtype: torch.dtype,
    initializer: Any,
    regularizer: Any,
    trainable: bool,
    collections: str | Sequence[str] | None,
    device: str | torch.device | None,
    kind: str,
) -> Variable:
    check_scope_name(name)
    graph, scope = get_default_graph(), get_variable_scope()
    full = join(scope.name, name)
    existing = graph.variables.get(full)
    if existing is not None and scope.reuse:
        return existing
    if existing is not None:
        raise ValueError(f"variable {full!r} exists already. Open its scope with `reuse=True` to share it.")
    if scope.reuse is True:
        raise ValueError(f"`reuse=True`: variable {full!r} does not exist. Use `reuse=slim.AUTO_REUSE` to make it.")
    if shape is None:
        if initializer is None or callable(initializer):
            raise ValueError(f"variable {full!r}: give a `shape`, or a tensor as `initializer`. Got neither.")
        shape = tuple(torch.as_tensor(initializer).shape)
    tensor = torch.empty((shape,) if isinstance(shape, int) else tuple(shape), dtype=dtype, device="meta")
    if dtype.is_floating_point:
        tensor = nn.Parameter(tensor, requires_grad=trainable)
    if initializer is None:
        initializer = xavier_initializer() if dtype.is_floating_point else zeros_initializer()
    made = graph.add_variable(full, tensor, kind=kind, initializer=initializer, regularizer=regularizer)
    for collection in (collections,) if isinstance(collections, str) else collections or ():
        graph.add_to_collection(collection, made)
    if device is not None:
        made.initialize(to_device(device))
    return made


def add_model_variable(var: Variable | torch.Tensor, name: str | None = None) -> Variable:
    """Makes a tensor of one's own known as a variable of the model (TF-Slim's `add_model_variable`).

    Args:
        var: an `nn.Parameter` (or a tensor, which is then a buffer), or a `Variable`.
        name: its name; default `Variable`, made unique.

    Returns:
        The `Variable`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     mine = slim.add_model_variable(torch.nn.Parameter(torch.ones(3)), name='mine')
        ...     slim.get_model_variables()
        [<slim.Variable 'mine:0' shape=(3,) dtype=float32>]
    """
    graph = get_default_graph()
    if isinstance(var, Variable):
        if var.kind != "model":
            assert isinstance(var.module, Layer)
            var.module.kinds[var.attribute] = "model"
        return var
    full = join(get_variable_scope().name, name or graph.names.unique("Variable"))
    return graph.add_variable(full, var)


def global_variable(initial_value: Any, name: str | None = None) -> Variable:
    """Makes a variable of a value, that is saved but not trained (TF-Slim's `global_variable`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.global_variable(3, name='epoch')
        <slim.Variable 'epoch:0' shape=() dtype=int64>
    """
    return _add_value(initial_value, name, "global")


def local_variable(initial_value: Any, name: str | None = None) -> Variable:
    """Makes a variable of a value, that is neither saved nor trained (TF-Slim's `local_variable`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     count = slim.local_variable(0.0, name='count')
        ...     slim.get_variables(), slim.get_local_variables()
        ([], [<slim.Variable 'count:0' shape=() dtype=float32>])
    """
    return _add_value(initial_value, name, "local")


def _add_value(initial_value: Any, name: str | None, kind: str) -> Variable:
    graph = get_default_graph()
    full = join(get_variable_scope().name, name or graph.names.unique("Variable"))
    value = initial_value.value if isinstance(initial_value, Variable) else initial_value
    return graph.add_variable(full, torch.as_tensor(value).clone(), kind=kind, initializer=value)
