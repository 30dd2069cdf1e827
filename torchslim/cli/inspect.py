"""`torchslim inspect`."""

from __future__ import annotations

import argparse
import math
import re

from torchslim.checkpoints import open_checkpoint


def inspect(args: argparse.Namespace) -> None:
    """Prints what a checkpoint holds: every tensor of the weights, and the totals."""
    checkpoint = open_checkpoint(args.checkpoint)
    rows = [("name", "shape", "dtype", "bytes")]
    elements = size = 0
    for name in sorted(checkpoint, key=_natural):
        stored = checkpoint[name]
        count = math.prod(stored.shape)
        elements, size = elements + count, size + count * stored.dtype.itemsize
        dtype = str(stored.dtype).removeprefix("torch.")
        rows.append((name, str(list(stored.shape)), dtype, f"{count * stored.dtype.itemsize:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    print(checkpoint.name)
    for name, shape, dtype, bytes_ in rows:
        print(f"  {name:<{widths[0]}}  {shape:<{widths[1]}}  {dtype:<{widths[2]}}  {bytes_:>{widths[3]}}")
    print(f"{len(checkpoint)} tensors, {elements:,} elements, {size:,} bytes ({size / 2**20:.1f} MiB)")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `conv10` after `conv2`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
