"""Not a test: a small training with all that can remember something, for tests to stop, to kill and to start again.

`run` is one start of the program: everything is made anew. As a script (`runpy`), in a process that gets `LOGDIR` as a
global, it saves all the time until it is killed.
"""

from __future__ import annotations

import functools
import math
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler
from torchmetrics import MeanMetric

import torchslim as slim

WIDTH, KILLED_WIDTH = 8, 3000
Batch = tuple[torch.Tensor, ...]


class Augmented(Dataset[Any]):
    """Twenty items with random numbers of Python, NumPy and PyTorch in them, drawn where they are made."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Batch:
        noise = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])
        return noise + index / 20, torch.tensor([index / 20, 1.0])


def batches(data: str, num_workers: int) -> Any:
    """The data set in batches of six, in a random order."""
    options: dict[str, Any] = {"num_workers": num_workers}
    if data == "slim":
        return slim.data.Loader(Augmented(), 6, shuffle=True, **options)
    own = torch.Generator().manual_seed(3)
    if data == "loader":
        options["shuffle"] = True
    elif data == "generator":
        options.update(shuffle=True, generator=own)
    elif data == "sampler":
        options["sampler"] = WeightedRandomSampler([1.0, 2.0] * 10, 20, generator=own)
    elif data == "replacement":
        options["sampler"] = RandomSampler(Augmented(), replacement=True, generator=own)
    return DataLoader(Augmented(), batch_size=6, **options)


def learning_rate(schedule: str, width: int) -> dict[str, Any]:
    """An optimizer with its schedule: small and slow steps where the net is wide."""
    if schedule == "slim":
        rate = slim.optimizers.exponential_decay(0.4 / width, decay_steps=width // 2, decay_rate=0.7)
        return {"optimizer": slim.optimizers.Momentum(rate, momentum=0.9)}
    return {
        "optimizer": functools.partial(torch.optim.Adam, lr=1e-2),
        "scheduler": functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=40),
    }


def of_function(width: int, seen: MeanMetric, **options: Any) -> slim.learning.TrainOp:
    """A train op on a loss function; the module has a metric in it."""
    net = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 2))
    net.seen = seen

    def loss_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.mse_loss(net[3](net[2](net[1](net[0](x)))), y)
        seen.update(loss.detach())
        return loss

    return slim.learning.create_train_op(loss_fn, module=net, **options)


def of_graph(width: int, data: Any, **options: Any) -> slim.learning.TrainOp:
    """A train op on a graph, which updates a metric in each step; its sizes leave tensors in a file unaligned."""
    with slim.Graph() as graph:
        x = slim.placeholder((None, 3), name="x")
        y = slim.placeholder((None, 2), name="y")
        graph.add_feed(data, (x, y))
        with slim.arg_scope([slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.01)):
            net = slim.fully_connected(x, width + 1, normalizer_fn=slim.batch_norm)
            net = slim.fully_connected(slim.dropout(net, 0.6), 61)
            net = slim.fully_connected(net, 2, activation_fn=None)
        slim.losses.mean_squared_error(net, y)
        _, update = slim.metrics.streaming_mean(net.abs())
        return slim.learning.create_train_op(slim.losses.get_total_loss(), update_ops=[update], **options)


def run(
    logdir: str | None,
    *,
    kind: str = "function",
    data: str = "loader",
    num_workers: int = 0,
    schedule: str = "slim",
    accumulate_steps: int = 1,
    width: int = WIDTH,
    losses: Path | None = None,
    kill_at: int | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> slim.learning.TrainOp:
    """Trains; appends each loss to a file; kills its process in the midst of a step."""
    torch.set_num_threads(1)
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    torch.manual_seed(seed)
    loader = batches(data, num_workers)
    options = {**learning_rate(schedule, width), "accumulate_steps": accumulate_steps, "ema_decay": 0.9}
    train_op = of_graph(width, loader, **options) if kind == "graph" else of_function(width, MeanMetric(), **options)

    def step(train_op: slim.learning.TrainOp, batch: Batch, *, should_log: bool) -> tuple[torch.Tensor, bool]:
        loss, _ = slim.learning.train_step(train_op, batch, should_log=True)
        if losses is not None:
            with losses.open("a") as file:
                file.write(f"{train_op.global_step} {train_op.accumulated} {loss.item().hex()}\n")
        if train_op.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss, False

    def evaluate() -> dict[str, float]:
        total = sum(float(value.double().sum()) for value in train_op.tensors().values())
        return {"score": math.sin(100 * total) + random.random()}

    slim.learning.train(
        train_op,
        logdir,
        step,
        **{"batches": loader} if kind == "function" else {},
        eval_fn=evaluate,
        eval_every_n_steps=3,
        keep_best="score",
        log_every_n_steps=0,
        save_summaries_secs=0,
        device="cpu",
        precision="fp32",
        **kwargs,
    )
    return train_op


if "LOGDIR" in globals():
    run(globals()["LOGDIR"], width=KILLED_WIDTH, save_interval_secs=1e-9, keep_last=2)
