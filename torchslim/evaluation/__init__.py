"""Evaluation: metrics over one pass of the data, for a module at hand or for a training's checkpoints."""

from torchslim.evaluation.checkpointed import evaluate_once
from torchslim.evaluation.following import (
    checkpoints_iterator,
    evaluate_repeatedly,
    evaluation_loop,
    wait_for_new_checkpoint,
)
from torchslim.evaluation.passes import evaluate

__all__ = [
    "checkpoints_iterator",
    "evaluate",
    "evaluate_once",
    "evaluate_repeatedly",
    "evaluation_loop",
    "wait_for_new_checkpoint",
]
