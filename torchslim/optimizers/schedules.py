"""Learning rates that depend on the step, with TensorFlow's names and formulas.

TF-Slim: they are TensorFlow's functions without `global_step`; the train op asks a schedule for the rate of each step,
with the global step before the update, as TensorFlow does.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


class Schedule:
    """A learning rate for every step: `schedule(step)`.

    It keeps no count of its own, so a resumed training goes on exactly. In a loop of one's own, a schedule also fits
    `torch.optim.lr_scheduler.LambdaLR` on an optimizer with the learning rate 1.

    Args:
        formula: a function of the step and of `arguments`.
        arguments: what it is called with.

    Example:
        >>> def triangle(step, height, width):
        ...     return height * abs(step % width / width - 0.5)
        >>> schedule = slim.optimizers.Schedule(triangle, height=0.1, width=8)
        >>> schedule, schedule(0), schedule(4)
        (triangle(height=0.1, width=8), 0.05, 0.0)
    """

    def __init__(self, formula: Callable[..., float], **arguments: Any) -> None:
        self.formula = formula
        self.arguments = arguments

    def __call__(self, step: int) -> float:
        """The learning rate of the step that comes after `step` others."""
        return self.formula(step, **self.arguments)

    def __repr__(self) -> str:
        """What it was made with."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.formula.__name__.removeprefix('_')}({arguments})"


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives all groups of an optimizer a learning rate; one that is a tensor is filled, since others may hold it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> set_learning_rate(optimizer, 0.01)
        >>> optimizer.param_groups[0]['lr']
        0.01
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def fixed(learning_rate: float) -> Schedule:
    """The same learning rate in every step (`learning_rate_decay_type='fixed'` of TF-Slim's scripts).

    Args:
        learning_rate: the rate.

    Example:
        >>> slim.optimizers.fixed(0.1)(1000)
        0.1
    """
    return Schedule(_fixed, learning_rate=learning_rate)


