"""What metrics cost beside the inference that they judge: the update of each against a batch of VGG16. Medians.

    python benchmarks/metrics.py [--batch 8] [--classes 1000] [--rounds 7] [--device cpu] [--write NAME.md]

The batch and the updates take turns. An update that waited for the device would show: only the end of a turn does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from step_time import machine, synchronize
from torchmetrics import Metric

import torchslim as slim
from torchslim import metrics
from torchslim.nets import vgg

UPDATES = 20  # in a turn: one alone is too quick for the clock
LIMIT = 0.02  # of the batch


def cases(classes: int) -> dict[str, tuple[Metric, Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]]]:
    """Name -> a metric and what it takes, of scores `[B, classes]` and labels `[B]`."""

    def top(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return scores.argmax(1), labels

    def both(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return scores, labels

    def one_hot(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return scores, torch.nn.functional.one_hot(labels, classes)

    def probabilities(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return scores.sigmoid(), torch.nn.functional.one_hot(labels, classes)

    return {
        "accuracy": (metrics.StreamingAccuracy(), top),
        "recall at 5": (metrics.StreamingRecallAtK(5), both),
        "sparse precision at 5": (metrics.StreamingSparsePrecisionAtK(5), both),
        "average precision at 5": (metrics.StreamingSparseAveragePrecisionAtK(5), both),
        "mean squared error": (metrics.StreamingMeanSquaredError(), one_hot),
        "pearson correlation": (metrics.StreamingPearsonCorrelation(), one_hot),
        "confusion matrix": (metrics.StreamingConfusionMatrix(classes), top),
        "cohen kappa": (metrics.CohenKappa(classes), top),
        "precision at 3 thresholds": (metrics.StreamingPrecisionAtThresholds([0.25, 0.5, 0.75]), probabilities),
        "AUC, 200 thresholds": (metrics.StreamingAUC(), probabilities),
        "VOC average precision": (metrics.VOCAveragePrecision(classes), one_hot),
    }


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """How long a call takes, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def measure(batch: int, classes: int, rounds: int, device: torch.device) -> tuple[float, dict[str, float]]:
    """Median seconds of a batch of inference, and of one update of each metric."""
    model = slim.build(lambda x: vgg.vgg_16(x, classes, is_training=False)[0], torch.empty(1, 3, 224, 224))
    model.to(device).eval()
    images = torch.randn(batch, 3, 224, 224, device=device)
    scores, labels = torch.randn(batch, classes, device=device), torch.randint(classes, (batch,), device=device)
    given = {name: (metric.to(device), take(scores, labels)) for name, (metric, take) in cases(classes).items()}
    inference: list[float] = []
    updates: dict[str, list[float]] = {name: [] for name in given}

    def update(metric: Metric, inputs: tuple[torch.Tensor, ...]) -> None:
        for _ in range(UPDATES):
            metric.update(*inputs)

    with torch.inference_mode():
        for turn in range(rounds + 1):
            taken = seconds(lambda: model(images), device)
            for name, (metric, inputs) in given.items():
                metric.reset()
                each = seconds(lambda metric=metric, inputs=inputs: update(metric, inputs), device) / UPDATES
                if turn:  # the first warms up
                    updates[name].append(each)
            if turn:
                inference.append(taken)
    return statistics.median(inference), {name: statistics.median(times) for name, times in updates.items()}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns that count (default: %(default)s)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, help="file for the result")
    args = parser.parse_args()
    device = torch.device(args.device)
    inference, updates = measure(args.batch, args.classes, args.rounds, device)
    lines = [
        f"# Metrics beside VGG16, batch of {args.batch}, {args.classes} classes",
        "",
        machine(device),
        "",
        f"Inference of a batch: {1e3 * inference:.1f} ms.",
        "",
        "| update of | ms | % of the batch | |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, taken in updates.items():
        verdict = "ok" if taken < LIMIT * inference else "too slow"
        lines.append(f"| {name} | {1e3 * taken:.3f} | {100 * taken / inference:.2f} | {verdict} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        args.write.write_text(text)


if __name__ == "__main__":
    main()
