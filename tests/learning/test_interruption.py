"""Signals: held back until a step is whole; a program that is stopped says so by its exit code."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchslim.learning import TrainOp, create_train_op, train, train_step
from torchslim.learning.interruption import Interruption, raise_for

QUIET: dict[str, Any] = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}


def new_op() -> TrainOp:
    net = nn.Linear(3, 1)
    return create_train_op(lambda x: net(x).square().mean(), lambda p: torch.optim.SGD(p, lr=0.1), module=net)


def sending(number: int) -> Any:
    def step(train_op: TrainOp, batch: Any, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        if train_op.global_step == 2:
            os.kill(os.getpid(), number)
        return train_step(train_op, batch)

    return step


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGINT, KeyboardInterrupt, "train: stopped by Ctrl-C"), (signal.SIGTERM, SystemExit, 143)],
)
def test_saves_after_the_step_and_ends(tmp_path: Path, number: int, error: type[BaseException], code: Any) -> None:
    before = signal.getsignal(number)
    with pytest.raises(error) as raised:
        train(new_op(), tmp_path, sending(number), batches=[torch.ones(2, 3)], number_of_steps=9, **QUIET)
    assert raised.value.args == (code,)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.ckpt-3.safetensors"]
    assert signal.getsignal(number) is before


def test_the_second_signal_does_not_wait() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_of_the_program_are_left_alone() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_other_threads_have_no_signals() -> None:
    entered = []

    def use() -> None:
        with Interruption() as interruption:
            entered.append(interruption.signal)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert entered == [0]


def test_nothing_is_raised_for_no_signal() -> None:
    raise_for(0)
