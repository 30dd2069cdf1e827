"""The training step: forward, backward, what is done to the gradients, update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from torchslim.graph import Variable
from torchslim.graph.parts import like, whole
from torchslim.layers.synchronized import synchronize_batch_norm
from torchslim.learning.device import autocast, place_batch, place_tensors
from torchslim.learning.gradient_steps import GradientSteps
from torchslim.learning.gradients import GradientTransform, Pair, tensor_norms
from torchslim.learning.numerics import NumericsCheck
from torchslim.learning.objective import Objective
from torchslim.learning.optimizer import (
    LearningRate,
    OptimizerFactory,
    Scheduler,
    align_state,
    load_state,
    make_optimizer,
    optimizer_type,
)
from torchslim.learning.parallel import Alone, share_work, start_alike
from torchslim.learning.trained import frozen, tensor_of
from torchslim.losses import add_n
from torchslim.optimizers import ExponentialMovingAverage
from torchslim.summaries import Summary

_NOTHING: Final = contextlib.nullcontext()


class TrainOp:
    """One training step as a function of a batch: what `create_train_op` makes and `train` drives.

    Calling it takes one step and returns the loss before that step: a detached scalar on the device, with the L2 terms
    if the loss has any. With `accumulate_steps`, as many calls make one step, and the last of them returns the mean.

    Attributes:
        objective: what is differentiated.
        trained: the variables that a step changes.
        frozen: the layers whose statistics stand still.
        accumulate_steps: how many batches a step takes.
        accumulated: how many batches were taken of the step that is under way.
        loss_has_l2: whether the last loss came with its L2 terms.
        global_step: how many steps have been taken.
        optimizer: the optimizer, from `prepare` on.
        ema: the moving averages by `state_dict` key, from `prepare` on, if they were asked for.
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
    ema: ExponentialMovingAverage | None
    device: torch.device
    _sum: torch.Tensor  # of the losses of the step that is under way

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer | OptimizerFactory,
        trained: Sequence[Variable],
        *,
        step_variable: Variable | None = None,
        factors: Mapping[int, float | torch.Tensor] | None = None,
        clip_gradient_norm: float = 0,
        transforms: Sequence[GradientTransform] = (),
        summarize: Callable[[Sequence[Pair]], list[Summary]] | None = None,
        check_numerics: bool = True,
        scheduler: Scheduler | None = None,
        frozen: Sequence[nn.Module] = (),
        accumulate_steps: int = 1,
        ema_decay: float | None = None,
        ema_num_updates: bool = False,
        increment_global_step: bool = True,
    ) -> None:
        self.objective = objective
        self.trained = list(trained)
        self.frozen = list(frozen)
        self.accumulate_steps = accumulate_steps
        self.accumulated, self.global_step, self.loss_has_l2 = 0, 0, True
        self._prepared = False
        self._make_optimizer = optimizer
        self._step_variable = step_variable
        self._summarize = summarize
        self._check_numerics = check_numerics
        self._scheduler = scheduler
        self._ema_decay = ema_decay
        self._ema_num_updates = ema_num_updates
        self._increment_global_step = increment_global_step
        self._parallel = Alone(objective)
        self._is_spent = False
        self._gradient_options = (factors or {}, clip_gradient_norm, transforms)
        # Tensors keep their identity when they get memory and when they move, so they can be collected now.
        self._collect()

    def _collect(self) -> None:
        self._parameters = [tensor_of(variable) for variable in self.trained]
        own = {id(parameter) for parameter in self._parameters}
        self._others = [p for p in self.objective.parameters() if p.requires_grad and id(p) not in own]
        self._l2 = [(tensor_of(variable), scale) for variable, scale in self.objective.l2]
        self._gradient_steps = GradientSteps(self.trained, self._l2, *self._gradient_options)

    # Getting ready

    def prepare(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        channels_last: bool = False,
        compile: bool = False,
        parallel: str = "ddp",
        sync_batch_norm: bool = False,
    ) -> None:
        """Initialises what has no memory yet, moves all to the device, and makes the optimizer if it is the first call.

        Where `torch.distributed` is initialised, the values of the first process are those of all from then on.

        Args:
            device: default: where the variables are; the CPU, if they are nowhere yet.
            dtype: in which the forward pass computes; parameters and losses stay float32.
            channels_last: the memory layout of kernels.
            compile: run the forward pass through `torch.compile`.
            parallel: how several processes share the work, `'ddp'` or `'fsdp'`.
            sync_batch_norm: whether they normalise by the statistics of all their batches together.

        Raises:
            RuntimeError: if the variables have been in parts before (`'fsdp'`).
            ValueError: if the processes have different models.
        """
        if self._is_spent:
            raise RuntimeError(
                "train: a train op trains once with parallel='fsdp'. Got one that has, up to global step "
                f"{self.global_step}. Make another with `create_train_op`; it goes on from the checkpoint in `logdir`."
            )
        self.device = device or next((p.device for p in self._parameters if not p.is_meta), torch.device("cpu"))
        if self.device.type != "meta":
            self._place(channels_last)
        module = self.objective.module
        if self.objective.graph is not None or not module.training:  # what a user freezes inside a module stays so
            module.train()
        for layer in self.frozen:
            layer.eval()
        names = [variable.op.name for variable in self.trained]
        self._share(parallel, sync_batch_norm)
        if not hasattr(self, "optimizer"):
            self.optimizer = make_optimizer(self._make_optimizer, names, self._parameters, self.device)
            self._learning_rate = LearningRate(self.optimizer, self._scheduler)
            self.ema = self._make_ema()  # now that the processes agree on where to start
            if self._step_variable is not None and self.device.type != "meta":
                self.global_step = int(self._step_variable.tensor)
        align_state(self.optimizer)
        if self.ema is not None:
            place_tensors(self.ema.averages.values(), self.device)
        self._dtype, self._channels_last = dtype, channels_last
        self._scaler = torch.amp.GradScaler(self.device.type) if dtype == torch.float16 else None
        # With a scaler infinite gradients are part of the game: it leaves such steps out.
        checked = [] if self._scaler is not None else names
        inputs = [symbol.node.name for symbol in self.objective.inputs]
        check = NumericsCheck(checked, self.device, inputs, in_parts=self.is_in_parts)
        self._numerics = check if self._check_numerics else None
        self._compute_loss = torch.compile(self._parallel.loss) if compile else self._parallel.loss
        self._prepared = True

    def _share(self, parallel: str, sync_batch_norm: bool) -> None:
        if self.device.type != "meta":
            start_alike(self.tensors())
        with self._others_frozen():
            self._parallel = share_work(self.objective, self.device, parallel)
        synchronize_batch_norm(self.objective.module, sync_batch_norm and self._parallel.size > 1)
        if self._parallel.keeps_parts:
            self._collect()

    @property
    def is_in_parts(self) -> bool:
        """Whether each process has a part of the variables only."""
        return self._parallel.keeps_parts

    def release(self) -> None:
        """Ends the work with other processes: the variables are ordinary and whole from then on."""
        if self._parallel.size == 1:
            return
        self._prepared, self._is_spent = False, self._parallel.keeps_parts
        self._parallel.gather()
        self._parallel = Alone(self.objective)
        self._collect()
        synchronize_batch_norm(self.objective.module, False)
        averages = {} if self.ema is None else self.ema.averages
        averages.update({name: whole(average) for name, average in averages.items()})

    def _place(self, channels_last: bool) -> None:
        variables = self.objective.variables()
        for variable in variables:
            if variable.is_meta:
                variable.initialize(self.device)
        tensors = [*map(tensor_of, variables), *self.objective.parameters(), *self.objective.buffers()]
        # Kernels that cover their image are matrices: optimizers are slower on them in channels-last memory.
        matrices = {id(tensor_of(v)) for v in variables if getattr(v.module, "covers_image", False)}
        place_tensors([t for t in tensors if id(t) in matrices], self.device)
        place_tensors([t for t in tensors if id(t) not in matrices], self.device, channels_last)

    def _make_ema(self) -> ExponentialMovingAverage | None:
        """Averages of the trained variables, and of statistics, which move with them."""
        if self._ema_decay is None:
            return None
        own = {id(parameter) for parameter in self._parameters}
        known = [(v, tensor_of(v)) for v in self.objective.variables() if v.kind == "model"]
        followed = {v.key: t for v, t in known if id(t) in own or (t.is_floating_point() and not v.trainable)}
        return ExponentialMovingAverage(followed, self._ema_decay)

    def __repr__(self) -> str:
        known = [variable for variable in self.objective.variables() if variable.trainable]
        count = sum(parameter.numel() for parameter in self._parameters)
        parts = [f"{len(self.trained)} of {len(known)} variables ({count:,} numbers)"]
        if self.frozen:
            parts.append(f"the statistics of {len(self.frozen)} layers stand still")
        if self._prepared:
            layout = ", channels last" * self._channels_last
            parts.append(f"on {self.device} in {str(self._dtype).removeprefix('torch.')}{layout}")
        return ", ".join(parts)

    # What is saved

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps of the model: `state_dict` key -> tensor."""
        if self.objective.graph is None:
            return self.objective.module.state_dict()
        return {v.key: tensor_of(v).detach() for v in self.objective.variables() if v.kind != "local"}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the model: the optimizer, and whatever else remembers something."""
        transforms = self._gradient_steps.transforms
        return {
            "trained": [variable.op.name for variable in self.trained],
            "optimizer_type": optimizer_type(self.optimizer),
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self._learning_rate.state_dict(),
            "transforms": [t.state_dict() if hasattr(t, "state_dict") else {} for t in transforms],
            "ema": {} if self.ema is None else self.ema.state_dict(),
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
        load_state(self.optimizer, state["optimizer"], self._learning_rate.changes)
        self._learning_rate.load_state_dict(state["learning_rate"])
        for transform, remembered in zip(self._gradient_steps.transforms, state["transforms"], strict=False):
            if remembered and hasattr(transform, "load_state_dict"):
                transform.load_state_dict(remembered)
        if self.ema is not None and state["ema"]:  # averages that are new begin with the variables
            averages = self.ema.averages
            self.ema.load_state_dict({k: like(v, averages[k]) if k in averages else v for k, v in state["ema"].items()})
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
        loss = self.step_fn(*place_batch(batch, self.device)) + l2
        self.loss_has_l2 = True
        return loss

    def step_fn(self, *batch: Any) -> torch.Tensor:
        """The bare step, for loops that do not look at each loss: `prepare` was called, the batch is on the device.

        Nothing here waits for the device.

        Returns:
            The loss without its L2 terms, detached; `l2_value` before the step is the rest.
        """
        self.loss_has_l2 = False
        if self.accumulated == 0:
            for parameter in self._parameters:
                parameter.grad = None
        is_last = self.accumulated + 1 == self.accumulate_steps
        with self._others_frozen(), self._parallel.averaging(is_last):
            with autocast(self.device, self._dtype):
                loss = self._compute_loss(*batch)
            self._backward(loss)
        loss = loss.detach()
        if self.accumulate_steps > 1:
            self._sum = loss if self.accumulated == 0 else self._sum + loss
            if not is_last:
                self.accumulated += 1
                return loss
            loss = self._sum / self.accumulate_steps
        self.accumulated = 0  # whatever happens now, the next call begins a new step
        with torch.no_grad():
            self._finish(loss, batch)
        return loss

    @torch.no_grad()
    def l2_value(self) -> torch.Tensor | float:
        """The sum of the loss's L2 terms, with the weights as they are."""
        if not self._l2:
            return 0.0
        norms = tensor_norms([weights for weights, _ in self._l2]).unbind()
        return add_n(*(norm.square() * (scale / 2) for norm, (_, scale) in zip(norms, self._l2, strict=True)))

    def check_finite(self) -> None:
        """Raises if a step has not been finite. On the CPU such a step raises itself; elsewhere this waits.

        Raises:
            FloatingPointError: it names the first such step, and what was not finite.
        """
        if self._prepared and self._numerics is not None:
            self._numerics.raise_if_bad()

    def gradient_summaries(self) -> list[Summary]:
        """Summaries of the last step's gradients, if `create_train_op` was asked for them."""
        pairs = [(None if g is None else whole(g), v) for g, v in self._gradient_steps.pairs() if self._summarize]
        summaries = [] if self._summarize is None else self._summarize(pairs)
        return summaries + [
            s for t in self._gradient_steps.transforms if hasattr(t, "summaries") for s in t.summaries()
        ]

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Has the moving averages take the place of their variables, if there are any; see `whole_variables`."""
        return self._parallel.whole_variables([] if self.ema is None else self.ema.pairs())

    def whole_variables(self) -> contextlib.AbstractContextManager[None]:
        """Has all of each variable in its module, for those who look; of several processes, all have to enter."""
        return self._parallel.whole_variables([])

    # Parts of a step

    def _others_frozen(self) -> contextlib.AbstractContextManager[None]:
        return frozen(self._others) if self._others else _NOTHING

    def _backward(self, loss: torch.Tensor) -> None:
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        share = 1 / self.accumulate_steps
        if self._numerics is not None and self._parallel.size > 1:
            # All processes must come to the same verdict, and what they have in common are the gradients.
            scaled.backward(torch.where(loss.detach().isfinite(), share, torch.nan).to(scaled.dtype))
        else:
            scaled.backward(None if share == 1 else torch.full_like(scaled, share))

    def _finish(self, loss: torch.Tensor, batch: Sequence[Any]) -> None:
        """From the gradients to the next step."""
        self._parallel.check_gradients(self.trained)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        self._gradient_steps()
        if self._numerics is not None:
            gradients = [] if self._scaler is not None else [parameter.grad for parameter in self._parameters]
            self._numerics.look(self.global_step, {"the loss": loss, **self.objective.terms}, gradients, batch)
        self._learning_rate.before_update(self.global_step)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self._learning_rate.after_update()
        self.global_step += 1
        if self._step_variable is not None and self._increment_global_step:
            tensor_of(self._step_variable).add_(1)
        self._parallel.after_update()
        if self.ema is not None:
            self.ema.apply(self.global_step if self._ema_num_updates else None)
