"""The statistics of batch norms, computed anew for weights that they were not collected with."""

from __future__ import annotations

import contextlib
import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchslim.evaluation.passes import in_eval_mode
from torchslim.evaluation.processes import from_all
from torchslim.graph import Graph, Model, Symbol
from torchslim.layers.synchronized import is_spread, sum_over_processes
from torchslim.learning.device import place_batch
from torchslim.variables.queries import unwrap


def recalibrate_batch_norm(
    module_or_graph: nn.Module | Graph,
    batches: Iterable[Any] | None = None,
    num_batches: int | None = None,
    *,
    step: Callable[..., Any] | None = None,
) -> int:
    """Makes the moving mean and variance of each batch norm the exact mean of those of the given batches.

    The moving averages of a training are those of the weights on the way, the last ones most. For averaged weights
    (`ema_decay`), or with a slow `decay`, they are wrong at first; a pass over some hundred examples puts them right.
    It runs the module as in evaluation, dropout off, but for its batch norms, which normalize by the batch as in
    training. Each layer keeps its kind of variance, the unbiased or the biased one. Batch norms with
    `is_training=False` are left as they are. Several processes, each with its share, get the same: the mean over all
    batches of all of them.

    Args:
        module_or_graph: any module (inside DistributedDataParallel and `torch.compile` too), or a `slim.Graph`, of
            which just the batch norms and what leads to them is computed. It stays on its device.
        batches: tuples of tensors, e.g. a `DataLoader`; training data. Default: what feeds the graph.
        num_batches: stop after so many, in each process; None: one whole pass. A smaller last batch counts as much as
            the others, as for PyTorch's batch norms with `momentum=None`.
        step: `step(module, *batch)` runs the module. Default: a built model gets as many items of the batch as it has
            inputs, another module all but the last one, the label.

    Returns:
        How many batches it was, in all processes.

    Raises:
        ValueError: if there is no batch norm, or no batch, or `num_batches` is less than 1.

    Example:
        >>> import torch, torchslim as slim
        >>> norm = torch.nn.BatchNorm1d(1)
        >>> batches = [(torch.tensor([[0.0], [2.0]]), None), (torch.tensor([[4.0], [10.0]]), None)]
        >>> slim.evaluation.recalibrate_batch_norm(norm, batches)
        2
        >>> norm.running_mean, norm.running_var  # of 1 and 7, and of 2 and 18
        (tensor([4.]), tensor([10.]))
    """
    if num_batches is not None and num_batches < 1:
        raise ValueError(
            f"recalibrate_batch_norm: `num_batches` must be at least 1, or None for all. Got {num_batches}."
        )
    module: nn.Module
    if isinstance(module_or_graph, Graph):
        module = model = _norms_of(module_or_graph)
        batches = module_or_graph.batches(model.inputs) if batches is None else batches
    else:
        module = unwrap(module_or_graph)
    layers = [layer for layer in module.modules() if _is_recalibrated(layer)]
    if not layers:
        raise ValueError(
            "recalibrate_batch_norm: `module_or_graph` must have a batch norm that keeps statistics and is not held at "
            f"inference. Got a {type(module_or_graph).__name__} without one."
        )
    if batches is None:
        raise ValueError("recalibrate_batch_norm: `batches` must be given for a module. Got None.")
    place = next(itertools.chain(module.parameters(), module.buffers())).device
    sums = _Sums(layers)
    count = 0
    with in_eval_mode(module), torch.no_grad(), sums.collected():
        for batch in itertools.islice(batches, num_batches):
            placed = place_batch(batch if isinstance(batch, list | tuple) else (batch, None), place)
            (step or _forward)(module, *placed)
            count += 1
    total = sum(from_all(count))
    if not total:
        raise ValueError("recalibrate_batch_norm: `batches` must have at least one batch. Got 0.")
    sums.store()
    return total


def _forward(module: nn.Module, *batch: Any) -> None:
    module(*(batch[: len(module.inputs)] if isinstance(module, Model) else batch[:-1]))


