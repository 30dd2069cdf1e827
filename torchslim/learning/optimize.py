"""`optimize_loss`: a train op of a loss in one call, with gradient noise and global clipping."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from torchslim import optimizers
from torchslim.graph import Symbol, Variable
from torchslim.learning.create import make_objective, reached_variables
from torchslim.learning.global_clipping import ClipByGlobalNorm
from torchslim.learning.gradients import (
    GradientTransform,
    Pair,
    add_gradient_noise,
    add_gradients_summaries,
    global_norm,
    multiply_gradients,
)
from torchslim.learning.optimizer import OptimizerFactory
from torchslim.learning.train_op import TrainOp
from torchslim.learning.trained import gradient_factors, select_trained
from torchslim.optimizers import Schedule
from torchslim.summaries import Summary
from torchslim.variables import get_global_step

# What the strings mean.
OPTIMIZERS: dict[str, Callable[[Any], optimizers.Formula]] = {
    "Adadelta": optimizers.Adadelta,
    "Adagrad": optimizers.Adagrad,
    "Adam": optimizers.Adam,
    "Ftrl": optimizers.Ftrl,
    "Momentum": functools.partial(optimizers.Momentum, momentum=0.9),
    "RMSProp": optimizers.RMSProp,
    "SGD": optimizers.GradientDescent,
}
SUMMARIES = ("learning_rate", "loss", "gradients", "gradient_norm", "global_gradient_norm")
# What `add_gradients_summaries` calls them.
_KINDS = {"gradients": "histogram", "gradient_norm": "scalar"}
DEFAULT_SUMMARIES = ("learning_rate", "loss", "global_gradient_norm")


def optimize_loss(
    loss: Symbol | Callable[..., torch.Tensor],
    global_step: Variable | None,
    learning_rate: float | torch.Tensor | Schedule | None,
    optimizer: str | type | OptimizerFactory | Callable[..., OptimizerFactory],
    gradient_noise_scale: float | None = None,
    gradient_multipliers: Mapping[Hashable, float | torch.Tensor] | None = None,
    clip_gradients: float | GradientTransform | None = None,
    learning_rate_decay_fn: Callable[[Any, int], float] | None = None,
    update_ops: Sequence[Symbol] | None = None,
    variables: Sequence[Variable | str] | None = None,
    name: str | None = None,
    summaries: Sequence[str] | None = None,
    colocate_gradients_with_ops: bool = False,
    increment_global_step: bool = True,
    *,
    module: nn.Module | None = None,
    add_regularization_losses: bool | None = None,
) -> TrainOp:
    """Makes a train op in one call: gradients, noise, multipliers, clipping, update.

    TF-Slim: the same order and numbers; `create_train_op` clips each gradient by its own norm, this all together.

    Args:
        loss: a scalar Symbol; or a Python function of a batch, together with `module`.
        global_step: the Variable that counts the steps; None: that of the graph, if there is one.
        learning_rate: a number, a tensor or a schedule; None if the optimizer has its own.
        optimizer: `'SGD'`, `'Momentum'` (with 0.9), `'Adam'`, `'RMSProp'`, `'Adagrad'`, `'Adadelta'` or `'Ftrl'`; a
            class, `slim.optimizers.Adagrad` or `torch.optim.SGD`, called with the learning rate; an optimizer with a
            learning rate of its own, `slim.optimizers.Adagrad(0.5)`; or a function of the learning rate (without
            arguments if that is None) that returns what makes an optimizer,
            `lambda rate: slim.optimizers.Momentum(rate, 0.5)`.
        gradient_noise_scale: standard deviation of normal noise that is added to the gradients.
        gradient_multipliers: Variable or name -> factor; applied before clipping.
        clip_gradients: the norm that all gradients together do not exceed; or a function of pairs of a gradient and its
            Variable, `slim.adaptive_clipping_fn()`.
        learning_rate_decay_fn: takes the learning rate and the global step, and gives the rate of that step.
        update_ops: as in `create_train_op`.
        variables: what to train; default: all trainable variables that the loss depends on.
        name: put before the tags of the summaries, with a slash; TensorFlow's default is `'OptimizeLoss'`.
        summaries: which of `'gradients'`, `'gradient_norm'` and `'global_gradient_norm'` (the default) `train` writes;
            `'loss'` and `'learning_rate'` are written by `train` in any case.
        colocate_gradients_with_ops: must be False: gradients live where their variables do.
        increment_global_step: False where another train op counts the step.
        module: what a Python `loss` trains.
        add_regularization_losses: as in `create_train_op`.

    Returns:
        The `TrainOp`, for `slim.learning.train`; calling it with a batch takes one step.

    Raises:
        TypeError: if an argument is of a kind that is not taken.
        ValueError: if a value is out of range, or learning rate and optimizer do not fit.

    Example:
        >>> with slim.Graph():
        ...     images, labels = slim.placeholder((None, 4), name='images'), slim.placeholder((None, 3), name='labels')
        ...     logits = slim.fully_connected(images, 3, activation_fn=None, scope='logits')
        ...     _ = slim.losses.softmax_cross_entropy(logits, labels)
        ...     train_op = slim.optimize_loss(
        ...         slim.losses.get_total_loss(), slim.get_or_create_global_step(), learning_rate=0.1,
        ...         optimizer='Momentum', clip_gradients=1.0,
        ...         learning_rate_decay_fn=lambda rate, step: slim.optimizers.exponential_decay(rate, 100, 0.5)(step))
        >>> train_op(torch.zeros(2, 4), torch.eye(3)[:2])
        tensor(1.0986)
    """
    if colocate_gradients_with_ops:
        raise ValueError(
            "optimize_loss: `colocate_gradients_with_ops` must be False: gradients live where their variables do. "
            f"Got {colocate_gradients_with_ops!r}."
        )
    if global_step is None and isinstance(loss, Symbol):
        global_step = get_global_step(loss.owner)
    if learning_rate_decay_fn is not None and (learning_rate is None or global_step is None):
        missing = "learning_rate" if learning_rate is None else "global_step"
        raise ValueError(f"optimize_loss: `learning_rate_decay_fn` needs a `{missing}`. Got None.")
    rate, schedule = _rate(learning_rate, learning_rate_decay_fn)
    objective, global_step = make_objective(loss, global_step, update_ops, module, add_regularization_losses)
    trained = select_trained(reached_variables(objective), variables)
    gradient_factors(trained, gradient_multipliers)  # a name that is not there fails now
    write = _SummaryWriter(name or "OptimizeLoss", summaries, clip_gradients is not None)
    return TrainOp(
        objective,
        _factory(optimizer, rate),
        trained,
        step_variable=global_step,
        transforms=_transforms(gradient_noise_scale, gradient_multipliers, clip_gradients, write.norm_tag),
        summarize=write,
        scheduler=schedule,
        increment_global_step=increment_global_step,
    )


class _SummaryWriter:
    """The summaries of the gradients as they are applied.

    Args:
        prefix: put before the tags.
        kinds: those of `SUMMARIES` that are wanted; None: the default.
        clipped: whether the gradients are clipped.

    Attributes:
        norm_tag: the tag of the norm before clipping; None: not wanted.
    """

    def __init__(self, prefix: str, kinds: Sequence[str] | None, clipped: bool) -> None:
        wanted = DEFAULT_SUMMARIES if kinds is None else tuple(kinds)
        if strangers := [kind for kind in wanted if kind not in SUMMARIES]:
            raise ValueError(f"optimize_loss: `summaries` must be among {list(SUMMARIES)}. Got {strangers}.")
        self._prefix = prefix
        self._kinds = {_KINDS[kind] for kind in wanted if kind in _KINDS}
        self._clipped = clipped
        self.norm_tag = f"{prefix}/global_norm/gradient_norm" if "global_gradient_norm" in wanted else None

    def __call__(self, grads_and_vars: Sequence[Pair]) -> list[Summary]:
        """The summaries of these gradients."""
        each = add_gradients_summaries(grads_and_vars) if self._kinds else []
        found = [replace(s, tag=f"{self._prefix}/{s.tag}") for s in each if s.kind in self._kinds]
        if self.norm_tag is not None:
            tag = f"{self._prefix}/global_norm/clipped_gradient_norm" if self._clipped else self.norm_tag
            found.append(Summary("scalar", tag, global_norm(grads_and_vars)))
        return found


def _rate(learning_rate: Any, decay_fn: Callable[[Any, int], float] | None) -> tuple[Any, Schedule | None]:
    """The rate to make the optimizer with, and the schedule that sets it afterwards, if there is one."""
    if decay_fn is not None:
        learning_rate = Schedule(_decayed, learning_rate=learning_rate, decay_fn=decay_fn)
    if isinstance(learning_rate, Schedule):
        return learning_rate(0), learning_rate
    if learning_rate is not None and not isinstance(learning_rate, torch.Tensor):
        if not isinstance(learning_rate, int | float):
            raise TypeError(
                f"optimize_loss: `learning_rate` must be a number, a tensor, a schedule or None. Got {learning_rate!r}."
            )
        if not 0 <= learning_rate < math.inf:
            raise ValueError(f"optimize_loss: `learning_rate` must be 0 or above. Got {learning_rate}.")
    return learning_rate, None


def _decayed(step: int, learning_rate: Any, decay_fn: Callable[[Any, int], float]) -> float:
    return float(decay_fn(learning_rate, step))


def _factory(optimizer: Any, rate: Any) -> torch.optim.Optimizer | OptimizerFactory:
    """What makes the optimizer of the parameters, with the learning rate `rate`."""
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimize_loss: `optimizer` must be one of {list(OPTIMIZERS)}. Got {optimizer!r}.")
        return OPTIMIZERS[optimizer](_given(rate, optimizer))
    if isinstance(optimizer, type) and issubclass(optimizer, optimizers.Formula):
        return optimizer(_given(rate, optimizer.__name__))
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return functools.partial(optimizer, lr=_given(rate, optimizer.__name__))  # type: ignore[call-arg]
    if isinstance(optimizer, optimizers.Formula | torch.optim.Optimizer) or _makes_optimizer(optimizer):
        if rate is not None:
            raise ValueError(
                f"optimize_loss: `learning_rate` must be None where the optimizer has its own. Got {rate!r} and "
                f"{optimizer!r}."
            )
        return optimizer
    if not callable(optimizer):
        raise TypeError(
            "optimize_loss: `optimizer` must be a name, a class, an optimizer or a function of the learning rate. "
            f"Got {optimizer!r}."
        )
    made = optimizer() if rate is None else optimizer(rate)
    if not callable(made) and not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            "optimize_loss: `optimizer` must return what makes an optimizer of parameters, "
            f"`lambda rate: slim.optimizers.Momentum(rate, 0.5)`. Got {made!r}."
        )
    return made


def _given(rate: Any, optimizer: str) -> Any:
    if rate is None:
        raise ValueError(f"optimize_loss: `learning_rate` must be given for {optimizer}. Got None.")
    return rate


def _makes_optimizer(optimizer: Any) -> bool:
    function = getattr(optimizer, "func", None)
    return isinstance(function, type) and issubclass(function, torch.optim.Optimizer)


def _transforms(
    noise_scale: float | None,
    multipliers: Mapping[Hashable, float | torch.Tensor] | None,
    clip: float | GradientTransform | None,
    norm_tag: str | None,
) -> list[GradientTransform]:
    """What happens to the gradients, in TF-Slim's order."""
    transforms: list[GradientTransform] = []
    if noise_scale is not None:
        if not 0 <= noise_scale < math.inf:
            raise ValueError(f"optimize_loss: `gradient_noise_scale` must be 0 or above. Got {noise_scale}.")
        transforms.append(functools.partial(add_gradient_noise, scale=noise_scale))
    if multipliers:
        transforms.append(functools.partial(multiply_gradients, gradient_multipliers=multipliers))
    if isinstance(clip, int | float):
        if not 0 < clip < math.inf:
            raise ValueError(f"optimize_loss: `clip_gradients` must be above 0. Got {clip}.")
        transforms.append(ClipByGlobalNorm(clip, norm_tag))
    elif callable(clip):
        transforms.append(clip)
    elif clip is not None:
        raise TypeError(f"optimize_loss: `clip_gradients` must be a number, a function or None. Got {clip!r}.")
    return transforms
