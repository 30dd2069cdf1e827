"""Learning-rate schedules, against numbers that `tf.compat.v1.train` gave."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.optimizers import Schedule

# TensorFlow's rates of steps 0 to 11.
TENSORFLOW: list[tuple[str, dict[str, Any], list[float]]] = [
    (
        "exponential_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5},
        [
            0.3,
            0.2381102,
            0.1889882,
            0.15,
            0.1190551,
            0.0944941,
            0.075,
            0.0595275,
            0.047247,
            0.0375,
            0.0297638,
            0.0236235,
        ],
    ),
    (
        "exponential_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        [0.3, 0.3, 0.3, 0.15, 0.15, 0.15, 0.075, 0.075, 0.075, 0.0375, 0.0375, 0.0375],
    ),
    (
        "polynomial_decay",
        {"learning_rate": 0.3, "decay_steps": 4, "end_learning_rate": 0.01, "power": 2.0},
        [0.3, 0.173125, 0.0825, 0.028125, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01],
    ),
    (
        "polynomial_decay",
        {"learning_rate": 0.3, "decay_steps": 4, "end_learning_rate": 0.01, "power": 0.5, "cycle": True},
        [0.3, 0.2611474, 0.215061, 0.155, 0.01, 0.187588, 0.155, 0.1125305, 0.01, 0.155, 0.128392, 0.0937157],
    ),
    (
        "piecewise_constant",
        {"boundaries": [2, 5], "values": [0.1, 0.01, 0.001]},
        [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001],
    ),
    (
        "natural_exp_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5},
        [
            0.3,
            0.2539445,
            0.2149594,
            0.1819592,
            0.1540251,
            0.1303795,
            0.1103638,
            0.093421,
            0.0790791,
            0.0669391,
            0.0566627,
            0.0479639,
        ],
    ),
    (
        "natural_exp_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        [
            0.3,
            0.3,
            0.3,
            0.1819592,
            0.1819592,
            0.1819592,
            0.1103638,
            0.1103638,
            0.1103638,
            0.0669391,
            0.0669391,
            0.0669391,
        ],
    ),
    (
        "inverse_time_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5},
        [0.3, 0.2571429, 0.225, 0.2, 0.18, 0.1636364, 0.15, 0.1384615, 0.1285714, 0.12, 0.1125, 0.1058824],
    ),
    (
        "inverse_time_decay",
        {"learning_rate": 0.3, "decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        [0.3, 0.3, 0.3, 0.2, 0.2, 0.2, 0.15, 0.15, 0.15, 0.12, 0.12, 0.12],
    ),
    (
        "cosine_decay",
        {"learning_rate": 0.3, "decay_steps": 6, "alpha": 0.1},
        [0.3, 0.2819135, 0.2325, 0.165, 0.0975, 0.0480866, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03],
    ),
    ("fixed", {"learning_rate": 0.3}, [0.3] * 12),
]


@pytest.mark.parametrize(("name", "arguments", "rates"), TENSORFLOW)
def test_rates_are_those_of_tensorflow(name: str, arguments: dict[str, Any], rates: list[float]) -> None:
    schedule = getattr(slim.optimizers, name)(**arguments)
    assert [schedule(step) for step in range(12)] == pytest.approx(rates, rel=2e-6)
    assert repr(schedule).startswith(f"{name}({next(iter(arguments))}=")
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert [twin(step) for step in range(12)] == [schedule(step) for step in range(12)]


@pytest.mark.parametrize("follows", [0.4, slim.optimizers.piecewise_constant([100], [0.4, 0.1])])
def test_warmup(follows: float | Schedule) -> None:
    schedule = slim.optimizers.warmup(follows, 4, warmup_learning_rate=0.2)
    assert [schedule(step) for step in range(6)] == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4, 0.4])
    assert slim.optimizers.warmup(follows, 0)(0) == 0.4


def test_torch_takes_a_schedule() -> None:
    schedule = slim.optimizers.polynomial_decay(0.3, 4, 0.01)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for step in range(6):
        assert optimizer.param_groups[0]["lr"] == schedule(step)
        optimizer.step()
        scheduler.step()


def test_the_rate_is_set_in_all_groups_and_filled_into_tensors() -> None:
    rate = torch.tensor(1.0)
    groups = [{"params": [torch.zeros(1)], "lr": rate}, {"params": [torch.zeros(1)]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    slim.optimizers.set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert optimizer.param_groups[0]["lr"] is rate


@pytest.mark.parametrize(
    "name", ["exponential_decay", "natural_exp_decay", "inverse_time_decay", "polynomial_decay", "cosine_decay"]
)
def test_decay_steps_must_be_there(name: str) -> None:
    for wrong in (0, -3, float("nan")):
        with pytest.raises(ValueError, match=f"{name}: `decay_steps` must be a number above 0. Got {wrong}"):
            getattr(slim.optimizers, name)(0.1, wrong, 0.5)
    with pytest.raises(ValueError, match=r"Got <slim.Variable 'global_step:0'.*the train op passes it"):
        getattr(slim.optimizers, name)(0.1, slim.get_or_create_global_step(), 0.5)


def test_other_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"`boundaries` must rise. Got \[5, 2\]"):
        slim.optimizers.piecewise_constant([5, 2], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"one element more than the 2 `boundaries`. Got 2 values"):
        slim.optimizers.piecewise_constant([2, 5], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"`warmup_steps` must be 0 or above. Got -1"):
        slim.optimizers.warmup(0.1, -1)