def exponential_decay(learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> Schedule:
    """`learning_rate * decay_rate ** (step / decay_steps)`.

    Args:
        learning_rate: the rate of the first step.
        decay_steps: the steps in which it is multiplied by `decay_rate` once.
        decay_rate: the factor.
        staircase: multiply once every `decay_steps` steps, instead of a little in every step.

    Raises:
        ValueError: if `decay_steps` is no number above 0.

    Example:
        >>> schedule = slim.optimizers.exponential_decay(0.1, decay_steps=100, decay_rate=0.5, staircase=True)
        >>> [schedule(step) for step in (0, 99, 100, 200)]
        [0.1, 0.1, 0.05, 0.025]
    """
    _require_steps("exponential_decay", decay_steps)
    return Schedule(
        _exponential_decay,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        decay_rate=decay_rate,
        staircase=staircase,
    )


def natural_exp_decay(learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> Schedule:
    """`learning_rate * exp(-decay_rate * step / decay_steps)`.

    Args:
        learning_rate: the rate of the first step.
        decay_steps: the unit in which steps are counted.
        decay_rate: how fast it decays.
        staircase: count whole units only.

    Raises:
        ValueError: if `decay_steps` is no number above 0.

    Example:
        >>> round(slim.optimizers.natural_exp_decay(0.1, decay_steps=10, decay_rate=0.5)(20), 5)
        0.03679
    """
    _require_steps("natural_exp_decay", decay_steps)
    return Schedule(
        _natural_exp_decay,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        decay_rate=decay_rate,
        staircase=staircase,
    )


def inverse_time_decay(learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> Schedule:
    """`learning_rate / (1 + decay_rate * step / decay_steps)`.

    Args:
        learning_rate: the rate of the first step.
        decay_steps: the unit in which steps are counted.
        decay_rate: how fast it decays.
        staircase: count whole units only.

    Raises:
        ValueError: if `decay_steps` is no number above 0.

    Example:
        >>> slim.optimizers.inverse_time_decay(0.1, decay_steps=10, decay_rate=1.0)(10)
        0.05
    """
    _require_steps("inverse_time_decay", decay_steps)
    return Schedule(
        _inverse_time_decay,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        decay_rate=decay_rate,
        staircase=staircase,
    )


def polynomial_decay(
    learning_rate: float,
    decay_steps: int,
    end_learning_rate: float = 0.0001,
    power: float = 1.0,
    cycle: bool = False,
) -> Schedule:
    """From `learning_rate` to `end_learning_rate` in `decay_steps` steps: `(1 - step / decay_steps) ** power` is left.

    Args:
        learning_rate: the rate of the first step.
        decay_steps: when the end is reached.
        end_learning_rate: the rate from then on; 0.0001 as in TensorFlow.
        power: 1: a straight line; 0.5: a square root.
        cycle: beyond the end, start again, on a way that is twice, three times, ... as long as the first.

    Raises:
        ValueError: if `decay_steps` is no number above 0.

    Example:
        >>> schedule = slim.optimizers.polynomial_decay(0.1, decay_steps=100, end_learning_rate=0.0)
        >>> [schedule(step) for step in (0, 50, 100, 1000)]
        [0.1, 0.05, 0.0, 0.0]
    """
    _require_steps("polynomial_decay", decay_steps)
    return Schedule(
        _polynomial_decay,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        end_learning_rate=end_learning_rate,
        power=power,
        cycle=cycle,
    )


def cosine_decay(learning_rate: float, decay_steps: int, alpha: float = 0.0) -> Schedule:
    """Half a cosine from `learning_rate` to `alpha * learning_rate` (arXiv:1608.03983).

    Args:
        learning_rate: the rate of the first step.
        decay_steps: when the end is reached.
        alpha: the share of `learning_rate` that is left from then on.

    Raises:
        ValueError: if `decay_steps` is no number above 0.

    Example:
        >>> schedule = slim.optimizers.cosine_decay(0.1, decay_steps=100)
        >>> [schedule(step) for step in (0, 50, 100, 1000)]
        [0.1, 0.05, 0.0, 0.0]
    """
    _require_steps("cosine_decay", decay_steps)
    return Schedule(_cosine_decay, learning_rate=learning_rate, decay_steps=decay_steps, alpha=alpha)


def piecewise_constant(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """A rate for each stretch of steps: `values[0]` up to and including step `boundaries[0]`, then `values[1]`, ...

    Args:
        boundaries: the last step of each stretch but the last, rising.
        values: the rates, one more than there are boundaries.

    Raises:
        ValueError: if the boundaries do not rise, or the numbers do not fit.

    Example:
        >>> schedule = slim.optimizers.piecewise_constant([100, 200], [0.1, 0.01, 0.001])
        >>> [schedule(step) for step in (0, 100, 101, 201)]
        [0.1, 0.1, 0.01, 0.001]
    """
    boundaries, values = list(boundaries), list(values)
    if boundaries != sorted(set(boundaries)):
        raise ValueError(f"piecewise_constant: `boundaries` must rise. Got {boundaries}.")
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            f"piecewise_constant: `values` must have one element more than the {len(boundaries)} `boundaries`. "
            f"Got {len(values)} values."
        )
    return Schedule(_piecewise_constant, boundaries=boundaries, values=values)


def warmup(schedule: float | Callable[[int], float], warmup_steps: int, warmup_learning_rate: float = 0.0) -> Schedule:
    """A straight line from `warmup_learning_rate` to where `schedule` is after `warmup_steps` steps, which takes over.

    Args:
        schedule: a learning rate or a schedule, asked with the global step.
        warmup_steps: how many steps the line takes; 0: none.
        warmup_learning_rate: the rate of the first step.

    Raises:
        ValueError: if `warmup_steps` is below 0.

    Example:
        >>> schedule = slim.optimizers.warmup(slim.optimizers.cosine_decay(0.1, 100), warmup_steps=50)
        >>> [schedule(step) for step in (0, 25, 50, 100)]
        [0.0, 0.025, 0.05, 0.0]
    """
    if not warmup_steps >= 0:
        raise ValueError(f"warmup: `warmup_steps` must be 0 or above. Got {warmup_steps}.")
    follows = schedule if callable(schedule) else fixed(schedule)
    return Schedule(_warmup, schedule=follows, warmup_steps=warmup_steps, warmup_learning_rate=warmup_learning_rate)


def _require_steps(function: str, decay_steps: Any) -> None:
    if not isinstance(decay_steps, int | float) or not decay_steps > 0:
        raise ValueError(
            f"{function}: `decay_steps` must be a number above 0. Got {decay_steps!r}. There is no `global_step` among "
            "the arguments: the train op passes it."
        )


def _units(step: int, decay_steps: int, staircase: bool) -> float:
    return step // decay_steps if staircase else step / decay_steps


def _fixed(step: int, learning_rate: float) -> float:
    return learning_rate


def _exponential_decay(step: int, learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool) -> float:
    return learning_rate * decay_rate ** _units(step, decay_steps, staircase)


def _natural_exp_decay(step: int, learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool) -> float:
    return learning_rate * math.exp(-decay_rate * _units(step, decay_steps, staircase))


def _inverse_time_decay(step: int, learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool) -> float:
    return learning_rate / (1 + decay_rate * _units(step, decay_steps, staircase))


def _polynomial_decay(
    step: int, learning_rate: float, decay_steps: int, end_learning_rate: float, power: float, cycle: bool
) -> float:
    whole = decay_steps * max(1, math.ceil(step / decay_steps)) if cycle else decay_steps
    left = 1 - min(step, whole) / whole
    return (learning_rate - end_learning_rate) * left**power + end_learning_rate


def _cosine_decay(step: int, learning_rate: float, decay_steps: int, alpha: float) -> float:
    left = (1 + math.cos(math.pi * min(step, decay_steps) / decay_steps)) / 2
    return learning_rate * ((1 - alpha) * left + alpha)


def _piecewise_constant(step: int, boundaries: Sequence[int], values: Sequence[float]) -> float:
    return values[bisect.bisect_left(boundaries, step)]


def _warmup(step: int, schedule: Callable[[int], float], warmup_steps: int, warmup_learning_rate: float) -> float:
    if step >= warmup_steps:
        return schedule(step)
    share = step / warmup_steps
    return warmup_learning_rate + share * (schedule(warmup_steps) - warmup_learning_rate)
