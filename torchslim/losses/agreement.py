"""How well clusterings agree with labels: the scores of scikit-learn, for many clusterings at once."""

# Shape letters: B examples, C clusterings, K clusters, L classes.
from __future__ import annotations

import torch

MARGINS = ("nmi", "ami", "ari", "vmeasure", "const")


class Agreement:
    """Scores clusterings of the same examples against their labels, from 0 (also for worse than chance) to 1.

    Args:
        labels: `[B]`, whole numbers.
        margin_type: one of `MARGINS`; see `slim.losses.metric_learning.compute_clustering_score`.

    Raises:
        ValueError: if there is no such `margin_type`.
    """

    def __init__(self, labels: torch.Tensor, margin_type: str) -> None:
        if margin_type not in MARGINS:
            raise ValueError(f"cluster_loss: `margin_type` must be one of {', '.join(MARGINS)}. Got {margin_type!r}.")
        self.labels = labels
        self.margin_type = margin_type
        self.classes, self.sizes = labels.unique(return_inverse=True, return_counts=True)[1:]
        self.expected = _expected_information(self.sizes) if margin_type == "ami" else None

    def __call__(self, clusters: torch.Tensor) -> torch.Tensor:
        """The scores of `[..., B]` cluster numbers below B, `[...]`, in float32."""
        if self.margin_type == "const":
            return (clusters == self.labels).all(-1).float()
        table = self._contingency(clusters)
        score = _rand_index(table) if self.margin_type == "ari" else self._information(table)
        return score.clamp(min=0).float()

    def _contingency(self, clusters: torch.Tensor) -> torch.Tensor:
        """How many examples of each class are in each cluster: `[..., K, L]` in float64."""
        size, classes = len(self.labels), len(self.sizes)  # there are never more clusters than examples
        counts = torch.zeros(*clusters.shape[:-1], size * classes, dtype=torch.float64, device=clusters.device)
        cells = clusters * classes + self.classes
        return counts.scatter_add(-1, cells, counts.new_ones(()).expand(cells.shape)).unflatten(-1, (size, classes))

    def _information(self, table: torch.Tensor) -> torch.Tensor:
        """Mutual information by the mean of both entropies; 'ami' takes off both what chance would give."""
        in_cluster = table.sum(-1)
        entropies = _entropy(in_cluster), _entropy(table.sum(-2))
        mutual = sum(entropies) - _entropy(table.flatten(-2))
        largest = sum(entropies) / 2
        if self.expected is not None:
            by_chance = self.expected[in_cluster.long()].sum((-2, -1))
            mutual, largest = mutual - by_chance, _away_from_zero(largest - by_chance)
        undivided = (entropies[0] == 0) & (entropies[1] == 0)  # one cluster, one class: they agree
        return torch.where(undivided, 1.0, mutual / torch.where(undivided, 1.0, largest))


def _away_from_zero(value: torch.Tensor) -> torch.Tensor:
    epsilon = torch.finfo(value.dtype).eps
    return torch.where(value < 0, value.clamp(max=-epsilon), value.clamp(min=epsilon))


def _entropy(counts: torch.Tensor) -> torch.Tensor:
    shares = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1)


def _rand_index(table: torch.Tensor) -> torch.Tensor:
    """The adjusted Rand index, from the numbers of pairs that are together or apart in both."""
    total = table.sum((-2, -1))
    together = table.square().sum((-2, -1))
    in_cluster, in_class = table.sum(-1).square().sum(-1), table.sum(-2).square().sum(-1)
    both, cluster_only, class_only = together - total, in_cluster - together, in_class - together
    neither = total.square() - in_cluster - in_class + together
    agree = 2 * (both * neither - class_only * cluster_only)
    possible = (both + class_only) * (class_only + neither) + (both + cluster_only) * (cluster_only + neither)
    perfect = (cluster_only == 0) & (class_only == 0)
    return torch.where(perfect, 1.0, agree / torch.where(perfect, 1.0, possible))


def _expected_information(sizes: torch.Tensor) -> torch.Tensor:
    """What a random cluster of each size shares with each class: `[B + 1, L]`, to be added up (Vinh et al. 2010)."""
    total = int(sizes.sum())
    numbers = torch.arange(total + 1, dtype=torch.float64, device=sizes.device)
    cluster, of_class, shared = numbers[:, None, None], sizes.double()[:, None], numbers
    possible = (shared <= torch.minimum(cluster, of_class)) & (shared >= cluster + of_class - total) & (shared > 0)

    def log_choose(n: torch.Tensor | float, k: torch.Tensor) -> torch.Tensor:
        n = torch.as_tensor(n, dtype=torch.float64, device=k.device)
        return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)

    probability = (
        log_choose(of_class, shared) + log_choose(total - of_class, cluster - shared) - log_choose(total, cluster)
    )
    information = shared / total * (total * shared / (cluster * of_class)).log()
    return torch.where(possible, information * probability.exp(), 0.0).sum(-1)
