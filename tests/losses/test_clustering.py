"""The search of `cluster_loss` against its definition, and its scores against scikit-learn."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from torchslim import losses
from torchslim.losses.agreement import Agreement
from torchslim.losses.metric_learning import (
    compute_augmented_facility_locations,
    compute_augmented_facility_locations_pam,
    compute_clustering_score,
    compute_facility_energy,
    compute_gt_cluster_score,
    get_cluster_assignment,
    pairwise_distance,
)

SCORES = {
    "nmi": metrics.normalized_mutual_info_score,
    "ami": metrics.adjusted_mutual_info_score,
    "ari": metrics.adjusted_rand_score,
    "vmeasure": metrics.v_measure_score,
}
numbers = st.lists(st.integers(0, 4), min_size=12, max_size=12)


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=60, deadline=None)
@given(labels=numbers, first=numbers, second=numbers)
def test_scores_are_those_of_scikit_learn(name: str, labels: list[int], first: list[int], second: list[int]) -> None:
    got = Agreement(torch.tensor(labels), name)(torch.tensor([first, second]))
    expected = [max(0.0, SCORES[name](labels, clusters)) for clusters in (first, second)]
    assert got.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [*SCORES, "const"])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 1, 0]])
def test_a_perfect_clustering(name: str, labels: list[int]) -> None:
    assert compute_clustering_score(torch.tensor(labels), torch.tensor(labels), name).item() == pytest.approx(1)


def test_only_const_looks_at_the_numbers_of_the_clusters() -> None:
    labels, clusters = torch.tensor([5, 5, 9]), torch.tensor([1, 1, 0])
    assert {name: compute_clustering_score(labels, clusters, name).item() for name in (*SCORES, "const")} == {
        "nmi": 1.0,
        "ami": 1.0,
        "ari": 1.0,
        "vmeasure": 1.0,
        "const": 0.0,
    }


def test_no_such_score() -> None:
    with pytest.raises(ValueError, match=r"`margin_type` must be one of nmi, ami, ari, vmeasure, const\. Got 'rand'"):
        losses.cluster_loss(torch.tensor([0, 1]), torch.randn(2, 3), 1.0, margin_type="rand")


def test_a_centroid_is_its_own_nearest() -> None:
    distances = pairwise_distance(torch.tensor([[0.0, 0], [0, 0], [1, 0], [5, 0], [6, 0]]))
    assert get_cluster_assignment(distances, torch.tensor([0, 1])).tolist() == [0, 1, 0, 0, 0]
    assert get_cluster_assignment(distances, torch.tensor([4, 3, 0])).tolist() == [2, 2, 2, 1, 0]


def value_of(distances: torch.Tensor, labels: torch.Tensor, ids: tuple[int, ...], multiplier: float) -> float:
    """What the search maximises: energy, and disagreement with the labels by scikit-learn."""
    chosen = list(ids)
    clusters = distances[chosen].argmin(0)
    clusters[chosen] = torch.arange(len(chosen))
    score = metrics.normalized_mutual_info_score(labels.tolist(), clusters.tolist())
    return -distances[chosen].amin(0).sum().item() + multiplier * (1 - score)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), multiplier=st.floats(0, 3))
def test_each_centroid_is_the_best_next_one(seed: int, multiplier: float) -> None:
    torch.manual_seed(seed)
    labels, embeddings = torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.randn(7, 2, dtype=torch.float64)
    distances = pairwise_distance(embeddings)
    chosen = compute_augmented_facility_locations(distances, labels, torch.arange(7), multiplier, "nmi").tolist()
    assert len(set(chosen)) == 3
    for step in range(3):
        before = tuple(chosen[:step])
        best = max(value_of(distances, labels, (*before, i), multiplier) for i in range(7) if i not in before)
        assert value_of(distances, labels, tuple(chosen[: step + 1]), multiplier) == pytest.approx(best, abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_refinement_ends_where_every_centroid_is_the_medoid_of_its_cluster(seed: int) -> None:
    torch.manual_seed(seed)
    labels, distances = torch.arange(9) % 3, pairwise_distance(torch.randn(9, 2, dtype=torch.float64))
    start = torch.tensor([0, 1, 2])
    refined = compute_augmented_facility_locations_pam(distances, labels, 0.0, "nmi", start, pam_max_iter=20)
    clusters = get_cluster_assignment(distances, refined)
    for number, centroid in enumerate(refined):
        members = clusters == number
        travelled = distances[members][:, members].sum(1)
        assert distances[centroid, members].sum().item() == pytest.approx(travelled.min().item())
    assert compute_facility_energy(distances, refined) >= compute_facility_energy(distances, start) - 1e-9


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_the_loss_is_what_the_search_wins_over_the_truth(seed: int) -> None:
    torch.manual_seed(seed)
    labels, embeddings = torch.tensor([4, 4, 7, 7, 4, 7]), torch.randn(6, 3, dtype=torch.float64)
    distances = pairwise_distance(embeddings)
    truth = compute_gt_cluster_score(distances, labels).item()
    best = [max(-distances[i, labels == c].sum().item() for i in range(6) if labels[i] == c) for c in (4, 7)]
    assert truth == pytest.approx(sum(best))

    loss = losses.cluster_loss(labels, embeddings, 1.5, enable_pam_finetuning=False).item()
    values = [value_of(distances, labels, ids, 1.5) for ids in itertools.permutations(range(6), 2)]
    assert loss <= max(0.0, max(values) - truth) + 1e-5
    assert min(abs(loss - max(0.0, value - truth)) for value in values) < 1e-5


def test_clusters_far_apart_have_no_loss() -> None:
    labels = torch.arange(9) % 3
    embeddings = torch.randn(9, 2) * 0.1 + 100 * torch.stack([labels, labels**2], 1)
    assert losses.cluster_loss(labels, embeddings, 0.01).item() == pytest.approx(0, abs=0.1)
    torch.testing.assert_close(
        losses.cluster_loss(labels[:, None], embeddings, 1.0), losses.cluster_loss(labels, embeddings, 1.0)
    )
