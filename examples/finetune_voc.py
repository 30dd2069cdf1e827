"""`make demo`: fine-tunes a small VGG on drawn photographs in Pascal VOC's layout, with and without restored weights.

Each step is a command that can be typed, and is printed before it runs. What they leave is in `runs/demo`.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from torchslim.cli import finetune, predict
from torchslim.cli.arguments import make_parser
from torchslim.cli.tables import mean_average_precision

ROOT = Path(__file__).parent.parent
LOGDIR = Path("runs/demo")


def typed(command: str) -> argparse.Namespace:
    """Prints a command line, and gives what it says."""
    print(f"\n$ torchslim {command}", flush=True)
    return make_parser().parse_args(command.split())


def demo(steps: int) -> None:
    """Fine-tunes with restored weights, predicts, fine-tunes without them, and compares."""
    began = time.monotonic()
    shutil.rmtree(LOGDIR, ignore_errors=True)  # or the runs of an earlier demo would be resumed
    net = f"--net {ROOT}/examples/small_vgg.py:small_vgg"
    weights = f"--weights {ROOT}/torchslim/nets/weights/small_vgg_shapes.safetensors --names shapes=small_vgg"
    training = f"--steps {steps} --learning-rate 0.3 --log-every 100"
    restored = finetune.finetune(
        typed(f"finetune --logdir {LOGDIR}/restored {net} {weights} --checkpoint-exclude-scopes fc6,fc7 {training}")
    )
    predict.predict(typed(f"predict --logdir {LOGDIR}/restored"))
    print("\nThe same without the restored weights, to see what they are worth:")
    scratch = finetune.finetune(typed(f"finetune --logdir {LOGDIR}/scratch {net} {training}"))

    before, after = (100 * mean_average_precision(restored[when]) for when in ("before", "after"))
    without = 100 * mean_average_precision(scratch["after"])
    print(f"\nmAP {before:.1f} before, {after:.1f} after; {without:.1f} after without the restored weights")
    print(f"{time.monotonic() - began:.0f} s in all. Look at {LOGDIR}/restored/predictions.png and at the curves:")
    print(f"  tensorboard --logdir {LOGDIR}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    demo(parser.parse_args().steps)
