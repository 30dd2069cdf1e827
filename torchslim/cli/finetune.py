"""`torchslim finetune`."""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from torchslim import data, learning, losses, summaries
from torchslim.checkpoints import RestoreReport, latest_checkpoint, restore
from torchslim.cli.evaluate import average_precisions
from torchslim.cli.run import Run
from torchslim.cli.tables import precision_table
from torchslim.datasets import PascalVOC
from torchslim.graph import Graph, Symbol, Variable
from torchslim.learning.training import TrainStepFn
from torchslim.variables import get_model_variables, get_trainable_variables, select_variables


def finetune(args: argparse.Namespace) -> dict[str, list[float]]:
    """Restores, evaluates, trains, evaluates what was written; prints and returns average precisions."""
    run = Run.start(args)
    torch.manual_seed(args.seed)
    with Graph():
        total_loss = _loss(run, args)
        train_op = learning.create_train_op(
            total_loss,
            functools.partial(torch.optim.SGD, lr=args.learning_rate, momentum=args.momentum),
            variables_to_train=_trained(args.trainable_scopes),
        )
        train = functools.partial(learning.train, train_op, args.logdir, device=args.device, precision=args.precision)
        init_fn = _init_fn(args)
        # No step yet: this writes the checkpoint to start from, or finds the one to go on from.
        train(number_of_steps=0, init_fn=init_fn)
        run.save(args.logdir)
        before, began = average_precisions(run, args.logdir, args), train_op.global_step
        started = time.monotonic()
        train(
            _cosine(args.learning_rate, args.steps),
            number_of_steps=args.steps,
            log_every_n_steps=args.log_every,
        )
    steps = train_op.global_step - began
    seconds = time.monotonic() - started
    print(f"trained {steps} steps in {seconds:.0f} s; evaluating {latest_checkpoint(args.logdir)}")
    precisions = {"before": before, "after": average_precisions(run, args.logdir, args)}
    print(precision_table(PascalVOC.class_names, precisions))
    return precisions


def _loss(run: Run, args: argparse.Namespace) -> Symbol:
    images, labels = data.batch(
        run.data(args.train_split, is_training=True),
        args.batch_size,
        num_workers=args.workers,
        shuffle=True,
        drop_last=True,
        seed=args.seed,
        names=["images", "labels"],
    )
    losses.sigmoid_cross_entropy(run.logits(images), labels)
    total_loss = losses.get_total_loss()
    summaries.add_scalar_summary(total_loss, "total_loss", prefix="losses")
    summaries.add_image_summary(images, "images")
    return total_loss


def _trained(scopes: list[str] | None) -> list[Variable] | None:
    if scopes is None:
        return None
    found = select_variables(get_trainable_variables(), scopes, argument="trainable-scopes")
    return [variable for group in found.values() for variable in group]


def _init_fn(args: argparse.Namespace) -> Callable[[], RestoreReport] | None:
    """Restores the weights, except for what starts afresh: by default the last layer."""
    if args.weights is None:
        return None
    variables = get_model_variables()
    head = variables[-1].op.name.rpartition("/")[0]
    return functools.partial(
        restore,
        variables,
        args.weights,
        exclude=args.checkpoint_exclude_scopes or [head],
        names=_names(args.names),
    )


def _names(text: str | None) -> str | Mapping[str, str] | None:
    """What `restore` takes as `names`."""
    if text is None or "=" not in text:
        return text
    return dict(pair.split("=", 1) for pair in text.split(","))


def _cosine(learning_rate: float, steps: int) -> TrainStepFn:
    """A step whose learning rate falls to 0 along half a cosine (arXiv:1608.03983)."""

    def step(train_op: learning.TrainOp, batch: tuple[Any, ...], *, should_log: bool) -> tuple[torch.Tensor, bool]:
        assert train_op.optimizer is not None  # made before the first step
        for group in train_op.optimizer.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * train_op.global_step / steps)) / 2
        return learning.train_step(train_op, batch, should_log=should_log)

    return step
