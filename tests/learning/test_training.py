"""The loop: steps, what it tells, what it refuses."""

from __future__ import annotations

import functools
import gzip
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torchslim as slim
from torchslim.learning import TrainOp, create_train_op, train, train_step

SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9)
DATA = TensorDataset(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.ones(20, 2))
QUIET: dict[str, Any] = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}


def new_op(optimizer: Any = SGD, dropout: float = 0.5, **kwargs: Any) -> TrainOp:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Linear(8, 2))
    return create_train_op(lambda x, y: (net(x) - y).square().mean(), optimizer, module=net, **kwargs)


def loader() -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=6, shuffle=True)


def weights(train_op: TrainOp) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in train_op.tensors().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not first[name].equal(second[name])] == []


def graph_op(scope: str = "fc", **kwargs: Any) -> tuple[TrainOp, slim.Graph]:
    """A train op on a graph that is fed with 20 examples in batches of 6."""
    with slim.Graph() as graph:
        torch.manual_seed(1)
        images, labels = slim.data.batch(DATA, 6, shuffle=True, seed=4, names=["images", "labels"])
        net = slim.dropout(images, 0.8)
        net = slim.fully_connected(
            net, 2, activation_fn=None, weights_regularizer=slim.l2_regularizer(0.1), scope=scope
        )
        slim.losses.mean_squared_error(net, labels)
        return create_train_op(slim.losses.get_total_loss(), SGD, **kwargs), graph


# Steps


def test_equals_a_hand_written_loop() -> None:
    train_op, reference = new_op(dropout=0.0), new_op(dropout=0.0)
    batches = list(DataLoader(DATA, batch_size=6))
    last = train(train_op, None, batches=batches, number_of_steps=10, **QUIET)
    losses = [float(reference(*batches[i % 4])) for i in range(10)]
    assert last == losses[-1]
    assert_same(weights(train_op), weights(reference))


