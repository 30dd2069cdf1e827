"""Evaluations inside of a training: how good it is, which checkpoint is the best, whether to stop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger("torchslim")

# Computes metrics with the variables as they are: name -> number.
EvalFn = Callable[[], Mapping[str, Any]]
_MODES = {"max": 1, "min": -1}


class Evaluations:
    """Runs an evaluation every so many steps and remembers the best.

    Args:
        eval_fn: gives metrics by their names; None: there are no evaluations.
        every_n_steps: steps between two.
        keep_best: the metric that decides which is the best, higher being better; or `(metric, 'min')`; None: nothing
            is decided.
        patience: how many evaluations in a row may be no better than the best one before the training stops; None: any
            number.

    Attributes:
        best: the value of the best one, or None.
        since_best: how many evaluations there were since.

    Raises:
        ValueError: if they do not go together.

    Example:
        >>> values = iter([0.5, 0.8, 0.7])
        >>> evaluations = Evaluations(lambda: {'accuracy': next(values)}, 10, 'accuracy', patience=1)
        >>> [(evaluations.run(step), evaluations.is_best, evaluations.exhausted) for step in (10, 20, 30)]
        [({'accuracy': 0.5}, True, False), ({'accuracy': 0.8}, True, False), ({'accuracy': 0.7}, False, True)]
    """

    def __init__(
        self,
        eval_fn: EvalFn | None,
        every_n_steps: int | None,
        keep_best: str | tuple[str, str] | None = None,
        patience: int | None = None,
    ) -> None:
        metric, mode = keep_best if isinstance(keep_best, tuple) else (keep_best, "max")
        if mode not in _MODES:
            raise ValueError(f"train: `keep_best` must be a metric, or `(metric, 'max' or 'min')`. Got {keep_best!r}.")
        if (eval_fn is None) != (every_n_steps is None) or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(
                "train: `eval_every_n_steps` must be a positive number, together with `eval_fn`. "
                f"Got {every_n_steps} and eval_fn={eval_fn!r}."
            )
        if eval_fn is None and metric is not None:
            raise ValueError(f"train: `keep_best` needs evaluations: give `eval_fn`, too. Got {keep_best!r}.")
        if patience is not None and (metric is None or patience < 1):
            raise ValueError(
                "train: `patience` must be a positive number, together with `keep_best`. "
                f"Got {patience} and {keep_best!r}."
            )
        self.best: float | None = None
        self.since_best = 0
        self._eval_fn = eval_fn
        self._every_n_steps = every_n_steps
        self._metric, self._sign = metric, _MODES[mode]
        self._patience = patience

    def due(self, step: int) -> bool:
        """Whether an evaluation follows this step."""
        return bool(self._every_n_steps) and step % self._every_n_steps == 0  # type: ignore[operator]

    @property
    def is_best(self) -> bool:
        """Whether the last evaluation was the best one."""
        return self.best is not None and self.since_best == 0

    @property
    def exhausted(self) -> bool:
        """Whether there were too many since the best one."""
        return self._patience is not None and self.since_best >= self._patience

    def run(self, step: int) -> dict[str, Any]:
        """Evaluates, and returns the metrics.

        Raises:
            ValueError: if the metric of `keep_best` is not among them.
        """
        assert self._eval_fn is not None
        values = dict(self._eval_fn())
        logger.info("evaluation at global step %d: %s", step, ", ".join(f"{name} = {v}" for name, v in values.items()))
        if self._metric is not None:
            if self._metric not in values:
                raise ValueError(f"train: `keep_best` must be one of {list(values)}. Got {self._metric!r}.")
            value = float(values[self._metric])
            better = self.best is None or (value - self.best) * self._sign > 0
            if better and not math.isnan(value):
                self.best, self.since_best = value, 0
            else:
                self.since_best += 1
        return values

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {"best": self.best, "since_best": self.since_best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.best, self.since_best = state["best"], state["since_best"]
