"""The training step: forward, backward, L2, multipliers, clipping, update."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import distributed, nn

from torchslim.graph import Variable
from torchslim.learning.device import autocast, place_batch, place_tensors
from torchslim.learning.gradients import add_gradients_summaries, clip_factors
from torchslim.learning.objective import Objective
from torchslim.learning.optimizer import OptimizerFactory, align_state, load_state, make_optimizer
from torchslim.learning.trained import tensor_of
from torchslim.losses import add_n
from torchslim.regularizers import l2_loss
from torchslim.summaries import Summary

_NEVER: Final = torch.iinfo(torch.int64).max


class TrainOp:
    """One training step as a function of a batch: what `create_train_op` makes and `train` drives.

    Calling it takes one step and returns the loss before that step: a detached scalar on the device, with the L2 terms
    if the loss has any.

    Attributes:
        objective: what is differentiated.
        trained: the variables that a step changes.
        global_step: how many steps have been taken.
        optimizer: the optimizer, from `prepare` on.
        device: where it runs, from `prepare` on.

    Example:
        >>> import functools
        >>> model = torch.nn.Linear(2, 1)
        >>> train_op = slim.learning.create_train_op(
        ...     lambda x, y: (model(x) - y).square().mean(), functools.partial(torch.optim.SGD, lr=0.1), module=model)
        >>> losses = [train_op(torch.ones(4, 2), torch.ones(4, 1)).item() for _ in range(20)]
        >>> losses[-1] < losses[0], train_op.global_step
        (True, 20)
    """

    optimizer: torch.optim.Optimizer
    device: torch.device

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer | OptimizerFactory,
        trained: Sequence[Variable],
        *,
        step_variable: Variable | None = None,
        factors: Mapping[int, float | torch.Tensor] | None = None,
        clip_gradient_norm: float = 0,
        summarize_gradients: bool = False,
        check_numerics: bool = True,
    ) -> None:
        self.objective = objective
        self.trained = list(trained)
        self.global_step = 0
        self._prepared = False
        self._make_optimizer = optimizer
        self._step_variable = step_variable
        self._factors = dict(factors or {})
        self._clip_gradient_norm = clip_gradient_norm
        self._summarize_gradients = summarize_gradients
        self._check_numerics = check_numerics
        # Tensors keep their identity when they get memory and when they move, so they can be collected now.
        self._parameters = [tensor_of(variable) for variable in trained]
        own = {id(parameter) for parameter in self._parameters}
        self._frozen = [p for p in objective.parameters() if p.requires_grad and id(p) not in own]
        self._l2 = [(tensor_of(variable), scale) for variable, scale in objective.l2]
        self._trained_l2: dict[float, list[torch.Tensor]] = defaultdict(list)
        for tensor, scale in self._l2:
            if id(tensor) in own:
                self._trained_l2[scale].append(tensor)

    # Getting ready

    def prepare(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        """Initialises what has no memory yet, moves all to the device, and makes the optimizer if it is the first call.

        Args:
            device: default: where the variables are; the CPU, if they are nowhere yet.
            dtype: in which the forward pass computes; parameters and losses stay float32.
            channels_last: the memory layout of kernels.
            compile: run the forward pass through `torch.compile`.
        """
        self.device = device or next((p.device for p in self._parameters if not p.is_meta), torch.device("cpu"))
        if self.device.type != "meta":
            variables = self.objective.variables()
            for variable in variables:
                if variable.is_meta:
                    variable.initialize(self.device)
            tensors = [*map(tensor_of, variables), *self.objective.parameters(), *self.objective.buffers()]
            # Kernels that cover their image are matrices: optimizers are slower on them in channels-last memory.
            matrices = {id(tensor_of(v)) for v in variables if getattr(v.module, "covers_image", False)}
            place_tensors([t for t in tensors if id(t) in matrices], self.device)
            place_tensors([t for t in tensors if id(t) not in matrices], self.device, channels_last)
        module = self.objective.module
        if self.objective.graph is not None or not module.training:  # what a user freezes inside a module stays so
            module.train()
        if not self._prepared:
            names = [variable.op.name for variable in self.trained]
            self.optimizer = make_optimizer(self._make_optimizer, names, self._parameters, self.device)
            with self._others_frozen():
                self._forward = _distributed(self.objective, self.device)
            if self._step_variable is not None and self.device.type != "meta":
                self.global_step = int(self._step_variable.tensor)
        align_state(self.optimizer)
        self._dtype = dtype
        self._scaler = torch.amp.GradScaler(self.device.type) if dtype == torch.float16 else None
        self._first_bad_step = torch.full((), _NEVER, device=self.device)
        self._compute_loss = torch.compile(self._forward) if compile else self._forward
        self._prepared = True

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps of the model: `state_dict` key -> tensor."""
        if self.objective.graph is None:
            return self.objective.module.state_dict()
        return {v.key: tensor_of(v).detach() for v in self.objective.variables() if v.kind != "local"}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the model: the optimizer and the gradient scaler, as PyTorch gives them."""
        return {
            "trained": [variable.op.name for variable in self.trained],
            "optimizer_type": type(self.optimizer).__name__,
            "optimizer": self.optimizer.state_dict(),
            "scaler": {} if self._scaler is None else self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], global_step: int) -> None:
        """Continues from what `state_dict` gave at `global_step`.

        Raises:
            ValueError: if it belongs to another optimizer, or to one of other variables.
        """
        present = self.state_dict()
        for what in ("optimizer_type", "trained"):
            if state[what] != present[what]:
                raise ValueError(
                    f"train: the checkpoint has the state of {state['optimizer_type']} over {state['trained']}. "
                    f"Got {present['optimizer_type']} over {present['trained']}. Train in another `logdir`, and take "
                    "the variables over with `init_fn=slim.assign_from_checkpoint_fn(...)`."
                )
        load_state(self.optimizer, state["optimizer"])
        if self._scaler is not None and state["scaler"]:
            self._scaler.load_state_dict(dict(state["scaler"]))
        self.global_step = global_step
        if self._step_variable is not None:
            tensor_of(self._step_variable).fill_(global_step)

    # A step

    def __call__(self, *batch: Any) -> torch.Tensor:
        """Takes one step; see the class.

        Args:
            batch: what the loss takes: tensors, or whatever a Python loss function takes.

        Raises:
            FloatingPointError: if the loss is not finite and the device is the CPU; the variables are untouched then.
        """
        if not self._prepared:
            self.prepare()
        l2 = self.l2_value()
        return self.step_fn(*place_batch(batch, self.device)) + l2

    def step_fn(self, *batch: Any) -> torch.Tensor:
        """The bare step, for loops that do not look at each loss: `prepare` was called, the batch is on the device.

        Nothing here waits for the device.

        Returns:
            The loss without its L2 terms, detached; `l2_value` before the step is the rest.
        """
        for parameter in self._parameters:
            parameter.grad = None
        with self._others_frozen():
            with autocast(self.device, self._dtype):
                loss = self._compute_loss(*batch)
            if self._check_numerics:
                self._check(loss)
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        with torch.no_grad():
            self._finish_gradients()
        self._update()
        return loss.detach()

    @torch.no_grad()
    def l2_value(self) -> torch.Tensor | float:
        """The sum of the loss's L2 terms, with the weights as they are."""
        if not self._l2:
            return 0.0
        return add_n(*(l2_loss(weights, scale) for weights, scale in self._l2))

    def check_finite(self) -> None:
        """Raises if a loss since the last call was not finite. It waits for the device.

        Raises:
            FloatingPointError: it names the first such step.
        """
        if self.device.type in ("cpu", "meta"):
            return
        step = int(self._first_bad_step)
        if step != _NEVER:
            raise FloatingPointError(_not_finite("not finite", step, "The variables have been updated since"))

    def gradient_summaries(self) -> list[Summary]:
        """Summaries of the last step's gradients, if `create_train_op` was asked for them."""
        if not self._summarize_gradients:
            return []
        return add_gradients_summaries([(tensor_of(variable).grad, variable) for variable in self.trained])

    # Parts of a step

    @contextlib.contextmanager
    def _others_frozen(self) -> Iterator[None]:
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self._frozen:
                parameter.requires_grad_(True)

    def _check(self, loss: torch.Tensor) -> None:
        if self.device.type == "cpu":  # reading costs nothing here, so it is before the update, as in TensorFlow
            if not math.isfinite(value := loss.item()):
                raise FloatingPointError(_not_finite(value, self.global_step, "The variables are as before that step"))
        else:
            finite = loss.detach().isfinite().logical_or(self._first_bad_step != _NEVER)
            self._first_bad_step = torch.where(finite, self._first_bad_step, self.global_step)

    def _finish_gradients(self) -> None:
        """What TensorFlow's gradient is, and what is done to it, in TF-Slim's order."""
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        for scale, weights in self._trained_l2.items():
            for weight in weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_(_gradients(weights), weights, alpha=scale)
        for position, factor in self._factors.items():
            if (gradient := self._parameters[position].grad) is not None:
                gradient.mul_(factor)
        if self._clip_gradient_norm > 0:
            gradients = _gradients(self._parameters)
            torch._foreach_mul_(gradients, clip_factors(gradients, self._clip_gradient_norm))

    def _update(self) -> None:
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self.global_step += 1
        if self._step_variable is not None:
            tensor_of(self._step_variable).add_(1)


def _gradients(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.grad for tensor in tensors if tensor.grad is not None]


def _distributed(objective: Objective, device: torch.device) -> nn.Module:
    """`objective`, in DistributedDataParallel where there are several processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return objective
    return nn.parallel.DistributedDataParallel(objective, device_ids=[device] if device.type == "cuda" else None)


def _not_finite(value: object, step: int, variables: str) -> str:
    return (
        f"check_numerics: the loss is {value} at step {step}. {variables}; checkpoints are not written with such "
        "values. Lower the learning rate, set `clip_gradient_norm`, or look for bad values in the batch."
    )
