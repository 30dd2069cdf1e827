"""Training: `create_train_op` makes a step of a loss and an optimizer, `train` runs it."""

from torchslim.learning.create import create_train_op
from torchslim.learning.global_clipping import adaptive_clipping_fn
from torchslim.learning.gradients import add_gradients_summaries, clip_gradient_norms, multiply_gradients
from torchslim.learning.optimize import optimize_loss
from torchslim.learning.train_op import TrainOp
from torchslim.learning.training import train, train_step

__all__ = [
    "TrainOp",
    "adaptive_clipping_fn",
    "add_gradients_summaries",
    "clip_gradient_norms",
    "create_train_op",
    "multiply_gradients",
    "optimize_loss",
    "train",
    "train_step",
]