def test_last_loss_has_its_l2_value() -> None:
    train_op, _ = graph_op()
    losses = []

    def note(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        loss, stop = train_step(train_op, batch, should_log=True)
        losses.append(float(loss))
        return loss, stop

    assert train(train_op, None, note, number_of_steps=5, **QUIET) == losses[-1]
    again, _ = graph_op()
    assert train(again, None, number_of_steps=5, **QUIET) == losses[-1]


def test_a_step_function_may_stop() -> None:
    def until_three(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        loss, _ = train_step(train_op, batch, should_log=should_log)
        return loss, train_op.global_step == 3

    train_op, _ = graph_op()
    assert math.isfinite(train(train_op, None, until_three, **QUIET))
    assert train_op.global_step == 3


def test_only_steps_that_are_looked_at_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(
        TrainOp, "__call__", lambda self, *batch: looked.append(self.global_step + 1) or self.step_fn(*batch)
    )
    train_op, _ = graph_op()
    train(train_op, None, number_of_steps=23, **{**QUIET, "log_every_n_steps": 10})
    assert looked == [10, 20, 23]


def test_it_can_be_called_again() -> None:
    train_op, graph = graph_op()
    train(train_op, None, number_of_steps=3, **QUIET)
    train(train_op, None, number_of_steps=5, **QUIET)
    step = slim.get_global_step(graph)
    assert step is not None
    assert int(step.tensor) == train_op.global_step == 5


# What is told


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    train(new_op(), None, batches=loader(), number_of_steps=6, device="cpu", log_every_n_steps=3)
    configuration, *lines = caplog.messages
    assert re.fullmatch(
        r"training 6 of 6 variables \(66 numbers\), on cpu in \w+; 6 examples a step = 6 x 1 process x 1 batch; "
        r"from the start",
        configuration,
    )
    assert [re.sub(r"\d+\.\d+|\d+ %", "#", line) for line in lines] == [
        "global step 3: loss = # (# sec/step, # of it waiting for data)",
        "global step 6: loss = # (# sec/step, # of it waiting for data)",
    ]


def test_lines_appear_without_any_logging_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("torchslim")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    train(new_op(), None, batches=loader(), number_of_steps=2, device="cpu", log_every_n_steps=2)
    assert "global step 2: loss = " in capsys.readouterr().err
    assert logger.handlers == []


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    train(new_op(), None, batches=loader(), number_of_steps=4, device="cpu", log_every_n_steps=2)
    told = capsys.readouterr().err
    assert "4/4" in told
    assert "loss=" in told


def test_events(tmp_path: Path) -> None:
    train_op, graph = graph_op(summarize_gradients=True)
    with graph:
        slim.summaries.add_scalar_summary(slim.losses.get_losses()[0], "data_loss", prefix="losses")
        slim.summaries.add_histogram_summaries(slim.get_model_variables())
    train(train_op, tmp_path, number_of_steps=6, log_every_n_steps=2, device="cpu")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6]
    assert [event.value for event in events.Scalars("learning_rate")] == pytest.approx([0.05] * 3)
    assert set(events.Tags()["scalars"]) == {
        "loss",
        "learning_rate",
        "steps_per_second",
        "waiting_for_data",
        "losses/data_loss",
        "fc/weights/gradient_norm",
        "fc/biases/gradient_norm",
    }
    assert set(events.Tags()["histograms"]) == {"fc/weights", "fc/biases", "fc/weights/gradient", "fc/biases/gradient"}
    assert [event.step for event in events.Scalars("losses/data_loss")] == [1]


def test_summaries_leave_no_trace_in_the_training(tmp_path: Path) -> None:
    results = []
    for with_summaries in (False, True):
        with slim.Graph():
            torch.manual_seed(2)
            x, y = slim.data.batch(DATA, 6, seed=0, names=["x", "y"])
            net = slim.dropout(slim.batch_norm(slim.fully_connected(x, 2, scope="fc"), decay=0.5), 0.5)
            slim.losses.mean_squared_error(net, y)
            if with_summaries:
                slim.summaries.add_zero_fraction_summary(net)
            train_op = create_train_op(slim.losses.get_total_loss(), SGD)
        train(train_op, tmp_path / str(with_summaries), number_of_steps=4, save_summaries_secs=1e-9, device="cpu")
        results.append(weights(train_op))
    assert_same(*results)


# What is refused


@pytest.mark.parametrize(
    ("argument", "value", "instead"),
    [
        ("master", "grpc://localhost", "torchrun"),
        ("saver", object(), "keep_last"),
        ("session_config", {"gpus": 1}, "device="),
        ("sync_optimizer", object(), "torchrun"),
        ("init_op", None, "init_fn="),
        ("summary_op", None, "add_scalar_summary"),
        ("max_to_keep", 3, "keep_last"),
    ],
)
def test_arguments_of_sessions(argument: str, value: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=f"`{argument}` belongs to TensorFlow's sessions. Got .*{instead}"):
        train(new_op(), None, **{argument: value})


@pytest.mark.parametrize("master", ["", "local"])
def test_local_master_passes(master: str) -> None:
    train(new_op(), None, batches=loader(), number_of_steps=1, master=master, **QUIET)


def test_misspelt_argument() -> None:
    with pytest.raises(TypeError, match=r"no argument `number_of_step`\. Got 5. Did you mean 'number_of_steps'"):
        train(new_op(), None, number_of_step=5)


def test_no_data() -> None:
    with pytest.raises(ValueError, match=r"`batches` must be given .* Got None"):
        train(new_op(), None, number_of_steps=1)
    with pytest.raises(ValueError, match=r"`batches` must give at least one batch. Got none in pass 1"):
        train(new_op(), None, batches=[], number_of_steps=1, **QUIET)
    with slim.Graph():
        loss = slim.fully_connected(slim.placeholder((None, 3), name="images"), 1).sum()
        with pytest.raises(ValueError, match="nothing feeds the placeholder 'images'"):
            train(create_train_op(loss, SGD), None, number_of_steps=1)


# When it stops, what it traces


def test_number_of_seconds(tmp_path: Path) -> None:
    train_op = new_op()
    train(train_op, tmp_path, batches=loader(), number_of_seconds=0.2, **QUIET)
    assert train_op.global_step > 1
    assert [path.name for path in tmp_path.glob("model*")] == [f"model.ckpt-{train_op.global_step}.safetensors"]
    train(train_op, tmp_path, batches=loader(), number_of_seconds=0, **QUIET)  # one step tells that the time is up


def test_traces(tmp_path: Path) -> None:
    train(new_op(), tmp_path, batches=loader(), number_of_steps=5, trace_every_n_steps=2, **QUIET)
    traces = sorted((tmp_path / "traces").iterdir())
    assert [path.name for path in traces] == ["step-2.json.gz", "step-4.json.gz"]
    names = {event.get("name") for event in json.loads(gzip.decompress(traces[0].read_bytes()))["traceEvents"]}
    assert {"aten::linear", "aten::native_batch_norm"} < names


def test_l2_counts_once_whoever_adds_it() -> None:
    told = []

    def note(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        assert not should_log
        loss, _ = train_step(train_op, batch)
        told.append(float(loss))
        return loss, len(told) == 3

    assert train(graph_op()[0], None, note, **QUIET) == told[-1]
