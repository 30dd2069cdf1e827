"""`train`: runs a train op over data, with checkpoints, summaries and progress."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch

from torchslim.learning import session_era
from torchslim.learning.checkpointing import Checkpoints
from torchslim.learning.device import place_batch, process, resolve_channels_last, resolve_device, resolve_precision
from torchslim.learning.feed import Feed
from torchslim.learning.reporting import Reporter, console
from torchslim.learning.train_op import TrainOp

logger = logging.getLogger("torchslim")


class TrainStepFn(Protocol):
    """What `train` calls for every batch."""

    def __call__(self, train_op: TrainOp, batch: tuple[Any, ...], *, should_log: bool) -> tuple[torch.Tensor, bool]:
        """As `train_step`."""
        ...


def train_step(train_op: TrainOp, batch: tuple[Any, ...], *, should_log: bool = True) -> tuple[torch.Tensor, bool]:
    """Takes one step; a function of one's own with these arguments can do more around it (`train_step_fn`).

    TF-Slim: `train_step(sess, train_op, global_step, train_step_kwargs)`.

    Args:
        train_op: the train op, prepared.
        batch: what the loss takes, on the device.
        should_log: whether anybody will look at the loss; if not, the value of its L2 terms is left out.

    Returns:
        The loss, and whether to stop: always False here.

    Example:
        >>> def until_good(train_op, batch, *, should_log):
        ...     loss, _ = slim.learning.train_step(train_op, batch)
        ...     return loss, loss.item() < 0.1
    """
    return (train_op(*batch) if should_log else train_op.step_fn(*batch)), False


def train(
    train_op: TrainOp,
    logdir: str | os.PathLike[str] | None,
    train_step_fn: TrainStepFn = train_step,
    *,
    log_every_n_steps: int | None = 10,
    number_of_steps: int | None = None,
    init_fn: Callable[[], Any] | None = None,
    save_summaries_secs: float | None = 600,
    save_interval_secs: float | None = 600,
    batches: Iterable[Any] | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    channels_last: bool | str = "auto",
    compile: bool = False,
    max_to_keep: int | None = 5,
    **session_arguments: Any,
) -> float:
    """Trains until `number_of_steps`, over and over the data; stopped and started again, it goes on where it was.

    If `logdir` has a checkpoint, everything continues from it: variables, optimizer, step, random state and the place
    in the data. Otherwise `init_fn` runs, and the variables that it leaves alone are initialised. A checkpoint is
    written at the end, before an error of the data is raised, and on Ctrl-C, which takes effect between two steps
    (pressed twice: at once, and nothing is written). Under `torchrun` the gradients of all processes are averaged, and
    the first process writes.

    Args:
        train_op: what `create_train_op` gave.
        logdir: folder for checkpoints and TensorBoard events; made if need be. None: nothing is written.
        train_step_fn: takes each step, see `train_step`; returns the loss and whether to stop.
        log_every_n_steps: steps between two log lines; each waits for the device. TF-Slim: 1. 0 or None: none.
        number_of_steps: the global step to stop at, counted over all runs; None: train until stopped.
        init_fn: called without arguments before the first step, `slim.assign_from_checkpoint_fn(...)` for one.
        save_summaries_secs: seconds between two writings of the graph's summaries; 0 or None: none.
        save_interval_secs: seconds between two checkpoints; 0 or None: only at the end.
        batches: what is trained on: an iterable of tuples, e.g. a DataLoader, iterated anew for each pass. Default:
            the data that feeds the graph's placeholders.
        device: `'auto'` (CUDA if it is there), `'cpu'`, `'cuda:1'`, `'/CPU:0'`, a `torch.device`.
        precision: `'auto'` (bf16 where the hardware computes in it and it is
            safe), `'fp32'`, `'bf16'`, or `'fp16'` with a gradient
            scaler on CUDA. Variables and losses stay float32. With fp16, optimizers that are not `fused=True` wait for
            the device in every step.
        channels_last: the memory layout of kernels and feature maps: `'auto'` (True on the CPU and CUDA), True, False.
        compile: run the forward pass through `torch.compile`.
        max_to_keep: how many of the newest checkpoints to keep; None: all.
        session_arguments: arguments of TF-Slim that steered sessions; each is refused with what replaces it.

    Returns:
        The last loss.

    Raises:
        FloatingPointError: if the loss is not finite (see `create_train_op(check_numerics=)`).
        OSError: if a checkpoint cannot be written; those before it are intact.
        ValueError: if there is no data, or the checkpoint in `logdir` is of another model.

    Example:
        >>> import functools
        >>> model = torch.nn.Linear(2, 1)
        >>> train_op = slim.learning.create_train_op(
        ...     lambda x, y: (model(x) - y).square().mean(), functools.partial(torch.optim.SGD, lr=0.1), module=model)
        >>> loss = slim.learning.train(
        ...     train_op, None, batches=[(torch.ones(4, 2), torch.ones(4, 1))], number_of_steps=50, log_every_n_steps=0)
        >>> loss < 1e-3
        True
    """
    session_era.refuse("train", session_arguments, session_era.TRAIN, inspect.signature(train).parameters)
    first = process()[0] == 0
    feed = Feed(_batches(train_op, batches))
    with console():
        checkpoints = Checkpoints(logdir, save_interval_secs, max_to_keep, writes=first)
        checkpoints.restore_variables(train_op, init_fn)
        place = resolve_device(device)
        dtype = resolve_precision(precision, place, train_op.objective)
        layout = resolve_channels_last(channels_last, place, train_op.objective)
        train_op.prepare(place, dtype, channels_last=layout, compile=compile)
        logger.info("training on %s in %s%s", place, str(dtype).removeprefix("torch."), ", channels last" * layout)
        last = checkpoints.restore_rest(train_op, feed)
        reporter = Reporter(
            train_op,
            checkpoints.logdir,
            number_of_steps=number_of_steps,
            log_every_n_steps=log_every_n_steps,
            save_summaries_secs=save_summaries_secs,
            speaks=first,
        )
        with reporter:
            return _loop(train_op, feed, checkpoints, reporter, train_step_fn, number_of_steps, last)


def _loop(
    train_op: TrainOp,
    feed: Feed,
    checkpoints: Checkpoints,
    reporter: Reporter,
    train_step_fn: TrainStepFn,
    number_of_steps: int | None,
    last: float,
) -> float:
    loss, looks, stop, in_step = torch.tensor(last), True, False, False
    first_step = train_op.global_step

    def save() -> float:
        value = float(loss) + (0.0 if looks else float(train_op.l2_value()))
        checkpoints.save(train_op, feed, value)
        return value

    try:
        with _interrupted_between_steps() as raise_if_interrupted:
            while not stop and (number_of_steps is None or train_op.global_step < number_of_steps):
                try:
                    batch = place_batch(next(feed), train_op.device)
                except Exception:
                    raise_if_interrupted()  # Ctrl-C reaches the workers of a loader, too
                    if train_op.global_step > first_step:
                        save()
                    raise
                step = train_op.global_step + 1
                looks = step == number_of_steps or reporter.wants(step)
                in_step = True
                loss, stop = train_step_fn(train_op, batch, should_log=looks)
                in_step = False
                reporter.report(loss, batch, looks)
                if checkpoints.due():
                    save()
                raise_if_interrupted()
    except KeyboardInterrupt:
        logger.info("interrupted at global step %d", train_op.global_step)
        if not in_step:  # within one, some variables may have changed already: the last checkpoint counts
            save()
        raise
    return save()


def _batches(train_op: TrainOp, batches: Iterable[Any] | None) -> Iterable[Any]:
    if batches is not None:
        return batches
    objective = train_op.objective
    if objective.graph is None:
        raise ValueError("train: `batches` must be given where the loss is a Python function. Got None.")
    return objective.graph.batches(objective.inputs)


@contextlib.contextmanager
def _interrupted_between_steps() -> Iterator[Callable[[], None]]:
    """Holds Ctrl-C back until a step is complete, so that what is saved then is whole; a second one is not held."""
    pressed, message = False, "train: stopped by Ctrl-C"

    def note(*_: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt(message)
        pressed = True

    def raise_if_pressed() -> None:
        if pressed:
            raise KeyboardInterrupt(message)

    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default or threading.current_thread() is not threading.main_thread():
        yield raise_if_pressed
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield raise_if_pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
