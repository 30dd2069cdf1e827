"""Losses of embeddings: what has the same label should be near, the rest far away.

They compute, and are one node where Symbols flow in, as all losses; but as in TF-Slim nothing is added to the
collection of losses: `slim.losses.add_loss(loss)` does it.
"""

# Shape letters: B examples (or pairs of examples), D size of the embedding, K classes.
from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from torchslim.graph import Value
from torchslim.losses.clustering import (
    compute_augmented_facility_locations,
    compute_augmented_facility_locations_pam,
    compute_clustering_score,
    compute_facility_energy,
    compute_gt_cluster_score,
    get_cluster_assignment,
)
from torchslim.losses.weighting import recorded

__all__ = [
    "cluster_loss",
    "compute_augmented_facility_locations",
    "compute_augmented_facility_locations_pam",
    "compute_clustering_score",
    "compute_facility_energy",
    "compute_gt_cluster_score",
    "contrastive_loss",
    "get_cluster_assignment",
    "lifted_struct_loss",
    "npairs_loss",
    "npairs_loss_multilabel",
    "pairwise_distance",
    "triplet_semihard_loss",
]

logger = logging.getLogger(__name__)


def pairwise_distance(feature: torch.Tensor, squared: bool = False) -> torch.Tensor:
    """The Euclidean distance between each two rows; where it is 0, so is its gradient.

    Args:
        feature: `[B, D]`.
        squared: whether the squares of the distances are wanted.

    Returns:
        `[B, B]`.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    products = feature @ feature.t()
    norms = products.diagonal()
    squares = (norms[:, None] + norms - 2 * products).clamp(min=0)
    if squared:
        return squares
    touching = squares == 0
    return squares.masked_fill(touching, 1.0).sqrt().masked_fill(touching, 0.0)


def _check_labels(function: str, labels: torch.Tensor, embeddings: torch.Tensor) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"{function}: `labels` must have one label for each of the embeddings, which are [B, D]. "
            f"Got {list(labels.shape)} and {list(embeddings.shape)}."
        )


def _check_pairs(function: str, anchor: torch.Tensor, positive: torch.Tensor) -> None:
    if anchor.ndim != 2 or anchor.shape != positive.shape:
        raise ValueError(
            f"{function}: `embeddings_anchor` and `embeddings_positive` must both be [B, D]. "
            f"Got {list(anchor.shape)} and {list(positive.shape)}."
        )


def _same(labels: torch.Tensor) -> torch.Tensor:
    return labels[:, None] == labels


@recorded("contrastive_loss", collected=False)
def contrastive_loss(labels: Value, embeddings_anchor: Value, embeddings_positive: Value, margin: float = 1.0) -> Value:
    """Pulls pairs together or pushes them apart up to a margin (Hadsell, Chopra, LeCun 2006).

    Args:
        labels: `[B]`: 1 if the two of a pair belong together, 0 if not.
        embeddings_anchor: `[B, D]`, best of length 1 each.
        embeddings_positive: `[B, D]`: the others of the pairs.
        margin: the distance that is far enough.

    Returns:
        A scalar: the mean of `labels * d ** 2 + (1 - labels) * max(0, margin - d) ** 2`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.contrastive_loss(torch.tensor([1, 0]), torch.zeros(2, 1), torch.tensor([[0.5], [0.5]]))
        tensor(0.2500)

    TF-Slim: where the two of a pair coincide and should not, its gradients are NaN; here they are 0.
    """
    _check_pairs("contrastive_loss", embeddings_anchor, embeddings_positive)
    _check_labels("contrastive_loss", labels, embeddings_anchor)
    labels = labels.to(embeddings_anchor.dtype)
    distances = torch.linalg.vector_norm(embeddings_anchor - embeddings_positive, dim=1)
    return (labels * distances.square() + (1 - labels) * F.relu(margin - distances).square()).mean()


@recorded("triplet_semihard_loss", collected=False)
def triplet_semihard_loss(labels: Value, embeddings: Value, margin: float = 1.0) -> Value:
    """The triplet loss with semi-hard negatives found in the batch (FaceNet, arXiv:1503.03832).

    For each pair of the same label, the negative is the nearest one that is farther away than the positive, or the
    farthest one if there is none.

    Args:
        labels: `[B]`, whole numbers.
        embeddings: `[B, D]`, best of length 1 each.
        margin: how much farther (in squared distance) a negative should be than a positive.

    Returns:
        A scalar: the mean over pairs of `max(0, margin + d_positive ** 2 - d_negative ** 2)`. NaN, as in TF-Slim, if no
        two labels are the same.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> embeddings = torch.tensor([[0.0], [1.0], [1.5]])
        >>> slim.losses.triplet_semihard_loss(torch.tensor([7, 7, 8]), embeddings)
        tensor(0.8750)
    """
    _check_labels("triplet_semihard_loss", labels, embeddings)
    distances = pairwise_distance(embeddings, squared=True)
    same = _same(labels)
    ordered, _ = distances.masked_fill(same, float("inf")).sort(1)
    # Each row ends in an infinity, at the latest the anchor's own: only a NaN is beyond the end.
    farther = torch.searchsorted(ordered.detach(), distances.detach(), right=True).clamp(max=len(labels) - 1)
    outside, inside = ordered.gather(1, farther), (distances * ~same).amax(1, keepdim=True)
    negatives = torch.where(outside.isinf(), inside, outside)
    positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
    return F.relu((margin + distances - negatives) * positives).sum() / positives.sum()


@recorded("lifted_struct_loss", collected=False)
def lifted_struct_loss(labels: Value, embeddings: Value, margin: float = 1.0) -> Value:
    """The lifted structured loss: each pair against all negatives of both at once (arXiv:1511.06452).

    Args:
        labels: `[B]`, whole numbers.
        embeddings: `[B, D]`, not normalised.
        margin: the distance that negatives should have.

    Returns:
        A scalar: half of the mean over pairs of `max(0, d + log(sum(exp(margin - d_negatives)))) ** 2`. NaN, as in
        TF-Slim, if no two labels are the same.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.lifted_struct_loss(torch.tensor([7, 7, 8]), torch.tensor([[0.0], [1.0], [2.0]]))
        tensor(0.8623)

    TF-Slim: is NaN if all labels are the same, too; here that is 0: nothing is to be pushed away.
    """
    _check_labels("lifted_struct_loss", labels, embeddings)
    distances = pairwise_distance(embeddings)
    same = _same(labels)
    nearness = (margin - distances).masked_fill(same, float("-inf")).logsumexp(1)
    losses = torch.logaddexp(nearness[:, None], nearness) + distances
    positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
    return F.relu(torch.where(positives, losses, 0.0)).square().sum() / (2 * positives.sum())


def _npairs(
    targets: torch.Tensor, anchor: torch.Tensor, positive: torch.Tensor, reg_lambda: float, print_losses: bool
) -> torch.Tensor:
    cross_entropy = F.cross_entropy(anchor @ positive.t(), targets / targets.sum(1, keepdim=True))
    lengths = anchor.square().sum(1).mean() + positive.square().sum(1).mean()
    penalty = 0.25 * reg_lambda * lengths
    if print_losses and not penalty.is_meta:
        logger.info("npairs_loss: cross entropy %.6g, l2 loss %.6g", cross_entropy.item(), penalty.item())
    return cross_entropy + penalty


@recorded("npairs_loss", collected=False)
def npairs_loss(
    labels: Value,
    embeddings_anchor: Value,
    embeddings_positive: Value,
    reg_lambda: float = 0.002,
    print_losses: bool = False,
) -> Value:
    """The N-pairs loss: each anchor should find its positive among those of all pairs (Sohn 2016).

    Args:
        labels: `[B]`, whole numbers: the classes of the pairs.
        embeddings_anchor: `[B, D]`, not normalised.
        embeddings_positive: `[B, D]`: the others of the pairs.
        reg_lambda: scale of the L2 penalty on the embeddings.
        print_losses: whether both parts are logged, too.

    Returns:
        A scalar: the cross entropy of the scalar products with the labels, plus the penalty.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.losses.npairs_loss(torch.tensor([3, 5]), 2 * torch.eye(2), 2 * torch.eye(2))
        tensor(0.0221)
    """
    _check_pairs("npairs_loss", embeddings_anchor, embeddings_positive)
    _check_labels("npairs_loss", labels, embeddings_anchor)
    targets = _same(labels).to(embeddings_anchor.dtype)
    return _npairs(targets, embeddings_anchor, embeddings_positive, reg_lambda, print_losses)


@recorded("npairs_loss_multilabel", collected=False)
def npairs_loss_multilabel(
    sparse_labels: Sequence[Value],
    embeddings_anchor: Value,
    embeddings_positive: Value,
    reg_lambda: float = 0.002,
    print_losses: bool = False,
) -> Value:
    """The N-pairs loss for pairs that have several labels: the more two pairs share, the nearer they should be.

    Args:
        sparse_labels: B sparse tensors `[K]` of 0 and 1, such as `slim.dense_to_sparse` makes; one for each pair, which
            must have at least one label (else the loss is NaN, as in TF-Slim).
        embeddings_anchor: `[B, D]`, not normalised.
        embeddings_positive: `[B, D]`: the others of the pairs.
        reg_lambda: scale of the L2 penalty on the embeddings.
        print_losses: whether both parts are logged, too.

    Returns:
        A scalar: the cross entropy of the scalar products with the numbers of shared labels, plus the penalty.

    Raises:
        TypeError: if the labels are not sparse tensors.
        ValueError: if the shapes do not fit.

    Example:
        >>> import torch, torchslim as slim
        >>> labels = [slim.dense_to_sparse(torch.tensor(label)) for label in ([1, 0, 1], [0, 1, 1])]
        >>> slim.losses.npairs_loss_multilabel(labels, 2 * torch.eye(2), 2 * torch.eye(2))
        tensor(1.3555)
    """
    _check_pairs("npairs_loss_multilabel", embeddings_anchor, embeddings_positive)
    dense = [label for label in sparse_labels if not label.is_sparse]
    if dense:
        raise TypeError(
            "npairs_loss_multilabel: `sparse_labels` must be sparse tensors: use `slim.dense_to_sparse`. "
            f"Got a dense one of shape {list(dense[0].shape)}."
        )
    if embeddings_anchor.is_meta:  # a Symbol's batch may have any size, the list has one
        return embeddings_anchor.new_empty(())
    if len(sparse_labels) != len(embeddings_anchor):
        raise ValueError(
            "npairs_loss_multilabel: `sparse_labels` must have one member for each pair. "
            f"Got {len(sparse_labels)} for {len(embeddings_anchor)} pairs."
        )
    labels = torch.stack([label.to_dense().flatten() for label in sparse_labels])
    shared = torch.minimum(labels[:, None], labels).sum(2).to(embeddings_anchor.dtype)
    return _npairs(shared, embeddings_anchor, embeddings_positive, reg_lambda, print_losses)


@recorded("cluster_loss", collected=False)
def cluster_loss(
    labels: Value,
    embeddings: Value,
    margin_multiplier: float,
    enable_pam_finetuning: bool = True,
    margin_type: str = "nmi",
    print_losses: bool = False,
) -> Value:
    """Facility location: the true clusters should beat the worst clustering that is almost as good (arXiv:1612.01213).

    Args:
        labels: `[B]` or `[B, 1]`, whole numbers.
        embeddings: `[B, D]`, best of length 1 each.
        margin_multiplier: weighs how different the other clustering is from the labels.
        enable_pam_finetuning: whether the greedy clustering is refined by local search.
        margin_type: how the two are compared, see `compute_clustering_score`.
        print_losses: whether the loss is logged, too.

    Returns:
        A scalar. The search is not differentiated; it takes a step per class and looks at data in between, so that
        this loss cannot be compiled into one graph.

    Raises:
        ValueError: if the shapes do not fit, or there is no such `margin_type`.

    Example:
        >>> import torch, torchslim as slim
        >>> embeddings = torch.tensor([[0.0], [1.0], [1.5], [2.5]])
        >>> slim.losses.cluster_loss(torch.tensor([0, 0, 1, 1]), embeddings, 1.0)
        tensor(1.1563)

    TF-Slim: asks for scikit-learn; its scores are computed here.
    """
    labels = labels.squeeze(1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    _check_labels("cluster_loss", labels, embeddings)
    if embeddings.is_meta:  # how many classes there are depends on the values
        return embeddings.new_empty(())
    distances = pairwise_distance(embeddings)
    ids = torch.arange(len(labels), device=labels.device)
    with torch.no_grad():
        search = (margin_multiplier, margin_type)
        centroids = compute_augmented_facility_locations(distances, labels, ids, *search)
        if enable_pam_finetuning:
            centroids = compute_augmented_facility_locations_pam(distances, labels, *search, centroids)
        score = compute_clustering_score(labels, get_cluster_assignment(distances, centroids), margin_type)
    energy = compute_facility_energy(distances, centroids)
    loss = F.relu(energy + margin_multiplier * (1 - score) - compute_gt_cluster_score(distances, labels))
    if print_losses:
        logger.info("cluster_loss: %.6g", loss.item())
    return loss
