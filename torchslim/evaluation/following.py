"""Evaluation beside training: following a folder of checkpoints that another process writes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from torchslim.checkpoints import CheckpointError
from torchslim.evaluation.checkpointed import (
    Evaluation,
    VariablesToRestore,
    closing,
    default_hooks,
    refuse_session_era,
)
from torchslim.evaluation.folder import Watch
from torchslim.evaluation.hooks import Hook, check_hooks
from torchslim.evaluation.processes import decided_by_first, from_all
from torchslim.learning.processes import together
from torchslim.summaries import Summary

logger = logging.getLogger(__name__)

_SECONDS_TO_SLEEP = 1.0


def wait_for_new_checkpoint(
    checkpoint_dir: str | os.PathLike[str],
    last_checkpoint: str | None = None,
    seconds_to_sleep: float = 1,
    timeout: float | None = None,
) -> str | None:
    """Waits until a folder has another newest checkpoint than `last_checkpoint`, a whole one.

    Of torchslim's and TensorFlow's checkpoints, the newest is the one of the highest step, whether the `checkpoint`
    file names it or not; one that this file names and that was written later goes before it. After 30 s of waiting it
    is logged what is in the folder and why none of it counts, and again after 60 s, 120 s and so on.

    Args:
        checkpoint_dir: the folder; it need not exist yet.
        last_checkpoint: the newest one so far; None: any will do.
        seconds_to_sleep: seconds between looks.
        timeout: seconds after which to give up; None: never.

    Returns:
        Its path, or None if the time is up. Of a TensorFlow checkpoint it is the prefix.

    Raises:
        ValueError: if `checkpoint_dir` is a file.

    Example:
        >>> import tempfile, torchslim as slim
        >>> slim.evaluation.wait_for_new_checkpoint(tempfile.mkdtemp(), timeout=0) is None
        True
    """
    logger.info("waiting for a new checkpoint in %s", checkpoint_dir)
    watch, stop = Watch(checkpoint_dir), _stop_after(timeout)
    while True:
        path = watch.look(last_checkpoint)
        if path is not None or _is_over(stop, seconds_to_sleep):
            return path
        time.sleep(seconds_to_sleep)


def _stop_after(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _is_over(stop: float | None, seconds_to_sleep: float) -> bool:
    return stop is not None and time.monotonic() + seconds_to_sleep > stop


def checkpoints_iterator(
    checkpoint_dir: str | os.PathLike[str],
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
) -> Iterator[str]:
    """Yields the newest checkpoint of a folder, again and again as new ones appear.

    Those that appear and are replaced while the caller works are passed over. Where several processes evaluate
    together, all call this, and get the paths that the first of them finds.

    Args:
        checkpoint_dir: the folder; it need not exist yet.
        min_interval_secs: seconds from one yield to the next, at least.
        timeout: seconds to wait for a new checkpoint; None: for ever.
        timeout_fn: called when the time is up; the iterator ends if it returns True and waits on if not.
            Default: it ends.

    Yields:
        Paths.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> logdir = tempfile.mkdtemp()
        >>> _ = slim.checkpoints.save_checkpoint(logdir, {'model': {'w': torch.ones(2)}}, step=7)
        >>> [path.rsplit('/', 1)[1] for path in slim.evaluation.checkpoints_iterator(logdir, timeout=0)]
        ['model.ckpt-7.safetensors']
    """
    watch, path = Watch(checkpoint_dir), None
    while True:
        new = _next(watch, path, timeout, timeout_fn)
        if new is None:
            logger.info("no new checkpoint in %s within %s seconds: done.", checkpoint_dir, timeout)
            return
        path, start = new, time.monotonic()
        yield path
        time.sleep(max(0.0, start + min_interval_secs - time.monotonic()))


def _next(watch: Watch, last: str | None, timeout: float | None, timeout_fn: Callable[[], bool] | None) -> str | None:
    """Waits for the next checkpoint; None if the time is up, and `timeout_fn` agrees."""
    stop = _stop_after(timeout)
    watch.start_waiting()

    def look() -> tuple[str | None, bool]:
        nonlocal stop
        path = watch.look(last)
        over = path is None and _is_over(stop, _SECONDS_TO_SLEEP)
        if over and timeout_fn is not None and not timeout_fn():
            over, stop = False, _stop_after(timeout)
        return path, over

    while True:
        # In each look, and not once: processes that wait for a word from the first give up after some minutes.
        path, over = decided_by_first(look)
        if path is not None or over:
            return path
        time.sleep(_SECONDS_TO_SLEEP)


def evaluation_loop(
    master: str,
    checkpoint_dir: str | os.PathLike[str],
    logdir: str | os.PathLike[str] | None,
    num_evals: int | None = None,
    *,
    initial_op: Callable[[], object] | None = None,
    eval_op: Any = None,
    final_op: Any = None,
    summary_op: Summary | Iterable[Summary] | None = None,
    variables_to_restore: VariablesToRestore | None = None,
    eval_interval_secs: float = 60,
    max_number_of_evaluations: int | None = None,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
    hooks: Iterable[Hook] | None = None,
    prefer_ema: bool | str = False,
    device: str | torch.device = "auto",
    **session_era: Any,
) -> Any:
    """Evaluates each newest checkpoint of a folder, while another process writes them.

    A checkpoint that is damaged, or removed before it could be read, is passed over with a warning. Several processes
    (`torchrun`) evaluate the same checkpoints, each its share of the data.

    Args:
        master: `''` or `'local'`.
        checkpoint_dir: the folder that `slim.learning.train` writes to; it need not exist yet.
        logdir: where TensorBoard events go, at each checkpoint's global step, and the lines of `evaluations.jsonl`;
            None: nowhere.
        num_evals: as in `evaluate_once`, like the next five.
        initial_op: called before each evaluation.
        eval_op: the updates of metrics.
        final_op: what to return.
        summary_op: summaries to write beside the metrics.
        variables_to_restore: default: all that the metrics need.
        eval_interval_secs: seconds from the start of one evaluation to that of the next, at least.
        max_number_of_evaluations: stop after so many; None: go on.
        timeout: seconds to wait for a new checkpoint; None: for ever.
        timeout_fn: called when the time is up; the loop ends if it returns True and waits on if not. Default:
            it ends.
        hooks: what else is to be done in each evaluation, see `Hook`.
        prefer_ema: take moving averages where the checkpoint has some: True, False or `'auto'`, as for `slim.restore`.
        device: `'auto'`: CUDA if there is a device, else the CPU.
        session_era: refused, with what replaces it.

    Returns:
        What `evaluate_once` returns, for the last checkpoint; None if there was none.

    Raises:
        ValueError: as `evaluate_once`.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> logdir = tempfile.mkdtemp()
        >>> _ = slim.checkpoints.save_checkpoint(logdir, {'model': {'fc.weight': torch.ones(1, 3)}}, step=7)
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None, 3), name='x')
        ...     graph.add_feed([(torch.ones(4, 3),)], [x])
        ...     net = slim.fully_connected(x, 1, activation_fn=None, biases_initializer=None, scope='fc')
        ...     value, update = slim.metrics.streaming_mean(net)
        ...     slim.evaluation.evaluation_loop('', logdir, None, eval_op=update, timeout=0, eval_interval_secs=0)
        3.0
    """
    refuse_session_era(evaluation_loop, master, session_era)
    hooks = [*check_hooks("evaluation_loop", hooks), *default_hooks(num_evals, logdir, summary_op)]
    result, evaluations = None, 0
    with together(device), closing(hooks):
        evaluation = Evaluation(eval_op, final_op, variables_to_restore, device)
        for path in checkpoints_iterator(checkpoint_dir, eval_interval_secs, timeout, timeout_fn):
            if not _restored(evaluation, Path(path), prefer_ema):
                continue
            if initial_op is not None:
                initial_op()
            result = evaluation.run(hooks)
            evaluations += 1
            if evaluations == max_number_of_evaluations:
                break
    return result


def _restored(evaluation: Evaluation, path: Path, prefer_ema: bool | str) -> bool:
    """Whether all processes could restore a checkpoint, which may be removed before the last of them has read it."""
    failed = False
    try:
        evaluation.restore(path, prefer_ema)
    except (OSError, CheckpointError) as error:
        logger.warning("evaluation_loop: passing over %s: %s", path, error)
        failed = True
    return not any(from_all(failed))


def evaluate_repeatedly(
    checkpoint_dir: str | os.PathLike[str],
    master: str = "",
    *,
    eval_ops: Any = None,
    final_ops: Any = None,
    eval_interval_secs: float = 60,
    hooks: Iterable[Hook] | None = None,
    max_number_of_evaluations: int | None = None,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
    logdir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Any:
    """`evaluation_loop` under the name and with the arguments of `tf_slim.training`.

    Args:
        checkpoint_dir: as in `evaluation_loop`, like all others.
        master: `''` or `'local'`.
        eval_ops: its `eval_op`.
        final_ops: its `final_op`.
        eval_interval_secs: seconds.
        hooks: such as `StopAfterNEvalsHook(num_evals)` and `SummaryAtEndHook(log_dir)`.
        max_number_of_evaluations: stop after so many; None: go on.
        timeout: seconds; None: for ever.
        timeout_fn: called when the time is up.
        logdir: where events and JSON lines go; in TF-Slim a hook said where.
        options: further arguments of `evaluation_loop`, such as `num_evals`.

    Returns:
        What `evaluation_loop` returns.

    Example:
        >>> import tempfile, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     value, update = slim.metrics.streaming_mean(slim.placeholder((None,)))
        ...     slim.evaluation.evaluate_repeatedly(tempfile.mkdtemp(), eval_ops=update, timeout=0)
    """
    return evaluation_loop(
        master,
        checkpoint_dir,
        logdir,
        eval_op=eval_ops,
        final_op=final_ops,
        eval_interval_secs=eval_interval_secs,
        max_number_of_evaluations=max_number_of_evaluations,
        timeout=timeout,
        timeout_fn=timeout_fn,
        hooks=hooks,
        **options,
    )
