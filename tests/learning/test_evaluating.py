"""Evaluations inside of a training: the best checkpoint, early stop, and no trace in the training itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import torchslim as slim
from torchslim.checkpoints import latest_checkpoint, load_checkpoint
from torchslim.learning import TrainOp, create_train_op, train
from torchslim.learning.evaluating import Evaluations

SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9)
QUIET: dict[str, Any] = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}
BATCHES = [(torch.ones(2, 3), torch.zeros(2, 1))]


def new_op(dropout: float = 0.5) -> TrainOp:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.Linear(4, 1))
    return create_train_op(lambda x, y: (net(x) - y).square().mean(), SGD, module=net)


def giving(*values: float) -> Any:
    numbers: Iterator[float] = iter(values)
    return lambda: {"accuracy": next(numbers), "other": {"a": [1.0, 2.0]}}


def test_keeps_the_best_and_stops(tmp_path: Path) -> None:
    options = {"eval_every_n_steps": 2, "keep_best": "accuracy", "patience": 2, "keep_last": 1}
    train_op = new_op()
    train(train_op, tmp_path, batches=BATCHES, eval_fn=giving(0.1, 0.7, math.nan, 0.7), **options, **QUIET)
    assert train_op.global_step == 8
    assert [path.name for path in tmp_path.glob("model*")] == ["model.ckpt-8.safetensors"]
    best = latest_checkpoint(tmp_path / "best")
    assert best == str(tmp_path / "best" / "model.ckpt-4.safetensors")
    assert len(list((tmp_path / "best").iterdir())) == 2
    assert load_checkpoint(best)["global_step"] == 4
    assert slim.restore(new_op().objective.module, tmp_path / "best").missing == []


def test_the_best_is_remembered(tmp_path: Path) -> None:
    options = {"eval_every_n_steps": 1, "keep_best": ("accuracy", "min"), "batches": BATCHES, **QUIET}
    train(new_op(), tmp_path, eval_fn=giving(0.5, 0.3), number_of_steps=2, **options)
    train(new_op(), tmp_path, eval_fn=giving(0.4, 0.35), number_of_steps=4, **options)
    assert latest_checkpoint(tmp_path / "best", verify=False) == str(tmp_path / "best" / "model.ckpt-2.safetensors")
    train_op = new_op()
    train(train_op, tmp_path, eval_fn=giving(0.31), patience=3, **options)
    assert train_op.global_step == 5


def test_a_training_is_the_same_with_evaluations_and_without(tmp_path: Path) -> None:
    plain, evaluated = new_op(), new_op()
    train(plain, None, batches=BATCHES, number_of_steps=6, **QUIET)

    def eval_fn() -> dict[str, float]:
        evaluated.objective.module.eval()
        value = torch.rand(()).item()
        evaluated.objective.module.train()
        return {"noise": value}

    torch.manual_seed(0)
    evaluated = new_op()
    train(evaluated, tmp_path, batches=BATCHES, number_of_steps=6, eval_fn=eval_fn, eval_every_n_steps=2, **QUIET)
    for name, value in plain.tensors().items():
        assert value.equal(evaluated.tensors()[name])


def test_events(tmp_path: Path) -> None:
    train(
        new_op(),
        tmp_path,
        batches=BATCHES,
        number_of_steps=4,
        eval_fn=giving(0.25, 0.5),
        eval_every_n_steps=2,
        **QUIET,
    )
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("accuracy")] == [(2, 0.25), (4, 0.5)]
    assert [event.value for event in events.Scalars("other/a/1")] == [2.0, 2.0]


def test_the_metrics_of_a_graph_while_it_trains() -> None:
    with slim.Graph():
        x, y = slim.data.batch([(torch.ones(3), torch.zeros(1))] * 4, 2, names=["x", "y"])
        net = slim.fully_connected(x, 1, activation_fn=None, weights_initializer=slim.ones_initializer(), scope="fc")
        slim.losses.mean_squared_error(net, y)
        _, updates = slim.metrics.aggregate_metric_map({"error": slim.metrics.streaming_mean_absolute_error(net, y)})
        evaluator = slim.evaluation.evaluator(updates)
        train_op = create_train_op(slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.1))
        seen = []

        def eval_fn() -> dict[str, float]:
            seen.append(evaluator())
            return seen[-1]

        assert evaluator() == {"error": 3.0}
        train(train_op, None, number_of_steps=2, eval_fn=eval_fn, eval_every_n_steps=1, **QUIET)
    # The error e of 3 equal weights and a bias: each moves by 0.1 * 2 e, so e becomes e - 4 * 0.2 e.
    assert [values["error"] for values in seen] == pytest.approx([0.6, 0.12], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eval_fn": dict}, r"`eval_every_n_steps` must be a positive number, together with `eval_fn`. Got None"),
        ({"every_n_steps": 5}, "Got 5 and eval_fn=None"),
        ({"eval_fn": dict, "every_n_steps": 0}, "Got 0"),
        ({"keep_best": "accuracy"}, "`keep_best` needs evaluations: give `eval_fn`, too. Got 'accuracy'"),
        ({"eval_fn": dict, "every_n_steps": 1, "keep_best": ("a", "less")}, r"'max' or 'min'\)`. Got \('a', 'less'\)"),
        ({"eval_fn": dict, "every_n_steps": 1, "patience": 2}, "together with `keep_best`. Got 2 and None"),
        ({"eval_fn": dict, "every_n_steps": 1, "keep_best": "a", "patience": 0}, "Got 0 and 'a'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluations(**{"eval_fn": None, "every_n_steps": None, **arguments})


def test_a_metric_that_is_not_there() -> None:
    evaluations = Evaluations(lambda: {"loss": 1.0}, 1, "accuracy")
    with pytest.raises(ValueError, match=r"`keep_best` must be one of \['loss'\]. Got 'accuracy'"):
        evaluations.run(1)


def test_averages_are_evaluated_and_restored(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    loss = functools.partial(lambda x, y: (net(x) - y).square().mean())
    train_op = create_train_op(loss, functools.partial(torch.optim.SGD, lr=0.5), module=net, ema_decay=0.9)
    seen: list[torch.Tensor] = []

    def eval_fn() -> dict[str, float]:
        seen.append(net[0].weight.detach().clone())
        return {"nothing": 0.0}

    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(3)]
    train(train_op, tmp_path, batches=batches, number_of_steps=3, eval_fn=eval_fn, eval_every_n_steps=3, **QUIET)
    assert train_op.ema is not None
    assert train_op.ema.averages.keys() == {key for key in net.state_dict() if "num_batches" not in key}
    averaged, plain = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)) for _ in range(2))
    report = slim.restore(averaged, tmp_path, prefer_ema=True)
    assert len(report.averaged) == 8
    assert len(slim.restore(plain, tmp_path).averages) == 8
    assert plain[0].weight.equal(net[0].weight)
    assert averaged[0].weight.equal(seen[0])
    assert averaged[1].running_mean.equal(train_op.ema.averages["1.running_mean"])
    assert not averaged[0].weight.equal(plain[0].weight)
