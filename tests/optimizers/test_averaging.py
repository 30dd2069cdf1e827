"""Moving averages of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchslim.optimizers import ExponentialMovingAverage


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99, 1.0])
def test_average(decay: float, counts: bool) -> None:
    values = np.random.RandomState(0).randn(8, 2, 3)
    tensors = {"a": torch.tensor(values[0]), "b": torch.tensor(values[0, 0])}
    average = ExponentialMovingAverage(tensors, decay)
    expected = values[0]
    for n in range(1, 8):
        tensors["a"].copy_(torch.tensor(values[n]))
        average.apply(n if counts else None)
        effective = min(decay, (1 + n) / (10 + n)) if counts else decay
        expected = effective * expected + (1 - effective) * values[n]
    np.testing.assert_allclose(average.averages["a"].numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(average.averages["b"].numpy(), values[0, 0])


def test_state() -> None:
    weight = torch.tensor([1.0])
    first = ExponentialMovingAverage({"w": weight}, 0.5)
    weight.fill_(3.0)
    first.apply()
    second = ExponentialMovingAverage({"w": weight}, 0.5)
    second.load_state_dict(first.state_dict())
    assert second.averages["w"].item() == 2.0
    with pytest.raises(ValueError, match=r"must have averages of \['w'\]. Got averages of \['v'\]"):
        second.load_state_dict({"v": weight})


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_must_be_a_share(decay: float) -> None:
    with pytest.raises(ValueError, match=f"`decay` must be from 0 to 1. Got {decay}"):
        ExponentialMovingAverage({}, decay)
