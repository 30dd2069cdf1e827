"""An evaluator beside a trainer that saves twenty times a second and keeps two checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchmetrics

import torchslim as slim
from torchslim.evaluation import evaluation_loop, following

# Every step adds exactly one to each of the weights, so a checkpoint of step N holds N and nothing else.
SIZE = 100_000
TRAINER = f"""
import functools, sys, time, torch
import torchslim as slim

logdir, seconds = sys.argv[1], float(sys.argv[2])
torch.set_num_threads(1)
x = slim.placeholder((None, 1), name="x")
slim.get_default_graph().add_feed([(torch.ones(2, 1),)] * 100, [x])
weights = slim.variable("w", shape=[{SIZE}], initializer=torch.zeros)
loss = -(weights * x.mean()).sum()
train_op = slim.learning.create_train_op(loss, functools.partial(torch.optim.SGD, lr=1.0))
end = time.monotonic() + seconds

def step(train_op, batch, *, should_log):
    loss, _ = slim.learning.train_step(train_op, batch, should_log=should_log)
    return loss, time.monotonic() > end

slim.learning.train(
    train_op, logdir, step, save_interval_secs=0.05, keep_last=2, log_every_n_steps=0, save_summaries_secs=None,
    device="cpu", precision="fp32")
print(train_op.global_step)
"""


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.nightly)])
def test_every_evaluated_checkpoint_was_whole(
    seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "_SECONDS_TO_SLEEP", 0.002)
    x = slim.placeholder((None, 1), name="x")
    slim.get_default_graph().add_feed([(torch.ones(2, 1),)], [x])
    weights = slim.variable("w", shape=[SIZE], initializer=torch.zeros) * x.mean()
    updates = {
        name: slim.metrics.streaming_metric(metric, weights)[1]
        for name, metric in {"min": torchmetrics.MinMetric(), "max": torchmetrics.MaxMetric()}.items()
    }
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "run"), str(seconds)]
    log = tmp_path / "log"  # no pipe, which would be full some time
    with log.open("wb") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as trainer:
        ended: list[bool] = []

        def over() -> bool:
            """Whether a whole wait has passed since the trainer ended."""
            ended.append(trainer.poll() is not None)
            return ended[-2:] == [True, True]

        last = evaluation_loop(
            "",
            tmp_path / "run",
            tmp_path / "eval",
            eval_op=updates,
            eval_interval_secs=0,
            timeout=0.5,
            timeout_fn=over,
            device="cpu",
        )
        output, _ = trainer.communicate()
    assert trainer.returncode == 0, log.read_text()
    final = float(output)
    assert last == {"min": final, "max": final}
    found = [json.loads(line) for line in (tmp_path / "eval" / "evaluations.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in found]
    assert {f"saved {line['path']}" for line in found} <= set(log.read_text().splitlines())
    assert [line["values"] for line in found] == [{"min": step, "max": step} for step in steps]
    assert steps == sorted(set(steps))
    assert len(steps) > seconds
    assert "damaged" not in caplog.text
