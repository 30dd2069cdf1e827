"""What happens to gradients between the backward pass and the update: multipliers, clipping, summaries."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import distributed, nn

from torchslim.graph.parts import like, whole
from torchslim.learning.device import process
from torchslim.summaries import Summary

logger = logging.getLogger(__name__)

# A gradient (None where the loss does not depend on the variable) and the variable that it belongs to.
Pair = tuple[torch.Tensor | None, Any]
# Pairs in, pairs out; with `state_dict` and `load_state_dict` if it remembers something, and `summaries` to tell it.
GradientTransform = Callable[[list[Pair]], Sequence[Pair]]


def multiply_gradients(
    grads_and_vars: Sequence[Pair], gradient_multipliers: Mapping[Hashable, float | torch.Tensor]
) -> list[Pair]:
    """Multiplies the gradients of some variables, e.g. to let a fresh layer learn ten times as fast.

    Args:
        grads_and_vars: pairs of a gradient and its variable.
        gradient_multipliers: a variable, or its name with or without `:0`, -> factor. A tensor must broadcast
            to the gradient's shape in PyTorch's layout.

    Returns:
        The pairs, the gradients that have no multiplier as they are.

    Raises:
        ValueError: if a variable with a multiplier has no gradient, or a multiplier belongs to no variable.

    Example:
        >>> weights = torch.ones(2)
        >>> slim.learning.multiply_gradients([(torch.tensor([1.0, 2.0]), weights)], {weights: 10.0})[0][0]
        tensor([10., 20.])
    """
    wanted = {_identity(key): (key, factor) for key, factor in gradient_multipliers.items()}
    result: list[Pair] = []
    for gradient, variable in grads_and_vars:
        _, factor = wanted.pop(_identity(variable), (None, None))
        if factor is not None:
            if gradient is None:
                raise ValueError(
                    f"multiply_gradients: the loss does not depend on {_label(variable)!r}, so there is no gradient "
                    f"to multiply by {factor}. Take it out of `gradient_multipliers`."
                )
            gradient = gradient * factor
        result.append((gradient, variable))
    if wanted:
        unknown = [_label(key) for key, _ in wanted.values()]
        raise ValueError(
            f"multiply_gradients: every key of `gradient_multipliers` must be one of the variables. Got {unknown}; "
            f"there are {[_label(variable) for _, variable in grads_and_vars]}."
        )
    return result


def clip_gradient_norms(gradients_to_variables: Sequence[Pair], max_norm: float) -> list[Pair]:
    """Scales each gradient down to the norm `max_norm`, each by its own norm.

    TF-Slim: the same, per variable; `torch.nn.utils.clip_grad_norm_` clips by the norm of all gradients together.

    Args:
        gradients_to_variables: pairs of a gradient and its variable.
        max_norm: the L2 norm that no gradient exceeds afterwards.

    Returns:
        The pairs, clipped.

    Raises:
        ValueError: if `max_norm` is not positive.

    Example:
        >>> pairs = [(torch.tensor([3.0, 4.0]), 'weights'), (torch.tensor([0.1]), 'biases')]
        >>> slim.learning.clip_gradient_norms(pairs, 1.0)
        [(tensor([0.6000, 0.8000]), 'weights'), (tensor([0.1000]), 'biases')]
    """
    if not max_norm > 0:
        raise ValueError(f"clip_gradient_norms: `max_norm` must be above 0. Got {max_norm}.")
    gradients = [gradient for gradient, _ in gradients_to_variables if gradient is not None]
    clipped = iter(torch._foreach_mul(gradients, clip_factors(gradients, max_norm)) if gradients else ())
    return [(None if g is None else next(clipped), variable) for g, variable in gradients_to_variables]


def clip_gradient_norms_fn(max_norm: float) -> GradientTransform:
    """`clip_gradient_norms` as a `transform_grads_fn`.

    Args:
        max_norm: the L2 norm that no gradient exceeds afterwards.

    Raises:
        ValueError: if `max_norm` is not positive.

    Example:
        >>> clip = slim.training.clip_gradient_norms_fn(1.0)
        >>> clip([(torch.tensor([3.0, 4.0]), 'weights')])
        [(tensor([0.6000, 0.8000]), 'weights')]
    """
    clip_gradient_norms([], max_norm)
    return functools.partial(clip_gradient_norms, max_norm=max_norm)


def scale_gradients(grads_and_vars: Sequence[Pair], factor: torch.Tensor) -> list[Pair]:
    """Multiplies all gradients by a scalar on their device."""
    gradients = [gradient for gradient, _ in grads_and_vars if gradient is not None]
    scaled = iter(torch._foreach_mul(gradients, factor) if gradients else ())
    return [(None if g is None else next(scaled), variable) for g, variable in grads_and_vars]


def global_norm(grads_and_vars: Sequence[Pair]) -> torch.Tensor:
    """The L2 norm of all gradients together, as one vector; 0 if there are none."""
    gradients = [gradient for gradient, _ in grads_and_vars if gradient is not None]
    return torch.linalg.vector_norm(tensor_norms(gradients)) if gradients else torch.zeros(())


def add_gradient_noise(grads_and_vars: Sequence[Pair], scale: float) -> list[Pair]:
    """Adds normal noise of the standard deviation `scale` to gradients, cut off at twice that, as in TensorFlow.

    Processes that train together add the noise of the first one, lest their weights drift apart.
    """
    noisy: list[Pair] = []
    for gradient, variable in grads_and_vars:
        if gradient is not None:
            noise = torch.empty(gradient.shape, dtype=gradient.dtype, device=gradient.device)
            nn.init.trunc_normal_(noise, std=scale, a=-2 * scale, b=2 * scale)
            if process()[1] > 1:
                distributed.broadcast(noise, 0)
            gradient = gradient + like(noise, gradient)
        noisy.append((gradient, variable))
    return noisy


def clip_factors(gradients: Sequence[torch.Tensor], max_norm: float) -> list[torch.Tensor]:
    """`max_norm / max(norm, max_norm)` of each gradient, without waiting for the device."""
    return list((max_norm / tensor_norms(gradients).clamp(min=max_norm)).unbind())


def tensor_norms(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The L2 norm of each tensor, as one vector.

    First over all dimensions but one: PyTorch's CPU kernel adds up the squares of a whole tensor in single precision,
    which is 2 % wrong for the 10^8 weights of VGG's first dense layer.
    A tensor of the squares would take ten times as long there.
    """
    rows = [torch.linalg.vector_norm(t, dim=tuple(range(1, t.ndim))) if t.ndim > 1 else t for t in tensors]
    return whole(torch.stack(torch._foreach_norm(rows)))


