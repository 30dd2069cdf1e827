"""Facility location: choosing the examples around which the others cluster (arXiv:1612.01213)."""

# Shape letters: B examples, C candidates, K centroids.
from __future__ import annotations

import torch

from torchslim.losses.agreement import Agreement


def get_cluster_assignment(pairwise_distances: torch.Tensor, centroid_ids: torch.Tensor) -> torch.Tensor:
    """The number of the nearest centroid; a centroid is its own nearest, also where others coincide with it.

    Args:
        pairwise_distances: `[B, B]`.
        centroid_ids: `[K]`: which examples are the centroids; or `[C, K]`: several choices.

    Returns:
        `[B]` (`[C, B]`) of `0 ... K - 1`.

    Example:
        >>> import torch, torchslim as slim
        >>> distances = slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> slim.losses.metric_learning.get_cluster_assignment(distances, torch.tensor([2, 0]))
        tensor([1, 1, 0])
    """
    nearest = pairwise_distances[centroid_ids].argmin(-2)
    numbers = torch.arange(centroid_ids.shape[-1], device=centroid_ids.device)
    return nearest.scatter(-1, centroid_ids, numbers.expand_as(centroid_ids))


def compute_clustering_score(labels: torch.Tensor, predictions: torch.Tensor, margin_type: str) -> torch.Tensor:
    """How well a clustering agrees with labels, whatever its clusters are called.

    Args:
        labels: `[B]`, whole numbers.
        predictions: `[B]`: the numbers of the clusters.
        margin_type: `'nmi'` (normalized mutual information), `'ami'` (adjusted mutual information), `'ari'` (adjusted
            Rand index), `'vmeasure'` (the same as `'nmi'`) or `'const'` (1 if the numbers themselves are the same).

    Returns:
        A float32 scalar from 0, also for less agreement than by chance, to 1.

    Raises:
        ValueError: if there is no such `margin_type`.

    Example:
        >>> import torch, torchslim as slim
        >>> labels, clusters = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0])
        >>> slim.losses.metric_learning.compute_clustering_score(labels, clusters, 'ari')
        tensor(1.)
    """
    return Agreement(labels, margin_type)(predictions)


def compute_facility_energy(pairwise_distances: torch.Tensor, centroid_ids: torch.Tensor) -> torch.Tensor:
    """Minus the sum of the distances to the nearest centroid.

    Args:
        pairwise_distances: `[B, B]`.
        centroid_ids: `[K]`; or `[C, K]`: several choices.

    Returns:
        A scalar (`[C]`).

    Example:
        >>> import torch, torchslim as slim
        >>> distances = slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> slim.losses.metric_learning.compute_facility_energy(distances, torch.tensor([2, 0]))
        tensor(-1.)
    """
    return -pairwise_distances[centroid_ids].amin(-2).sum(-1)


def compute_gt_cluster_score(pairwise_distances: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The energy of the true clusters, each around its best member.

    Args:
        pairwise_distances: `[B, B]`.
        labels: `[B]`, whole numbers.

    Returns:
        A scalar.

    Example:
        >>> import torch, torchslim as slim
        >>> distances = slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> slim.losses.metric_learning.compute_gt_cluster_score(distances, torch.tensor([4, 4, 4]))
        tensor(-3.)
    """
    members = labels == labels.unique()[:, None]
    travelled = (pairwise_distances * (labels[:, None] == labels)).sum(1)
    return -torch.where(members, travelled, float("inf")).amin(1).sum()


def compute_augmented_facility_locations(
    pairwise_distances: torch.Tensor,
    labels: torch.Tensor,
    all_ids: torch.Tensor,
    margin_multiplier: float,
    margin_type: str,
) -> torch.Tensor:
    """Chooses as many centroids as there are classes, one after the other, for a good but wrong clustering.

    Args:
        pairwise_distances: `[B, B]`.
        labels: `[B]`, whole numbers.
        all_ids: the examples to choose from.
        margin_multiplier: weighs the disagreement with the labels.
        margin_type: see `compute_clustering_score`.

    Returns:
        `[K]`: the chosen ones, in their order.

    Example:
        >>> import torch, torchslim as slim
        >>> distances = slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> choose = slim.losses.metric_learning.compute_augmented_facility_locations
        >>> choose(distances, torch.tensor([4, 4, 6]), torch.arange(3), 0.0, 'nmi')
        tensor([1, 2])
    """
    agreement = Agreement(labels, margin_type)
    chosen = all_ids[:0]
    for _ in range(len(labels.unique())):
        candidates = all_ids[torch.isin(all_ids, chosen, invert=True)]
        choices = torch.cat([chosen.expand(len(candidates), -1), candidates[:, None]], 1)
        values = compute_facility_energy(pairwise_distances, choices) + margin_multiplier * (
            1 - agreement(get_cluster_assignment(pairwise_distances, choices))
        )
        chosen = choices[values.argmax()]
    return chosen


def compute_augmented_facility_locations_pam(
    pairwise_distances: torch.Tensor,
    labels: torch.Tensor,
    margin_multiplier: float,
    margin_type: str,
    chosen_ids: torch.Tensor,
    pam_max_iter: int = 5,
) -> torch.Tensor:
    """Refines centroids: in turn, assigns the examples to clusters, and moves each centroid to its best member.

    Args:
        pairwise_distances: `[B, B]`.
        labels: `[B]`, whole numbers.
        margin_multiplier: weighs the disagreement with the labels.
        margin_type: see `compute_clustering_score`.
        chosen_ids: `[K]`: the centroids to start from.
        pam_max_iter: how many times.

    Returns:
        `[K]`.

    Example:
        >>> import torch, torchslim as slim
        >>> distances = slim.losses.metric_learning.pairwise_distance(torch.tensor([[0.0], [1.0], [2.0]]))
        >>> refine = slim.losses.metric_learning.compute_augmented_facility_locations_pam
        >>> refine(distances, torch.tensor([4, 4, 4]), 0.0, 'nmi', torch.tensor([0]))
        tensor([1])
    """
    agreement = Agreement(labels, margin_type)
    for _ in range(pam_max_iter):
        clusters = get_cluster_assignment(pairwise_distances, chosen_ids)
        for number in range(len(chosen_ids)):
            members = (clusters == number).nonzero().squeeze(1)
            choices = chosen_ids.repeat(len(members), 1)
            choices[:, number] = members
            travelled = pairwise_distances[members][:, members].sum(1)
            score = agreement(get_cluster_assignment(pairwise_distances, choices))
            chosen_ids = choices[(margin_multiplier * (1 - score) - travelled).argmax()]
    return chosen_ids
