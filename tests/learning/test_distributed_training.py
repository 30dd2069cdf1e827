"""Two processes on half a batch each train like one on the whole batch; the first one writes."""

from __future__ import annotations

import functools
import multiprocessing
import runpy
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

SCRIPT = Path(__file__).with_name("distributed_training.py")


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(6, 3), torch.randn(6, 2)) for _ in range(3)]
    torch.save(batches, tmp_path / "data.pt")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchslim.learning", "torch._dynamo"])
    processes = [
        context.Process(target=runpy.run_path, args=(str(SCRIPT), {"RANK": i, "WORLD": 2, "FOLDER": str(tmp_path)}))
        for i in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]

    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net.load_state_dict(torch.load(tmp_path / "start.pt"))
    optimizer = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)([net[0].weight, net[2].weight])
    for i in range(15):
        x, y = batches[i % 3]
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    first, second = (torch.load(tmp_path / f"weights{i}.pt") for i in range(2))
    for name, value in net.state_dict().items():
        assert first[name].equal(second[name])
        torch.testing.assert_close(first[name], value)
    written = {path.name for path in (tmp_path / "log").iterdir()}
    # They agree on when to save in every tenth step, and at the end.
    assert {name for name in written if name.startswith("model")} == {f"model.ckpt-{i}.safetensors" for i in (10, 15)}
    assert len([name for name in written if name.startswith("events")]) == 1