def _norms_of(graph: Graph) -> Model:
    """A module that computes the layers of a graph that have batch norms to recalibrate."""
    nodes = [
        node
        for node in graph.fx_graph.nodes
        if node.op == "call_module" and any(map(_is_recalibrated, graph.get_module(str(node.target)).modules()))
    ]
    if not nodes:
        raise ValueError(
            "recalibrate_batch_norm: `module_or_graph` must have a batch norm that is not held at inference. "
            "Got a Graph without one."
        )
    model = graph.module(tuple(Symbol(node, graph.recorder) for node in nodes), initialize=False)
    graph.initialize(model=model)
    return model


def _is_recalibrated(layer: nn.Module) -> bool:
    """Whether it is a batch norm that keeps statistics, and not one that `is_training=False` holds at inference."""
    keeps = isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.track_running_stats
    return keeps and getattr(layer, "is_training", None) is not False


class _Sums:
    """The sums of the statistics of all calls of batch norms; layers that share their statistics share the sums."""

    def __init__(self, layers: Iterable[Any]) -> None:
        self._layers = list(layers)
        self._sums: dict[int, torch.Tensor] = {}
        for layer in self._layers:
            # The means, the variances (for renorm the deviations), and how many they are.
            sums = torch.zeros(2 * layer.num_features + 1, dtype=torch.float64, device=layer.running_mean.device)
            self._sums.setdefault(id(layer.running_mean), sums)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Has the layers train, each call leave exactly its own statistics behind, and adds those up."""
        with contextlib.ExitStack() as stack:
            for layer in self._layers:
                # Waiting updates would not come, and renorm would correct by the averages that are to be replaced.
                changed = {"momentum": 1.0, "collections": (), "renorm": False}
                # Shares of the data may differ: nobody waits for the others' batches.
                changed["synchronized"] = False
                if isinstance(layer, nn.SyncBatchNorm) or "forward" in vars(layer):
                    changed["forward"] = types.MethodType(_BatchNorm.forward, layer)
                stack.enter_context(_attributes(layer, changed))
                stack.callback(layer.register_forward_hook(self._add).remove)
                layer.train()
            yield

    def _add(self, layer: Any, inputs: Any, output: Any) -> None:
        variance = layer.running_var.double()
        spread = (variance + layer.eps).sqrt() if hasattr(layer, "running_std") else variance
        one = torch.ones_like(spread[:1])
        self._sums[id(layer.running_mean)] += torch.cat([layer.running_mean.double(), spread, one])

    @torch.no_grad()
    def store(self) -> None:
        """Puts the means into the layers; one that was not called keeps what it has."""
        everything = torch.cat(list(self._sums.values()))
        if is_spread():
            everything = sum_over_processes(everything)
        sizes = [len(sums) for sums in self._sums.values()]
        means = dict(zip(self._sums, everything.split(sizes), strict=True))
        for layer in self._layers:
            sums = means[id(layer.running_mean)]
            if sums[-1]:
                mean, spread = (sums[:-1] / sums[-1]).chunk(2)
                _store(layer, mean, spread, int(sums[-1]))


def _store(layer: Any, mean: torch.Tensor, spread: torch.Tensor, count: int) -> None:
    layer.running_mean.copy_(mean)
    if hasattr(layer, "running_std"):  # renorm averages deviations, and has the variance from them
        for deviation in (layer.running_std, layer.renorm_std):
            deviation.copy_(spread)
        layer.renorm_mean.copy_(mean)
        spread = (spread.square() - layer.eps).clamp(min=0)
    layer.running_var.copy_(spread)
    if getattr(layer, "zero_debias", False):  # training goes on from here: the mean before it is divided
        seen = 1 - (1 - layer.momentum) ** layer.running_mean_step
        layer.running_mean_biased.copy_(mean * seen)
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.fill_(count)


@contextlib.contextmanager
def _attributes(layer: nn.Module, values: dict[str, Any]) -> Iterator[None]:
    """Gives a layer other attributes for a while, those that it has."""
    before = {name: getattr(layer, name) for name in values if hasattr(layer, name)}
    own = {name for name in before if name in layer.__dict__}
    for name in before:
        setattr(layer, name, values[name])
    try:
        yield
    finally:
        for name, value in before.items():
            if name in own:
                setattr(layer, name, value)
            else:
                delattr(layer, name)
