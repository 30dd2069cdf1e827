"""`create_train_op`: a loss and an optimizer become one step function."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import distributed, nn

from torchslim.graph import Symbol, Variable
from torchslim.learning import session_era
from torchslim.learning.device import autocast, place_batch, place_tensors
from torchslim.learning.gradients import add_gradients_summaries, clip_factors, tensor_norms
from torchslim.learning.objective import Objective, objective_of_function, objective_of_symbol
from torchslim.learning.optimizer import OptimizerFactory, make_optimizer
from torchslim.learning.trained import gradient_factors, select_trained, tensor_of
from torchslim.summaries import Summary
from torchslim.variables import get_or_create_global_step

# The default of `global_step`: the one of the graph.
USE_GLOBAL_STEP: Final[Any] = object()
_NEVER: Final = torch.iinfo(torch.int64).max


class TrainOp:
    """One training step as a function of a batch: what `create_train_op` makes and `train` drives.

    Calling it takes one step and gives the loss before that step: detached, on the device, with regularization if
    the loss has it.

    Attributes:
        objective: what is differentiated.
        trained: the variables that a step changes.
        optimizer: the optimizer; None until `prepare`.
        global_step: how many steps have been taken.
        device: where it runs; None until `prepare`.

    Example:
        >>> import functools
        >>> model = torch.nn.Linear(2, 1)
        >>> train_op = slim.learning.create_train_op(
        ...     lambda x, y: (model(x) - y).square().mean(), functools.partial(torch.optim.SGD, lr=0.1), module=model)
        >>> losses = [train_op(torch.ones(4, 2), torch.ones(4, 1)).item() for _ in range(20)]
        >>> losses[-1] < losses[0], train_op.global_step
        (True, 20)
    """

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
        self.optimizer: torch.optim.Optimizer | None = None
        self.global_step = 0
        self.device: torch.device | None = None
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
        for parameter, scale in self._l2:
            if id(parameter) in own:
                self._trained_l2[scale].append(parameter)

    def prepare(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        """Initialises what has no memory yet, moves all to the device and makes the optimizer; a second call does nothing.

        Args:
            device: default: where the variables are; the CPU, if they are nowhere yet.
            dtype: in which the forward pass computes; parameters and losses stay float32.
            channels_last: the memory layout of kernels.
            compile: run the forward pass through `torch.compile`.
        """
        if self.device is not None:
            return
        self.device = device or next((p.device for p in self._parameters if not p.is_meta), torch.device("cpu"))
        variables = self.objective.variables()
        for variable in variables if self.device.type != "meta" else ():
            if variable.is_meta:
                variable.initialize(self.device)
        place_tensors([*map(tensor_of, variables), *self.objective.parameters(), *self.objective.buffers()], device, channels_last)
        if not self.objective.module.training:
            self.objective.module.train()
        names = [variable.op.name for variable in self.trained]
        self.optimizer = make_optimizer(self._make_optimizer, dict(zip(names, self._parameters)), self.device)
        self._dtype = dtype
        self._scaler = torch.amp.GradScaler(self.device.type) if dtype == torch.float16 else None
        self._first_bad_step = torch.full((), _NEVER, device=self.device)
        if self._step_variable is not None and self.device.type != "meta":
            self.global_step = int(self._step_variable.tensor)
        self._forward = self._distributed(self.objective)
        ...
