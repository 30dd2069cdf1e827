"""`train`: runs a train op over data, with checkpoints, evaluations, summaries and progress."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from torchslim.checkpoints import rng_state, set_rng_state
from torchslim.learning import session_era
from torchslim.learning.checkpointing import Checkpoints
from torchslim.learning.device import place_batch, resolve_channels_last, resolve_device, resolve_precision
from torchslim.learning.evaluating import EvalFn, Evaluations
from torchslim.learning.feed import Feed
from torchslim.learning.interruption import Interruption, raise_for
from torchslim.learning.processes import Agreement, together, warn_of_undivided
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
    number_of_seconds: float | None = None,
    init_fn: Callable[[], Any] | None = None,
    save_summaries_secs: float | None = 600,
    save_interval_secs: float | None = 600,
    keep_last: int | None = 5,
    keep_every_n_hours: float | None = None,
    keep_best: str | tuple[str, str] | None = None,
    eval_fn: EvalFn | None = None,
    eval_every_n_steps: int | None = None,
    patience: int | None = None,
    trace_every_n_steps: int | None = None,
    batches: Iterable[Any] | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    channels_last: bool | str = "auto",
    compile: bool = False,
    parallel: str = "ddp",
    sync_batch_norm: bool = False,
    **session_arguments: Any,
) -> float:
    """Trains until `number_of_steps`, over and over the data; stopped and started again, it goes on where it was.

    If `logdir` has a checkpoint, everything continues from it, bit for bit: variables, averages, optimizer, step,
    random state and the place in the data. Otherwise `init_fn` runs, and the variables that it leaves alone are
    initialised. A checkpoint is written at the end, before an error of the data is raised, and on Ctrl-C and SIGTERM.
    These take effect between two steps and end the program with the exit codes 130 and 143; Ctrl-C pressed twice ends
    it at once, and nothing is written. Under `torchrun` all processes train together: their gradients are averaged, so
    that a step is one on all their batches, and the first process writes.

    Args:
        train_op: what `create_train_op` gave.
        logdir: folder for checkpoints and TensorBoard events; made if need be. None: nothing is written.
        train_step_fn: takes each step, see `train_step`; returns the loss and whether to stop.
        log_every_n_steps: steps between two log lines; each waits for the device. TF-Slim: 1. 0 or None: none.
        number_of_steps: the global step to stop at, counted over all runs; None: train until stopped.
        number_of_seconds: stop after this time, counted for this run; what the scheduler of a cluster grants, less what
            a checkpoint takes.
        init_fn: called without arguments before the first step, `slim.assign_from_checkpoint_fn(...)` for one.
        save_summaries_secs: seconds between two writings of the graph's summaries; 0 or None: none.
        save_interval_secs: seconds between two checkpoints; 0 or None: only at the end. The loop waits for a copy in
            memory; a thread writes it.
        keep_last: how many of the newest checkpoints to keep; None: all.
        keep_every_n_hours: hours; of those that would be removed, keep one for each such stretch of time.
        keep_best: the metric of the evaluations by which the best checkpoint is kept, too, in `logdir/best`: its name,
            or `(name, 'min')` where less is better.
        eval_fn: gives metrics, name -> number, with the variables as they are (or their moving averages, if
            `create_train_op` was asked for them): `slim.evaluation.evaluator(...)`.
        eval_every_n_steps: steps between two evaluations.
        patience: stop early: after this many evaluations in a row that were no better than the best.
        trace_every_n_steps: steps between two that are profiled, into `logdir/traces`; a browser shows them.
        batches: what is trained on: an iterable of tuples, e.g. a DataLoader, iterated anew for each pass. Default:
            the data that feeds the graph's placeholders.
        device: `'auto'` (CUDA if it is there), `'cpu'`, `'cuda:1'`, `'/CPU:0'`, a `torch.device`.
        precision: `'auto'` (bf16 where the hardware computes in it and it is safe), `'fp32'`, `'bf16'`, or `'fp16'`
            with a gradient scaler on CUDA. Variables and losses stay float32. With fp16, optimizers that are not
            `fused=True` wait for the device in every step.
        channels_last: the memory layout of kernels and feature maps: `'auto'` (True on the CPU and CUDA), True, False.
        compile: run the forward pass through `torch.compile`.
        parallel: of several processes, each has all variables (`'ddp'`, PyTorch's DistributedDataParallel), or a part
            of each and of the optimizer's state (`'fsdp'`, FSDP2), which takes less memory and more messages.
        sync_batch_norm: whether several processes normalise by the statistics of all their batches together; else each
            by its own, as TF-Slim's clones did, and the moving averages are those of the first.
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
    deadline = None if number_of_seconds is None else time.monotonic() + number_of_seconds
    with together(device), console():
        agreement, feed = Agreement(), Feed(_batches(train_op, batches))
        evaluations = Evaluations(eval_fn and agreement.of_first(eval_fn), eval_every_n_steps, keep_best, patience)
        checkpoints = Checkpoints(
            logdir,
            save_interval_secs,
            keep_last=keep_last,
            keep_every_n_hours=keep_every_n_hours,
            agreement=agreement,
        )
        checkpoints.restore_variables(train_op, init_fn)
        how = {"compile": compile, "parallel": parallel, "sync_batch_norm": sync_batch_norm}
        _prepare(train_op, device, precision, channels_last, **how)
        last = checkpoints.restore_rest(train_op, feed)
        if last:
            evaluations.load_state_dict(last["evaluations"])
        reporter = Reporter(
            train_op,
            checkpoints.logdir,
            number_of_steps=number_of_steps,
            log_every_n_steps=log_every_n_steps,
            save_summaries_secs=save_summaries_secs,
            trace_every_n_steps=trace_every_n_steps,
            agreement=agreement,
        )
        loop = _Loop(train_op, feed, checkpoints, evaluations, reporter, agreement, number_of_steps, deadline)
        with reporter, checkpoints:
            loss = loop.run(train_step_fn, last.get("loss", float("nan")))
        train_op.release()
    return loss


@dataclass
class _Loop:
    """The steps of one call of `train`."""

    train_op: TrainOp
    feed: Feed
    checkpoints: Checkpoints
    evaluations: Evaluations
    reporter: Reporter
    agreement: Agreement
    number_of_steps: int | None
    deadline: float | None

    def run(self, train_step_fn: TrainStepFn, last: float) -> float:
        """Steps until it is time to stop; returns the last loss."""
        train_op = self.train_op
        self.loss, self.has_l2 = torch.tensor(last), True  # whether the loss has its L2 terms
        self.begun, self.whole = False, True  # whether nothing is under way
        self.wants_to_stop, self.stop = False, False  # stop: what all processes have agreed on
        if self.evaluations.is_best and self.evaluations.due(train_op.global_step):  # a kill may have come in between
            self.checkpoints.keep_best()
        try:
            with Interruption() as interruption:
                while not (self.whole and self._is_over()):
                    self._take(train_step_fn, interruption)
                    if self.whole:
                        self._between_steps(interruption)
        except (KeyboardInterrupt, SystemExit):
            logger.info("interrupted at global step %d", train_op.global_step)
            # Within a step some variables may have changed already: the last checkpoint counts. And no process may wait
            # for others that have not been interrupted.
            if self.whole and (self.agreement.size == 1 or self.stop):
                self._save()
            raise
        self._save()
        return self._value()

    def _is_over(self) -> bool:
        return self.stop or (self.number_of_steps is not None and self.train_op.global_step >= self.number_of_steps)

    def _take(self, train_step_fn: TrainStepFn, interruption: Interruption) -> None:
        """A step, or one of the batches that make one."""
        train_op, step = self.train_op, self.train_op.global_step + 1
        try:
            batch = place_batch(self.reporter.fetched(self.feed), train_op.device)
        except Exception:
            if self.agreement.size == 1:
                raise_for(interruption.signal)  # Ctrl-C reaches the workers of a loader, too
                if self.whole:
                    self._save()
            raise
        if not self.begun:
            self.reporter.begin(batch, self.agreement.size, self.checkpoints.resumed_from)
            self.begun = True
        looks = step == self.number_of_steps or self.reporter.wants(step)
        self.whole = False
        with self.reporter.traced(step):
            self.loss, stop = train_step_fn(train_op, batch, should_log=looks)
        self.has_l2 = train_op.loss_has_l2
        self.whole, self.wants_to_stop = train_op.accumulated == 0, self.wants_to_stop or stop
        if self.whole:
            self.reporter.report(self.loss, batch, looks)

    def _between_steps(self, interruption: Interruption) -> None:
        step = self.train_op.global_step
        late = self.deadline is not None and time.monotonic() >= self.deadline
        stop = self.wants_to_stop or late or bool(interruption.signal)
        wishes = [interruption.signal, self.checkpoints.due(), stop, self.reporter.due()]
        signal, due, stop_all, summaries_due = self.agreement.on(step, wishes)
        self.stop, self.reporter.summarizes = bool(stop_all), bool(summaries_due)
        if self.evaluations.due(step):
            self._evaluate(step)
        elif due:
            self._save()
        raise_for(signal)

    def _evaluate(self, step: int) -> None:
        random = rng_state()  # a training is the same with evaluations and without
        self.whole = False  # cut short, the step is not saved: going on from there would leave its evaluation out
        with self.train_op.averaged():
            values = self.evaluations.run(step)
        self.whole = True
        set_rng_state(random)
        self.reporter.evaluated(step, values)
        self._save()
        if self.evaluations.is_best:
            self.checkpoints.keep_best()
        self.stop = self.stop or self.evaluations.exhausted

    def _save(self) -> None:
        self.checkpoints.save(
            self.train_op,
            self.feed.state_dict(),
            {"loss": self._value(), "evaluations": self.evaluations.state_dict()},
        )

    def _value(self) -> float:
        return self.agreement.mean(float(self.loss)) + (0.0 if self.has_l2 else float(self.train_op.l2_value()))


def _prepare(
    train_op: TrainOp, device: str | torch.device, precision: str, channels_last: bool | str, **how: Any
) -> None:
    place, module = resolve_device(device), train_op.objective
    layout = resolve_channels_last(channels_last, place, module, divided=how["parallel"] == "fsdp")
    train_op.prepare(place, resolve_precision(precision, place, module), channels_last=layout, **how)


def _batches(train_op: TrainOp, batches: Iterable[Any] | None) -> Iterable[Any]:
    objective = train_op.objective
    if batches is None:
        if objective.graph is None:
            raise ValueError("train: `batches` must be given where the loss is a Python function. Got None.")
        batches = objective.graph.batches(objective.inputs)
    warn_of_undivided(batches)
    return batches
