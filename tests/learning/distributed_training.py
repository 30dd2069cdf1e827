"""Not a test: one of the processes of `test_distributed_training.py`, which gets RANK, WORLD, and FOLDER as globals."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import distributed, nn

import torchslim as slim


def run(rank: int, world: int, folder: Path) -> None:
    """Trains on this process's part of each batch and leaves its weights in `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "store"), world), rank=rank, world_size=world
    )
    try:
        torch.manual_seed(rank)  # the first process's start counts
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        if rank == 0:
            torch.save(net.state_dict(), folder / "start.pt")
        train_op = slim.learning.create_train_op(
            lambda x, y: (net(x) - y).square().mean(),
            functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            module=net,
            variables_to_train=["0/weights", "2/weights"],
        )
        whole = torch.load(folder / "data.pt")
        batches = [tuple(part.chunk(world)[rank] for part in batch) for batch in whole]
        options = {"log_every_n_steps": 1, "save_interval_secs": 1e-9, "device": "cpu", "precision": "fp32"}
        slim.learning.train(train_op, folder / "log", batches=batches, number_of_steps=15, **options)
        torch.save(train_op.tensors(), folder / f"weights{rank}.pt")
    finally:
        distributed.destroy_process_group()


if "RANK" in globals():
    run(globals()["RANK"], globals()["WORLD"], Path(globals()["FOLDER"]))
