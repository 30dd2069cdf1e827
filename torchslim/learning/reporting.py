"""What `train` tells: progress on the console, and events for TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from torchslim.learning.train_op import TrainOp
from torchslim.summaries import compute_summaries

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger("torchslim")


class Reporter:
    """Reports the steps of one training.

    Args:
        train_op: what is trained.
        logdir: where events go; None: nowhere.
        number_of_steps: the global step at the end, for the bar.
        log_every_n_steps: 0 or None: no lines.
        save_summaries_secs: seconds between two collections of summaries; 0 or None: none.
        speaks: whether this process reports; of several, only the first does.
    """

    def __init__(
        self,
        train_op: TrainOp,
        logdir: Path | None,
        *,
        number_of_steps: int | None,
        log_every_n_steps: int | None,
        save_summaries_secs: float | None,
        speaks: bool,
    ) -> None:
        self._train_op = train_op
        self._log_every = log_every_n_steps if speaks else None
        self._summaries_secs = save_summaries_secs if speaks and logdir is not None else None
        self._last_summaries: float | None = None
        self._logdir = logdir if speaks else None
        self._opened: SummaryWriter | None = None
        self._bar = tqdm(
            total=number_of_steps,
            initial=train_op.global_step,
            unit="step",
            disable=not (speaks and log_every_n_steps and sys.stderr.isatty()),
        )
        self._since = time.monotonic(), train_op.global_step

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._opened is not None:
            self._opened.close()

    @property
    def _writer(self) -> SummaryWriter:
        if self._opened is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second: only who writes waits for it

            self._opened = SummaryWriter(str(self._logdir))
        return self._opened

    def wants(self, step: int) -> bool:
        """Whether the loss of this step will be looked at; asked before the step is taken."""
        return bool(self._log_every and step % self._log_every == 0) or self._summaries_due()

    def report(self, loss: torch.Tensor, batch: Sequence[Any], looks: bool) -> None:
        """Takes note of a step; if it `looks`, reads the loss and tells it."""
        self._bar.update()
        if not looks:
            return
        self._train_op.check_finite()
        step, value = self._train_op.global_step, float(loss)
        if self._log_every and step % self._log_every == 0:
            self._tell(step, value)
        if self._summaries_due():
            self._last_summaries = time.monotonic()
            self._write_summaries(step, batch)

    def _summaries_due(self) -> bool:
        if not self._summaries_secs:
            return False
        return self._last_summaries is None or time.monotonic() - self._last_summaries >= self._summaries_secs

    def _tell(self, step: int, loss: float) -> None:
        now = time.monotonic()
        (then, step_then), self._since = self._since, (now, step)
        seconds = (now - then) / max(step - step_then, 1)
        if self._bar.disable:
            logger.info("global step %d: loss = %.4f (%.3f sec/step)", step, loss, seconds)
        else:
            self._bar.set_postfix(loss=f"{loss:.4f}")
        if self._logdir is not None:
            self._writer.add_scalar("loss", loss, step)
            self._writer.add_scalar("learning_rate", float(self._train_op.optimizer.param_groups[0]["lr"]), step)
            self._writer.add_scalar("steps_per_second", 1 / max(seconds, 1e-9), step)

    def _write_summaries(self, step: int, batch: Sequence[Any]) -> None:
        for summary in self._train_op.gradient_summaries():
            summary.write(self._writer, step, summary.value)
        objective = self._train_op.objective
        if objective.graph is not None:
            for summary, value in compute_summaries(objective.graph, objective.inputs, batch):
                summary.write(self._writer, step, value)


@contextlib.contextmanager
def console() -> Iterator[None]:
    """Shows torchslim's log lines on stderr, unless the program has set up logging itself; they do not tear the bar."""
    if logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
