"""Regularizers: values that turn the weights of a layer into a loss, under TF-Slim's names.

The mathematics is in `l1_loss` and `l2_loss`. Each is one node of a graph, so that a train step made of the
graph can tell it from the rest of the loss.
"""

from __future__ import annotations

import functools
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.graph import Symbol, get_default_graph

Regularizer: TypeAlias = Callable[[Any], Any]  # weights -> a scalar loss, or None for no loss


def l1_loss(weights: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale * sum(|weights|)`.

    Args:
        weights: any shape.
        scale: multiplier.

    Returns:
        A scalar.

    Example:
        >>> l1_loss(torch.tensor([1.0, -3.0]), 0.5)
        tensor(2.)
    """
    if has_torch_function((weights,)):
        return handle_torch_function(l1_loss, (weights,), weights, scale)
    return weights.abs().sum() * scale


def l2_loss(weights: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale * sum(weights ** 2) / 2`.

    Args:
        weights: any shape.
        scale: multiplier; the gradient is `scale * weights`.

    Returns:
        A scalar.

    Example:
        >>> l2_loss(torch.tensor([1.0, -3.0]), 0.5)
        tensor(2.5000)
    """
    if has_torch_function((weights,)):
        return handle_torch_function(l2_loss, (weights,), weights, scale)
    return weights.square().sum() * (scale / 2)


@dataclass(frozen=True)
class L1Regularizer:
    """What `l1_regularizer` returns: a function of the weights."""

    scale: float

    def __call__(self, weights: Any) -> Any:
        """The loss of `weights` (a Symbol, a Variable or a tensor); None if the scale is 0."""
        return l1_loss(weights, self.scale) if self.scale else None


@dataclass(frozen=True)
class L2Regularizer:
    """What `l2_regularizer` returns: a function of the weights."""

    scale: float

    def __call__(self, weights: Any) -> Any:
        """The loss of `weights` (a Symbol, a Variable or a tensor); None if the scale is 0."""
        return l2_loss(weights, self.scale) if self.scale else None


@dataclass(frozen=True)
class SumRegularizer:
    """What `sum_regularizer` returns: a function of the weights."""

    regularizers: tuple[Regularizer, ...]

    def __call__(self, weights: Any) -> Any:
        """The sum of the losses of `weights` (a Symbol, a Variable or a tensor); None if there are none."""
        losses = [regularizer(weights) for regularizer in self.regularizers]
        losses = [loss for loss in losses if loss is not None]
        return functools.reduce(operator.add, losses) if losses else None


def l1_regularizer(scale: float, scope: str | None = None) -> L1Regularizer:
    """A regularizer that favours weights that are 0: `scale * sum(|weights|)`.

    Args:
        scale: a float, at least 0; with 0.0 the regularizer gives None and adds no loss.
        scope: has no effect; TF-Slim names the operation so.

    Returns:
        A function of the weights.

    Raises:
        ValueError: if `scale` is an integer or negative.

    Example:
        >>> regularizer = l1_regularizer(0.5)
        >>> regularizer, regularizer(torch.tensor([1.0, -3.0]))
        (L1Regularizer(scale=0.5), tensor(2.))
    """
    return L1Regularizer(_checked("l1_regularizer", "scale", scale))


def l2_regularizer(scale: float, scope: str | None = None) -> L2Regularizer:
    """Weight decay: `scale * sum(weights ** 2) / 2`.

    Args:
        scale: a float, at least 0; with 0.0 the regularizer gives None and adds no loss.
        scope: has no effect; TF-Slim names the operation so.

    Returns:
        A function of the weights.

    Raises:
        ValueError: if `scale` is an integer or negative.

    Example:
        >>> regularizer = l2_regularizer(0.5)
        >>> regularizer, regularizer(torch.tensor([1.0, -3.0]))
        (L2Regularizer(scale=0.5), tensor(2.5000))
    """
    return L2Regularizer(_checked("l2_regularizer", "scale", scale))


def l1_l2_regularizer(
    scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None
) -> L1Regularizer | L2Regularizer | SumRegularizer:
    """The sum of an `l1_regularizer` and an `l2_regularizer` (elastic net).

    Args:
        scale_l1: a float, at least 0; with 0.0 only the other counts.
        scale_l2: a float, at least 0; with 0.0 only the other counts.
        scope: has no effect; TF-Slim names the operation so.

    Returns:
        A function of the weights.

    Raises:
        ValueError: if a scale is an integer or negative.

    Example:
        >>> l1_l2_regularizer(0.5, 1.0)(torch.tensor([1.0, -3.0]))
        tensor(7.)
    """
    l1 = L1Regularizer(_checked("l1_l2_regularizer", "scale_l1", scale_l1))
    l2 = L2Regularizer(_checked("l1_l2_regularizer", "scale_l2", scale_l2))
    if not l1.scale:
        return l2
    return SumRegularizer((l1, l2)) if l2.scale else l1


def sum_regularizer(regularizer_list: Iterable[Regularizer | None], scope: str | None = None) -> SumRegularizer | None:
    """The sum of some regularizers.

    Args:
        regularizer_list: the regularizers; None stands for no regularizer.
        scope: has no effect; TF-Slim names the operation so.

    Returns:
        A function of the weights, or None if there is no regularizer among them.

    Example:
        >>> regularizer = sum_regularizer([l1_regularizer(0.5), None, l2_regularizer(1.0)])
        >>> regularizer(torch.tensor([1.0, -3.0]))
        tensor(7.)
    """
    regularizers = tuple(regularizer for regularizer in regularizer_list if regularizer is not None)
    return SumRegularizer(regularizers) if regularizers else None


def apply_regularization(regularizer: Regularizer, weights_list: Sequence[Any] | None = None) -> Any:
    """The summed loss of some weights.

    On Symbols and Variables of a graph the sum is recorded, and added to the graph's collection
    `'regularization_losses'`; on tensors it is just computed.

    Args:
        regularizer: a function from weights to a scalar, or to None for no loss.
        weights_list: Symbols, Variables or tensors; default: the collection `'weights'` of the current graph.

    Returns:
        A scalar; 0 if the regularizer gives None.

    Raises:
        ValueError: if there are no weights, or `regularizer` gives something else than a scalar.

    Example:
        >>> apply_regularization(l2_regularizer(0.5), [torch.ones(4), torch.ones(2, 2)])
        tensor(2.)
    """
    weights_list = weights_list or get_default_graph().get_collection("weights")
    if not weights_list:
        raise ValueError(
            "apply_regularization: `weights_list` must hold some weights. Got none, and the collection "
            "'weights' of the current graph is empty. Pass them: slim.get_variables(suffix='weights'), say."
        )
    losses = []
    for weights in weights_list:
        loss = regularizer(weights)
        losses.append(weights.new_zeros(()) if loss is None else loss)
        if losses[-1].ndim:
            raise ValueError(
                f"apply_regularization: `regularizer` must give a scalar. Got rank {losses[-1].ndim} "
                f"from {regularizer!r}."
            )
    total = functools.reduce(operator.add, losses)
    if isinstance(total, Symbol):
        total.owner.add_to_collection("regularization_losses", total)
    return total


def _checked(function: str, argument: str, scale: float) -> float:
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"{function}: `{argument}` must be a float. Got {scale!r}. Write {float(scale)}.")
    if not isinstance(scale, numbers.Real) or not scale >= 0:
        raise ValueError(f"{function}: `{argument}` must be a float, at least 0. Got {scale!r}.")
    return float(scale)
