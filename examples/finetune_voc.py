"""`make demo`: fine-tunes a small VGG on drawn photographs in Pascal VOC's layout, with and without restored weights.

Every step is a command that can be typed, and is printed before it runs. What they leave is in `runs/demo`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import time
from pathlib import Path

from torchslim.cli import main
from torchslim.cli.tables import mean_average_precision, precision_table
from torchslim.cli.results import read_results

os.chdir(Path(__file__).parent.parent)
LOGDIR = Path("runs/demo")
WEIGHTS = "torchslim/nets/weights/small_vgg_shapes.safetensors"


def run(command: str) -> None:
    """Prints a command line and does what it says."""
    print(f"\n$ torchslim {command}", flush=True)
    code = main(shlex.split(command))
    if code:
        raise SystemExit(code)


def demo(steps: int) -> None:
    """Fine-tunes twice, predicts, and compares."""
    started = time.monotonic()
    shutil.rmtree(LOGDIR, ignore_errors=True)  # else the runs of an earlier demo would be resumed
    finetune = f"finetune --net examples/small_vgg.py:small_vgg --steps {steps} --learning-rate 0.1 --log-every 100"
    restore = f"--weights {WEIGHTS} --names shapes=small_vgg --checkpoint-exclude-scopes fc6,fc7"
    run(f"{finetune} --logdir {LOGDIR}/restored {restore}")
    run(f"evaluate --logdir {LOGDIR}/restored")
    run(f"predict --logdir {LOGDIR}/restored")
    print("\nThe same without the restored weights, to see what they are worth:")
    run(f"{finetune} --logdir {LOGDIR}/from_scratch")
    print(f"{time.monotonic() - started:.0f} s in all. Look at {LOGDIR}/restored/predictions.png, and at the curves:")
    print(f"  tensorboard --logdir {LOGDIR}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    demo(parser.parse_args().steps)
