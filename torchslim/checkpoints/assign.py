"""TF-Slim's `assign_from_*` functions: `restore` under the names and in the forms that its users know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchslim.checkpoints.report import RestoreReport
from torchslim.checkpoints.restore import restore_variables
from torchslim.graph import Variable, get_default_graph
from torchslim.variables import did_you_mean, get_variables

VarList = Sequence[Variable] | Mapping[str, Variable | Sequence[Variable]]


def assign_from_checkpoint(model_path: Any, var_list: VarList, ignore_missing_vars: bool = False) -> RestoreReport:
    """Assigns variables from a checkpoint, now (TF-Slim's `assign_from_checkpoint`).

    TF-Slim: it returned an op and a feed dict for a session; here the values are assigned and the report
    returned.

    Args:
        model_path: what `slim.restore` takes as `source`.
        var_list: Variables, or `{name in the checkpoint: Variable}`.
        ignore_missing_vars: leave variables that the checkpoint does not have as they are.

    Raises:
        ValueError: if variables are missing or have other shapes.

    Example:
        >>> with slim.Graph():
        ...     v = slim.variable('v', shape=[2])
        ...     report = assign_from_checkpoint({'old/v': [1.0, 2.0]}, {'old/v': v})
        >>> v.tensor.tolist()
        [1.0, 2.0]
    """
    return _assign_from_checkpoint(model_path, var_list, ignore_missing_vars, reshape=False)


def assign_from_checkpoint_fn(
    model_path: Any, var_list: VarList, ignore_missing_vars: bool = False, reshape_variables: bool = False
) -> Callable[..., RestoreReport]:
    """A function that assigns variables from a checkpoint: the `init_fn` of `slim.learning.train`.

    Args:
        model_path: what `slim.restore` takes as `source`; opened when the function runs.
        var_list: Variables, e.g. `slim.get_variables_to_restore(exclude=['fc8'])`, or `{name in the
            checkpoint: Variable}`.
        ignore_missing_vars: leave variables that the checkpoint does not have as they are.
        reshape_variables: take tensors of another shape too, if they have as many elements.

    Returns:
        `init_fn(session=None)`, which returns the report. What it is called with is not used.

    Raises:
        ValueError: when the function runs, if variables are missing or have other shapes.

    Example:
        >>> with slim.Graph():
        ...     v = slim.variable('v', shape=[2])
        ...     init_fn = assign_from_checkpoint_fn({'v': [1.0, 2.0]}, slim.get_variables_to_restore())
        >>> init_fn().restored
        ['v']
    """

    def init_fn(session: Any = None) -> RestoreReport:
        return _assign_from_checkpoint(model_path, var_list, ignore_missing_vars, reshape=reshape_variables)

    return init_fn


def assign_from_values(var_names_to_values: Mapping[str, Any], layout: str | None = None) -> RestoreReport:
    """Assigns values to the variables of the current graph (TF-Slim's `assign_from_values`).

    Args:
        var_names_to_values: slim name or `state_dict` key -> tensor or array.
        layout: `'tf'` if kernels are in TensorFlow's layout.

    Raises:
        ValueError: if the graph has no variable of such a name, or its shape is another one.

    Example:
        >>> with slim.Graph():
        ...     v = slim.variable('v', shape=[2])
        ...     report = assign_from_values({'v': [1.0, 2.0]})
        >>> v.tensor.tolist()
        [1.0, 2.0]
    """
    return _assign_values(get_variables(), var_names_to_values, layout)


def assign_from_values_fn(
    var_names_to_values: Mapping[str, Any], layout: str | None = None
) -> Callable[..., RestoreReport]:
    """A function that does `assign_from_values`: an `init_fn`. It means the graph that is current now.

    Example:
        >>> with slim.Graph():
        ...     v = slim.variable('v', shape=[2])
        ...     init_fn = assign_from_values_fn({'v': [1.0, 2.0]})
        >>> init_fn().restored
        ['v']
    """
    graph = get_default_graph()

    def init_fn(session: Any = None) -> RestoreReport:
        return _assign_values(get_variables(module=graph), var_names_to_values, layout)

    return init_fn


def _assign_from_checkpoint(
    model_path: Any, var_list: VarList, ignore_missing: bool, *, reshape: bool
) -> RestoreReport:
    if not isinstance(var_list, Mapping):
        return restore_variables(list(var_list), model_path, ignore_missing=ignore_missing, reshape=reshape)
    variables: list[Variable] = []
    for name, given in var_list.items():
        of_name = [given] if isinstance(given, Variable) else list(given)
        if len(of_name) != 1:
            raise ValueError(
                "assign_from_checkpoint: `var_list` must give one Variable for each name. "
                f"Got {len(of_name)} for {name!r}."
            )
        variables += of_name
    return restore_variables(variables, model_path, names=var_list, ignore_missing=ignore_missing, reshape=reshape)


def _assign_values(variables: Sequence[Variable], values: Mapping[str, Any], layout: str | None) -> RestoreReport:
    by_name = {name: variable for variable in variables for name in (variable.key, variable.name, variable.op.name)}
    for name in values:
        if name not in by_name:
            known = [variable.op.name for variable in variables]
            raise ValueError(f"assign_from_values: there is no variable {name!r}." + did_you_mean(name, known))
    return restore_variables(
        [by_name[name] for name in values], values, names={n: by_name[n] for n in values}, layout=layout
    )
