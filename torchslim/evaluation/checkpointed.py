"""Evaluations of a graph's metrics, with the weights of a checkpoint."""

from __future__ import annotations

import copy
import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves_with_path

from torchslim.checkpoints import assign_from_checkpoint, latest_checkpoint, load_checkpoint, restore, step_of
from torchslim.evaluation.passes import evaluate, in_eval_mode, to_python
from torchslim.graph import Model, Symbol, Variable
from torchslim.learning.device import place_batch, place_tensors, process, resolve_device
from torchslim.learning.session_era import refuse
from torchslim.metrics import MetricUpdate
from torchslim.summaries import SUMMARIES, Summary
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
    "hooks": "`num_evals=`, `logdir=`, `summary_op=`; for more, loop over `checkpoints_iterator`",
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
    device: str | torch.device = "auto",
    **session_era: Any,
) -> Any:
    """Evaluates a checkpoint: restores it, runs once over the data, returns the metrics.

    The data is what feeds the placeholders that the metrics depend on (`slim.data.batch`). The weights are
    restored into memory of their own, so a model that is being trained in the same graph is left alone.

    Args:
        master: `''` or `'local'`.
        checkpoint_path: a checkpoint, or a folder: then its newest.
        logdir: where TensorBoard events go, at the checkpoint's global step; None: nowhere.
        num_evals: the number of batches to stop after. None: one whole pass, each example once; more is never
            run.
        initial_op: a function that is called first. Metrics start from nothing without it.
        eval_op: the updates of metrics: a Symbol, a list, or a dict such as the `names_to_updates` of
            `slim.metrics.aggregate_metric_map`. The names are those of the events.
        final_op: what to return: a Symbol, or a list or dict of them, such as `names_to_values`. Default: the
            values of the metrics of `eval_op`.
        summary_op: summaries to write beside the metrics. Default: all of the graph. Those that need data get
            the last batch, and those that the metrics' placeholders and variables do not suffice for are left
            out.
        variables_to_restore: Variables, or `{name in the checkpoint: Variable}`. Default: all that the
            metrics need; then one that the checkpoint does not have is an error.
        device: `'auto'`: CUDA if there is a device, else the CPU.
        session_era: refused, with what replaces it.

    Returns:
        Values as Python numbers, in the structure of `final_op` (`eval_op`).

    Raises:
        ValueError: if `eval_op` has no metric updates, the checkpoint does not fit, or there is no data.
        FileNotFoundError: if there is no such checkpoint.

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
    path = Path(checkpoint_path)
    if path.is_dir():
        newest = latest_checkpoint(path)
        if newest is None:
            raise FileNotFoundError(f"evaluate_once: there is no checkpoint in the folder {str(path)!r}.")
        path = Path(newest)
    evaluation = Evaluation(eval_op, final_op, summary_op, variables_to_restore, device)
    evaluation.restore(path)
    if initial_op is not None:
        initial_op()
    return evaluation.run(num_evals, logdir)


def refuse_session_era(function: Callable[..., Any], master: str, given: Mapping[str, Any]) -> None:
    """Raises if there are arguments that `function` does not take, or a `master` that is another machine."""
    known = inspect.signature(function).parameters
    refuse(function.__name__, {"master": master, **given}, SESSION_ERA, known)


class Evaluation:
    """What `evaluate_once` is asked for, ready to be run on one checkpoint after the other; its arguments.

    Its modules are copies with memory of their own. What they have in common they share.
    """

    def __init__(
        self,
        eval_op: Any,
        final_op: Any = None,
        summary_op: Summary | Iterable[Summary] | None = None,
        variables_to_restore: VariablesToRestore | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.eval_op = eval_op
        self.updates = _named_updates(eval_op)
        self.graph = next(iter(self.updates.values())).owner
        self.metrics = {name: _module_of(symbol).metric for name, symbol in self.updates.items()}
        self.device = resolve_device(device)
        self.path: Path | None = None
        self._to_restore = _as_collection(variables_to_restore)
        # What deepcopy has copied; the metrics are to be found where they are.
        self._copied: dict[int, Any] = {id(metric): metric for metric in self.metrics.values()}
        inputs = {name: tuple(_symbols_among(symbol)) for name, symbol in self.updates.items()}
        self.module = self._copy(inputs)
        self.final = None if final_op is None else self._copy(_plain(final_op))
        if self.final and self.final.inputs:
            raise ValueError(
                "evaluation: `final_op` must depend on the values of metrics only: no batch is left by then. "
                f"Got one that needs {self.final.inputs[0]!r}."
            )
        summaries = self.graph.get_collection(SUMMARIES) if summary_op is None else summary_op
        summaries = [summaries] if isinstance(summaries, Summary) else summaries
        models = [(summary, self._copy(summary.value)) for summary in summaries]
        self.summaries = [(summary, model) for summary, model in models if self._suffices_for(summary, model)]

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

    def _suffices_for(self, summary: Summary, model: Model) -> bool:
        known = {variable.op.name for variable in get_variables(module=self.module)}
        needed = {variable.op.name for variable in get_variables(module=model)}
        lacking = (set(model.inputs) - set(self.module.inputs)) | (needed - known)
        if lacking:
            logger.info("evaluation: summary %r is left out: it needs %s.", summary.tag, sorted(lacking))
        return not lacking

    def restore(self, path: Path) -> None:
        """Restores the modules from a checkpoint; variables that are not to be restored get a first value."""
        variables = {variable.op.name: variable for variable in get_variables(module=self.module)}
        ours, given = variables.get, self._to_restore
        if given is None:
            restore(self.module, path)
        elif isinstance(given, dict):
            assign_from_checkpoint(path, {name: v for name, var in given.items() if (v := ours(var.op.name))})
        else:
            assign_from_checkpoint(path, [v for var in given if (v := ours(var.op.name))])
        for variable in variables.values():
            if variable.is_meta:
                variable.initialize()
        models = [self.module, self.final, *(model for _, model in self.summaries)]
        for model in filter(None, models):
            place_tensors([*model.parameters(), *model.buffers()], self.device)
        self.path = path

    def run(self, num_evals: int | None = None, logdir: str | os.PathLike[str] | None = None) -> Any:
        """Runs over the data, logs and writes the values, and returns them."""
        last_batch: tuple[Any, ...] = ()

        def step(module: nn.Module, *batch: Any) -> dict[str, tuple[Any, ...]]:
            nonlocal last_batch
            last_batch = batch
            computed = module(*batch)
            return {name: _arguments(symbol, computed[name]) for name, symbol in self.updates.items()}

        batches = self.graph.batches(self.module.inputs)
        values = evaluate(self.module, batches, self.metrics, step=step, num_evals=num_evals, device=self.device)
        logger.info("evaluation of %s: %s", self.path, ", ".join(f"{name} = {v}" for name, v in values.items()))
        if logdir is not None and process()[0] == 0:
            self._write(logdir, values, dict(zip(self.module.inputs, last_batch, strict=True)))
        if self.final is not None:
            with torch.inference_mode():
                return to_python(self.final())
        if isinstance(self.eval_op, Mapping):
            return values
        return next(iter(values.values())) if isinstance(self.eval_op, Symbol) else list(values.values())

    def _write(self, logdir: str | os.PathLike[str], values: dict[str, Any], batch: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        step = _global_step(self.path)
        with SummaryWriter(str(logdir)) as writer:
            for name, value in values.items():
                for path, number in tree_leaves_with_path(value):
                    writer.add_scalar("/".join([name, *(_key(part) for part in path)]), number, step)
            for summary, model in self.summaries:
                if summary.tag in values:
                    continue  # the tutorials make a summary of every metric, which is written by now
                with in_eval_mode(model), torch.inference_mode():
                    value = model(*place_batch([batch[name] for name in model.inputs], self.device))
                summary.write(writer, step, value)


def _named_updates(eval_op: Any) -> dict[str, Symbol]:
    """Name -> update; without names given, that in its map, or the scope in which the metric was made."""
    if isinstance(eval_op, Mapping):
        updates = dict(eval_op)
    else:
        given = [eval_op] if isinstance(eval_op, Symbol) else list(eval_op or ())
        updates = {_name_of(symbol): symbol for symbol in given}
    for name, symbol in updates.items():
        if not isinstance(symbol, Symbol) or not isinstance(_module_of(symbol), MetricUpdate):
            raise ValueError(
                "evaluation: `eval_op` must be updates of metrics: the second of the pair of Symbols that "
                f"`slim.metrics` gives, or the `names_to_updates` of a map. Got {symbol!r} for {name!r}."
            )
    if not updates:
        raise ValueError("evaluation: `eval_op` must have at least one update of a metric. Got 0.")
    return updates


def _name_of(update: Any) -> str:
    if not isinstance(update, Symbol):
        return ""
    scope = str(update.node.target).removesuffix(".update").replace(".", "/")
    return update.aliases[-1] if update.aliases else scope


def _module_of(symbol: Symbol) -> Any:
    return symbol.owner.get_module(str(symbol.node.target)) if symbol.node.op == "call_module" else None


def _symbols_among(update: Symbol) -> list[Symbol]:
    return [Symbol(value, update.tracer) for value in update.node.args if isinstance(value, fx.Node)]


def _arguments(update: Symbol, computed: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
    """The arguments of the update: what was computed, and between them the plain values of the call."""
    values = iter(computed)
    return tuple(next(values) if isinstance(value, fx.Node) else value for value in update.node.args)


def _as_collection(variables: VariablesToRestore | None) -> dict[str, Variable] | list[Variable] | None:
    if variables is None:
        return None
    return dict(variables) if isinstance(variables, Mapping) else list(variables)


def _plain(outputs: Any) -> Any:
    """A view of a dict (`names_to_values.values()`) as a list."""
    if isinstance(outputs, Symbol | Mapping | list | tuple):
        return dict(outputs) if isinstance(outputs, Mapping) else outputs
    return list(outputs)


def _global_step(path: Path | None) -> int:
    step = None if path is None else step_of(path)
    if path is None or step is not None:
        return step or 0
    try:
        return int(load_checkpoint(path, verify=False)["global_step"])
    except (ValueError, KeyError):  # weights alone know no step
        return 0


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "idx", part)))
