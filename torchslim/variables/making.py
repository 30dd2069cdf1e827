"""Making variables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Graph, Layer, Variable, get_default_graph, get_variable_scope
from torchslim.graph.devices import to_device
from torchslim.graph.scopes import Reuse, check_scope_name, join
from torchslim.initializers import xavier_initializer, zeros_initializer

Device = str | torch.device | Callable[[Any], str | torch.device] | None


@add_arg_scope
def variable(
    name: str,
    shape: Sequence[int] | int | None = None,
    dtype: torch.dtype | None = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: str | Sequence[str] | None = None,
    caching_device: Any = None,
    device: Device = None,
    partitioner: Any = None,
    custom_getter: Callable[..., Any] | None = None,
    use_resource: bool | None = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Variable:
    """Gets or makes a variable in the current scope (TF-Slim's `variable`).

    Args:
        name: its name; may have slashes.
        shape: its shape; may be left out if `initializer` is a tensor or an array.
        dtype: the element type; None: that of `initializer` if it gives the shape, else float32.
        initializer: e.g. `slim.truncated_normal_initializer(stddev=0.1)`, a `torch.nn.init` function or a value;
            default Xavier uniform.
        regularizer: e.g. `slim.l2_regularizer(0.05)`; its loss is collected.
        trainable: whether training changes it.
        collections: collections that it is added to, beside those that make the queries work.
        caching_device: TensorFlow's; only None.
        device: `'/CPU:0'`, `'cuda:1'`, a `torch.device`, or a function of the variable's `op` that gives one such as
            `slim.VariableDeviceChooser()`: it gets its memory there now; None: when it is needed.
        partitioner: TensorFlow's; only None.
        custom_getter: makes it instead, called as `custom_getter(name, shape=..., dtype=..., ...)`; None: that of the
            `slim.variable_scope` does, if it has one.
        use_resource: accepted because TensorFlow has it; there is one kind of variable.
        synchronization: TensorFlow's; only None.
        aggregation: TensorFlow's; only None.

    Returns:
        The `Variable`; it computes like a Symbol. With a custom getter, what that gives.

    Raises:
        ValueError: if it exists and the scope does not reuse, or the reverse, or there is no shape, or an argument can
            only be None.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     weights = slim.variable('weights', shape=[10, 10, 3, 3],
        ...                             initializer=slim.truncated_normal_initializer(stddev=0.1),
        ...                             regularizer=slim.l2_regularizer(0.05), device='/CPU:0')
        ...     len(slim.losses.get_regularization_losses())
        1
    """
    _refuse(
        caching_device=caching_device, partitioner=partitioner, synchronization=synchronization, aggregation=aggregation
    )
    return _get("global", name, custom_getter, shape, dtype, initializer, regularizer, trainable, collections, device)


@add_arg_scope
def model_variable(
    name: str,
    shape: Sequence[int] | int | None = None,
    dtype: torch.dtype | None = torch.float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: str | Sequence[str] | None = None,
    caching_device: Any = None,
    device: Device = None,
    partitioner: Any = None,
    custom_getter: Callable[..., Any] | None = None,
    use_resource: bool | None = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Variable:
    """Gets or makes a variable that is a parameter of the model (TF-Slim's `model_variable`); arguments as `variable`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     weights = slim.model_variable('weights', shape=[10, 10])
        ...     [v.name for v in slim.get_model_variables()]
        ['weights:0']
    """
    _refuse(
        caching_device=caching_device, partitioner=partitioner, synchronization=synchronization, aggregation=aggregation
    )
    return _get("model", name, custom_getter, shape, dtype, initializer, regularizer, trainable, collections, device)


def _refuse(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"variable: `{name}` steers how TensorFlow spreads a variable over devices. Got {value!r}. Leave it "
                "out: DistributedDataParallel and FSDP do that."
            )


def _get(kind: str, name: str, custom_getter: Callable[..., Any] | None, *wanted: Any) -> Any:
    check_scope_name(name)
    graph, scope = get_default_graph(), get_variable_scope()
    getter = custom_getter
    if getter is None:
        getter = functools.partial(get_or_make, graph, scope.reuse, kind)
        getter = functools.partial(scope.custom_getter, getter) if scope.custom_getter else getter
    arguments = ("shape", "dtype", "initializer", "regularizer", "trainable", "collections", "device")
    return getter(join(scope.name, name), **dict(zip(arguments, wanted, strict=True)))


def get_or_make(
    graph: Graph,
    reuse: Reuse,
    kind: str,
    name: str,
    shape: Sequence[int] | int | None = None,
    dtype: torch.dtype | None = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: str | Sequence[str] | None = None,
    device: Device = None,
) -> Variable:
    """Gets or makes the variable of a full name; arguments as `variable`."""
    existing = graph.variables.get(name)
    if existing is not None and reuse:
        return existing
    if existing is not None:
        raise ValueError(f"variable {name!r} exists already. Open its scope with `reuse=True` to share it.")
    if reuse is True:
        raise ValueError(f"`reuse=True`: variable {name!r} does not exist. Use `reuse=slim.AUTO_REUSE` to make it.")
    if shape is None:
        if initializer is None or callable(initializer):
            raise ValueError(f"variable {name!r}: give a `shape`, or a tensor as `initializer`. Got neither.")
        value = torch.as_tensor(initializer)
        shape, dtype = tuple(value.shape), dtype or value.dtype
    dtype = dtype or torch.float32
    tensor = torch.empty((shape,) if isinstance(shape, int) else tuple(shape), dtype=dtype, device="meta")
    if dtype.is_floating_point:
        tensor = nn.Parameter(tensor, requires_grad=trainable)
    if initializer is None:
        initializer = xavier_initializer() if dtype.is_floating_point else zeros_initializer()
    made = graph.add_variable(name, tensor, kind=kind, initializer=initializer, regularizer=regularizer)
    for collection in (collections,) if isinstance(collections, str) else collections or ():
        graph.add_to_collection(collection, made)
    if device is not None:
        made.initialize(to_device(device(made.op) if callable(device) else device))
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


def global_variable(
    initial_value: Any, validate_shape: bool = True, name: str | None = None, use_resource: bool | None = None
) -> Variable:
    """Makes a variable of a value, that is saved but not trained (TF-Slim's `global_variable`).

    Args:
        initial_value: a number, tensor, array or `Variable`.
        validate_shape: only True: a variable keeps its shape.
        name: its name; default `Variable`, made unique.
        use_resource: accepted because TensorFlow has it; there is one kind of variable.

    Raises:
        ValueError: if `validate_shape` is False, or the name is taken.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.global_variable(3, name='epoch')
        <slim.Variable 'epoch:0' shape=() dtype=int64>
    """
    return _add_value(initial_value, validate_shape, name, "global")


def local_variable(
    initial_value: Any, validate_shape: bool = True, name: str | None = None, use_resource: bool | None = None
) -> Variable:
    """Makes a variable of a value, that is neither saved nor trained (TF-Slim's `local_variable`).

    Arguments as `global_variable`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     count = slim.local_variable(0.0, name='count')
        ...     slim.get_variables(), slim.get_local_variables()
        ([], [<slim.Variable 'count:0' shape=() dtype=float32>])
    """
    return _add_value(initial_value, validate_shape, name, "local")


def _add_value(initial_value: Any, validate_shape: bool, name: str | None, kind: str) -> Variable:
    if not validate_shape:
        raise ValueError(
            f"{kind}_variable: a variable keeps its shape, so `validate_shape` must be True. Got {validate_shape!r}."
        )
    graph = get_default_graph()
    full = join(get_variable_scope().name, name or graph.names.unique("Variable"))
    value = initial_value.value if isinstance(initial_value, Variable) else initial_value
    return graph.add_variable(full, torch.as_tensor(value).clone(), kind=kind, initializer=value)
