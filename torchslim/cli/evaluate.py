"""`torchslim evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from torchslim import data, evaluation, metrics
from torchslim.checkpoints import latest_checkpoint
from torchslim.cli.run import Run
from torchslim.cli.tables import precision_table
from torchslim.datasets import PascalVOC
from torchslim.graph import Graph


def evaluate(args: argparse.Namespace) -> None:
    """Prints the average precision of each class for a written checkpoint."""
    run = Run.load(args)
    checkpoint = find_checkpoint(args)
    print(f"evaluating {checkpoint} on {args.eval_split}")
    print(precision_table(PascalVOC.class_names, {"now": average_precisions(run, checkpoint, args)}))


def find_checkpoint(args: argparse.Namespace) -> Path:
    """The checkpoint that is asked for, or the newest of the run.

    Raises:
        FileNotFoundError: if the run has none.
    """
    if args.checkpoint is not None:
        return args.checkpoint
    newest = latest_checkpoint(args.logdir)
    if newest is None:
        raise FileNotFoundError(
            f"{args.command}: `--logdir` must hold a checkpoint. There is none in {str(args.logdir)!r}."
        )
    return Path(newest)


def average_precisions(run: Run, checkpoint: Path, args: argparse.Namespace) -> list[float]:
    """Average precision of each of the 20 classes on the evaluation split, read from a written checkpoint.

    Events go to `eval/` in the run's directory.
    """
    with Graph():
        images, labels, difficult = data.batch(
            run.data(args.eval_split),
            args.batch_size,
            num_workers=args.workers,
            names=["images", "labels", "difficult"],
        )
        logits = run.logits(images)
        _, updates = metrics.aggregate_metric_map(
            {
                "AP": metrics.streaming_metric(
                    metrics.VOCAveragePrecision(PascalVOC.num_classes, run.rule), logits, labels, difficult
                ),
                "mAP": metrics.streaming_voc_mean_average_precision(logits, labels, difficult, rule=run.rule),
            }
        )
        values = evaluation.evaluate_once(
            "local", checkpoint, args.logdir / "eval", eval_op=updates, device=args.device
        )
    return values["AP"]
