"""One pass of a module over data, with metrics: what every evaluation comes down to."""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torchmetrics import Metric

from torchslim.evaluation.processes import from_all
from torchslim.learning.device import place_batch, place_tensors, resolve_device

logger = logging.getLogger(__name__)


def evaluate(
    module: nn.Module,
    batches: Iterable[Any],
    metrics: Mapping[str, Metric],
    *,
    step: Callable[..., Any] | None = None,
    num_evals: int | None = None,
    device: str | torch.device = "auto",
) -> dict[str, Any]:
    """Runs a module once over data, in inference mode, and returns what metrics make of it.

    Every example counts exactly once, also those of a last, smaller batch. Where several processes run this,
    each over its share of the data, the metrics add up; the shares may differ, and some may be empty.

    Args:
        module: it is put on `device`, and into `eval()` for the time of the call.
        batches: tuples of tensors, e.g. a `DataLoader`.
        metrics: name -> a metric of `slim.metrics` or torchmetrics. They start from nothing.
        step: `step(module, *batch)` gives what the metrics' `update` takes: one tuple for all of them, or a
            dict of tuples by their names. Default: `(module(*batch[:-1]), batch[-1])`, predictions and
            labels.
        num_evals: the number of batches to stop after. None: all.
        device: `'auto'`: CUDA if there is a device, else the CPU.

    Returns:
        Name -> value, as Python numbers (and lists or dicts of them).

    Raises:
        ValueError: if there is no batch (in any process), or `num_evals` is less than 1.

    Example:
        >>> import torch, torchslim as slim
        >>> data = torch.utils.data.TensorDataset(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]))
        >>> batches = torch.utils.data.DataLoader(data, batch_size=3)
        >>> slim.evaluation.evaluate(torch.nn.Identity(), batches, {'accuracy': slim.metrics.StreamingAccuracy()})
        {'accuracy': 0.75}
    """
    if num_evals is not None and num_evals < 1:
        raise ValueError(f"evaluate: `num_evals` must be at least 1, or None for all batches. Got {num_evals}.")
    if isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module  # it would wait for the others in every batch, and some may have one less
    step = step or _predictions_and_labels
    device = resolve_device(device)
    place_tensors(itertools.chain(module.parameters(), module.buffers()), device)
    for metric in metrics.values():
        metric.to(device).reset()
    count = 0
    with in_eval_mode(module), torch.inference_mode():
        for batch in itertools.islice(batches, num_evals):
            given = step(module, *place_batch(batch, device))
            for name, metric in metrics.items():
                metric.update(*(given[name] if isinstance(given, Mapping) else given))
            count += 1
    if not sum(from_all(count)):
        raise ValueError("evaluate: `batches` must have at least one batch. Got 0. Is the data set empty?")
    if num_evals is not None and count < num_evals:
        logger.info("evaluate: the data has %d batches, not %d: one pass, each example once.", count, num_evals)
    _give_empty_states(metrics.values())
    with warnings.catch_warnings():  # a process without a batch of its own has the metrics of the others
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method")
        return {name: to_python(metric.compute()) for name, metric in metrics.items()}


def _predictions_and_labels(module: nn.Module, *batch: Any) -> tuple[Any, Any]:
    return module(*batch[:-1]), batch[-1]


def _give_empty_states(metrics: Iterable[Metric]) -> None:
    """Gives metrics without a batch empty tensors like those of the other processes: only such can be gathered."""
    parts = [part for metric in metrics for part in metric.modules() if isinstance(part, Metric)]
    lists = [(part, state) for part in parts for state in part.metric_state.values() if isinstance(state, list)]
    firsts = [state[0] if state else None for _, state in lists]
    kinds = [(first.shape[1:], first.dtype) if isinstance(first, torch.Tensor) else None for first in firsts]
    for (part, state), *known in zip(lists, *from_all(kinds), strict=True):
        kind = next(filter(None, known), None)
        if not state and kind:
            state.append(torch.empty((0, *kind[0]), dtype=kind[1], device=part.device))


@contextlib.contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Puts a module into `eval()`, and each part of it back into the mode that it was in."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in training.items():
            part.training = mode


def to_python(value: Any) -> Any:
    """The tensors in `value` as numbers and lists."""
    return tree_map(lambda leaf: leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf, value)
