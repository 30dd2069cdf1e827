"""`torchslim predict`."""

from __future__ import annotations

import argparse

import torch
from torchvision.transforms.v2.functional import to_pil_image

from torchslim.checkpoints import restore
from torchslim.cli.evaluate import find_checkpoint
from torchslim.cli.grid import Prediction, draw_grid
from torchslim.cli.run import Run
from torchslim.datasets import PascalVOC
from torchslim.graph import build
from torchslim.learning.device import resolve_device


def predict(args: argparse.Namespace) -> None:
    """Writes a PNG of photographs with their predicted and true classes."""
    run = Run.load(args)
    checkpoint = find_checkpoint(args)
    photographs = run.data(args.eval_split)
    count = min(args.count, len(photographs))
    device = resolve_device(args.device)
    images = torch.stack([photographs[i][0] for i in range(count)])
    with torch.device("meta"):
        model = build(run.logits, torch.empty_like(images))
    restore(model, checkpoint)
    model.to(device).eval()
    with torch.inference_mode():
        probabilities = torch.cat([model(batch.to(device)) for batch in images.split(args.batch_size)]).sigmoid().cpu()

    grid = draw_grid([_prediction(photographs, i, probabilities[i], args.threshold) for i in range(count)])
    output = args.output or args.logdir / "predictions.png"
    grid.save(output)
    print(f"wrote {output}: {count} photographs of {args.eval_split} by {checkpoint}")


def _prediction(photographs: PascalVOC, index: int, probabilities: torch.Tensor, threshold: float) -> Prediction:
    names = photographs.class_names
    order = probabilities.argsort(descending=True).tolist()
    return Prediction(
        photograph=to_pil_image(photographs.image(index)),
        predicted=[(names[k], float(probabilities[k])) for k in order if probabilities[k] >= threshold],
        true=[names[k] for k in photographs.target(index)[0].nonzero().flatten().tolist()],
    )
