"""`create_train_op`: a loss and an optimizer become one step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from torchslim.graph import Symbol, Variable
from torchslim.learning import session_era
from torchslim.learning.gradients import GradientTransform, add_gradients_summaries
from torchslim.learning.objective import Objective, objective_of_function, objective_of_symbol
from torchslim.learning.optimizer import OptimizerFactory, Scheduler
from torchslim.learning.train_op import TrainOp
from torchslim.learning.trained import (
    gradient_factors,
    select_trained,
    statistics_outside,
    tensor_of,
    trainable_in,
)
from torchslim.variables import assert_global_step, get_or_create_global_step

# The default of `global_step`: that of the loss's graph.
USE_GLOBAL_STEP: Final[Any] = object()


def create_train_op(
    total_loss: Symbol | Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer | OptimizerFactory,
    global_step: Variable | None = USE_GLOBAL_STEP,
    update_ops: Sequence[Symbol] | None = None,
    variables_to_train: Sequence[Variable | str] | None = None,
    clip_gradient_norm: float = 0,
    summarize_gradients: bool = False,
    *,
    gradient_multipliers: Mapping[Hashable, float | torch.Tensor] | None = None,
    transform_grads_fn: GradientTransform | None = None,
    check_numerics: bool = True,
    scheduler: Scheduler | None = None,
    trainable_scopes: str | Sequence[str] | None = None,
    freeze_batch_norm: bool = True,
    accumulate_steps: int = 1,
    ema_decay: float | None = None,
    ema_num_updates: bool = False,
    module: nn.Module | None = None,
    add_regularization_losses: bool | None = None,
    **session_arguments: Any,
) -> TrainOp:
    """Makes the training step of a loss: forward, backward, multipliers, clipping, update, global step.

    TF-Slim: the same order and numbers. L2 regularization is part of the loss and its gradient, but is not
    differentiated: `scale * weights` is added to the gradients, and its value is computed when the loss is looked at.

    Args:
        total_loss: a scalar Symbol, as `slim.losses.get_total_loss()` gives; or a Python function of a batch,
            `loss_fn(*batch)`, that returns a scalar tensor.
        optimizer: a factory that takes the parameters to train, called once they have memory:
            `slim.optimizers.Momentum(0.01, momentum=0.9)`, `functools.partial(torch.optim.SGD, lr=0.01)`; or a
            `torch.optim.Optimizer` that holds them. On the CPU, factories of PyTorch's optimizers get `fused=True`
            unless they set `fused` or `foreach`.
        global_step: the Variable that counts the steps; default: that of the loss's graph; None: no Variable.
        update_ops: Symbols to compute in each step, too; default: the collection `'update_ops'`. Batch normalisation
            is not among them: its modules update themselves, and `is_training=False` stops that.
        variables_to_train: Variables or names; default: all trainable ones that the loss depends on. The others keep
            their values, but not the statistics of their batch normalisation, as in TF-Slim.
        clip_gradient_norm: L2 norm that no variable's gradient exceeds; 0: no clipping.
        summarize_gradients: have `train` write histograms and norms of the gradients.
        gradient_multipliers: Variable or name -> factor; applied before clipping.
        transform_grads_fn: takes pairs of a gradient and its Variable, after multipliers and clipping, and returns
            such pairs (`slim.adaptive_clipping_fn()`). Variables that it leaves out are not updated.
        check_numerics: stop at a loss or gradient that is not finite, and name the input, the loss term or the gradient
            that is not. Variables and checkpoints stay finite. On the CPU it stops before the update; elsewhere,
            because reading a loss waits for the device, when `train` logs or saves.
        scheduler: what sets the learning rate: a schedule, `slim.optimizers.cosine_decay(0.1, 1000)`, which is asked
            with the global step before the update; or what makes a scheduler of PyTorch from the optimizer,
            `functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)`, which takes a step after each update.
            Not needed with `slim.optimizers.Momentum(learning_rate=slim.optimizers.cosine_decay(0.1, 1000), ...)`.
        trainable_scopes: patterns of what to train, instead of `variables_to_train`, as in `slim.restore(include=)`:
            `'fc8'` means `vgg_16/fc8`. All other variables stand still, bit for bit.
        freeze_batch_norm: with `trainable_scopes`, whether batch normalisation outside of them keeps its statistics,
            too, and normalises by them. TF-Slim: they went on moving, away from what the frozen layers had learned.
        accumulate_steps: how many batches make a step; their gradients are averaged, as if they were one batch.
        ema_decay: keep moving averages of the trained variables and of statistics, `TrainOp.ema.averages`. Checkpoints
            have them, `slim.restore(prefer_ema=True)` takes them, and the evaluations of `train` use them.
        ema_num_updates: let the decay grow up to `ema_decay`: it is at most `(1 + step) / (10 + step)`.
        module: what a Python `total_loss` trains; may be left out if `total_loss` is an `nn.Module` itself.
        add_regularization_losses: what to do with regularizers of variables that `total_loss` does not include:
            True: add them; False: train without them; None: that, with a warning that names them.
        session_arguments: arguments of TF-Slim that steered sessions; each is refused with what replaces it.

    Returns:
        The `TrainOp`, for `slim.learning.train`; calling it with a batch takes one step.

    Raises:
        TypeError: if `total_loss` or `optimizer` is of a kind that is not taken.
        ValueError: if the loss is no scalar, or a variable is named that is not there.

    Example:
        >>> import functools
        >>> with slim.Graph():
        ...     images, labels = slim.placeholder((None, 4), name='images'), slim.placeholder((None, 3), name='labels')
        ...     logits = slim.fully_connected(images, 3, activation_fn=None, scope='logits')
        ...     _ = slim.losses.softmax_cross_entropy(logits, labels)
        ...     train_op = slim.learning.create_train_op(
        ...         slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9))
        >>> train_op(torch.zeros(2, 4), torch.eye(3)[:2])
        tensor(1.0986)
    """
    session_era.refuse(
        "create_train_op", session_arguments, session_era.CREATE_TRAIN_OP, inspect.signature(create_train_op).parameters
    )
    if accumulate_steps < 1:
        raise ValueError(f"create_train_op: `accumulate_steps` must be at least 1. Got {accumulate_steps}.")
    if trainable_scopes is not None and variables_to_train is not None:
        raise ValueError(
            "create_train_op: `trainable_scopes` takes the place of `variables_to_train`. "
            f"Got both, {trainable_scopes!r} and {len(variables_to_train)} variables."
        )
    if not clip_gradient_norm >= 0:
        raise ValueError(f"create_train_op: `clip_gradient_norm` must be 0 (off) or above. Got {clip_gradient_norm}.")
    if ema_decay is not None and not 0 <= ema_decay <= 1:
        raise ValueError(f"create_train_op: `ema_decay` must be from 0 to 1. Got {ema_decay!r}.")
    objective, global_step = make_objective(total_loss, global_step, update_ops, module, add_regularization_losses)
    variables, frozen = reached_variables(objective), list[nn.Module]()
    if trainable_scopes is not None:
        variables_to_train = trainable_in(variables, trainable_scopes)
        frozen = statistics_outside(variables, trainable_scopes) if freeze_batch_norm else []
    trained = select_trained(variables, variables_to_train)
    return TrainOp(
        objective,
        optimizer,
        trained,
        step_variable=global_step,
        factors=gradient_factors(trained, gradient_multipliers),
        clip_gradient_norm=clip_gradient_norm,
        transforms=() if transform_grads_fn is None else (transform_grads_fn,),
        summarize=add_gradients_summaries if summarize_gradients else None,
        check_numerics=check_numerics,
        scheduler=scheduler,
        frozen=frozen,
        accumulate_steps=accumulate_steps,
        ema_decay=ema_decay,
        ema_num_updates=ema_num_updates,
    )


def make_objective(
    total_loss: Symbol | Callable[..., torch.Tensor],
    global_step: Variable | None,
    update_ops: Sequence[Symbol] | None,
    module: nn.Module | None,
    add_regularization_losses: bool | None,
) -> tuple[Objective, Variable | None]:
    """What is differentiated, and the Variable that counts the steps; see `create_train_op`."""
    if isinstance(total_loss, Symbol):
        if module is not None:
            raise TypeError(
                "create_train_op: `module` goes with a Python loss function; the graph of a Symbol has its own. "
                f"Got {type(module).__name__}."
            )
        if total_loss.shape != ():
            raise ValueError(f"create_train_op: `total_loss` must be a scalar. Got shape {total_loss.shape}.")
        graph = total_loss.owner
        updates = graph.get_collection("update_ops") if update_ops is None else update_ops
        objective: Objective = objective_of_symbol(total_loss, updates, add_regularization_losses)
        if global_step is USE_GLOBAL_STEP:
            global_step = get_or_create_global_step(graph)
    else:
        module = total_loss if module is None and isinstance(total_loss, nn.Module) else module
        if not callable(total_loss) or module is None:
            raise TypeError(
                "create_train_op: `total_loss` must be a Symbol, or a function of a batch together with the `module` "
                f"that it trains. Got {total_loss!r} and module={module!r}."
            )
        objective = objective_of_function(total_loss, module, add_regularization_losses)
        global_step = None if global_step is USE_GLOBAL_STEP else global_step
    if global_step is not None:
        assert_global_step(global_step)
    return objective, global_step


def reached_variables(objective: Objective) -> list[Variable]:
    """The variables that the loss depends on."""
    penalized = [tensor_of(variable) for variable, _ in objective.l2]
    reached = {id(tensor) for tensor in (*objective.parameters(), *objective.buffers(), *penalized)}
    return [variable for variable in objective.variables() if id(tensor_of(variable)) in reached]
