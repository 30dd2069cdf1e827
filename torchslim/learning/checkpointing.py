"""What `train` saves, when, and how it comes back."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from torchslim.checkpoints import (
    latest_checkpoint,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from torchslim.learning.feed import Feed
from torchslim.learning.gradients import tensor_norms
from torchslim.learning.train_op import TrainOp

logger = logging.getLogger("torchslim")


class Checkpoints:
    """The checkpoints of one training.

    Args:
        logdir: where they are; None: nowhere, then nothing is restored or saved.
        every_secs: seconds between two; 0 or None: only when the training ends.
        max_to_keep: how many to keep.
        writes: whether this process writes; of several, only the first does.
    """

    def __init__(
        self, logdir: str | os.PathLike[str] | None, every_secs: float | None, max_to_keep: int | None, *, writes: bool
    ) -> None:
        self.logdir = None if logdir is None else Path(logdir)
        self._every_secs = every_secs
        self._max_to_keep = max_to_keep
        self._writes = writes and logdir is not None
        self._first = writes
        self._last_time = time.monotonic()
        self._last_step: int | None = None
        self._state: dict[str, Any] | None = None
        if self.logdir is not None and writes:
            self.logdir.mkdir(parents=True, exist_ok=True)
            if not os.access(self.logdir, os.W_OK):  # better now than at the first checkpoint
                raise PermissionError(f"train: `logdir` must be a folder to write to. Got {str(logdir)!r}.")

    def restore_variables(self, train_op: TrainOp, init_fn: Callable[[], Any] | None) -> None:
        """Gives the variables the values of the newest checkpoint or, if there is none, what `init_fn` gives them."""
        path = None if self.logdir is None else latest_checkpoint(self.logdir)
        if path is None:
            if init_fn is not None:
                init_fn()
            return
        self._state = load_checkpoint(path, verify=False)
        _assign(train_op, self._state["model"], path)
        ignored = "" if init_fn is None else "; init_fn was not run"
        logger.info("resumed from %s at global step %d%s", path, self._state["global_step"], ignored)

    def restore_rest(self, train_op: TrainOp, feed: Feed) -> float:
        """Restores optimizer, step, place in the data and random state; returns the last loss, or NaN."""
        state, self._state = self._state, None
        if state is None:
            return math.nan
        train_op.load_state_dict(state, state["global_step"])
        self._last_step = train_op.global_step
        rng = state["rng"] if self._first else rng_state()  # processes must not draw the same dropout
        feed.load_state_dict(state["data"])
        set_rng_state(rng)
        return state["loss"]

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return bool(self._writes and self._every_secs and time.monotonic() - self._last_time >= self._every_secs)

    def save(self, train_op: TrainOp, feed: Feed, loss: float) -> None:
        """Writes a checkpoint, unless this step has one.

        Raises:
            FloatingPointError: if a value is not finite; nothing is written then.
            OSError: if it cannot be written; what was there before is untouched.
        """
        train_op.check_finite()
        if not self._writes or self.logdir is None or train_op.global_step == self._last_step:
            return
        state = {"model": train_op.tensors(), **train_op.state_dict(), "data": feed.state_dict(), "rng": rng_state()}
        _require_finite(state, train_op.global_step)
        path = save_checkpoint(
            self.logdir, {**state, "loss": loss}, train_op.global_step, max_to_keep=self._max_to_keep
        )
        self._last_step, self._last_time = train_op.global_step, time.monotonic()
        logger.info("saved %s", path)


def _assign(train_op: TrainOp, saved: Mapping[str, torch.Tensor], path: str) -> None:
    present = train_op.tensors()
    problems = [f"{key} is not in it" for key in present if key not in saved]
    problems += [f"{key} is in it only" for key in saved if key not in present]
    problems += [
        f"{key} has the shape {list(saved[key].shape)} in it, {list(tensor.shape)} here"
        for key, tensor in present.items()
        if key in saved and tensor.shape != saved[key].shape
    ]
    if problems:
        raise ValueError(
            f"train: the checkpoint {path!r} is of another model: {'; '.join(problems[:5])}"
            f"{f'; and {len(problems) - 5} more' if len(problems) > 5 else ''}. Train in another `logdir`, or take "
            "over what fits with `init_fn=slim.assign_from_checkpoint_fn(...)`."
        )
    variables = {variable.key: variable for variable in train_op.objective.variables()}
    with torch.no_grad():
        for key, value in saved.items():
            variables[key].assign(value) if key in variables else present[key].copy_(value)


def _require_finite(state: Mapping[str, Any], step: int) -> None:
    tensors = [(path, tensor) for path, tensor in _tensors(state) if tensor.is_floating_point() and tensor.numel()]
    bad = []
    for device in {tensor.device for _, tensor in tensors}:
        here = [(path, tensor) for path, tensor in tensors if tensor.device == device]
        norms = tensor_norms([tensor.float() for _, tensor in here])
        suspects = [pair for pair, finite in zip(here, norms.isfinite().tolist(), strict=True) if not finite]
        bad += [path for path, tensor in suspects if not tensor.isfinite().all()]  # squares can overflow
    if bad:
        raise FloatingPointError(
            f"train: {bad[0]} is not finite after step {step}"
            f"{f', nor are {len(bad) - 1} other tensors' if len(bad) > 1 else ''}. The checkpoint was not written; the "
            "one before is intact. Lower the learning rate or set `clip_gradient_norm`."
        )


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    for key, item in value.items() if isinstance(value, Mapping) else ():
        yield from _tensors(item, f"{path}/{key}" if path else str(key))
