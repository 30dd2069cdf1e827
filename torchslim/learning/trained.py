"""Which variables a train op changes, and what their gradients are multiplied by."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from torchslim.graph import Variable
from torchslim.variables import did_you_mean, select_variables


def select_trained(
    variables: Sequence[Variable], variables_to_train: Sequence[Variable | str] | None
) -> list[Variable]:
    """The variables to train.

    Args:
        variables: those that the loss depends on.
        variables_to_train: Variables or names; None: all trainable ones.

    Raises:
        ValueError: if one of them is unknown or not trainable, or if there is nothing to train.
    """
    if variables_to_train is None:
        trained = [variable for variable in variables if variable.trainable]
    else:
        trained = [find_variable(variables, wanted, "variables_to_train") for wanted in variables_to_train]
    fixed = [variable.op.name for variable in trained if not variable.trainable]
    if fixed:
        raise ValueError(f"create_train_op: `variables_to_train` must be trainable. Got {fixed}, which are not.")
    if not trained:
        raise ValueError(
            f"create_train_op: `variables_to_train` must name at least one variable. Got {variables_to_train!r}; "
            f"the loss depends on {[variable.op.name for variable in variables]}."
        )
    return trained


def trainable_in(variables: Sequence[Variable], scopes: str | Sequence[str]) -> list[Variable]:
    """The trainable variables in some scopes (patterns as in `slim.restore(include=)`).

    Raises:
        ValueError: if a pattern finds nothing.
    """
    inside = _names_in(variables, scopes)
    return [variable for variable in variables if variable.trainable and variable.op.name in inside]


def statistics_outside(variables: Sequence[Variable], scopes: str | Sequence[str]) -> list[nn.Module]:
    """The layers with running statistics (batch normalisation) that have no variable in the scopes."""
    inside = _names_in(variables, scopes)
    owners = {id(v.module): v.module for v in variables if isinstance(v.module, nn.modules.batchnorm._NormBase)}
    reached = {id(variable.module) for variable in variables if variable.op.name in inside}
    return [module for key, module in owners.items() if key not in reached]


def _names_in(variables: Sequence[Variable], scopes: str | Sequence[str]) -> set[str]:
    groups = select_variables(variables, scopes, argument="trainable_scopes").values()
    return {variable.op.name for group in groups for variable in group}


def gradient_factors(
    trained: Sequence[Variable], multipliers: Mapping[Hashable, float | torch.Tensor] | None
) -> dict[int, float | torch.Tensor]:
    """Position in `trained` -> what the gradient there is multiplied by.

    Raises:
        ValueError: if a key of `multipliers` is not one of the trained variables.
    """
    names = [variable.op.name for variable in trained]
    return {
        names.index(find_variable(trained, key, "gradient_multipliers").op.name): factor
        for key, factor in (multipliers or {}).items()
    }


def find_variable(variables: Sequence[Variable], wanted: Any, argument: str) -> Variable:
    """The variable that is meant by a Variable, its tensor, its name (with or without `:0`) or its state_dict key.

    Raises:
        ValueError: if it is not among `variables`.
    """
    if isinstance(wanted, str):
        found = [v for v in variables if wanted.removesuffix(":0") in (v.op.name, v.key)]
    elif isinstance(wanted, torch.Tensor):
        found = [v for v in variables if tensor_of(v) is wanted]
    else:
        found = [v for v in variables if v.op.name == getattr(getattr(wanted, "op", None), "name", None)]
    if found:
        return found[0]
    raise ValueError(
        f"create_train_op: `{argument}` must name variables of the loss. Got {wanted!r}."
        + did_you_mean(str(wanted), [variable.op.name for variable in variables])
    )


def tensor_of(variable: Variable) -> torch.Tensor:
    """The tensor of a variable as it is; `variable.tensor` would give it memory first."""
    return getattr(variable.module, variable.attribute)


@contextlib.contextmanager
def frozen(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Has autograd take parameters for constants."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
