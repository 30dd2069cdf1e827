"""Checkpoints are written beside the training: what is in them, what goes wrong, and what is left then."""

from __future__ import annotations

import collections
import errno
import functools
import logging
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import torchslim as slim
from torchslim.checkpoints import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint, step_of
from torchslim.learning import TrainOp, checkpointing, create_train_op, train, train_step
from torchslim.learning.checkpointing import Checkpoints
from torchslim.learning.feed import Feed
from torchslim.learning.processes import Agreement

BATCHES = list(torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)))
QUIET: dict[str, Any] = {
    "batches": BATCHES,
    "log_every_n_steps": 0,
    "save_summaries_secs": 0,
    "device": "cpu",
    "precision": "fp32",
}
ALWAYS = {**QUIET, "save_interval_secs": 1e-9}


def new_op() -> TrainOp:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 2))
    optimizer = functools.partial(torch.optim.Adam, lr=0.01)
    return create_train_op(lambda x: net(x).square().mean(), optimizer, module=net, ema_decay=0.9)


def checkpoints_in(logdir: Path) -> list[int]:
    return sorted(step for path in logdir.iterdir() if (step := step_of(path)) is not None)


def before_step(step: int, action: Callable[[], Any]) -> Callable[..., Any]:
    """A `train_step_fn` that does something before a step."""

    def take(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        if train_op.global_step + 1 == step:
            action()
        return train_step(train_op, batch, should_log=should_log)

    return take


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has something done before each checkpoint is written, by the thread that writes."""

    def replace(action: Callable[[], Any]) -> None:
        def save(*arguments: Any, **kwargs: Any) -> str:
            action()
            return save_checkpoint(*arguments, **kwargs)

        monkeypatch.setattr(checkpointing, "save_checkpoint", save)

    return replace


def test_nothing_of_the_training_is_shared() -> None:
    state = {
        "tensor": torch.ones(3),
        "array": np.ones(3),
        "nested": [{"view": torch.ones(4, 4)[::2]}, (torch.ones(2),)],
        "counter": collections.Counter({3: 1}),
        "list": [1, 2],
    }
    copy = checkpointing._on_the_host(state)
    state["tensor"].zero_(), state["nested"][0]["view"].zero_(), state["nested"][1][0].zero_()
    state["array"][:] = 0
    state["counter"][3] = 7
    state["list"].append(3)
    assert copy["tensor"].tolist() == copy["array"].tolist() == [1, 1, 1]
    assert copy["nested"][0]["view"].sum() == 8
    assert copy["nested"][1][0].tolist() == [1, 1]
    assert (copy["counter"], copy["list"]) == ({3: 1}, [1, 2])


def test_what_is_written_late_is_what_was_then(tmp_path: Path, slowly: Any) -> None:
    goes_on = threading.Event()
    slowly(goes_on.wait)
    take = before_step(4, goes_on.set)
    due = iter([False, True, False, False, False])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "due", lambda self: next(due))
        train(new_op(), tmp_path / "one", take, number_of_steps=4, **QUIET)
    assert checkpoints_in(tmp_path / "one") == [2, 4]
    goes_on.set()
    train(new_op(), tmp_path / "other", number_of_steps=2, **QUIET)
    early, expected = (load_checkpoint(tmp_path / name / "model.ckpt-2.safetensors") for name in ("one", "other"))
    for part in ("model", "ema"):
        assert all(early[part][name].equal(value) for name, value in expected[part].items())
    assert early["optimizer"]["state"][0]["exp_avg"].equal(expected["optimizer"]["state"][0]["exp_avg"])
    assert early["processes"][0]["data"]["position"] == expected["processes"][0]["data"]["position"] == 2
    assert early["processes"][0]["rng"]["torch"].equal(expected["processes"][0]["rng"]["torch"])


def test_one_is_written_at_a_time(tmp_path: Path, slowly: Any) -> None:
    writing: list[int] = []

    def write() -> None:
        writing.append(1)
        assert len(writing) == 1
        time.sleep(0.01)
        writing.pop()

    slowly(write)
    train(new_op(), tmp_path, number_of_steps=6, keep_last=None, **ALWAYS)
    assert checkpoints_in(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_what_went_wrong_is_raised_before_the_next_one_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left for model.ckpt-1")

    monkeypatch.setattr(checkpointing, "save_checkpoint", full)
    train_op = new_op()
    train_op.prepare()
    train_op(*BATCHES[:1])
    checkpoints = Checkpoints(tmp_path, 600, keep_last=5, keep_every_n_hours=None, agreement=Agreement())
    with checkpoints:
        checkpoints.save(train_op, Feed(BATCHES).state_dict(), {})
        deadline = time.monotonic() + 30
        while not checkpoints._writing[0].done() and time.monotonic() < deadline:
            time.sleep(0.001)
        with pytest.raises(OSError, match=r"No space left for model\.ckpt-1"):
            checkpoints.due()


def make_read_only(folder: Path) -> None:
    folder.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere
        os.seteuid(65534)


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (move_away, r"/run(/model\.ckpt-\d\.safetensors' .*: the folder does not exist|')"),
        (make_read_only, r"cannot write '.*/run/\S*' .*: Permission denied.*is still '.*ckpt-[23]"),
    ],
    ids=["vanished", "read-only"],
)
def test_a_folder_that_goes_bad_ends_the_training(
    tmp_path: Path, spoil: Callable[[Path], Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    logdir, user = tmp_path / "run", os.geteuid()
    train(new_op(), logdir, number_of_steps=2, **QUIET)
    train_op = new_op()
    readable = [folder for folder in tmp_path.parents if not folder.stat().st_mode & 0o005]
    for folder in (tmp_path, *readable):
        folder.chmod(0o755)
    try:
        with pytest.raises(OSError, match=message):
            train(
                train_op, logdir, before_step(4, lambda: spoil(logdir)), number_of_steps=500, **ALWAYS, keep_last=None
            )
    finally:
        os.seteuid(user)
        if logdir.exists():
            logdir.chmod(0o755)
    assert train_op.global_step < 500
    if logdir.exists():
        assert load_checkpoint(latest_checkpoint(logdir))["global_step"] in (2, 3)
        train(new_op(), logdir, number_of_steps=5, **QUIET)
        assert checkpoints_in(logdir)[-1] == 5


def test_an_error_of_the_training_waits_for_what_is_being_written(tmp_path: Path, slowly: Any) -> None:
    def fail() -> None:
        raise RuntimeError("step 3 failed")

    slowly(lambda: time.sleep(0.1))
    with pytest.raises(RuntimeError, match="step 3 failed"):
        train(new_op(), tmp_path, before_step(3, fail), number_of_steps=9, **ALWAYS)
    assert checkpoints_in(tmp_path) == [1, 2]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("checkpoints")] == []


def test_ctrl_c_while_the_last_one_is_written(tmp_path: Path, slowly: Any) -> None:
    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

    slowly(press)
    pressed = False
    try:
        train(new_op(), tmp_path, number_of_steps=2, **QUIET)
        time.sleep(1)  # the signal may take effect a moment later
    except KeyboardInterrupt:
        pressed = True
    assert pressed
    path = latest_checkpoint(tmp_path)
    assert path is not None
    assert step_of(path) == 2
    assert list(tmp_path.glob(".*.tmp")) == []


def test_what_cannot_be_saved_is_said_at_once(tmp_path: Path) -> None:
    class Odd(list[torch.Tensor]):
        def state_dict(self) -> dict[str, Any]:
            return {"function": print}

        load_state_dict = state_dict

    with pytest.raises(TypeError, match="Got builtin_function_or_method at 'processes/0/data/loaders/0/function'"):
        train(new_op(), tmp_path, number_of_steps=2, **{**QUIET, "batches": Odd(BATCHES)})


# Damage.


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_newest_one_is_passed_over(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    for stop in (3, 7):
        train(new_op(), tmp_path, number_of_steps=stop, **QUIET)
    newest, chance = tmp_path / "model.ckpt-7.safetensors", random.Random(seed)
    data = bytearray(newest.read_bytes())
    offset = chance.randrange(len(data))
    data[offset] ^= 1 << chance.randrange(8)
    newest.write_bytes(data if seed % 2 else data[:offset])
    with caplog.at_level(logging.INFO, "torchslim"):
        resumed = new_op()
        train(resumed, tmp_path, number_of_steps=9, **QUIET)
    assert "using '" + str(tmp_path / "model.ckpt-3.safetensors") in caplog.text
    assert f"Passed over: load: '{newest}' is damaged" in caplog.text
    assert f"resumed from {tmp_path / 'model.ckpt-3.safetensors'} at global step 3" in caplog.text
    straight = new_op()
    train(straight, None, number_of_steps=9, **QUIET)
    assert all(value.equal(resumed.tensors()[name]) for name, value in straight.tensors().items())


def test_nothing_begins_anew_where_all_are_damaged(tmp_path: Path) -> None:
    for stop in (1, 2):
        train(new_op(), tmp_path, number_of_steps=stop, **QUIET)
    for path in tmp_path.glob("model.ckpt-*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"Got '.*' with model.ckpt-1.safetensors, model.ckpt-2.safetensors, all"):
        train(new_op(), tmp_path, number_of_steps=3, **QUIET)
    assert checkpoints_in(tmp_path) == [1, 2]


def test_a_checkpoint_that_is_not_of_a_training(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"model": new_op().tensors()}, 3)
    with pytest.raises(ValueError, match=r"ckpt-3.* must be one that `train` has written. Got one without \['trained'"):
        train(new_op(), tmp_path, number_of_steps=4, **QUIET)


# What comes back.


def graph_op() -> TrainOp:
    with slim.Graph() as graph:
        x = slim.placeholder((None, 3))
        graph.add_feed(BATCHES, [x])
        loss = slim.fully_connected(x, 5).mean() + slim.fully_connected(x, 7).mean()
    return create_train_op(loss, functools.partial(torch.optim.Adam, lr=0.01))


@pytest.mark.parametrize("make", [new_op, graph_op])
def test_nothing_stays_mapped_from_the_file(tmp_path: Path, make: Callable[[], TrainOp]) -> None:
    train(make(), tmp_path, number_of_steps=1, **QUIET)
    train_op = make()
    train(train_op, tmp_path, number_of_steps=2, **QUIET)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    held = [*train_op.tensors().values(), *(t for s in train_op.optimizer.state.values() for t in s.values())]
    assert {tensor.data_ptr() % 64 for tensor in held if tensor.numel() > 1} == {0}


def test_the_best_one_is_kept_though_a_kill_came_before(tmp_path: Path) -> None:
    options = {**QUIET, "eval_every_n_steps": 2, "keep_best": "score"}
    scores = {2: 1.0, 4: 3.0, 6: 2.0}

    def run(number_of_steps: int) -> None:
        train_op = new_op()
        score = {"eval_fn": lambda: {"score": scores[train_op.global_step]}}
        train(train_op, tmp_path, number_of_steps=number_of_steps, **score, **options)

    run(4)
    shutil.rmtree(tmp_path / "best")  # as if the kill had come between the two
    run(6)
    assert checkpoints_in(tmp_path / "best") == [4]


def test_an_evaluation_that_is_cut_short_is_done_again(tmp_path: Path) -> None:
    calls = []

    def evaluate() -> dict[str, float]:
        torch.rand(5)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt("in the evaluation")
        return {"score": torch.rand(()).item()}

    options = {**QUIET, "eval_fn": evaluate, "eval_every_n_steps": 2, "keep_best": "score"}
    with pytest.raises(KeyboardInterrupt, match="in the evaluation"):
        train(new_op(), tmp_path / "cut", number_of_steps=6, **options)
    assert checkpoints_in(tmp_path / "cut") == [2]
    train(new_op(), tmp_path / "cut", number_of_steps=6, **options)
    train(new_op(), tmp_path / "straight", number_of_steps=6, **options)
    one, other = (load_checkpoint(tmp_path / name / "model.ckpt-6.safetensors") for name in ("cut", "straight"))
    assert one["more"] == other["more"]


def test_data_that_fails_within_a_step_loses_that_step_only(tmp_path: Path) -> None:
    class Failing:
        def __init__(self, at: int | None) -> None:
            self.at = at

        def __iter__(self) -> Any:
            for i, batch in enumerate(BATCHES):
                if i == self.at:
                    raise OSError("the disk is away")
                yield batch

    def new() -> TrainOp:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))
        return create_train_op(
            lambda x: net(x).square().mean(), functools.partial(torch.optim.SGD, lr=0.1), module=net, accumulate_steps=2
        )

    options = {**ALWAYS, "batches": Failing(3)}
    with pytest.raises(OSError, match="the disk is away"):  # with one of two batches taken
        train(new(), tmp_path, number_of_steps=6, **options)
    assert checkpoints_in(tmp_path) == [1]
    resumed, straight = new(), new()
    train(resumed, tmp_path, number_of_steps=6, **{**QUIET, "batches": Failing(None)})
    straight = new()
    train(straight, None, number_of_steps=6, **{**QUIET, "batches": Failing(None)})
    assert all(value.equal(resumed.tensors()[name]) for name, value in straight.tensors().items())
