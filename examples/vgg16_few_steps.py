"""The real thing, for a few steps: torchvision's VGG16 weights, restored by name, fine-tuned on real photographs.

    python examples/vgg16_few_steps.py --data-dir VOCdevkit

It checks that all works, in a minute or two on 2 cores. The weights are what torchvision's own `vgg16()` saves; with
`--weights vgg16-397923af.pth`, torchvision's ImageNet weights, and some thousand steps it is a real fine-tuning.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import torch
import torchvision

from torchslim.cli import main


def few_steps(data_dir: str, weights: str | None, steps: int) -> int:
    """Runs `torchslim finetune` and `torchslim predict`; returns their exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        if weights is None:
            weights = f"{scratch}/vgg16.pth"
            torch.save(torchvision.models.vgg16().state_dict(), weights)
        words = ["finetune", "--net", "vgg_16", "--weights", weights, "--names", "torchvision/vgg16"]
        words += ["--dataset", "pascal_voc", "--data-dir", data_dir, "--logdir", f"{scratch}/run"]
        words += ["--steps", str(steps), "--batch-size", "8", "--learning-rate", "0.001", "--log-every", "1"]
        return main(words) or main(["predict", "--logdir", f"{scratch}/run", "--count", "4"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of Pascal VOC: a VOCdevkit or what holds it")
    parser.add_argument("--weights", help="a file of torchvision's vgg16 (default: new, random ones)")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    sys.exit(few_steps(args.data_dir, args.weights, args.steps))
