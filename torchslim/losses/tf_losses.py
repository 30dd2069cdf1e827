"""The losses of TensorFlow 1's `tf.losses`: labels first, weights that broadcast, and a choice of reductions.

Like the losses beside them they are one node of the graph where Symbols flow in, and become members of the collection
`'losses'`, which both share.

Weights are a number, or have the rank of the losses that they weigh and in each dimension its size or 1.
"""

from torchslim.losses.collection import (
    add_loss,
    get_losses,
    get_regularization_loss,
    get_regularization_losses,
    get_total_loss,
)
from torchslim.losses.reduction import Reduction, compute_weighted_loss
from torchslim.losses.tf_cross_entropy import (
    hinge_loss,
    log_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from torchslim.losses.tf_regression import (
    absolute_difference,
    cosine_distance,
    huber_loss,
    mean_pairwise_squared_error,
    mean_squared_error,
)

__all__ = [
    "Reduction",
    "absolute_difference",
    "add_loss",
    "compute_weighted_loss",
    "cosine_distance",
    "get_losses",
    "get_regularization_loss",
    "get_regularization_losses",
    "get_total_loss",
    "hinge_loss",
    "huber_loss",
    "log_loss",
    "mean_pairwise_squared_error",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
]
