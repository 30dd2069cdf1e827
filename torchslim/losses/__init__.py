"""Losses with TF-Slim's names, arguments and weighting rules; logits and predictions come first.

Called with Symbols a loss is one node of the graph, and is added to the collection `'losses'`, from which
`get_total_loss` sums; TF-Slim adds neither `hinge_loss` nor the losses of `metric_learning`, see `add_loss`. Called
with tensors it only computes. All of them compute in float32 at least, whatever autocast says.

`tf_losses` has TensorFlow's own: labels first, a choice of reductions, and other rules for weights.
"""

from torchslim.losses import metric_learning, tf_losses
from torchslim.losses.collection import (
    add_loss,
    add_n,
    get_losses,
    get_regularization_loss,
    get_regularization_losses,
    get_total_loss,
)
from torchslim.losses.cross_entropy import (
    hinge_loss,
    log_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from torchslim.losses.metric_learning import (
    cluster_loss,
    contrastive_loss,
    lifted_struct_loss,
    npairs_loss,
    npairs_loss_multilabel,
    triplet_semihard_loss,
)
from torchslim.losses.regression import (
    absolute_difference,
    cosine_distance,
    huber_loss,
    mean_pairwise_squared_error,
    mean_squared_error,
)
from torchslim.losses.weighting import compute_weighted_loss

# The names of the tutorials.
sum_of_squares = mean_squared_error
sum_of_pairwise_squares = mean_pairwise_squared_error

__all__ = [
    "absolute_difference",
    "add_loss",
    "add_n",
    "cluster_loss",
    "compute_weighted_loss",
    "contrastive_loss",
    "cosine_distance",
    "get_losses",
    "get_regularization_loss",
    "get_regularization_losses",
    "get_total_loss",
    "hinge_loss",
    "huber_loss",
    "lifted_struct_loss",
    "log_loss",
    "mean_pairwise_squared_error",
    "mean_squared_error",
    "metric_learning",
    "npairs_loss",
    "npairs_loss_multilabel",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
    "sum_of_pairwise_squares",
    "sum_of_squares",
    "tf_losses",
    "triplet_semihard_loss",
]
