"""`torchslim finetune`."""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchslim import data, evaluation, learning, losses, summaries
from torchslim.checkpoints import RestoreReport, latest_checkpoint, restore
from torchslim.cli.evaluate import average_precisions
from torchslim.cli.run import Run
from torchslim.cli.tables import precision_table
from torchslim.datasets import PascalVOC
from torchslim.graph import Graph, Symbol, Variable, get_default_graph, placeholder
from torchslim.learning.training import TrainStepFn
from torchslim.variables import get_model_variables, get_trainable_variables, select_variables

AUXILIARY_WEIGHT = 0.4  # of the loss of a second classifier, as in TF-Slim's training script


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
        init_fn = _init_fn(run, args)
        # No step yet: this writes the checkpoint to start from, or finds the one to go on from.
        train(number_of_steps=0, init_fn=init_fn)
        run.save(args.logdir)
        before, began = average_precisions(run, args.logdir, args), train_op.global_step
        started = time.monotonic()
        train(
            _step(run, args),
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
    logits, *auxiliary = run.classifiers(images)
    losses.sigmoid_cross_entropy(logits, labels)
    for others in auxiliary:
        losses.sigmoid_cross_entropy(others, labels, weights=AUXILIARY_WEIGHT)
    total_loss = losses.get_total_loss()
    summaries.add_scalar_summary(total_loss, "total_loss", prefix="losses")
    summaries.add_image_summary(images, "images")
    return total_loss


def _trained(scopes: list[str] | None) -> list[Variable] | None:
    if scopes is None:
        return None
    found = select_variables(get_trainable_variables(), scopes, argument="trainable-scopes")
    return [variable for group in found.values() for variable in group]


def _init_fn(run: Run, args: argparse.Namespace) -> Callable[[], RestoreReport] | None:
    """Restores the weights, except for what starts afresh: by default the classifiers."""
    if args.weights is None:
        return None
    variables = get_model_variables()
    excluded = args.checkpoint_exclude_scopes
    return functools.partial(
        restore,
        variables,
        args.weights,
        exclude=starting_afresh(run, variables) if excluded is None else excluded,
        names=_names(args.names),
        prefer_ema="auto",
    )


def starting_afresh(run: Run, variables: Sequence[Variable]) -> list[str]:
    """Those of a net's variables that have another shape if there is one class more."""
    with Graph():
        run.classifiers(placeholder((None, *run.picture_shape)), PascalVOC.num_classes + 1)
        shapes = {variable.op.name: variable.shape for variable in get_model_variables()}
    return [variable.op.name for variable in variables if variable.shape != shapes.get(variable.op.name)]


def _names(text: str | None) -> str | Mapping[str, str] | None:
    """What `restore` takes as `names`."""
    if text is None or "=" not in text:
        return text
    return dict(pair.split("=", 1) for pair in text.split(","))


def _step(run: Run, args: argparse.Namespace) -> TrainStepFn:
    """A step whose learning rate falls to 0 along half a cosine (arXiv:1608.03983); the last one adds statistics.

    The moving averages of the published nets' batch norms need tens of thousands of steps, more than fine-tuning takes.
    """
    graph = get_default_graph()

    def step(train_op: learning.TrainOp, batch: tuple[Any, ...], *, should_log: bool) -> tuple[torch.Tensor, bool]:
        assert train_op.optimizer is not None  # made before the first step
        for group in train_op.optimizer.param_groups:
            group["lr"] = args.learning_rate * (1 + math.cos(math.pi * train_op.global_step / args.steps)) / 2
        result = learning.train_step(train_op, batch, should_log=should_log)
        if train_op.global_step == args.steps and any(map(_is_learning, graph.root.modules())):
            photographs = data.Loader(
                run.data(args.train_split),
                args.batch_size,
                num_workers=args.workers,
                shuffle=True,
                drop_last=True,
                seed=args.seed,
            )
            evaluation.recalibrate_batch_norm(graph, photographs, num_batches=100)
        return result

    return step


def _is_learning(layer: nn.Module) -> bool:
    """Whether it is a batch norm that normalizes by the batch, and so keeps averages."""
    return isinstance(layer, _BatchNorm) and layer.training
