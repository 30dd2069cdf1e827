"""Evaluation: metrics over one pass of the data, for a module at hand or for a training's checkpoints."""

from torchslim.evaluation.checkpointed import Evaluation, evaluate_once
from torchslim.evaluation.following import (
    checkpoints_iterator,
    evaluate_repeatedly,
    evaluation_loop,
    wait_for_new_checkpoint,
)
from torchslim.evaluation.hooks import Hook, JsonLinesAtEndHook, StopAfterNEvalsHook, SummaryAtEndHook
from torchslim.evaluation.live import evaluator
from torchslim.evaluation.passes import evaluate
from torchslim.evaluation.recalibration import recalibrate_batch_norm

__all__ = [
    "Evaluation",
    "Hook",
    "JsonLinesAtEndHook",
    "StopAfterNEvalsHook",
    "SummaryAtEndHook",
    "checkpoints_iterator",
    "evaluate",
    "evaluate_once",
    "evaluate_repeatedly",
    "evaluation_loop",
    "evaluator",
    "recalibrate_batch_norm",
    "wait_for_new_checkpoint",
]
