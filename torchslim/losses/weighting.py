"""What all losses share: how they are recorded and how their elements are weighted into one number."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np
import torch
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils._pytree import tree_leaves, tree_map

from torchslim.graph import Symbol, Value, Variable, name_scope
from torchslim.losses.collection import add_loss

P = ParamSpec("P")
Weights = Value


def recorded(default_scope: str, *, collected: bool = True) -> Callable[[Callable[P, Value]], Callable[P, Value]]:
    """Makes a function of tensors a slim loss.

    Called with Symbols it becomes one node, under its argument `scope` or `default_scope`, and a member of the
    collection of losses, or of its argument `loss_collection`. Called with tensors it computes, with float16 and
    bfloat16 turned into float32 and without autocast: the rounding of a loss would be scaled up into every gradient.

    Args:
        default_scope: TF-Slim's name of the operation.
        collected: whether it becomes a member of a collection; some losses of TF-Slim do not.
    """

    def decorate(function: Callable[P, Value]) -> Callable[P, Value]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def loss(*args: Any, **kwargs: Any) -> torch.Tensor:
            values = tree_leaves((args, kwargs))
            if has_torch_function(values):
                return _record(loss, signature.bind(*args, **kwargs), default_scope, collected)
            args, kwargs = tree_map(_at_least_float32, (args, kwargs))
            with _no_autocast(next(v for v in values if isinstance(v, torch.Tensor)).device):
                return function(*args, **kwargs)

        return loss

    return decorate


def _record(loss: Callable[..., Any], call: inspect.BoundArguments, default_scope: str, collected: bool) -> Any:
    call.apply_defaults()
    call.arguments = tree_map(_tensor_or_symbol, call.arguments)
    scope = call.arguments.pop("scope", None)
    collection = {name: call.arguments.pop(name) for name in ("loss_collection",) if name in call.arguments}
    values = tree_leaves((call.args, call.kwargs))
    if not has_torch_function(values):
        return loss(*call.args, **call.kwargs)
    with name_scope(scope, default_scope) as path:
        result = handle_torch_function(loss, values, *call.args, **call.kwargs)
    if isinstance(result, Symbol):
        result.aliases.append(path.rstrip("/"))
        if collected:
            add_loss(result, **collection)
    return result


def _tensor_or_symbol(value: Any) -> Any:
    if isinstance(value, Variable):  # it stands for a Symbol (or, on a built module, for a tensor)
        return value.value
    return torch.as_tensor(value) if isinstance(value, np.ndarray | np.generic) else value


def _at_least_float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def _no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def weights_for(losses: torch.Tensor, weights: Weights) -> torch.Tensor:
    """`weights` as a tensor beside `losses`.

    Raises:
        ValueError: if they are None.
    """
    if weights is None:
        raise ValueError(
            "compute_weighted_loss: `weights` must be a number or a tensor. Got None: leave them out, or 1.0."
        )
    return torch.as_tensor(weights, dtype=losses.dtype, device=losses.device)


def is_number(weights: Weights) -> bool:
    """Whether the weight is a Python number: then there is no tensor to make and nothing to count."""
    return isinstance(weights, int | float)


def divide(total: torch.Tensor, count: torch.Tensor | float) -> torch.Tensor:
    """`total / count`, and 0, with zero gradients, where `count` is 0."""
    if isinstance(count, torch.Tensor):
        return torch.where(count != 0, total / torch.where(count != 0, count, 1), 0.0)
    return total / count if count else total * 0.0


def weighted_mean(losses: torch.Tensor, weights: Weights = 1.0) -> torch.Tensor:
    """The sum of `losses * weights` divided by the number of elements with a weight; 0 if there are none.

    `weights` follow the leading dimensions of `losses`: see `compute_weighted_loss`.
    """
    if is_number(weights):
        return losses.sum() * (weights / max(losses.numel(), 1))
    weights = weights_for(losses, weights)
    if weights.ndim > 1 and weights.shape[-1] == 1:
        weights = weights.squeeze(-1)
    if weights.ndim > losses.ndim or any(
        size not in (1, full) for size, full in zip(weights.shape, losses.shape, strict=False)
    ):
        raise ValueError(
            "compute_weighted_loss: `weights` must be a number or have the losses' leading sizes (1: any). "
            f"Got {list(weights.shape)} for losses of shape {list(losses.shape)}."
        )
    trailing = losses.shape[weights.ndim :]
    total = (losses * weights.reshape(*weights.shape, *(1 for _ in trailing))).sum()
    return divide(total, torch.count_nonzero(weights) * math.prod(trailing))


@recorded("weighted_loss")
def compute_weighted_loss(losses: Value, weights: Weights = 1.0, scope: str | None = None) -> Value:
    """Weights losses of your own into one loss, by the rule of all the others.

    Args:
        losses: one loss per element, `[B, ...]`.
        weights: a number; or a tensor with the leading dimensions of `losses`: `[B]` weighs examples, the full shape
            elements, and a last dimension of 1 (`[B, 1]`) is dropped.
        scope: name, for `get_losses(scope)`.

    Returns:
        The sum of `losses * weights` divided by the number of elements whose weight is not zero; 0, with zero
        gradients, if there are none. In float32 at least.

    Raises:
        ValueError: if the shape of `weights` does not fit, or they are None.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.compute_weighted_loss(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 0.0, 0.5]))
        tensor(2.)

    TF-Slim: the same, also where a weight of size 1 stands for a whole dimension: after the last 1 is dropped,
    `[B, 1, 1]` for losses `[B, H, W]` is `[B, 1]`, which counts as W elements of each example, not as H * W. Give `[B]`
    to have the mean, or use `slim.tf_losses.compute_weighted_loss`, which counts every element.
    """
    return weighted_mean(losses, weights)
