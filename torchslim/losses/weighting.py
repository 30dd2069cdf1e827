"""What all losses share: how they are recorded and how their elements are weighted into one number."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.graph import Symbol, Value, Variable, name_scope
from torchslim.losses.collection import add_loss

P = ParamSpec("P")
Weights = Value


def recorded(default_scope: str) -> Callable[[Callable[P, Value]], Callable[P, Value]]:
    """Makes a function of tensors a slim loss.

    Called with Symbols it becomes one node, under its argument `scope` or `default_scope`, and a member of
    the collection of losses. Called with tensors it computes, with float16 and bfloat16 turned into float32
    and without
    autocast: the rounding of a loss would be scaled up into every gradient.
    """

    def decorate(function: Callable[P, Value]) -> Callable[P, Value]:
        @functools.wraps(function)
        def loss(*args: Any, **kwargs: Any) -> torch.Tensor:
            values = (*args, *kwargs.values())
            if has_torch_function(values):
                return _record(loss, inspect.signature(function).bind(*args, **kwargs), default_scope)
            args = tuple(_at_least_float32(arg) for arg in args)
            kwargs = {name: _at_least_float32(value) for name, value in kwargs.items()}
            with _no_autocast(next(v for v in values if isinstance(v, torch.Tensor)).device):
                return function(*args, **kwargs)

        return loss

    return decorate


def _record(loss: Callable[..., Any], call: inspect.BoundArguments, default_scope: str) -> Any:
    # A Variable stands for a Symbol (or, on a built module, for a tensor).
    call.arguments = {name: v.value if isinstance(v, Variable) else v for name, v in call.arguments.items()}
    scope = call.arguments.pop("scope", None)
    values = (*call.args, *call.kwargs.values())
    if not has_torch_function(values):
        return loss(*call.args, **call.kwargs)
    with name_scope(scope, default_scope) as path:
        result = handle_torch_function(loss, values, *call.args, **call.kwargs)
    if isinstance(result, Symbol):
        result.aliases.append(path.rstrip("/"))
        add_loss(result)
    return result


def _at_least_float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def _no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def matching(function: str, **tensors: torch.Tensor | None) -> list[torch.Tensor]:
    """Two tensors of one shape, both of the floating dtype of the first (float32 if it has integers).

    Args:
        function: who asks, for the message.
        tensors: the predictions, then the labels, by the names of the caller's arguments.

    Raises:
        ValueError: if one is missing or the shapes differ.
    """
    (first_name, first), (second_name, second) = tensors.items()
    if first is None or second is None:
        raise ValueError(f"{function}: give both `{first_name}` and `{second_name}`. Got None.")
    if first.shape != second.shape:
        raise ValueError(
            f"{function}: `{first_name}` and `{second_name}` must have the same shape. "
            f"Got {list(first.shape)} and {list(second.shape)}."
        )
    dtype = first.dtype if first.is_floating_point() else torch.float32
    return [first.to(dtype), second.to(dtype)]


def weighted_mean(losses: torch.Tensor, weights: Weights = 1.0) -> torch.Tensor:
    """The sum of `losses * weights` divided by the number of weights that are not zero; 0 if there are none.

    `weights` follow the leading dimensions of `losses`: see `compute_weighted_loss`.
    """
    if isinstance(weights, int | float):
        return losses.sum() * (weights / max(losses.numel(), 1))  # no tensor to make, nothing to count
    weights = torch.as_tensor(weights, dtype=losses.dtype, device=losses.device)
    if weights.ndim > 1 and weights.shape[-1] == 1:
        weights = weights.squeeze(-1)
    trailing = (1,) * (losses.ndim - weights.ndim)
    if weights.ndim > losses.ndim or any(
        size not in (1, full) for size, full in zip(weights.shape, losses.shape, strict=False)
    ):
        raise ValueError(
            "compute_weighted_loss: `weights` must be a number or have the losses' leading sizes (1: any). "
            f"Got {list(weights.shape)} for losses of shape {list(losses.shape)}."
        )
    weights = weights.reshape(*weights.shape, *trailing).expand_as(losses)
    present = torch.count_nonzero(weights)
    return torch.where(present > 0, (losses * weights).sum() / present.clamp(min=1), 0.0)


@recorded("weighted_loss")
def compute_weighted_loss(losses: Value, weights: Weights = 1.0, scope: str | None = None) -> Value:
    """Weights losses of your own into one loss, by the rule of all the others.

    Args:
        losses: one loss per element, `[B, ...]`.
        weights: a number; or a tensor with the leading dimensions of `losses`: `[B]` weighs examples, the
            full shape elements, and a last dimension of 1 (`[B, 1]`) is dropped.
        scope: name, for `get_losses(scope)`.

    Returns:
        The sum of `losses * weights` divided by the number of elements whose weight is not zero; 0, with zero
        gradients, if there are none. In float32 at least.

    Raises:
        ValueError: if the shape of `weights` does not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.compute_weighted_loss(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 0.0, 0.5]))
        tensor(2.)

    TF-Slim: a weight that stands for several elements counts for each of them, also in the middle of a shape
    (`[B, 1, 1]`), where TF-Slim counts it once.
    """
    return weighted_mean(losses, weights)
