"""`torchslim evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from torchslim import data, evaluation, metrics, summaries
from torchslim.checkpoints import latest_checkpoint, step_of
from torchslim.cli.run import Run
from torchslim.cli.tables import precision_table
from torchslim.datasets import PascalVOC
from torchslim.graph import Graph, Value


def evaluate(args: argparse.Namespace) -> None:
    """Prints the average precision of each class for a written checkpoint, and draws it if asked to."""
    if args.plots:
        metrics.check_matplotlib("evaluate: `--plots`")
    run = Run.load(args)
    checkpoint = find_checkpoint(args)
    print(f"evaluating {checkpoint} on {args.eval_split}")
    average_precision, agreement = measure(run, checkpoint, args)
    precisions = average_precision.compute().tolist()
    print(precision_table(PascalVOC.class_names, {"now": precisions}))
    if args.plots:
        draw(average_precision, agreement, args.logdir / "eval", step_of(checkpoint) or 0)


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
    """Average precision of each of the 20 classes on the evaluation split, read from a written checkpoint."""
    average_precision, _ = measure(run, checkpoint, args)
    return average_precision.compute().tolist()


def measure(
    run: Run, checkpoint: Path, args: argparse.Namespace
) -> tuple[metrics.VOCAveragePrecision, metrics.CohenKappa]:
    """Average precision, and the agreement of the likeliest class with the true ones.

    One pass over the evaluation split, of a written checkpoint. Events go to `eval/` in the run's directory.
    """
    average_precision = metrics.VOCAveragePrecision(PascalVOC.num_classes, run.rule)
    agreement = metrics.CohenKappa(PascalVOC.num_classes)
    with Graph():
        images, labels, difficult = data.batch(
            run.data(args.eval_split),
            args.batch_size,
            num_workers=args.workers,
            names=["images", "labels", "difficult"],
        )
        logits = run.logits(images)
        names_to_values, names_to_updates = metrics.aggregate_metric_map(
            {
                "AP": metrics.streaming_metric(average_precision, logits, labels, difficult),
                "kappa": metrics.streaming_metric(agreement, *likeliest_and_true(logits, labels)),
            }
        )
        summaries.add_scalar_summary(names_to_values["AP"].nanmean(), "mAP")
        evaluation.evaluate_once(
            "local", checkpoint, args.logdir / "eval", eval_op=names_to_updates, device=args.device
        )
    return average_precision, agreement


def likeliest_and_true(logits: Value, labels: Value) -> tuple[Value, Value, Value]:
    """Which class is taken for which, `[N, K]`: predictions, labels and weights for a confusion matrix.

    The class that scores highest stands for itself if the photograph shows it, or else for each of those shown, which
    share the weight of the photograph.
    """
    best = logits.argmax(1, keepdim=True)
    chosen = torch.zeros_like(logits).scatter(1, best, 1.0)
    shown = (labels > 0).float()
    weights = torch.where(shown.gather(1, best) > 0, chosen, shown)
    classes = torch.ones_like(logits).cumsum(1).long() - 1
    return best.expand_as(logits), classes, weights / weights.sum(1, keepdim=True).clamp(min=1)


def draw(
    average_precision: metrics.VOCAveragePrecision, agreement: metrics.CohenKappa, folder: Path, step: int
) -> None:
    """Writes precision-recall curves and a confusion matrix as PNG, and as pictures for TensorBoard."""
    names, precisions = PascalVOC.class_names, average_precision.compute().tolist()
    figures = {
        "precision_recall": metrics.plot_precision_recall(average_precision.curves(), names, precisions),
        "confusion_matrix": metrics.plot_confusion_matrix(agreement.matrix(), names),
    }
    with SummaryWriter(str(folder)) as writer:
        for name, figure in figures.items():
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=150)
            writer.add_figure(name, figure, step)
            print(f"wrote {path}")
