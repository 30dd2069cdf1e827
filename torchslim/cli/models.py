"""`torchslim models`: the networks there are; card, layers and drawing of one."""

from __future__ import annotations

import argparse

import torch

from torchslim.diagrams import draw
from torchslim.model_summary import columns
from torchslim.nets import card, get
from torchslim.nets.nets_factory import networks_map


def models(args: argparse.Namespace) -> None:
    """Prints what is asked for."""
    if args.name is None:
        if args.draw is not None:
            raise ValueError(f"models: `--draw` needs the name of a network. Got {str(args.draw)!r} alone.")
        _print_list()
        return
    known = card(args.name)
    with torch.device("meta"):
        model = get(args.name, args.num_classes, image_size=args.image_size)
    if args.draw is not None:
        draw(model, args.draw, depth=args.depth)
    print(known)
    print()
    print(model.summary())


def _print_list() -> None:
    rows: list[tuple[str, ...]] = [
        ("name", "preprocessing", "checkpoint", "classes", "pixels", "parameters", "multiply-adds")
    ]
    for known in map(card, networks_map):
        sizes = (known.num_classes, known.image_size, known.parameters, known.multiply_adds)
        rows.append((known.name, known.preprocessing, known.archive or "-", *(f"{size:,}" for size in sizes)))
    print(columns(rows, right=4))
