"""`create_train_op`: a loss and an optimizer become one step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from torchslim.graph import Symbol, Variable
from torchslim.learning import session_era
from torchslim.learning.objective import Objective, objective_of_function, objective_of_symbol
from torchslim.learning.optimizer import OptimizerFactory
from torchslim.learning.train_op import TrainOp
from torchslim.learning.trained import gradient_factors, select_trained, tensor_of
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
    check_numerics: bool = True,
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
        optimizer: a factory that takes the parameters to train, `functools.partial(torch.optim.SGD, lr=0.01)`, called
            once they have memory; or a `torch.optim.Optimizer` that holds them. On the CPU, factories of PyTorch's
            optimizers get `fused=True` unless they set `fused` or `foreach`.
        global_step: the Variable that counts the steps; default: that of the loss's graph; None: no Variable.
        update_ops: Symbols to compute in each step, too; default: the collection `'update_ops'`. Batch normalisation
            is not among them: its modules update themselves, and `is_training=False` stops that.
        variables_to_train: Variables or names; default: all trainable ones that the loss depends on. The others keep
            their values, but not the statistics of their batch normalisation.
        clip_gradient_norm: L2 norm that no variable's gradient exceeds; 0: no clipping.
        summarize_gradients: have `train` write histograms and norms of the gradients.
        gradient_multipliers: Variable or name -> factor; applied before clipping.
        check_numerics: stop at a loss that is not finite. On the CPU that is before the update; elsewhere, because
            reading a loss waits for the device, when `train` logs or saves. Checkpoints stay finite either way.
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
    if not clip_gradient_norm >= 0:
        raise ValueError(f"create_train_op: `clip_gradient_norm` must be 0 (off) or above. Got {clip_gradient_norm}.")
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
    penalized = [tensor_of(variable) for variable, _ in objective.l2]
    reached = {id(tensor) for tensor in (*objective.parameters(), *objective.buffers(), *penalized)}
    trained = select_trained([v for v in objective.variables() if id(tensor_of(v)) in reached], variables_to_train)
    return TrainOp(
        objective,
        optimizer,
        trained,
        step_variable=global_step,
        factors=gradient_factors(trained, gradient_multipliers),
        clip_gradient_norm=clip_gradient_norm,
        summarize_gradients=summarize_gradients,
        check_numerics=check_numerics,
    )
