"""Checkpoints of the loop: what is in them, resuming, interruptions."""

from __future__ import annotations

import functools
import logging
import math
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torchslim as slim
from torchslim.checkpoints import latest_checkpoint, load_checkpoint
from torchslim.learning import TrainOp, create_train_op, train, train_step
from torchslim.learning.interruption import Interruption

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


def checkpoints_in(logdir: Path) -> list[str]:
    return sorted(path.name for path in logdir.glob("model.ckpt*"))


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


# Resuming


@pytest.mark.parametrize("stops", [(7,), (1, 4, 8, 13)])
@pytest.mark.parametrize("kind", ["function", "graph"])
def test_stopped_and_resumed_equals_straight(tmp_path: Path, kind: str, stops: tuple[int, ...]) -> None:
    def start() -> tuple[TrainOp, dict[str, Any]]:
        return (new_op(), {"batches": loader()}) if kind == "function" else (graph_op()[0], {})

    straight, kwargs = start()
    torch.manual_seed(9)
    expected = train(straight, None, number_of_steps=20, **kwargs, **QUIET)
    train_op, kwargs = start()
    torch.manual_seed(9)
    for stop in stops:
        train(train_op, tmp_path, number_of_steps=stop, **kwargs, **QUIET)
        train_op, kwargs = start()
        torch.manual_seed(stop)
    assert train(train_op, tmp_path, number_of_steps=20, **kwargs, **QUIET) == expected
    assert_same(weights(train_op), weights(straight))
    for ours, theirs in zip(train_op.optimizer.state.values(), straight.optimizer.state.values(), strict=True):
        assert ours["momentum_buffer"].equal(theirs["momentum_buffer"])


def test_resuming_says_from_what_and_leaves_init_fn_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    calls = []
    train(graph_op()[0], tmp_path, number_of_steps=3, init_fn=lambda: calls.append(1), **QUIET)
    assert calls == [1]
    caplog.clear()
    train(graph_op()[0], tmp_path, number_of_steps=4, init_fn=lambda: calls.append(2), **QUIET)
    assert calls == [1]
    path = tmp_path / "model.ckpt-3.safetensors"
    resumed, training, _ = caplog.messages
    assert resumed == f"resumed from {path} at global step 3; init_fn was not run"
    assert training.endswith(f"on from {path}")


def test_nothing_is_initialised_that_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(graph_op()[0], tmp_path, number_of_steps=3, **QUIET)
    initialised = []
    monkeypatch.setattr(slim.Variable, "initialize", lambda self, device: initialised.append(self.op.name))
    train(graph_op()[0], tmp_path, number_of_steps=4, **QUIET)
    assert initialised == []


def test_init_fn_comes_before_initialisation() -> None:
    train_op, graph = graph_op()
    kernel = slim.get_unique_variable("fc/weights", module=graph)

    def init_fn() -> None:
        assert kernel.is_meta
        kernel.assign(torch.full((2, 3), 0.5))

    def look(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        assert kernel.tensor.eq(0.5).all()
        assert train_op.optimizer.param_groups[0]["params"][0] is kernel.tensor
        return train_step(train_op, batch)

    train(train_op, None, look, number_of_steps=1, init_fn=init_fn, **QUIET)
    assert not kernel.tensor.eq(0.5).any()


def test_number_of_steps_that_are_done_already(tmp_path: Path) -> None:
    expected = train(graph_op()[0], tmp_path, number_of_steps=5, **QUIET)
    train_op, _ = graph_op()
    assert train(train_op, tmp_path, number_of_steps=3, **QUIET) == expected
    assert train_op.global_step == 5
    assert checkpoints_in(tmp_path) == ["model.ckpt-5.safetensors"]


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    train(graph_op()[0], tmp_path, number_of_steps=1, **QUIET)
    with pytest.raises(
        ValueError, match=r"another model: other.weight is not in it; other.bias is not in it; fc.weight is in"
    ):
        train(graph_op("other")[0], tmp_path, number_of_steps=2, **QUIET)


@pytest.mark.parametrize(
    ("kwargs", "got"),
    [
        ({"optimizer": functools.partial(torch.optim.Adam, lr=0.1)}, "Got Adam over"),
        ({"variables_to_train": ["0/weights"]}, r"Got SGD over \['0/weights'\]"),
    ],
)
def test_checkpoint_of_another_optimizer(tmp_path: Path, kwargs: dict[str, Any], got: str) -> None:
    train(new_op(), tmp_path, number_of_steps=1, batches=loader(), **QUIET)
    with pytest.raises(ValueError, match=f"the state of SGD over .*{got}"):
        train(new_op(**kwargs), tmp_path, number_of_steps=2, batches=loader(), **QUIET)


def test_learning_rate_comes_from_the_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(new_op(), tmp_path, number_of_steps=1, batches=loader(), **QUIET)
    assert caplog.messages == []
    train_op = new_op(functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9, fused=False))
    train(train_op, tmp_path, number_of_steps=2, batches=loader(), **QUIET)
    assert "goes on with lr=0.05 from the checkpoint, not with lr=0.5;" in caplog.text
    assert train_op.optimizer.param_groups[0]["lr"] == 0.05
    assert train_op.optimizer.param_groups[0]["fused"] is False


def test_layers_that_an_evaluation_left_in_eval_mode_train() -> None:
    train_op, graph = graph_op()
    predict = graph.module(graph.end_points["fc"])
    predict.eval()
    train(train_op, None, number_of_steps=1, **QUIET)
    assert predict.fc.training


