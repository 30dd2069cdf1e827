"""Multipliers, clipping and summaries of gradients."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim


def test_clipping_is_per_variable_as_torch_clips_one() -> None:
    gradients = [torch.randn(3, 4) * 10, torch.randn(5) * 1e-3, None]
    clipped = slim.learning.clip_gradient_norms([(g, i) for i, g in enumerate(gradients)], 2.0)
    for i, gradient in enumerate(gradients[:2]):
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([parameter], 2.0)
        torch.testing.assert_close(clipped[i][0], parameter.grad)
    assert clipped[2] == (None, 2)
    assert clipped[1][0].equal(gradients[1])


def test_norms_of_large_tensors_are_exact() -> None:
    gradient = torch.randn(2000, 5000)
    ((clipped, _),) = slim.learning.clip_gradient_norms([(gradient, "w")], 1.0)
    assert clipped.double().norm().item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_clipping_needs_a_norm(max_norm: float) -> None:
    with pytest.raises(ValueError, match=f"`max_norm` must be above 0. Got {max_norm}"):
        slim.learning.clip_gradient_norms([], max_norm)


def test_multipliers_by_variable_name_and_tensor() -> None:
    with slim.Graph():
        weights = slim.variable("fc1/weights", shape=[2])
        biases = slim.variable("fc1/biases", shape=[2])
    other = torch.zeros(2)
    pairs = [(torch.ones(2), weights), (torch.ones(2), biases), (torch.ones(2), other), (torch.ones(2), "plain")]
    factors = {weights: 2.0, "fc1/biases:0": torch.tensor([3.0, 4.0]), other: 5.0, "plain": 6}
    multiplied = slim.learning.multiply_gradients(pairs, factors)
    assert [gradient.tolist() for gradient, _ in multiplied] == [[2, 2], [3, 4], [5, 5], [6, 6]]
    assert [variable for _, variable in multiplied] == [variable for _, variable in pairs]


def test_multiplier_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"Got \['fc2/weights'\]; there are \['fc1/weights'\]"):
        slim.learning.multiply_gradients([(torch.ones(1), "fc1/weights")], {"fc2/weights": 2.0})
    with pytest.raises(ValueError, match="does not depend on 'fc1/weights'"):
        slim.learning.multiply_gradients([(None, "fc1/weights")], {"fc1/weights": 2.0})


def test_summaries_leave_out_missing_gradients() -> None:
    summaries = slim.learning.add_gradients_summaries([(torch.tensor([3.0, 4.0]), "w"), (None, "b")])
    assert [(s.kind, s.tag) for s in summaries] == [("histogram", "w/gradient"), ("scalar", "w/gradient_norm")]
    assert summaries[1].value.item() == 5.0
