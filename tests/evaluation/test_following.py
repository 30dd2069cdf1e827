"""Following a folder of checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from torchslim import metrics
from torchslim.checkpoints import save_checkpoint
from torchslim.evaluation import (
    checkpoints_iterator,
    evaluate_repeatedly,
    evaluation_loop,
    wait_for_new_checkpoint,
)
from torchslim.graph import Symbol, get_default_graph, placeholder
from torchslim.layers import fully_connected


def write(folder: Path, step: int) -> str:
    """A checkpoint whose weight is its step."""
    return save_checkpoint(folder, {"model": {"fc.weight": torch.full((1, 1), float(step))}}, step=step)


@pytest.fixture
def update() -> Symbol:
    """The mean of a net that gives its weight: the step of the checkpoint that was restored."""
    x = placeholder((None, 1), name="x")
    get_default_graph().add_feed([(torch.ones(2, 1),)], [x])
    net = fully_connected(x, 1, activation_fn=None, biases_initializer=None, scope="fc")
    return metrics.streaming_mean(net)[1]


def follow(folder: Path, update: Symbol, **options: Any) -> Any:
    return evaluation_loop(
        "", folder, None, eval_op=update, device="cpu", **{"timeout": 0, "eval_interval_secs": 0, **options}
    )


# Waiting


def test_wait_for_new_checkpoint(tmp_path: Path) -> None:
    assert wait_for_new_checkpoint(tmp_path / "not yet", timeout=0) is None
    first = write(tmp_path, 1)
    assert wait_for_new_checkpoint(tmp_path) == first
    assert wait_for_new_checkpoint(tmp_path, first, seconds_to_sleep=0.01, timeout=0.03) is None
    timer = threading.Timer(0.05, write, (tmp_path, 2))
    timer.start()
    assert wait_for_new_checkpoint(tmp_path, first, seconds_to_sleep=0.01).endswith("model.ckpt-2.safetensors")
    timer.join()


def test_iterator_gives_the_newest_each_time(tmp_path: Path) -> None:
    write(tmp_path, 1)
    found = []
    for path in checkpoints_iterator(tmp_path, timeout=0):
        found.append(Path(path).name)
        if len(found) == 1:
            write(tmp_path, 2)
            write(tmp_path, 3)
    assert found == ["model.ckpt-1.safetensors", "model.ckpt-3.safetensors"]


def test_timeout_fn_decides_whether_to_go_on(tmp_path: Path) -> None:
    calls = []

    def timeout_fn() -> bool:
        calls.append(write(tmp_path, len(calls)))
        return len(calls) == 3

    found = list(checkpoints_iterator(tmp_path, timeout=0, timeout_fn=timeout_fn))
    assert found == calls[:2]


def test_min_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    write(tmp_path, 1)
    list(checkpoints_iterator(tmp_path, min_interval_secs=60, timeout=0))
    assert slept == [pytest.approx(60, abs=5)]


# Evaluating


def test_every_new_checkpoint(tmp_path: Path, update: Symbol) -> None:
    seen: list[float] = []
    write(tmp_path, 5)

    def train_on() -> bool:
        write(tmp_path, 6 + len(seen))
        seen.append(1)
        return len(seen) == 3

    assert follow(tmp_path, update, timeout_fn=train_on, eval_interval_secs=0) == 7
    assert follow(tmp_path, update) == 8


def test_max_number_of_evaluations(tmp_path: Path, update: Symbol) -> None:
    write(tmp_path, 1)
    calls: list[int] = []
    follow(
        tmp_path,
        update,
        initial_op=lambda: calls.append(write(tmp_path, 2 + len(calls)) and 1),
        max_number_of_evaluations=2,
    )
    assert len(calls) == 2


def test_nothing_to_evaluate(tmp_path: Path, update: Symbol) -> None:
    assert follow(tmp_path / "not yet", update) is None


def test_a_damaged_newest_checkpoint_is_passed_over(
    tmp_path: Path, update: Symbol, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    damaged = write(tmp_path, 2)
    os.truncate(damaged, 100)
    assert follow(tmp_path, update) == 1
    assert "model.ckpt-2" in caplog.text


def test_a_checkpoint_that_is_removed_under_it(
    tmp_path: Path, update: Symbol, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(tmp_path, 1), write(tmp_path, 2)
    os.remove(first)
    paths = iter([first, second])
    monkeypatch.setattr("torchslim.evaluation.following.checkpoints_iterator", lambda *_: paths)
    assert follow(tmp_path, update) == 2
    assert f"passing over {first}" in caplog.text


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path, update: Symbol) -> None:
    save_checkpoint(tmp_path, {"model": {"other.weight": torch.zeros(1)}}, step=1)
    with pytest.raises(ValueError, match="fc/weights"):
        follow(tmp_path, update)


def test_evaluate_repeatedly(tmp_path: Path, update: Symbol) -> None:
    write(tmp_path, 4)
    assert evaluate_repeatedly(tmp_path, eval_ops={"step": update}, timeout=0, eval_interval_secs=0) == {"step": 4}


def test_arguments_of_sessions(tmp_path: Path, update: Symbol) -> None:
    with pytest.raises(TypeError, match="evaluation_loop: `session_config` belongs to TensorFlow's sessions"):
        follow(tmp_path, update, session_config=1)


WRITER = """
import sys, time, torch
from torchslim.checkpoints import save_checkpoint
for step in range(1, 6):
    weights = {"fc.weight": torch.full((1, 1), float(step))}
    save_checkpoint(sys.argv[1], {"model": weights}, step=step, max_to_keep=1)
    time.sleep(0.02)
"""


@pytest.mark.slow
def test_another_process_writes(tmp_path: Path, update: Symbol) -> None:
    """Each checkpoint is removed as soon as the next one is there; the follower ends with the last one."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) as writer:
        ended: list[bool] = []

        def over() -> bool:
            """Whether a whole wait has passed since the writer ended."""
            ended.append(writer.poll() is not None)
            return ended[-2:] == [True, True]

        last = follow(tmp_path, update, timeout=1.5, timeout_fn=over)
    assert writer.returncode == 0
    assert last == 5