def add_gradients_summaries(grads_and_vars: Sequence[Pair]) -> list[Summary]:
    """Summaries of gradients: a histogram and the norm of each.

    TF-Slim: the tags are the same, `fc1/weights/gradient` and `fc1/weights/gradient_norm`.

    Args:
        grads_and_vars: pairs of a gradient and its variable; those without a gradient are logged and left out.

    Returns:
        The summaries; `create_train_op(summarize_gradients=True)` has `train` write them.

    Example:
        >>> [s.tag for s in slim.learning.add_gradients_summaries([(torch.ones(2), 'fc1/weights')])]
        ['fc1/weights/gradient', 'fc1/weights/gradient_norm']
    """
    summaries = []
    for gradient, variable in grads_and_vars:
        if gradient is None:
            logger.info("%s has no gradient", _label(variable))
            continue
        summaries.append(Summary("histogram", f"{_label(variable)}/gradient", gradient))
        summaries.append(Summary("scalar", f"{_label(variable)}/gradient_norm", tensor_norms([gradient])[0]))
    return summaries


def _identity(variable: Any) -> Hashable:
    """Equal for two keys that mean the same variable: slim variables go by their names, tensors by identity."""
    named = isinstance(variable, str) or hasattr(variable, "op")
    return _label(variable) if named else id(variable)


def _label(variable: Any) -> str:
    if isinstance(variable, str):
        return variable.removesuffix(":0")
    if hasattr(variable, "op"):
        return variable.op.name
    return f"a tensor of shape {list(getattr(variable, 'shape', ()))}"
