"""What processes find out about each other before they talk; `test_distributed_training.py` has them talk."""

from __future__ import annotations

import pytest
import torch
from torch import distributed

from torchslim.data import Loader
from torchslim.learning import processes
from torchslim.learning.processes import started, together

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("torchrun")
def test_a_process_knows_its_number_before_it_knows_the_others() -> None:
    assert started() == (3, 4)


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize("missing", ["RANK", "MASTER_PORT"])
def test_half_an_environment_is_none(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(missing)
    assert started() == (0, 1)
    with together("cpu"):
        assert not distributed.is_initialized()


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize(
    ("device", "gpu", "backend"),
    [
        ("auto", [1], "cpu:gloo,cuda:nccl"),
        ("cuda", [1], "cpu:gloo,cuda:nccl"),
        ("/GPU:*", [1], "cpu:gloo,cuda:nccl"),
        ("/GPU:0", [], "cpu:gloo,cuda:nccl"),
        ("cuda:0", [], "cpu:gloo,cuda:nccl"),
        ("cpu", [], "gloo"),
    ],
)
def test_each_process_gets_the_gpu_of_its_local_rank(
    device: str, gpu: list[int], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    begun: list[tuple[str, int, int]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(processes, "_store", lambda rank, size: distributed.HashStore())
    monkeypatch.setattr(
        distributed, "init_process_group", lambda name, store, rank, world_size: begun.append((name, rank, world_size))
    )
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: begun.append(("over", 3, 4)))
    with together(device):
        assert begun == [(backend, 3, 4)]
    assert begun[1:] == [("over", 3, 4)]
    assert chosen == gpu


@pytest.mark.usefixtures("torchrun")
def test_after_an_error_the_others_are_told_by_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(processes, "_store", lambda rank, size: distributed.HashStore())
    monkeypatch.setattr(distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: ended.append(True))
    with pytest.raises(ValueError, match="step 7"), together("cpu"):
        raise ValueError("step 7")
    assert ended == []


@pytest.mark.usefixtures("torchrun")
def test_data_that_is_made_before_has_the_same_order_in_all_processes() -> None:
    orders = [next(iter(Loader(torch.arange(30.0), 30, shuffle=True)))[0].tolist() for _ in range(2)]
    assert orders[0] == orders[1]


@pytest.mark.usefixtures("torchrun")
def test_a_batch_for_each_process_is_needed() -> None:
    with pytest.raises(ValueError, match=r"`batch_size` 5: list has 19 items, 4 for each of 4 processes"):
        Loader(list(range(19)), 5, drop_last=True)
