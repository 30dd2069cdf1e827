"""Evaluations inside of a training: of the variables as they are, not of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from torchslim.evaluation.passes import evaluate
from torchslim.evaluation.updates import Updates


def evaluator(eval_op: Any, num_evals: int | None = None) -> Callable[[], dict[str, Any]]:
    """What `slim.learning.train(eval_fn=)` takes: one pass over the data of a graph's metrics, each time it is called.

    Args:
        eval_op: the updates of metrics, as in `evaluate_once`.
        num_evals: the number of batches to stop after; None: one whole pass, each example once.

    Returns:
        A function without arguments, that gives metrics by their names.

    Raises:
        ValueError: if `eval_op` has no updates of metrics.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     x, y = slim.placeholder((None, 3), name='x'), slim.placeholder((None, 1), name='y')
        ...     graph.add_feed([(torch.ones(4, 3), torch.zeros(4, 1))], [x, y])
        ...     net = slim.fully_connected(x, 1, activation_fn=None, scope='fc')
        ...     _, names_to_updates = slim.metrics.aggregate_metric_map({
        ...         'error': slim.metrics.streaming_mean_absolute_error(net, y)})
        ...     evaluate = slim.evaluation.evaluator(names_to_updates)
        ...     _ = slim.assign_from_values({'fc/weights': torch.full((1, 3), 2.0)})
        ...     evaluate()
        {'error': 6.0}
    """
    updates = Updates(eval_op)
    module = updates.model()

    def run() -> dict[str, Any]:
        updates.graph.initialize(model=module)
        place = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        batches = updates.graph.batches(module.inputs)
        return evaluate(module, batches, updates.metrics, step=updates.step, num_evals=num_evals, device=place)

    return run
