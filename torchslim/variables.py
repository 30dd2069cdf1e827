"""Variables by name: making them, finding them, choosing which to restore (TF-Slim's `slim.variables`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Graph, Layer, Variable, VariableScope, get_default_graph, get_variable_scope
from torchslim.graph.devices import to_device
from torchslim.graph.scopes import AUTO_REUSE, check_scope_name, join
from torchslim.graph.variable import variables_of
from torchslim.initializers import xavier_initializer, zeros_initializer

GLOBAL_STEP = "global_step"
Scope = str | VariableScope | None


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


# Queries. Each looks into the current graph, or, with `module=`, into a module that is built.


def _all(module: nn.Module | Graph | None, kinds: Iterable[str]) -> list[Variable]:
    if isinstance(module, nn.Module):
        found = variables_of(unwrap(module))
    else:
        found = iter((module or get_default_graph()).variables.values())
    return [variable for variable in found if variable.kind in kinds]


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, `torch.compile` and the like."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = module.module
        if inner is None:
            return module
        module = inner


def _under(variables: list[Variable], scope: Scope, suffix: str | None) -> list[Variable]:
    pattern = scope.name if isinstance(scope, VariableScope) else scope or ""
    if suffix is not None:
        pattern += ".*" + (suffix if ":" in suffix else f"{suffix}:")
    return [variable for variable in variables if re.match(pattern, variable.name)]


def get_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """All variables but local ones, in creation order (TF-Slim's `get_variables`).

    Args:
        scope: only those whose name starts so; a regular expression, as in TensorFlow.
        suffix: only those whose name ends so.
        module: of this module instead of the current graph.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> slim.get_variables('fc', suffix='biases', module=model)
        [<slim.Variable 'fc/biases:0' shape=(2,) dtype=float32>]
    """
    return _under(_all(module, ("model", "global")), scope, suffix)


def get_model_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that are parameters (or statistics) of the model; arguments as `get_variables`."""
    return _under(_all(module, ("model",)), scope, suffix)


def get_trainable_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that training changes; arguments as `get_variables`."""
    return [variable for variable in get_variables(scope, suffix, module=module) if variable.trainable]


def get_local_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that are not saved; arguments as `get_variables`."""
    return _under(_all(module, ("local",)), scope, suffix)


def get_variables_by_name(
    given_name: str, scope: Scope = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables whose own name, behind the last slash, is `given_name` (TF-Slim's `get_variables_by_name`)."""
    found = _under(_all(module, ("model", "global")), scope, None)
    return [variable for variable in found if f"/{variable.op.name}".endswith(f"/{given_name}")]


def get_variables_by_suffix(
    suffix: str, scope: Scope = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables whose name ends in `suffix` (TF-Slim's `get_variables_by_suffix`)."""
    return get_variables(scope, suffix, module=module)


def get_unique_variable(var_op_name: str, *, module: nn.Module | Graph | None = None) -> Variable:
    """The variable of this full name (TF-Slim's `get_unique_variable`).

    Raises:
        ValueError: if there is none.
    """
    candidates = _all(module, ("model", "global", "local"))
    found = next((variable for variable in candidates if variable.op.name == var_op_name), None)
    if found is None:
        raise ValueError(
            f"get_unique_variable: there is no variable {var_op_name!r}."
            + did_you_mean(var_op_name, [variable.op.name for variable in candidates])
        )
    return found


def get_variable_full_name(var: Variable) -> str:
    """The name of a variable without the `:0` (TF-Slim's `get_variable_full_name`)."""
    return var.op.name


def get_variables_to_restore(
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    *,
    module: nn.Module | Graph | None = None,
) -> list[Variable]:
    """The variables to restore: those of `include` without those of `exclude` (TF-Slim's function of this name).

    TF-Slim: a pattern names whole parts of a path, from the root first and, if that finds nothing, anywhere:
    `exclude=['fc6']` means `vgg_16/fc6`; one that finds nothing at all is an error.

    Args:
        include: patterns; None: all.
        exclude: patterns; None: nothing.
        module: of this module instead of the current graph.

    Raises:
        ValueError: if a pattern finds nothing.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     v1, v2 = slim.variable('v1', shape=[1]), slim.variable('nested/v2', shape=[1])
        ...     assert slim.get_variables_to_restore(exclude=['v1']) == [v2]
        ...     slim.get_variables_to_restore(include=['nested']) == [v2]
        True
    """
    variables = get_variables(module=module)
    included = variables if include is None else _chosen(variables, include, "include")
    excluded = [] if exclude is None else _chosen(variables, exclude, "exclude")
    return [variable for variable in included if variable not in excluded]


def _chosen(variables: list[Variable], patterns: str | Sequence[str], argument: str) -> list[Variable]:
    groups = select_variables(variables, patterns, argument=argument).values()
    found = {id(variable) for group in groups for variable in group}
    return [variable for variable in variables if id(variable) in found]


def select_variables(
    variables: Iterable[Variable], patterns: str | Sequence[str], *, argument: str = "include"
) -> dict[str, list[Variable]]:
    """What each pattern chooses: whole parts of a path, from the root first and, if that finds nothing, anywhere.

    Args:
        variables: to choose from.
        patterns: e.g. `['vgg_16/fc8']`, `'fc8'`.
        argument: what the error calls them.

    Raises:
        ValueError: if a pattern finds nothing.
    """
    variables = list(variables)
    found: dict[str, list[Variable]] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        wanted = f"/{pattern.strip('/').removesuffix(':0')}/"
        paths = {variable: f"/{variable.op.name}/" for variable in variables}
        found[pattern] = [v for v, path in paths.items() if path.startswith(wanted)]
        found[pattern] = found[pattern] or [v for v, path in paths.items() if wanted in path]
        if not found[pattern]:
            parts = {"/".join(v.op.name.split("/")[:i]) for v in variables for i in range(1, v.op.name.count("/") + 2)}
            raise ValueError(
                f"`{argument}`: {pattern!r} names no variable." + did_you_mean(pattern, sorted(parts | _tails(parts)))
            )
    return found


def _tails(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error message: names like `name`, or those that there are."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    return f" There are: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else " There are none."


def filter_variables(
    var_list: Sequence[Variable],
    include_patterns: Sequence[str] | None = None,
    exclude_patterns: Sequence[str] | None = None,
    reg_search: bool = True,
) -> list[Variable]:
    """The variables whose names match regular expressions (TF-Slim's `filter_variables`).

    Args:
        var_list: to choose from.
        include_patterns: keep those that match any; None: all.
        exclude_patterns: drop those that match any.
        reg_search: match anywhere in the name; False: at its start only.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     variables = [slim.variable(name, shape=[1]) for name in ('a/x', 'b/x', 'b/y')]
        ...     [v.op.name for v in slim.filter_variables(variables, ['x'], ['^a/'])]
        ['b/x']
    """
    match = re.search if reg_search else re.match

    def any_matches(patterns: Sequence[str], var: Variable) -> bool:
        return any(match(pattern, var.op.name) for pattern in patterns)

    kept = [var for var in var_list if include_patterns is None or any_matches(include_patterns, var)]
    return [var for var in kept if not any_matches(exclude_patterns or (), var)]


# The global step.


def create_global_step(graph: Graph | None = None) -> Variable:
    """Makes the variable that counts training steps (TensorFlow's `create_global_step`).

    Raises:
        ValueError: if it exists.
    """
    graph = graph or get_default_graph()
    if GLOBAL_STEP in graph.variables:
        raise ValueError("create_global_step: 'global_step' exists already. Use `slim.get_or_create_global_step()`.")
    value = torch.zeros((), dtype=torch.int64)
    return graph.add_variable(GLOBAL_STEP, value, kind="global", initializer=zeros_initializer())


def get_global_step(graph: Graph | None = None) -> Variable | None:
    """The variable that counts training steps, or None."""
    return (graph or get_default_graph()).variables.get(GLOBAL_STEP)


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The variable that counts training steps (TF-Slim's `get_or_create_global_step`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.get_or_create_global_step()
        <slim.Variable 'global_step:0' shape=() dtype=int64>
    """
    step = get_global_step(graph)
    return create_global_step(graph) if step is None else step


def assert_global_step(global_step_tensor: Variable) -> None:
    """Raises a TypeError unless it is a whole number without dimensions."""
    if global_step_tensor.shape != () or global_step_tensor.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"global step: it must be a scalar of whole numbers. Got {global_step_tensor!r}.")


def assert_or_get_global_step(graph: Graph | None = None, global_step_tensor: Variable | None = None) -> Variable:
    """The given global step, checked, or that of the graph.

    Raises:
        ValueError: if there is none.
        TypeError: if it is no scalar of whole numbers.
    """
    step = get_global_step(graph) if global_step_tensor is None else global_step_tensor
    if step is None:
        raise ValueError("global step: there is none. Make it with `slim.get_or_create_global_step()`.")
    assert_global_step(step)
    return step


__all__ = [
    "AUTO_REUSE",
    "add_model_variable",
    "assert_global_step",
    "assert_or_get_global_step",
    "create_global_step",
    "filter_variables",
    "get_global_step",
    "get_local_variables",
    "get_model_variables",
    "get_or_create_global_step",
    "get_trainable_variables",
    "get_unique_variable",
    "get_variable_full_name",
    "get_variables",
    "get_variables_by_name",
    "get_variables_by_suffix",
    "get_variables_to_restore",
    "global_variable",
    "local_variable",
    "model_variable",
    "variable",
]
