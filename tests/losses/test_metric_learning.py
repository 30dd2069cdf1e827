"""Losses of embeddings against their definitions, written as loops."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchslim as slim
from torchslim import losses
from torchslim.losses import metric_learning

seeds = st.integers(0, 2**20)


def problem(seed: int, examples: int = 8, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, of which at least two are the same, and embeddings in float64."""
    torch.manual_seed(seed)
    labels = torch.randint(classes, (examples,))
    labels[1] = labels[0]
    return labels, torch.randn(examples, 3, dtype=torch.float64)


def positives_of(labels: torch.Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i, j in itertools.permutations(range(len(labels)), 2) if labels[i] == labels[j]]


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_pairwise_distance(seed: int) -> None:
    _, embeddings = problem(seed)
    expected = torch.cdist(embeddings, embeddings)
    torch.testing.assert_close(metric_learning.pairwise_distance(embeddings), expected)
    torch.testing.assert_close(metric_learning.pairwise_distance(embeddings, squared=True), expected.square())


@settings(max_examples=25, deadline=None)
@given(seed=seeds, margin=st.floats(0.1, 3))
def test_contrastive(seed: int, margin: float) -> None:
    labels, first = problem(seed, classes=2)
    second = torch.randn_like(first)
    terms = [
        d**2 if same else max(0.0, margin - d) ** 2
        for d, same in zip((first - second).square().sum(1).sqrt().tolist(), labels.tolist(), strict=True)
    ]
    got = losses.contrastive_loss(labels, first, second, margin)
    assert got.item() == pytest.approx(sum(terms) / len(terms))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, classes=st.integers(1, 4), margin=st.floats(0.1, 3))
def test_triplet_semihard(seed: int, classes: int, margin: float) -> None:
    labels, embeddings = problem(seed, classes=classes)
    embeddings = embeddings.round()  # so that many distances are equal
    distances = (embeddings[:, None] - embeddings).square().sum(2).tolist()
    terms = []
    for anchor, positive in positives_of(labels):
        near = distances[anchor][positive]
        negatives = [d for d, label in zip(distances[anchor], labels, strict=True) if label != labels[anchor]]
        farther = [d for d in negatives if d > near]
        negative = min(farther) if farther else max(negatives, default=0.0)
        terms.append(max(0.0, margin + near - negative))
    got = losses.triplet_semihard_loss(labels, embeddings, margin)
    assert got.item() == pytest.approx(sum(terms) / len(terms))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, classes=st.integers(2, 4), margin=st.floats(0.1, 3))
def test_lifted_struct(seed: int, classes: int, margin: float) -> None:
    labels, embeddings = problem(seed, classes=classes)
    labels[2] = labels[0] + 1
    distances = torch.cdist(embeddings, embeddings)
    terms = []
    for i, j in positives_of(labels):
        others = labels != labels[i]
        negatives = torch.cat([distances[i][others], distances[j][others]])
        terms.append(max(0.0, ((margin - negatives).exp().sum().log() + distances[i, j]).item()) ** 2)
    got = losses.lifted_struct_loss(labels, embeddings, margin)
    assert got.item() == pytest.approx(sum(terms) / len(terms) / 2)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, reg_lambda=st.floats(0, 1))
def test_npairs(seed: int, reg_lambda: float) -> None:
    labels, anchor = problem(seed)
    positive = torch.randn_like(anchor)
    terms = []
    for i, similarities in enumerate(anchor @ positive.t()):
        same = labels == labels[i]
        terms.append(-similarities.log_softmax(0)[same].mean())
    lengths = (anchor.square().sum() + positive.square().sum()) / len(labels)
    expected = sum(terms) / len(terms) + reg_lambda / 4 * lengths
    torch.testing.assert_close(losses.npairs_loss(labels, anchor, positive, reg_lambda), expected)


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_npairs_multilabel_counts_shared_labels(seed: int) -> None:
    _, anchor = problem(seed, examples=4)
    positive = torch.randn_like(anchor)
    sets = torch.randint(2, (4, 6)) | torch.eye(4, 6, dtype=torch.int64)
    shared = (sets @ sets.t()).double()
    log_shares = (anchor @ positive.t()).log_softmax(1)
    expected = -(shared / shared.sum(1, keepdim=True) * log_shares).sum(1).mean()
    sparse = [slim.dense_to_sparse(labels) for labels in sets]
    torch.testing.assert_close(losses.npairs_loss_multilabel(sparse, anchor, positive, 0.0), expected)


