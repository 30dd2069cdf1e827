"""Not a test: a small training that saves all the time, for `test_kill.py` to kill.

It runs as a script (`runpy`) in a process that gets `LOGDIR` as a global; importing it only defines `run`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torchslim as slim


def run(logdir: str | None, **kwargs: Any) -> dict[str, torch.Tensor]:
    """Trains, always from the same start; returns the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(20, 3), torch.randn(20, 2)), batch_size=6, shuffle=True)
    net = nn.Sequential(nn.Linear(3, 300), nn.Dropout(0.5), nn.Linear(300, 2))
    train_op = slim.learning.create_train_op(
        lambda x, y: (net(x) - y).square().mean(), functools.partial(torch.optim.Adam, lr=1e-4), module=net
    )
    quiet = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}
    slim.learning.train(train_op, logdir, batches=data, **quiet, **kwargs)
    return train_op.tensors()


if "LOGDIR" in globals():
    run(globals()["LOGDIR"], save_interval_secs=1e-9, keep_last=2)
