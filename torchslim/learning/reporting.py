"""What `train` tells: progress on the console, events for TensorBoard, traces of the profiler."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves_with_path
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from torchslim.learning.device import process
from torchslim.learning.processes import Agreement
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
        trace_every_n_steps: steps between two that are profiled; 0 or None: none.
        agreement: of several processes, only the first reports; all of them look at the same steps.

    Attributes:
        summarizes: whether summaries of the next step are written.
    """

    def __init__(
        self,
        train_op: TrainOp,
        logdir: Path | None,
        *,
        number_of_steps: int | None,
        log_every_n_steps: int | None,
        save_summaries_secs: float | None,
        trace_every_n_steps: int | None,
        agreement: Agreement,
    ) -> None:
        self._train_op = train_op
        self._agreement = agreement
        self._speaks = speaks = agreement.rank == 0
        self._log_every = log_every_n_steps
        self._summaries_secs = (save_summaries_secs or None) if logdir is not None else None
        self._last_summaries = float("-inf")
        self.summarizes = self._summaries_secs is not None
        self._logdir = logdir if speaks else None
        self._trace_every = trace_every_n_steps if self._logdir is not None else None
        self._opened: SummaryWriter | None = None
        self._bar = tqdm(
            total=number_of_steps,
            initial=train_op.global_step,
            unit="step",
            disable=not (speaks and log_every_n_steps and sys.stderr.isatty()),
        )
        self._since = time.perf_counter(), train_op.global_step
        self._waited = 0.0

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

    def begin(self, batch: Sequence[Any], processes: int, resumed_from: str | None) -> None:
        """Tells what is trained, on what, from where on."""
        examples = next((part.shape[0] for part in batch if isinstance(part, torch.Tensor) and part.ndim), 1)
        batches = self._train_op.accumulate_steps
        logger.info(
            "training %r; %d examples a step = %d x %d process%s x %d batch%s; %s",
            self._train_op,
            examples * processes * batches,
            examples,
            processes,
            "es" * (processes > 1),
            batches,
            "es" * (batches > 1),
            "from the start" if resumed_from is None else f"on from {resumed_from}",
        )

    def fetched(self, feed: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
        """The next batch; how long it takes to come is part of the next line."""
        start = time.perf_counter()
        batch = next(feed)
        self._waited += time.perf_counter() - start
        return batch

    def traced(self, step: int) -> contextlib.AbstractContextManager[Any]:
        """What a step runs in: the profiler, if it is one to be traced."""
        if not self._trace_every or step % self._trace_every:
            return contextlib.nullcontext()
        return torch.profiler.profile(on_trace_ready=self._write_trace, acc_events=True)

    def _write_trace(self, profiler: torch.profiler.profile) -> None:
        assert self._logdir is not None
        folder = self._logdir / "traces"
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{self._train_op.global_step}.json.gz"
        profiler.export_chrome_trace(str(path))
        logger.info("traced global step %d: open %s in ui.perfetto.dev", self._train_op.global_step, path)

    def evaluated(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the metrics of an evaluation: numbers, and lists and dicts of them."""
        for path, number in tree_leaves_with_path(dict(values)) if self._logdir is not None else ():
            self._writer.add_scalar(
                "/".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in path), number, step
            )

    def wants(self, step: int) -> bool:
        """Whether the loss of this step will be looked at; asked before the step is taken."""
        return bool(self._log_every and step % self._log_every == 0) or self.summarizes

    def report(self, loss: torch.Tensor, batch: Sequence[Any], looks: bool) -> None:
        """Takes note of a step; if it `looks`, reads the loss and tells it."""
        self._bar.update()
        if not looks:
            return
        self._train_op.check_finite()
        step, value = self._train_op.global_step, self._agreement.mean(float(loss))
        if self._speaks and self._log_every and step % self._log_every == 0:
            self._tell(step, value)
        if self.summarizes:
            self._last_summaries = time.monotonic()
            self._write_summaries(step, batch)

    def due(self) -> bool:
        """Whether it is time for summaries."""
        return self._summaries_secs is not None and time.monotonic() - self._last_summaries >= self._summaries_secs

    def _tell(self, step: int, loss: float) -> None:
        now = time.perf_counter()
        (then, step_then), self._since = self._since, (now, step)
        seconds = (now - then) / max(step - step_then, 1)
        waited, self._waited = self._waited / max(now - then, 1e-9), 0.0
        if self._bar.disable:
            line = "global step %d: loss = %.4f (%.3f sec/step, %.0f %% of it waiting for data)"
            logger.info(line, step, loss, seconds, 100 * waited)
        else:
            self._bar.set_postfix(loss=f"{loss:.4f}", waiting=f"{waited:.0%}")
        if self._logdir is not None:
            self._write_scalars(
                step,
                loss=loss,
                learning_rate=float(self._train_op.optimizer.param_groups[0]["lr"]),
                steps_per_second=1 / max(seconds, 1e-9),
                waiting_for_data=waited,
            )

    def _write_scalars(self, step: int, **scalars: float) -> None:
        """Writes several as one event: the writer's thread holds up the loop for each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=scalar) for tag, scalar in scalars.items()]
        self._writer._get_file_writer().add_summary(Summary(value=values), step)

    def _write_summaries(self, step: int, batch: Sequence[Any]) -> None:
        objective = self._train_op.objective
        found = [(summary, summary.value) for summary in self._train_op.gradient_summaries()]
        with self._train_op.whole_variables():
            if self._speaks and objective.graph is not None:
                found += compute_summaries(objective.graph, objective.inputs, batch)
        for summary, value in found if self._speaks else ():
            summary.write(self._writer, step, value)


@contextlib.contextmanager
def console() -> Iterator[None]:
    """Shows torchslim's log lines on stderr, unless the program has set up logging itself; they do not tear the bar.

    Of several processes, those after the first show warnings only.
    """
    if logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if process()[0] else logging.INFO)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