def test_one_label_each_is_the_same_as_several() -> None:
    labels, anchor = problem(0)
    positive = torch.randn_like(anchor)
    sparse = [slim.dense_to_sparse(row) for row in torch.nn.functional.one_hot(labels, 3)]
    expected = losses.npairs_loss(labels, anchor, positive)
    torch.testing.assert_close(losses.npairs_loss_multilabel(sparse, anchor, positive), expected)


# Degenerate batches


def test_pairs_that_coincide_have_no_gradient() -> None:
    embeddings = torch.ones(4, 3, requires_grad=True)
    same = torch.tensor([0, 0, 1, 1])
    for loss in (losses.triplet_semihard_loss, losses.lifted_struct_loss):
        (gradient,) = torch.autograd.grad(loss(same, embeddings), embeddings)
        assert not gradient.any()
    contrastive = losses.contrastive_loss(same, embeddings, embeddings.detach())
    (gradient,) = torch.autograd.grad(contrastive, embeddings)
    assert contrastive.item() == 0.5
    assert not gradient.any()


@pytest.mark.parametrize("name", ["triplet_semihard_loss", "lifted_struct_loss", "cluster_loss"])
def test_nan_is_not_hidden(name: str) -> None:
    embeddings = torch.randn(4, 3)
    embeddings[2, 1] = torch.nan
    options = {"margin_multiplier": 1.0} if name == "cluster_loss" else {}
    assert getattr(losses, name)(torch.tensor([0, 0, 1, 1]), embeddings, **options).isnan()


@pytest.mark.parametrize("loss", [losses.triplet_semihard_loss, losses.lifted_struct_loss])
def test_no_two_labels_are_the_same(loss: Callable[..., torch.Tensor]) -> None:
    assert loss(torch.arange(4), torch.randn(4, 3)).isnan()


def test_nothing_to_push_away() -> None:
    embeddings = torch.randn(4, 3, requires_grad=True)
    loss = losses.lifted_struct_loss(torch.ones(4), embeddings)
    loss.backward()
    assert loss.item() == 0
    assert not embeddings.grad.any()


# Errors and logs


@pytest.mark.parametrize("name", ["triplet_semihard_loss", "lifted_struct_loss"])
@pytest.mark.parametrize("shape", [(5,), (4, 1)])
def test_labels_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"{name}: .*Got \[{', '.join(map(str, shape))}\] and \[4, 3\]"):
        getattr(losses, name)(torch.zeros(shape), torch.zeros(4, 3))


@pytest.mark.parametrize("loss", [losses.npairs_loss, losses.contrastive_loss])
def test_pairs_of_another_shape(loss: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"Got \[4, 3\] and \[4, 2\]"):
        loss(torch.zeros(4), torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"Got \[3\] and \[4, 3\]"):
        loss(torch.zeros(3), torch.zeros(4, 3), torch.zeros(4, 3))


def test_several_labels_must_be_sparse_and_one_for_each_pair() -> None:
    embeddings = torch.zeros(2, 3)
    with pytest.raises(TypeError, match=r"Got a dense one of shape \[5\]"):
        losses.npairs_loss_multilabel([torch.ones(5)] * 2, embeddings, embeddings)
    with pytest.raises(ValueError, match=r"Got 3 for 2 pairs"):
        losses.npairs_loss_multilabel([slim.dense_to_sparse(torch.ones(5))] * 3, embeddings, embeddings)


def test_parts_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    graph = slim.get_default_graph()
    x = slim.placeholder((2, 2))
    loss = losses.npairs_loss(torch.tensor([3, 5]), x, x, reg_lambda=4.0, print_losses=True)
    assert caplog.messages == []  # nothing has been computed
    graph.run(loss, {x: torch.zeros(2, 2)})
    assert caplog.messages == ["npairs_loss: cross entropy 0.693147, l2 loss 0"]
    caplog.clear()
    losses.cluster_loss(torch.tensor([0, 0]), torch.tensor([[0.0], [1.0]]), 1.0, print_losses=True)
    assert caplog.messages == ["cluster_loss: 0"]


def test_they_can_be_trained_with() -> None:
    embeddings = slim.placeholder((4, 4))
    loss = losses.triplet_semihard_loss(torch.tensor([0, 0, 1, 1]), embeddings)
    losses.add_loss(loss)
    assert losses.get_losses() == [loss]
