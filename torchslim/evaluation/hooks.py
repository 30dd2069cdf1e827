"""Hooks: what happens around an evaluation, at its beginning, behind every batch and at its end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchslim.learning.device import process
from torchslim.learning.session_era import refuse
from torchslim.summaries import SUMMARIES, Summary
from torchslim.summaries.results import append_json_line, write_events

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from torchslim.evaluation.checkpointed import Evaluation

logger = logging.getLogger(__name__)

RESULTS_FILE = "evaluations.jsonl"


class Hook:
    """Something to be done around evaluations: subclass it, and give it to one of them as `hooks=[...]`.

    It can read `evaluation.path`, `.step` (the checkpoint's global step), `.module` (what is evaluated), `.batch` (the
    last one: name of the placeholder -> tensor), `.batches_done` (in this process), and call
    `evaluation.request_stop()`. Of several processes each has its hooks.

    TF-Slim: hooks had sessions. `before_run` and `after_run` are `after_batch` here, and `end` gets the values.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> class Tell(slim.evaluation.Hook):
        ...     def end(self, evaluation, values):
        ...         print(f'step {evaluation.step}: {evaluation.batches_done} batches, {values}')
        >>> path = slim.checkpoints.save_checkpoint(tempfile.mkdtemp(), {'model': {'w': torch.ones(1)}}, step=7)
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None,))
        ...     graph.add_feed([(torch.ones(4),), (torch.zeros(2),)], [x])
        ...     _, update = slim.metrics.streaming_mean(x, name='share')
        ...     _ = slim.evaluation.evaluate_once('', path, eval_op={'share': update}, hooks=[Tell()])
        step 7: 2 batches, {'share': 0.6666666865348816}
    """

    def begin(self, evaluation: Evaluation) -> None:
        """Called once the checkpoint is restored, before the first batch."""

    def after_batch(self, evaluation: Evaluation) -> None:
        """Called when the metrics have taken a batch."""

    def end(self, evaluation: Evaluation, values: dict[str, Any]) -> None:
        """Called with the values of the metrics by their names."""

    def close(self) -> None:
        """Called when there is nothing more to evaluate, or an error has ended the evaluation."""


def check_hooks(function: str, hooks: Iterable[Any] | None) -> list[Hook]:
    """The hooks as a list.

    Raises:
        TypeError: if one of them is no `Hook`.
    """
    hooks = list(hooks or ())
    for hook in hooks:
        if not isinstance(hook, Hook):
            tensorflow = hasattr(hook, "before_run") or hasattr(hook, "after_create_session")
            raise TypeError(
                f"{function}: `hooks` must be of `slim.evaluation.Hook`: begin(evaluation), after_batch(evaluation), "
                f"end(evaluation, values). Got {type(hook).__name__}"
                + (", a hook of TensorFlow's sessions; there is no session here." if tensorflow else ".")
            )
    return hooks


class StopAfterNEvalsHook(Hook):
    """Ends an evaluation after so many batches; no more are read.

    Args:
        num_evals: the number of batches, in each process; None: all there are.
        log_progress: log about ten lines on the way.

    Raises:
        ValueError: if `num_evals` is less than 1.

    TF-Slim: it also counted batches for others, by an `eval_step` in the graph; `evaluation.batches_done` is that.

    Example:
        >>> import torchslim as slim
        >>> hooks = [slim.evaluation.StopAfterNEvalsHook(100)]
    """

    def __init__(self, num_evals: int | None, log_progress: bool = True) -> None:
        if num_evals is not None and num_evals < 1:
            raise ValueError(
                f"StopAfterNEvalsHook: `num_evals` must be at least 1, or None for all batches. Got {num_evals}."
            )
        self._num_evals = num_evals
        self._log_progress = log_progress and num_evals is not None and process()[0] == 0

    def after_batch(self, evaluation: Evaluation) -> None:
        """Ends the evaluation if that was the last batch."""
        done, wanted = evaluation.batches_done, self._num_evals
        if wanted is None:
            return
        if self._log_progress and (done == wanted or done % max(1, wanted // 10) == 0):
            logger.info("evaluation: batch %d of %d", done, wanted)
        if done >= wanted:
            evaluation.request_stop()

    def end(self, evaluation: Evaluation, values: dict[str, Any]) -> None:
        """Says so if there were fewer batches."""
        done = evaluation.batches_done
        if self._num_evals is not None and done < self._num_evals:
            logger.info("evaluation: the data has %d batches, not %d: each example once.", done, self._num_evals)


class SummaryAtEndHook(Hook):
    """Writes the metrics and the summaries of the graph for TensorBoard, at the checkpoint's global step.

    `logdir=` of `evaluate_once` and the loops is this hook, with a `JsonLinesAtEndHook`.

    Args:
        log_dir: where events go.
        summary_writer: a `torch.utils.tensorboard.SummaryWriter` to write with instead; it is left open.
        summary_op: the summaries to write. Default: all of the graph. Those that need data get the last batch, and
            those that the metrics' placeholders and variables do not suffice for are left out.
        session_era: refused, with what replaces it.

    Raises:
        ValueError: if it has neither `log_dir` nor `summary_writer`.

    TF-Slim: it wrote no metrics by itself, so the tutorials make a summary of each; of one name, one is written.

    Example:
        >>> import tempfile, torchslim as slim
        >>> hooks = [slim.evaluation.SummaryAtEndHook(tempfile.mkdtemp())]
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        summary_writer: SummaryWriter | None = None,
        summary_op: Summary | Iterable[Summary] | None = None,
        **session_era: Any,
    ) -> None:
        refuse("SummaryAtEndHook", session_era, {"feed_dict": "`slim.data.batch`, which says what fills the graph"}, {})
        if log_dir is None and summary_writer is None:
            raise ValueError("SummaryAtEndHook: one of `log_dir` and `summary_writer` must be given. Got neither.")
        self._log_dir = log_dir
        self._given = summary_writer
        self._opened: SummaryWriter | None = None
        if isinstance(summary_op, Summary):
            summary_op = [summary_op]
        self._summaries = None if summary_op is None else list(summary_op)

    def end(self, evaluation: Evaluation, values: dict[str, Any]) -> None:
        """Writes; of several processes, only the first does."""
        summaries = evaluation.graph.get_collection(SUMMARIES) if self._summaries is None else self._summaries
        # In every process: a summary of a metric's value needs what the other processes have seen.
        found = [(s, evaluation.value_of(s.value, s.tag)) for s in summaries if s.tag not in values]
        if process()[0] > 0:
            return
        writer = self._given or self._writer()
        for name, value in values.items():
            write_events(writer, name, value, evaluation.step)
        for summary, value in found:
            if value is not None:
                summary.write(writer, evaluation.step, value)
        writer.flush()

    def close(self) -> None:
        """Closes the file of events."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _writer(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter  # takes a second: only who writes waits for it

        if self._opened is None:  # one file for all evaluations of a loop
            self._opened = SummaryWriter(str(self._log_dir))
        return self._opened


class JsonLinesAtEndHook(Hook):
    """Appends a line of JSON for each evaluation to `evaluations.jsonl`.

    A line has `step`, `path` of the checkpoint, `values` by their names (NaN and the infinities are null), `seconds`
    that the evaluation took, and `time`, in seconds since 1970.

    Args:
        log_dir: the folder of the file; made if need be.

    Example:
        >>> import tempfile, torchslim as slim
        >>> hooks = [slim.evaluation.JsonLinesAtEndHook(tempfile.mkdtemp())]
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self._path = Path(log_dir) / RESULTS_FILE
        self._start = 0.0

    def begin(self, evaluation: Evaluation) -> None:
        """Notes the time."""
        self._start = time.monotonic()

    def end(self, evaluation: Evaluation, values: dict[str, Any]) -> None:
        """Writes; of several processes, only the first does."""
        if process()[0] == 0:
            seconds = time.monotonic() - self._start
            record = {"step": evaluation.step, "path": str(evaluation.path), "values": values}
            append_json_line(self._path, {**record, "seconds": round(seconds, 3), "time": time.time()})
