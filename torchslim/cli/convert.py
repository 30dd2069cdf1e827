"""`torchslim convert`."""

from __future__ import annotations

import argparse

from torchslim.checkpoints import convert as convert_checkpoint
from torchslim.checkpoints import open_checkpoint
from torchslim.checkpoints.report import some


def convert(args: argparse.Namespace) -> None:
    """Writes a checkpoint in another format, and prints what is in it and what was left out."""
    left_out = convert_checkpoint(args.checkpoint, args.output, names=args.names, layout=args.layout)
    written = open_checkpoint(args.output)
    print(f"{args.output}: {len(written)} tensors")
    if left_out:
        print(f"left out ({len(left_out)}): {some(left_out)}")
