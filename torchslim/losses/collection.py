"""The collection of losses: what is to be minimised, and its sum."""

from __future__ import annotations

import functools
import operator
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Symbol, get_default_graph, name_scope
from torchslim.variables import get_variables

LOSSES = "losses"
REGULARIZATION_LOSSES = "regularization_losses"


@add_arg_scope
def add_loss(loss: torch.Tensor | Symbol, loss_collection: str | None = LOSSES) -> None:
    """Makes a loss of your own known, so that `get_total_loss` includes it.

    Args:
        loss: a scalar Symbol. A tensor is left alone: outside a graph there is nothing to collect, and a
            collection of tensors would keep every step's memory.
        loss_collection: where it goes; None: nowhere.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3))
        ...     slim.losses.add_loss(x.abs().mean())
        ...     len(slim.losses.get_losses())
        1
    """
    if loss_collection and isinstance(loss, Symbol):
        loss.owner.add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = LOSSES) -> list[Symbol]:
    """The losses of the current graph, in the order in which they were made.

    Args:
        scope: only those that were made with this `scope`, or inside it.
        loss_collection: the collection to look in.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x, y = slim.placeholder((None, 3)), slim.placeholder((None, 3))
        ...     _ = slim.losses.absolute_difference(x, y, scope='first')
        ...     _ = slim.losses.mean_squared_error(x, y, scope='second')
        ...     len(slim.losses.get_losses()), len(slim.losses.get_losses('second'))
        (2, 1)
    """
    return get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(
    scope: str | None = None, module: nn.Module | None = None
) -> list[Symbol] | list[torch.Tensor]:
    """The losses of the weight regularizers.

    Args:
        scope: only those of variables under this scope.
        module: a built module: its regularization losses now, as tensors. Default: the Symbols of the current
            graph.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(x):
        ...     return slim.fully_connected(x, 2, weights_regularizer=slim.l2_regularizer(0.1))
        >>> model = slim.build(net, torch.ones(1, 3))
        >>> penalty = sum(slim.losses.get_regularization_losses(module=model))
        >>> torch.allclose(penalty, 0.05 * (model.fully_connected.weight ** 2).sum())
        True
    """
    if module is None:
        return get_default_graph().get_collection(REGULARIZATION_LOSSES, scope)
    variables = [v for v in get_variables(scope, module=module) if v.regularizer is not None]
    losses = [variable.regularizer(variable.tensor) for variable in variables]
    return [loss for loss in losses if loss is not None]  # a regularizer with scale 0 gives None


def get_regularization_loss(scope: str | None = None, name: str = "total_regularization_loss") -> Symbol | torch.Tensor:
    """The sum of the losses of the weight regularizers (TensorFlow's `tf.losses.get_regularization_loss`).

    Args:
        scope: only those of variables under this scope.
        name: the name of the sum.

    Returns:
        A scalar; the tensor 0 if there are none.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     slim.losses.get_regularization_loss()
        tensor(0.)
    """
    losses = get_regularization_losses(scope)
    if not losses:
        return torch.zeros(())
    with name_scope(name):
        return add_n(*losses)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Symbol:
    """The sum of the losses of the current graph: what `learning.create_train_op` takes.

    Args:
        add_regularization_losses: whether the weight regularizers count, too.
        name: the name of the sum.
        scope: only losses made under this scope, and regularizers of variables under it.

    Raises:
        ValueError: if the graph has no loss.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None, 3))
        ...     _ = slim.losses.mean_squared_error(x, x * 0)
        ...     _ = slim.losses.absolute_difference(x, x * 0)
        ...     graph.run(slim.losses.get_total_loss(), {x: torch.full((2, 3), 2.0)})
        tensor(6.)
    """
    losses = get_losses(scope)
    if add_regularization_losses:
        losses = losses + cast("list[Symbol]", get_regularization_losses(scope))
    if not losses:
        where = "the current graph" if scope is None else f"scope {scope!r} of the current graph"
        raise ValueError(
            f"get_total_loss: {where} must have a loss. Got 0. Call one of `slim.losses` on Symbols "
            "first, or `slim.losses.add_loss`; losses of tensors you add yourself."
        )
    with name_scope(name):
        return add_n(*losses)


def add_n(*terms: Any) -> Any:
    """The sum of scalars, recorded as one node, so that a train step can see what its loss is made of.

    Args:
        terms: scalars; at least one.

    Raises:
        ValueError: if there are none.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.add_n(torch.tensor(1.0), torch.tensor(2.5))
        tensor(3.5000)
    """
    if not terms:
        raise ValueError("add_n: give at least one term. Got 0.")
    if has_torch_function(terms):
        return handle_torch_function(add_n, terms, *terms)
    return functools.reduce(operator.add, terms)
