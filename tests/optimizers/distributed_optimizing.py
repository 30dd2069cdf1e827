"""Not a test: one of the processes of `test_distributed_optimizing.py`, which gets RANK and FOLDER as globals."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed, nn

import torchslim as slim


def run(rank: int, folder: Path) -> None:
    """Trains with everything that could make processes drift apart, and leaves what came out in `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "store"), 2), rank=rank, world_size=2
    )
    try:
        torch.manual_seed(rank)  # weights, data and noise differ
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        train_op = slim.optimize_loss(
            lambda x, y: (net(x) - y).square().mean(),
            None,
            slim.optimizers.exponential_decay(0.1, 2, 0.5),
            "RMSProp",
            gradient_noise_scale=0.1,
            clip_gradients=slim.adaptive_clipping_fn(0.1, 0.5),
            module=net,
        )
        averaged = slim.learning.create_train_op(
            lambda x, y: (net(x) - y).square().mean(), slim.optimizers.Adam(), module=net, ema_decay=0.9
        )
        for _ in range(4):
            batch = torch.randn(5, 3), torch.randn(5, 2)
            train_op(*batch)
            averaged(*batch)
        torch.save({**train_op.tensors(), **averaged.ema.averages}, folder / f"result{rank}.pt")
    finally:
        distributed.destroy_process_group()


if "RANK" in globals():
    run(globals()["RANK"], Path(globals()["FOLDER"]))
