"""Two processes stay together: noise, adaptive clipping, slots and moving averages are alike in both."""

from __future__ import annotations

import multiprocessing
import runpy
from pathlib import Path

import pytest
import torch
from torch import distributed

SCRIPT = Path(__file__).with_name("distributed_optimizing.py")


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_stay_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchslim.learning", "torch._dynamo"])
    processes = [
        context.Process(target=runpy.run_path, args=(str(SCRIPT), {"RANK": i, "FOLDER": str(tmp_path)}))
        for i in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"result{i}.pt") for i in range(2))
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not value.equal(second[name])] == []
