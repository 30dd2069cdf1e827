"""Clipping of all gradients together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.learning.global_clipping import ClipByGlobalNorm

# The norms that TF-Slim's `adaptive_clipping_fn` leaves of gradients with the norms of the first row.
NORMS = (1, 2, 0.5, 8, 1, 3, 20, 1)
TF_SLIM: list[tuple[dict[str, Any], bool, list[float]]] = [
    ({"std_factor": 1.0, "decay": 0.8}, False, [1.0, 1.1486983, 0.5, 1.482467, 1.0, 3.0, 2.6551542, 1.0]),
    ({"std_factor": 0.5, "decay": 0.9}, True, [1.0, 1.4142135, 0.5, 1.6817929, 1.0, 1.6983814, 2.4156528, 1.0]),
    ({"std_factor": 0.5, "decay": 0.9, "static_max_norm": 1.5}, True, [1.0, 1.4142135, 0.5, 1.5, 1.0, 1.5, 1.5, 1.0]),
]


@pytest.mark.parametrize(("arguments", "counts", "expected"), TF_SLIM)
def test_adaptive_clipping(arguments: dict[str, Any], counts: bool, expected: list[float]) -> None:
    step = slim.get_or_create_global_step()
    step.initialize()
    clip = slim.adaptive_clipping_fn(**arguments, global_step=step if counts else None)
    clipped = []
    for norm in NORMS:
        pairs = clip([(torch.tensor([0.6 * norm]), "w"), (None, "b"), (torch.tensor([0.0, 0.8 * norm]), "c")])
        assert [variable for _, variable in pairs] == ["w", "b", "c"]
        assert pairs[1][0] is None
        clipped.append(torch.cat([gradient for gradient, _ in pairs if gradient is not None]).norm().item())
        step.tensor.add_(1)
    assert clipped == pytest.approx(expected, rel=1e-5)


def test_the_averages_go_on() -> None:
    straight, first, second = (slim.adaptive_clipping_fn(0.5, 0.8) for _ in range(3))
    gradients = [torch.tensor([norm]) for norm in (1.0, 2.0, 3.0, 50.0)]
    expected = [straight([(gradient, "w")])[0][0] for gradient in gradients]
    got = [first([(gradient, "w")])[0][0] for gradient in gradients[:2]]
    second.load_state_dict(first.state_dict())
    got += [second([(gradient, "w")])[0][0] for gradient in gradients[2:]]
    assert torch.stack(got).equal(torch.stack(expected))


def test_summaries() -> None:
    clip = slim.adaptive_clipping_fn(report_summary=True, name="head")
    clip([(torch.ones(1), "w")])
    assert [summary.tag for summary in clip.summaries()] == ["head/global_norm/adaptive_max_gradient_norm"]
    assert slim.adaptive_clipping_fn().summaries() == []
    fixed = ClipByGlobalNorm(1.0, "norm")
    fixed([(torch.tensor([3.0, 4.0]), "w")])
    assert [(summary.tag, summary.value.item()) for summary in fixed.summaries()] == [("norm", 5.0)]


@pytest.mark.parametrize("shapes", [[], [None], [(3, 4), None, (5,)]])
def test_clip_by_global_norm_is_that_of_torch(shapes: list[Any]) -> None:
    pairs = [(None if shape is None else torch.randn(shape), i) for i, shape in enumerate(shapes)]
    clipped = ClipByGlobalNorm(0.7)(pairs)
    parameters = [torch.nn.Parameter(torch.zeros(gradient.shape)) for gradient, _ in pairs if gradient is not None]
    for parameter, gradient in zip(parameters, [g for g, _ in pairs if g is not None], strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, 0.7)
    assert [gradient is None for gradient, _ in clipped] == [gradient is None for gradient, _ in pairs]
    for parameter, gradient in zip(parameters, [g for g, _ in clipped if g is not None], strict=True):
        np.testing.assert_allclose(gradient.numpy(), parameter.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": 1.5}, r"`decay` must be from 0 to 1. Got 1.5"),
        ({"static_max_norm": 0.0}, r"`static_max_norm` must be above 0. Got 0.0"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.adaptive_clipping_fn(**arguments)
