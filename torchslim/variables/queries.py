"""Finding variables by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torch import nn

from torchslim.graph import Graph, Variable, VariableScope, get_default_graph
from torchslim.graph.variable import variables_of
from torchslim.variables.choosing import did_you_mean, select_variables

Scope = str | VariableScope | None

# The collections that TensorFlow keeps of all variables -> the kinds of variables in them.
_KINDS = {
    "variables": ("model", "global"),
    "model_variables": ("model",),
    "trainable_variables": ("model", "global"),
    "local_variables": ("local",),
}

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
    scope: Scope = None,
    suffix: str | None = None,
    collection: str = "variables",
    *,
    module: nn.Module | Graph | None = None,
) -> list[Variable]:
    """The variables of a collection, in creation order; by default all but local ones (TF-Slim's `get_variables`).

    Args:
        scope: only those whose name starts so; a regular expression, as in TensorFlow.
        suffix: only those whose name ends so.
        collection: `'variables'`, `'model_variables'`, `'trainable_variables'`, `'local_variables'`, or one that
            variables were added to (of the graph; a module that is built has just those four).
        module: of this module instead of the current graph.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> slim.get_variables('fc', suffix='biases', module=model)
        [<slim.Variable 'fc/biases:0' shape=(2,) dtype=float32>]
    """
    return _under(_collected(module, collection), scope, suffix)


def _collected(module: nn.Module | Graph | None, collection: str) -> list[Variable]:
    if collection in _KINDS:
        found = _all(module, _KINDS[collection])
        return [v for v in found if v.trainable] if collection == "trainable_variables" else found
    if isinstance(module, nn.Module):
        raise ValueError(f"get_variables: a built module has no collection {collection!r}. It has {', '.join(_KINDS)}.")
    values = (module or get_default_graph()).get_collection(collection)
    return [value for value in values if isinstance(value, Variable)]


def get_model_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that are parameters (or statistics) of the model; arguments as `get_variables`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     own, weights = slim.variable('own', [1]), slim.model_variable('weights', [1])
        ...     slim.get_model_variables()
        [<slim.Variable 'weights:0' shape=(1,) dtype=float32>]
    """
    return get_variables(scope, suffix, "model_variables", module=module)


def get_trainable_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that training changes; arguments as `get_variables`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(slim.batch_norm, torch.empty(1, 3))
        >>> slim.get_trainable_variables(module=model)
        [<slim.Variable 'BatchNorm/beta:0' shape=(3,) dtype=float32>]
    """
    return get_variables(scope, suffix, "trainable_variables", module=module)


def get_local_variables(
    scope: Scope = None, suffix: str | None = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables that are not saved; arguments as `get_variables`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     count = slim.local_variable(0, name='count')
        ...     slim.get_local_variables() == [count]
        True
    """
    return get_variables(scope, suffix, "local_variables", module=module)


def get_variables_by_name(
    given_name: str, scope: Scope = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables whose own name, behind the last slash, is `given_name` (TF-Slim's `get_variables_by_name`).

    Example:
        >>> import torch, torchslim as slim
        >>> mlp = lambda x: slim.stack(x, slim.fully_connected, [4, 2], scope='fc')
        >>> model = slim.build(mlp, torch.empty(1, 3))
        >>> [variable.op.name for variable in slim.get_variables_by_name('biases', module=model)]
        ['fc/fc_1/biases', 'fc/fc_2/biases']
    """
    found = _under(_all(module, ("model", "global")), scope, None)
    return [variable for variable in found if f"/{variable.op.name}".endswith(f"/{given_name}")]


def get_variables_by_suffix(
    suffix: str, scope: Scope = None, *, module: nn.Module | Graph | None = None
) -> list[Variable]:
    """The variables whose name ends in `suffix` (TF-Slim's `get_variables_by_suffix`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     made = [slim.variable(name, shape=[1]) for name in ('a/moving_mean', 'a/scale', 'b/moving_mean')]
        ...     slim.get_variables_by_suffix('_mean', 'b') == made[2:]
        True
    """
    return get_variables(scope, suffix, module=module)


def get_unique_variable(var_op_name: str, *, module: nn.Module | Graph | None = None) -> Variable:
    """The variable of this full name (TF-Slim's `get_unique_variable`).

    Raises:
        ValueError: if there is none.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> slim.get_unique_variable('fc/weights', module=model)
        <slim.Variable 'fc/weights:0' shape=(2, 3) dtype=float32>
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
    """The name of a variable without the `:0` (TF-Slim's `get_variable_full_name`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph(), slim.variable_scope('a'):
        ...     slim.get_variable_full_name(slim.variable('v', shape=[1]))
        'a/v'
    """
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
