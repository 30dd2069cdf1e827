"""Evaluations of a graph's metrics, with the weights of a checkpoint."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchslim.checkpoints import restore
from torchslim.evaluation.folder import Watch, global_step_of
from torchslim.evaluation.hooks import Hook, JsonLinesAtEndHook, StopAfterNEvalsHook, SummaryAtEndHook, check_hooks
from torchslim.evaluation.passes import evaluate, in_eval_mode, to_python
from torchslim.evaluation.processes import decided_by_first
from torchslim.evaluation.updates import Updates
from torchslim.graph import Model, Symbol, Variable
from torchslim.learning.device import place_batch, place_tensors, process, resolve_device
from torchslim.learning.processes import together
from torchslim.learning.reporting import console
from torchslim.learning.session_era import refuse
from torchslim.summaries import Summary
from torchslim.summaries.results import in_words
from torchslim.variables import get_variables

logger = logging.getLogger(__name__)

VariablesToRestore = Iterable[Variable] | Mapping[str, Variable]

_FEED = "`slim.data.batch` or `graph.add_feed`, which say what fills the placeholders"
SESSION_ERA = {
    "master": "start the processes yourself, e.g. with `torchrun`: the metrics add up across them",
    "session_config": "`device=`",
    "config": "`device=`",
    "saver": "`variables_to_restore=`",
    "scaffold": "`variables_to_restore=` and `initial_op=`",
    "init_fn": "`initial_op=`, a function without arguments",
    "initial_op_feed_dict": _FEED,
    "eval_op_feed_dict": _FEED,
    "final_op_feed_dict": _FEED,
    "final_ops_feed_dict": _FEED,
    "summary_op_feed_dict": _FEED,
    "feed_dict": _FEED,
}


def evaluate_once(
    master: str,
    checkpoint_path: str | os.PathLike[str],
    logdir: str | os.PathLike[str] | None = None,
    num_evals: int | None = None,
    *,
    initial_op: Callable[[], object] | None = None,
    eval_op: Any = None,
    final_op: Any = None,
    summary_op: Summary | Iterable[Summary] | None = None,
    variables_to_restore: VariablesToRestore | None = None,
    hooks: Iterable[Hook] | None = None,
    prefer_ema: bool | str = False,
    device: str | torch.device = "auto",
    **session_era: Any,
) -> Any:
    """Evaluates a checkpoint: restores it, runs once over the data, returns the metrics.

    The data is what feeds the placeholders that the metrics depend on (`slim.data.batch`). The weights are
    restored into memory of their own, so a model that is being trained in the same graph is left alone. Where several
    processes run this (`torchrun`), each example is still counted once, and all of them return the same.

    Args:
        master: `''` or `'local'`.
        checkpoint_path: a checkpoint, torchslim's or TensorFlow's, or a folder: then its newest.
        logdir: where TensorBoard events go, at the checkpoint's global step, and a line in `evaluations.jsonl`; None:
            nowhere.
        num_evals: the number of batches to stop after, in each process. None: one whole pass, each example once; more
            is never run.
        initial_op: a function that is called first. Metrics start from nothing without it.
        eval_op: the updates of metrics: a Symbol, a list, or a dict such as the `names_to_updates` of
            `slim.metrics.aggregate_metric_map`. The names are those of the events.
        final_op: what to return: a Symbol, or a list or dict of them, such as `names_to_values`. Default: the
            values of the metrics of `eval_op`.
        summary_op: summaries to write beside the metrics, as for `SummaryAtEndHook`. Default: all of the graph.
        variables_to_restore: Variables, or `{name in the checkpoint: Variable}`. Default: all that the
            metrics need; then one that the checkpoint does not have is an error.
        hooks: what else is to be done on the way, see `Hook`.
        prefer_ema: take moving averages where the checkpoint has some: True, False or `'auto'`, as for `slim.restore`.
        device: `'auto'`: CUDA if there is a device, else the CPU.
        session_era: refused, with what replaces it.

    Returns:
        Values as Python numbers, in the structure of `final_op` (`eval_op`).

    Raises:
        ValueError: if `eval_op` has no metric updates, the checkpoint does not fit, or there is no data.
        FileNotFoundError: if there is no such checkpoint.
        TypeError: if a hook is one of TensorFlow's sessions.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> logdir = tempfile.mkdtemp()
        >>> with slim.Graph() as graph:
        ...     x, y = slim.placeholder((None, 3), name='x'), slim.placeholder((None, 1), name='y')
        ...     graph.add_feed([(torch.ones(4, 3), torch.zeros(4, 1)),
        ...                     (torch.ones(2, 3), torch.ones(2, 1))], [x, y])
        ...     net = slim.fully_connected(x, 1, activation_fn=None, scope='fc')
        ...     names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        ...         'eval/mean_squared_error': slim.metrics.streaming_mean_squared_error(net, y)})
        ...     weights = {'fc.weight': torch.zeros(1, 3), 'fc.bias': torch.ones(1)}
        ...     path = slim.checkpoints.save_checkpoint(logdir, {'model': weights}, step=10)
        ...     slim.evaluation.evaluate_once('', path, eval_op=names_to_updates, device='cpu')
        {'eval/mean_squared_error': 0.6666666865348816}

    TF-Slim: `num_evals` was 1 by default, and asking for more batches than there are ran into an error.
    """
    refuse_session_era(evaluate_once, master, session_era)
    hooks = [*check_hooks("evaluate_once", hooks), *default_hooks(num_evals, logdir, summary_op)]
    path = Path(checkpoint_path)
    with together(device), closing(hooks):
        if path.is_dir():
            path = decided_by_first(lambda: _newest_in(Path(checkpoint_path)))
        evaluation = Evaluation(eval_op, final_op, variables_to_restore, device)
        evaluation.restore(path, prefer_ema)
        if initial_op is not None:
            initial_op()
        return evaluation.run(hooks)


def _newest_in(folder: Path) -> Path:
    watch = Watch(folder)
    newest = watch.look()
    if newest is None:
        raise FileNotFoundError(
            f"evaluate_once: there is no checkpoint in the folder {str(folder)!r}. {watch.explain()[1]}"
        )
    return Path(newest)


def refuse_session_era(function: Callable[..., Any], master: str, given: Mapping[str, Any]) -> None:
    """Raises if there are arguments that `function` does not take, or a `master` that is another machine."""
    known = inspect.signature(function).parameters
    refuse(function.__name__, {"master": master, **given}, SESSION_ERA, known)


def default_hooks(
    num_evals: int | None,
    logdir: str | os.PathLike[str] | None,
    summary_op: Summary | Iterable[Summary] | None,
) -> list[Hook]:
    """What the arguments of these names stand for."""
    hooks: list[Hook] = [StopAfterNEvalsHook(num_evals, log_progress=False)]
    return hooks if logdir is None else [*hooks, SummaryAtEndHook(logdir, None, summary_op), JsonLinesAtEndHook(logdir)]


@contextlib.contextmanager
def closing(hooks: Iterable[Hook]) -> Iterator[None]:
    """Closes all hooks at the end."""
    with contextlib.ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.close)
        yield


class Evaluation:
    """What `evaluate_once` is asked for, ready to be run on one checkpoint after the other; hooks look at it.

    Its modules are copies with memory of their own. What they have in common they share.

    Attributes:
        graph: where the metrics are.
        module: what computes their inputs.
        device: where that runs.
        path: the checkpoint that is restored.
        step: its global step.
        batch: the last batch: name of the placeholder -> tensor.
        batches_done: how many batches the metrics have taken, in this process.
    """

    path: Path
    step: int

    def __init__(
        self,
        eval_op: Any,
        final_op: Any = None,
        variables_to_restore: VariablesToRestore | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.updates = Updates(eval_op)
        self.graph = self.updates.graph
        self.device = resolve_device(device)
        self.batch: dict[str, Any] = {}
        self.batches_done = 0
        self._stops = False
        self._to_restore = _as_collection(variables_to_restore)
        # What deepcopy has copied; the metrics are to be found where they are.
        self._copied: dict[int, Any] = {id(metric): metric for metric in self.updates.metrics.values()}
        self.module = self._copy(self.updates.inputs())
        self._models: dict[int, tuple[Any, Model | None]] = {}
        self._final = None if final_op is None else self._copy(_plain(final_op))
        if self._final and self._final.inputs:
            raise ValueError(
                "evaluation: `final_op` must depend on the values of metrics only: no batch is left by then. "
                f"Got one that needs {self._final.inputs[0]!r}."
            )

    def _copy(self, outputs: Any) -> Model:
        model = self.graph.module(outputs, initialize=False)
        given = self._to_restore.values() if isinstance(self._to_restore, dict) else self._to_restore
        restored = None if given is None else {variable.op.name for variable in given}
        for variable in get_variables(module=model):
            if restored is None or variable.op.name in restored:
                tensor = getattr(variable.module, variable.attribute)
                empty = torch.empty_like(tensor, device="meta")  # it is restored, so nothing has to be copied
                if isinstance(tensor, nn.Parameter):
                    empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
                self._copied.setdefault(id(tensor), empty)
        return copy.deepcopy(model, self._copied)

    def restore(self, path: Path, prefer_ema: bool | str = False) -> None:
        """Restores the module from a checkpoint; variables that are not to be restored get a first value."""
        variables = {variable.op.name: variable for variable in get_variables(module=self.module)}
        given = self._to_restore
        if given is None:
            restore(self.module, path, prefer_ema=prefer_ema)
        else:
            chosen = given.items() if isinstance(given, dict) else [(None, variable) for variable in given]
            ours = [(name, variables[var.op.name]) for name, var in chosen if var.op.name in variables]
            names = {str(name): variable for name, variable in ours} if isinstance(given, dict) else None
            restore([variable for _, variable in ours], path, names=names, prefer_ema=prefer_ema)
        for variable in variables.values():
            if variable.is_meta:
                variable.initialize()
        for tensor in [*self.module.parameters(), *self.module.buffers()]:
            # A copy: pages of a mapped file vanish with it where it is on another machine.
            tensor.data = tensor.data.to(self.device, copy=True)
        self.path, self.step = path, global_step_of(path)

    def run(self, hooks: Iterable[Hook] = ()) -> Any:
        """Runs over the data, logs the values, and returns them (or those of `final_op`)."""
        hooks = list(hooks)
        self.batch, self.batches_done, self._stops = {}, 0, False
        for hook in hooks:
            hook.begin(self)
        updates = self.updates
        values = evaluate(self.module, self._batches(hooks), updates.metrics, step=updates.step, device=self.device)
        if process()[0] == 0:
            with console():
                logger.info("evaluation of %s: %s", self.path, in_words(values))
        for hook in hooks:
            hook.end(self, values)
        if self._final is None:
            return updates.in_structure(values)
        place_tensors([*self._final.parameters(), *self._final.buffers()], self.device)
        with torch.inference_mode():
            return to_python(self._final())

    def request_stop(self) -> None:
        """Ends the pass over the data after this batch."""
        self._stops = True

    def _batches(self, hooks: Iterable[Hook]) -> Iterator[tuple[Any, ...]]:
        for batch in self.graph.batches(self.module.inputs):
            self.batch = dict(zip(self.module.inputs, batch, strict=True))
            yield batch
            self.batches_done += 1  # whoever asks for the next batch has taken this one
            for hook in hooks:
                hook.after_batch(self)
            if self._stops:
                return

    def value_of(self, value: Symbol | Variable, name: str) -> torch.Tensor | None:
        """What something in the graph is after the last batch: a metric's value, or what that batch gives.

        Args:
            value: a Symbol or Variable.
            name: what a log line calls it.

        Returns:
            None if it needs placeholders or variables that the metrics do not, or a batch and there was none.
        """
        if id(value) not in self._models:  # `value` is kept, so that its id stays its own
            self._models[id(value)] = value, self._model_of(value, name)
        model = self._models[id(value)][1]
        if model is None or not self.batch.keys() >= {*model.inputs}:
            return None
        with in_eval_mode(model), torch.inference_mode():
            return model(*place_batch([self.batch[name] for name in model.inputs], self.device))

    def _model_of(self, value: Symbol | Variable, name: str) -> Model | None:
        model = self._copy(value)
        known = {variable.op.name for variable in get_variables(module=self.module)}
        needed = {variable.op.name for variable in get_variables(module=model)}
        lacking = (set(model.inputs) - set(self.module.inputs)) | (needed - known)
        if lacking:
            logger.info("evaluation: %r is left out: it needs %s.", name, sorted(lacking))
            return None
        place_tensors([*model.parameters(), *model.buffers()], self.device)
        return model


def _as_collection(variables: VariablesToRestore | None) -> dict[str, Variable] | list[Variable] | None:
    if variables is None:
        return None
    return dict(variables) if isinstance(variables, Mapping) else list(variables)


def _plain(outputs: Any) -> Any:
    """A view of a dict (`names_to_values.values()`) as a list."""
    if isinstance(outputs, Symbol | Mapping | list | tuple):
        return dict(outputs) if isinstance(outputs, Mapping) else outputs
    return list(outputs)