def test_channels_last_and_bf16_resume_alike(tmp_path: Path) -> None:
    images = torch.randn(8, 3, 8, 8)

    def start() -> TrainOp:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
        return create_train_op(lambda x: (net(x) - 1).square().mean(), SGD, module=net)

    kwargs = {**QUIET, "precision": "bf16", "channels_last": True, "batches": images.split(2)}
    straight, resumed = start(), start()
    expected = train(straight, None, number_of_steps=6, **kwargs)
    train(resumed, tmp_path, number_of_steps=3, **kwargs)
    resumed = start()
    assert train(resumed, tmp_path, number_of_steps=6, **kwargs) == expected
    assert_same(weights(resumed), weights(straight))
    assert all(
        p.is_contiguous(memory_format=torch.channels_last) for p in resumed.objective.parameters() if p.ndim == 4
    )


# Checkpoints


def test_what_is_kept(tmp_path: Path) -> None:
    train_op, _ = graph_op()
    train(train_op, tmp_path, number_of_steps=8, save_interval_secs=1e-9, keep_last=3, **QUIET)
    assert checkpoints_in(tmp_path) == [f"model.ckpt-{n}.safetensors" for n in (6, 7, 8)]
    state = load_checkpoint(latest_checkpoint(tmp_path))
    assert set(state["model"]) == {"fc.weight", "fc.bias", "global_step"}
    assert state["global_step"] == int(state["model"]["global_step"]) == 8


def test_no_logdir_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(graph_op()[0], None, number_of_steps=2, save_interval_secs=1e-9, device="cpu")
    assert os.listdir(tmp_path) == []


def test_full_disk(tmp_path: Path) -> None:
    train(new_op(), tmp_path, number_of_steps=2, batches=loader(), **QUIET)
    before = (tmp_path / "model.ckpt-2.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # writing more fails as it does on a full disk
    try:
        with pytest.raises(OSError, match=r"cannot write '.*model.ckpt-4.safetensors'.*model.ckpt-2.safetensors"):
            train(new_op(), tmp_path, number_of_steps=4, batches=loader(), **QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "model.ckpt-2.safetensors").read_bytes() == before
    assert checkpoints_in(tmp_path) == ["model.ckpt-2.safetensors"]
    train_op = new_op()
    train(train_op, tmp_path, number_of_steps=4, batches=loader(), **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-2.safetensors", "model.ckpt-4.safetensors"]


def test_logdir_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match=f"`logdir` must be a folder to write to. Got '{tmp_path}'"):
        train(new_op(), tmp_path, number_of_steps=1, batches=loader(), **QUIET)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=f"{tmp_path}/file"):
        train(new_op(), tmp_path / "file", number_of_steps=1, batches=loader(), **QUIET)


def test_nothing_that_is_not_finite_is_saved(tmp_path: Path) -> None:
    def poison(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        loss, _ = train_step(train_op, batch)
        if train_op.global_step == 3:
            train_op.tensors()["3.bias"][0] = math.inf
        return loss, False

    with pytest.raises(FloatingPointError, match=r"model/3.bias is not finite after step 3"):
        train(new_op(), tmp_path, poison, number_of_steps=9, save_interval_secs=1e-9, batches=loader(), **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-1.safetensors", "model.ckpt-2.safetensors"]


def test_large_but_finite_values_are_saved(tmp_path: Path) -> None:
    def enlarge(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        loss, _ = train_step(train_op, batch)
        train_op.tensors()["1.running_var"].fill_(3e38)
        return loss, False

    train(new_op(), tmp_path, enlarge, number_of_steps=1, batches=loader(), **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-1.safetensors"]


def test_loss_that_is_not_finite_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    batches = [torch.ones(2, 3), torch.ones(2, 3), torch.full((2, 3), math.nan)]
    net = nn.Linear(3, 1)
    train_op = create_train_op(lambda x: net(x).square().mean(), SGD, module=net)
    with pytest.raises(FloatingPointError, match="input '0' is not finite at step 2, nor are the loss"):
        train(train_op, tmp_path, batches=batches, number_of_steps=9, save_interval_secs=1e-9, **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-1.safetensors", "model.ckpt-2.safetensors"]


# Interruptions


def test_ctrl_c_takes_effect_after_the_step_and_saves(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        if train_op.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(train_op, batch)

    train_op = new_op()
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        train(train_op, tmp_path, press, batches=loader(), **QUIET)
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoints_in(tmp_path) == ["model.ckpt-5.safetensors"]
    resumed, straight = new_op(), new_op()
    train(resumed, tmp_path, batches=loader(), number_of_steps=8, **QUIET)
    torch.manual_seed(0)
    straight = new_op()
    train(straight, None, batches=loader(), number_of_steps=8, **QUIET)
    assert_same(weights(resumed), weights(straight))


def test_second_ctrl_c_does_not_wait() -> None:
    def press(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        train(new_op(), None, press, batches=loader(), **QUIET)


def test_an_interrupted_step_is_not_saved(tmp_path: Path) -> None:
    def tear(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        if train_op.global_step == 2:
            raise KeyboardInterrupt("in the middle")
        return train_step(train_op, batch)

    with pytest.raises(KeyboardInterrupt, match="in the middle"):
        train(new_op(), tmp_path, tear, batches=loader(), save_interval_secs=1e-9, **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-1.safetensors", "model.ckpt-2.safetensors"]


def test_data_that_fails_loses_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Any]:
        yield from list(loader())[:3]
        raise OSError("image 37 is damaged")

    class Broken:
        __iter__ = staticmethod(broken)

    with pytest.raises(OSError, match="image 37 is damaged"):
        train(new_op(), tmp_path, batches=Broken(), **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-3.safetensors"]
    with pytest.raises(OSError, match="image 37 is damaged"):
        train(new_op(), tmp_path, batches=Broken(), **QUIET)
    assert checkpoints_in(tmp_path) == ["model.ckpt-3.safetensors"]


def test_handlers_of_the_program_are_left_alone() -> None:
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [1]
