"""What TensorFlow's optimizers have in common: a formula, slots, and the `torch.optim.Optimizer` that applies them."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from torchslim.graph.parts import is_in_parts, local
from torchslim.optimizers.schedules import set_learning_rate

# A number, a tensor with one element (whoever holds it can change the rate), or a function of the step.
LearningRate = float | torch.Tensor | Callable[[int], float]

Tensors = list[torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Formula(ABC):
    """An update rule with its hyper-parameters; called with parameters, it makes the optimizer of these.

    To write one of your own: a frozen dataclass of the hyper-parameters (numbers only), with `slots` and `update`.

    Args:
        learning_rate: a number, a tensor with one element, or a function of the step (see `Schedule`).
        name: what the slots are called in TensorFlow's checkpoints; default: the name of the class.

    Attributes:
        rows_alone: whether a sparse gradient changes nothing but the rows that it has.
        ranges: hyper-parameter -> the interval that it must be in, `'[0, 1)'`.

    Example:
        >>> formula = slim.optimizers.Momentum(learning_rate=0.1, momentum=0.9)
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = formula(model.parameters())
        >>> isinstance(optimizer, torch.optim.Optimizer), optimizer.get_slot_names()
        (True, ['momentum'])
    """

    rows_alone: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, str]] = {}

    learning_rate: LearningRate
    name: str = dataclasses.field(default="", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Refuses values that the formula cannot work with."""
        kind, rate = type(self).__name__, self.learning_rate
        if isinstance(rate, torch.Tensor):
            if rate.numel() != 1:
                raise ValueError(f"{kind}: `learning_rate` must have one element. Got shape {list(rate.shape)}.")
        elif not callable(rate) and not (isinstance(rate, int | float) and 0 <= rate < math.inf):
            raise ValueError(f"{kind}: `learning_rate` must be a number from 0, a tensor, or a schedule. Got {rate!r}.")
        for name, interval in self.ranges.items():
            if not _is_in(getattr(self, name), interval):
                raise ValueError(f"{kind}: `{name}` must be in {interval}. Got {getattr(self, name)!r}.")

    def __call__(self, parameters: Iterable[Any]) -> FormulaOptimizer:
        """Makes the optimizer of `parameters`: tensors, or groups (dicts) that may change the hyper-parameters."""
        return FormulaOptimizer(parameters, self)

    def hyperparameters(self) -> dict[str, float]:
        """The numbers of the formula but the learning rate."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("learning_rate", "name")}

    @abstractmethod
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """The tensors that are kept for each weight, in TensorFlow's order: name -> what it is filled with at first."""

    @abstractmethod
    def update(
        self,
        group: Mapping[str, Any],
        rate: float | torch.Tensor,
        weights: Tensors,
        gradients: Tensors,
        slots: Mapping[str, Tensors],
    ) -> None:
        """Changes weights and slots in place, without waiting for the device.

        Args:
            group: the hyper-parameters; `group['step']` counts the updates, this one included.
            rate: the learning rate; a tensor is on the device of the weights.
            weights: tensors of one device and type.
            gradients: one for each, with the same order of elements in memory; they stay as they are.
            slots: name -> one tensor for each weight.
        """


class FormulaOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that applies a `Formula`: what calling one with parameters gives.

    All weights of a type are updated together (`torch._foreach_*` or a fused kernel). Weights without a gradient are
    left alone. A sparse gradient changes the rows that it has, as in TensorFlow; finding them waits for the device.

    Args:
        parameters: tensors, or groups.
        formula: the formula. A learning rate that is a function is asked with the number of steps taken, for all
            groups; a train op takes it over and asks with the global step.

    Attributes:
        formula: the formula.
        schedule: the learning rate as a function of the step, or None.

    Raises:
        ValueError: if a parameter is complex or has no memory.
    """

    def __init__(self, parameters: Iterable[Any], formula: Formula) -> None:
        rate: Any = formula.learning_rate
        self.formula = formula
        self.schedule: Callable[[int], float] | None = None
        if callable(rate) and not isinstance(rate, torch.Tensor):
            self.schedule, rate = rate, rate(0)
        super().__init__(parameters, {"lr": rate, **formula.hyperparameters()})

    def __getstate__(self) -> dict[str, Any]:
        """What `pickle` and `copy.deepcopy` keep."""
        return {**super().__getstate__(), "formula": self.formula, "schedule": self.schedule}

    def __repr__(self) -> str:
        """The formula and the groups."""
        return f"{type(self.formula).__name__}{super().__repr__().removeprefix(type(self).__name__)}"

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters; see `torch.optim.Optimizer`. Its rate may be called `learning_rate` or `lr`."""
        if "learning_rate" in param_group:
            param_group["lr"] = param_group.pop("learning_rate")
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("step", 0)
        for parameter in group["params"]:
            if parameter.is_complex() or parameter.is_meta:
                what = "no memory: they are on 'meta'" if parameter.is_meta else f"the type {parameter.dtype}"
                raise ValueError(
                    f"{type(self.formula).__name__}: parameters must be real and have memory. Got one of shape "
                    f"{list(parameter.shape)} with {what}."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step with the gradients in `.grad`.

        Args:
            closure: computes the loss and the gradients first.

        Returns:
            What `closure` returned, if there is one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.schedule is not None:
            set_learning_rate(self, self.schedule(self.param_groups[0]["step"]))
        for group in self.param_groups:
            group["step"] += 1
            alike: dict[tuple[torch.device, torch.dtype], tuple[Tensors, Tensors]] = defaultdict(lambda: ([], []))
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                if gradient.is_sparse and self.formula.rows_alone:
                    self._update_rows(group, weight, gradient)
                else:
                    weights, gradients = alike[weight.device, weight.dtype]
                    weights.append(weight)
                    gradients.append(_like(weight, gradient))
            for weights, gradients in alike.values():
                self._update(group, weights, gradients, self._slots_of(group, weights))
        return loss

    def get_slot_names(self) -> list[str]:
        """The names of the slots, as TensorFlow has them.

        Example:
            >>> slim.optimizers.Adam()([torch.zeros(1)]).get_slot_names()
            ['m', 'v']
        """
        return list(self.formula.slots(self.param_groups[0]))

    def get_slot(self, weight: torch.Tensor, name: str) -> torch.Tensor | None:
        """A slot of a weight; None before the weight's first update.

        Args:
            weight: the parameter.
            name: one of `get_slot_names()`.

        Raises:
            ValueError: if there is no slot of this name.

        Example:
            >>> weight = torch.nn.Parameter(torch.ones(2))
            >>> optimizer = slim.optimizers.Adagrad(0.1)([weight])
            >>> weight.square().sum().backward()
            >>> optimizer.step()
            >>> optimizer.get_slot(weight, 'accumulator')
            tensor([4.1000, 4.1000])
        """
        if name not in self.get_slot_names():
            raise ValueError(f"get_slot: `name` must be one of {self.get_slot_names()}. Got {name!r}.")
        return self.state[weight].get(name) if weight in self.state else None

    def slot_variable_name(self, variable: str, name: str) -> str:
        """What TensorFlow's checkpoints call a slot: the optimizer's `name`, numbered, below the variable's.

        Args:
            variable: the variable's name.
            name: one of `get_slot_names()`.

        Raises:
            ValueError: if there is no slot of this name.

        Example:
            >>> slim.optimizers.Adam()([torch.zeros(1)]).slot_variable_name('fc1/weights', 'v')
            'fc1/weights/Adam_1'
        """
        if name not in self.get_slot_names():
            raise ValueError(f"slot_variable_name: `name` must be one of {self.get_slot_names()}. Got {name!r}.")
        position = self.get_slot_names().index(name)
        return f"{variable}/{self.formula.name or type(self.formula).__name__}{f'_{position}' if position else ''}"

    def _slots_of(self, group: Mapping[str, Any], weights: Sequence[torch.Tensor]) -> dict[str, Tensors]:
        initial = self.formula.slots(group)
        for weight in weights:
            state = self.state[weight]
            for name, value in initial.items():
                if name not in state:
                    state[name] = torch.full_like(weight, value, requires_grad=False)
        return {name: [self.state[weight][name] for weight in weights] for name in initial}

    def _update(self, group: Mapping[str, Any], weights: Tensors, gradients: Tensors, slots: Any) -> None:
        rate = group["lr"]
        if isinstance(rate, torch.Tensor):
            rate = rate.to(weights[0].device, non_blocking=True).reshape(())
        if any(map(is_in_parts, weights)):  # each element goes by itself, so each process can see to its own
            weights, gradients = [local(weight) for weight in weights], [local(gradient) for gradient in gradients]
            slots = {name: [local(tensor) for tensor in tensors] for name, tensors in slots.items()}
        self.formula.update(group, rate, weights, gradients, slots)

    def _update_rows(self, group: Mapping[str, Any], weight: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient = gradient.coalesce()
        index = tuple(gradient.indices())
        kept = self._slots_of(group, [weight])
        rows = weight[index]
        slots = {name: [tensor[index] for tensor in tensors] for name, tensors in kept.items()}
        self._update(group, [rows], [gradient.values().to(weight.dtype)], slots)
        weight[index] = rows
        for name, (tensor,) in kept.items():
            tensor[index] = slots[name][0]


def _is_in(value: Any, interval: str) -> bool:
    """Whether `value` is a number in `interval`, where `[` and `]` include the end and `(` and `)` do not."""
    low, high = map(float, interval[1:-1].split(","))
    ends = (interval[0] == "[", interval[-1] == "]")
    return isinstance(value, int | float) and (
        low < value < high or value in [e for e, at in zip((low, high), ends, strict=True) if at]
    )


def _like(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient, dense, with the weight's type and order of elements in memory: fused kernels rely on these."""
    gradient = gradient.to_dense() if gradient.is_sparse else gradient
    if (gradient.dtype, gradient.stride()) == (weight.dtype, weight.stride()):
        return gradient
    return torch.empty_like(weight, requires_grad=False).copy_(gradient)
