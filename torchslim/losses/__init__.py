"""Losses with TF-Slim's names, arguments and weighting rules; logits and predictions come first.

Called with Symbols a loss is one node of the graph, and is added to the collection `'losses'`, from which
`get_total_loss` sums. Called with tensors it only computes. All of them compute in float32 at least, whatever
autocast says.
"""

from torchslim.losses.collection import (
    add_loss,
    add_n,
    get_losses,
    get_regularization_losses,
    get_total_loss,
)
from torchslim.losses.cross_entropy import (
    log_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from torchslim.losses.regression import absolute_difference, mean_squared_error
from torchslim.losses.weighting import compute_weighted_loss

# The names of the tutorials.
sum_of_squares = mean_squared_error

__all__ = [
    "absolute_difference",
    "add_loss",
    "add_n",
    "compute_weighted_loss",
    "get_losses",
    "get_regularization_losses",
    "get_total_loss",
    "log_loss",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
    "sum_of_squares",
]
