"""What `train` saves, when, and how it comes back."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from torchslim.checkpoints import (
    CheckpointError,
    keep_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    pack,
    rng_state,
    save_checkpoint,
    set_rng_state,
    step_of,
    unpack,
)
from torchslim.graph.parts import whole
from torchslim.learning.feed import Feed
from torchslim.learning.gradients import tensor_norms
from torchslim.learning.metric_states import load_metric_states, metric_states
from torchslim.learning.processes import Agreement
from torchslim.learning.train_op import TrainOp

logger = logging.getLogger("torchslim")

# The folder, inside of `logdir`, of the checkpoint with the best evaluation.
BEST = "best"
# What every checkpoint of `train` has.
_PARTS = ("model", "trained", "optimizer", "processes", "more")


class Checkpoints:
    """The checkpoints of one training. A context: leaving it waits until the last one is on the disk.

    The loop waits for a copy in the host's memory only, or until the one before is written; a thread writes. What keeps
    a checkpoint from being written is raised between two steps, or at the end.

    Args:
        logdir: where they are; None: nowhere, then nothing is restored or saved.
        every_secs: seconds between two; 0 or None: only when the training ends.
        keep_last: how many to keep; None: all.
        keep_every_n_hours: hours; of those that would be removed, keep one for each such stretch of time.
        agreement: of several processes, only the first writes.

    Attributes:
        resumed_from: the checkpoint that the training goes on from, or None.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str] | None,
        every_secs: float | None,
        *,
        keep_last: int | None,
        keep_every_n_hours: float | None,
        agreement: Agreement,
    ) -> None:
        self.logdir = None if logdir is None else Path(logdir)
        self.resumed_from: str | None = None
        self._every_secs = every_secs if logdir is not None else None
        self._keep: dict[str, Any] = {"max_to_keep": keep_last, "keep_checkpoint_every_n_hours": keep_every_n_hours}
        self._agreement = agreement
        self._last_time = time.monotonic()
        self._last_step: int | None = None
        self._state: dict[str, Any] | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: list[Future[None]] = []
        if self.logdir is not None and agreement.rank == 0:
            self.logdir.mkdir(parents=True, exist_ok=True)
            if not os.access(self.logdir, os.W_OK):  # better now than at the first checkpoint
                raise PermissionError(f"train: `logdir` must be a folder to write to. Got {str(logdir)!r}.")

    def __enter__(self) -> Checkpoints:
        self._writer.submit(bool).result()  # starts the thread: Ctrl-C at that moment would leave nobody to wait for it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
            if kind is None:
                self._agreement.gathered(None)  # nobody goes on before the first process has written
        finally:
            self._writer.shutdown()

    def restore_variables(self, train_op: TrainOp, init_fn: Callable[[], Any] | None) -> None:
        """Gives the variables the values of the newest checkpoint or, if there is none, what `init_fn` gives them.

        Raises:
            CheckpointError: if there are checkpoints, and all of them are damaged.
            ValueError: if it is of another model, or not of a training.
        """
        self.resumed_from = None if self.logdir is None else latest_checkpoint(self.logdir)
        steps = self._agreement.gathered(None if self.resumed_from is None else step_of(self.resumed_from))
        if len(set(steps)) > 1:
            raise ValueError(
                "train: `logdir` must be the same folder for all processes, which others than the first read, too. "
                f"Got checkpoints of the steps {steps} in {str(self.logdir)!r}, as each process sees it."
            )
        if self.resumed_from is None:
            self._require_none()
            if init_fn is not None:
                init_fn()
            return
        self._state = load_checkpoint(self.resumed_from, verify=False)
        if missing := [part for part in _PARTS if part not in self._state]:
            raise ValueError(
                f"train: the checkpoint {self.resumed_from!r} must be one that `train` has written. Got one without "
                f"{missing}. Train in another `logdir`, and take the variables over with "
                "`init_fn=slim.assign_from_checkpoint_fn(...)`."
            )
        _assign(train_op, self._state["model"], self.resumed_from)
        ignored = "" if init_fn is None else "; init_fn was not run"
        logger.info("resumed from %s at global step %d%s", self.resumed_from, self._state["global_step"], ignored)

    def restore_rest(self, train_op: TrainOp, feed: Feed) -> Mapping[str, Any]:
        """Restores optimizer, step, place in the data and random state; returns what `save` got as `more`."""
        state, self._state = self._state, None
        if state is None:
            return {}
        del state["model"]
        if train_op.device.type == "cpu":
            state = _on_the_host(state)  # see `_assign`
        train_op.load_state_dict(state, state["global_step"])
        self._last_step = train_op.global_step
        of_processes, rank = state["processes"], self._agreement.rank
        if len(of_processes) != self._agreement.size and rank == 0:
            logger.warning(
                "the checkpoint is of %d processes, and here are %d: random numbers will be others, and so will the "
                "order of data, unless a slim.data.Loader divides it",
                len(of_processes),
                self._agreement.size,
            )
        mine = of_processes[rank if rank < len(of_processes) else 0]
        feed.load_state_dict(mine["data"])
        if rank < len(of_processes):  # a process that was not there before must not draw what another draws
            set_rng_state(mine["rng"])
            load_metric_states(train_op.objective, mine["metrics"])
        return state["more"]

    def due(self) -> bool:
        """Whether it is time for the next one.

        Raises:
            FloatingPointError, OSError: what has kept the one before from being written.
        """
        if self._writing and self._writing[-1].done():
            self.wait()
        return bool(self._every_secs and time.monotonic() - self._last_time >= self._every_secs)

    def save(self, train_op: TrainOp, data: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """Copies the state, and has it written, unless this step has been. All processes call it at the same step.

        Args:
            train_op: what is saved.
            data: the place in the data, as `Feed.state_dict` gives it.
            more: what comes back from `restore_rest`.

        Raises:
            FloatingPointError: if a value of this checkpoint or the one before is not finite; it is not written then.
            OSError: if the one before cannot be written; what was there before is untouched.
            TypeError: if something is to be remembered that is neither a tensor nor a plain value.
        """
        train_op.check_finite()
        if self.logdir is None or train_op.global_step == self._last_step:
            return
        mine = {"rng": rng_state(), "data": data, "metrics": metric_states(train_op.objective)}
        of_processes = self._agreement.gathered(mine)
        state = {"model": train_op.tensors(), **train_op.state_dict(), "processes": of_processes, "more": more}
        if self._agreement.rank == 0:
            self.wait()
            self._submit(self._write, self.logdir, _on_the_host(state), train_op.global_step)
        elif train_op.is_in_parts:
            _on_the_host(state)  # the first process gets the parts of the others when all ask for them
        self._last_step, self._last_time = train_op.global_step, time.monotonic()

    def keep_best(self) -> None:
        """Keeps the last checkpoint in the folder `best`, too, instead of the one there, once it is written."""
        if self.logdir is not None and self._agreement.rank == 0:
            self._submit(keep_checkpoint, self.logdir, self._last_step or 0, self.logdir / BEST)

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk.

        Raises:
            FloatingPointError, OSError: what kept it from that.
        """
        writing, self._writing = self._writing, []
        for each in writing:  # the first one that failed tells why the others did
            each.result()

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._writing.append(self._writer.submit(function, *arguments))

    def _require_none(self) -> None:
        """Refuses to begin anew where there is a training that only lost its checkpoints."""
        files = [] if self.logdir is None else self.logdir.glob("model.ckpt-*")
        if damaged := sorted(path.name for path in files if step_of(path) is not None):
            raise CheckpointError(
                f"train: `logdir` must have a whole checkpoint to go on from, or none. Got {str(self.logdir)!r} with "
                f"{', '.join(damaged)}, all damaged. Bring back a copy, or move them away to train from the start."
            )

    def _write(self, logdir: Path, state: dict[str, Any], step: int) -> None:
        _require_finite(state, step)
        logger.info("saved %s", save_checkpoint(logdir, state, step, **self._keep))


def _on_the_host(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that shares nothing with the state: its tensors are copied, all the rest becomes text and comes back."""
    tensors, structure = pack(state)
    return unpack({name: whole(tensor).detach().to("cpu", copy=True) for name, tensor in tensors.items()}, structure)


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
            # A copy: sums depend on how memory is aligned, in their last bits, and in the file it is not.
            variables[key].assign(value.clone()) if key in variables else present[key].copy_(value)


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
