"""Killed at any moment, a training goes on from a whole checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import runpy
import time
from pathlib import Path

import pytest

from torchslim.checkpoints import latest_checkpoint, step_of

KILLS = 20
SCRIPT = Path(__file__).with_name("killed_training.py")


@pytest.fixture
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start in milliseconds: their server has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchslim.learning", "torch._dynamo"])
    return context


def newest(logdir: Path) -> int:
    path = latest_checkpoint(logdir, verify=False)
    return -1 if path is None else step_of(path) or 0


def test_killed_at_random_moments(tmp_path: Path, processes: multiprocessing.context.ForkServerContext) -> None:
    draw = random.Random(0)
    steps = []
    for _ in range(KILLS):
        started_from = newest(tmp_path)
        process = processes.Process(target=runpy.run_path, args=(str(SCRIPT), {"LOGDIR": str(tmp_path)}))
        process.start()
        deadline = time.monotonic() + 60
        while newest(tmp_path) == started_from and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))  # saving takes a few milliseconds, so many kills fall into it
        assert process.is_alive(), "the training stopped by itself"
        process.kill()
        process.join()
        assert latest_checkpoint(tmp_path, verify=True) is not None
        steps.append(newest(tmp_path))
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))

    run = runpy.run_path(str(SCRIPT))["run"]
    resumed = run(str(tmp_path), number_of_steps=steps[-1] + 3)
    straight = run(None, number_of_steps=steps[-1] + 3)
    assert [name for name in straight if not straight[name].equal(resumed[name])] == []
    assert list(tmp_path.glob(".*.tmp")) == []
