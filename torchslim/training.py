"""Training with the names of TF-Slim's `slim.training`: `slim.learning`, one argument apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from torchslim import learning
from torchslim.graph import Symbol, Variable
from torchslim.learning import TrainOp, add_gradients_summaries, clip_gradient_norms, multiply_gradients, session_era
from torchslim.learning.create import USE_GLOBAL_STEP
from torchslim.learning.gradients import GradientTransform, clip_gradient_norms_fn
from torchslim.learning.optimizer import OptimizerFactory

__all__ = [
    "add_gradients_summaries",
    "clip_gradient_norms",
    "clip_gradient_norms_fn",
    "create_train_op",
    "multiply_gradients",
    "train",
]

_REPLACEMENTS: Mapping[str, str] = {
    "scaffold": "`init_fn=`; `max_to_keep=`",
    "hooks": "`number_of_steps=`, when to stop; `train_step_fn=`, what else to do around a step",
    "chief_only_hooks": "`number_of_steps=`, when to stop; `train_step_fn=`, what else to do around a step",
    "save_summaries_steps": "`save_summaries_secs=`",
    "config": "`device=`, `precision=`, `channels_last=`, `compile=`",
    "max_wait_secs": "nothing: no worker waits for a chief",
    "run_metadata": "`torch.profiler.profile` around `train`, or in a `train_step_fn`",
}


def create_train_op(
    total_loss: Symbol | Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer | OptimizerFactory,
    global_step: Variable | None = USE_GLOBAL_STEP,
    update_ops: Sequence[Symbol] | None = None,
    variables_to_train: Sequence[Variable | str] | None = None,
    transform_grads_fn: GradientTransform | None = None,
    summarize_gradients: bool = False,
    **others: Any,
) -> TrainOp:
    """`slim.learning.create_train_op`, where `transform_grads_fn` stands in the place of `clip_gradient_norm`.

    Args:
        total_loss: as there, like all arguments.
        optimizer: the optimizer.
        global_step: the Variable that counts the steps.
        update_ops: Symbols to compute in each step, too.
        variables_to_train: Variables or names.
        transform_grads_fn: takes pairs of a gradient and its Variable and returns such pairs.
        summarize_gradients: have `train` write histograms and norms of the gradients.
        others: its other arguments.

    Returns:
        The `TrainOp`.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> train_op = slim.training.create_train_op(
        ...     lambda x, y: (model(x) - y).square().mean(), slim.optimizers.GradientDescent(0.1), module=model,
        ...     transform_grads_fn=slim.training.clip_gradient_norms_fn(3.0))
        >>> train_op(torch.zeros(4, 2), model.bias.detach()).item()
        0.0
    """
    return learning.create_train_op(
        total_loss,
        optimizer,
        global_step,
        update_ops,
        variables_to_train,
        summarize_gradients=summarize_gradients,
        transform_grads_fn=transform_grads_fn,
        **others,
    )


def train(
    train_op: TrainOp,
    logdir: str | os.PathLike[str] | None,
    *,
    save_checkpoint_secs: float | None = 600,
    **others: Any,
) -> float:
    """`slim.learning.train`, where the seconds between two checkpoints have another name.

    TF-Slim: hooks steered this loop; `number_of_steps` takes the place of `StopAtStepHook`.

    Args:
        train_op: what `create_train_op` gave.
        logdir: folder for checkpoints and TensorBoard events.
        save_checkpoint_secs: seconds between two checkpoints; 0 or None: only at the end.
        others: the other arguments of `slim.learning.train`.

    Returns:
        The last loss.

    Raises:
        TypeError: for an argument that steered sessions; it names what replaces it.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> train_op = slim.training.create_train_op(
        ...     lambda x: model(x).square().mean(), slim.optimizers.GradientDescent(0.1), module=model)
        >>> loss = slim.training.train(
        ...     train_op, None, number_of_steps=50, batches=[(torch.ones(4, 2),)], log_every_n_steps=0)
        >>> loss < 1e-3
        True
    """
    session_arguments = {name: value for name, value in others.items() if name in _REPLACEMENTS}
    session_era.refuse("train", session_arguments, _REPLACEMENTS, {})
    return learning.train(train_op, logdir, save_interval_secs=save_checkpoint_secs, **others)
