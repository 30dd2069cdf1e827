"""`torchslim inspect`: what is in a checkpoint, whether it is whole, and how it differs from another one."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchslim.checkpoints import CheckpointError, Reader, StoredTensor, open_checkpoint

_FIRST = 8


def inspect(args: argparse.Namespace) -> int:
    """Prints what is asked for.

    Returns:
        The exit code: 0, or 1 if `--verify` finds damage or `--diff` a difference.
    """
    if args.verify:
        return _verify(args.checkpoint)
    checkpoint = open_checkpoint(args.checkpoint)
    if args.diff:
        return _print_differences(checkpoint, open_checkpoint(args.diff))
    if args.tensor:
        _print_statistics(checkpoint, args.tensor)
    else:
        _print_tensors(checkpoint)
    return 0


def _print_tensors(checkpoint: Reader) -> None:
    rows = [("name", "shape", "dtype", "bytes")]
    for name in sorted(checkpoint, key=_natural):
        stored = checkpoint[name]
        size = _size(stored)
        rows.append((name, str(list(stored.shape)), _dtype(stored), "-" if size is None else f"{size:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    print(checkpoint.name)
    for name, shape, dtype, bytes_ in rows:
        print(f"  {name:<{widths[0]}}  {shape:<{widths[1]}}  {dtype:<{widths[2]}}  {bytes_:>{widths[3]}}")
    elements = sum(math.prod(stored.shape) for stored in checkpoint.values())
    total = sum(_size(stored) or 0 for stored in checkpoint.values())
    print(f"{len(checkpoint)} tensors, {elements:,} elements, {total:,} bytes ({total / 2**20:.1f} MiB)")


def _size(stored: StoredTensor) -> int | None:
    """Bytes; unknown for strings, which are as long as they are."""
    known = isinstance(stored.dtype, torch.dtype)
    return math.prod(stored.shape) * stored.dtype.itemsize if known else None


def _dtype(stored: StoredTensor) -> str:
    if isinstance(stored.dtype, torch.dtype):
        return str(stored.dtype).removeprefix("torch.")
    return "string" if stored.dtype is bytes else "unknown"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `conv10` after `conv2`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _print_statistics(checkpoint: Reader, name: str) -> None:
    try:
        stored = checkpoint[name]
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    value = stored.read()
    print(f"{name}  {list(stored.shape)}  {_dtype(stored)}")
    if isinstance(value, torch.Tensor) and value.numel():
        numbers = _wide(value)
        finite = numbers[numbers.isfinite()]
        sizes = finite.abs() if finite.is_complex() else finite
        if len(finite):
            mean, std = finite.mean().item(), finite.std(correction=0).item()
            print(f"  min {sizes.min():.6g}  max {sizes.max():.6g}  mean {mean:.6g}  std {std:.6g}")
        zeros, strange = int((numbers == 0).sum()), numbers.numel() - len(finite)
        print(f"  zeros {zeros:,} of {numbers.numel():,}, not finite {strange:,}")
    first = value.reshape(-1)[:_FIRST].tolist()
    shown = [f"{element:.6g}" if isinstance(element, float) else repr(element) for element in first]
    more = ["..."] if math.prod(stored.shape) > _FIRST else []
    print(f"  first {', '.join(shown + more)}" if first else "  empty")


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.complex128 if value.is_complex() else torch.float64)


def _verify(path: Path) -> int:
    """Reads every tensor, so that everything is compared with its checksum."""
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        print(error)
        return 1
    damaged = 0
    print(checkpoint.name)
    for name in sorted(checkpoint, key=_natural):
        try:
            checkpoint[name].read()
        except CheckpointError as error:
            damaged += 1
            print(f"  {name}: {error}")
    print(f"{len(checkpoint)} tensors read, {damaged} damaged")
    return 1 if damaged else 0


def _print_differences(one: Reader, other: Reader) -> int:
    """Compares names, shapes and values, as the files have them."""
    differing = 0
    for here, there in ((one, other), (other, one)):
        for name in sorted(set(here) - set(there), key=_natural):
            differing += 1
            print(f"  only in {here.name}: {name}  {list(here[name].shape)}")
    both = sorted(set(one) & set(other), key=_natural)
    for name in both:
        first, second = one[name], other[name]
        if first.shape != second.shape:
            differing += 1
            print(f"  {name}: {list(first.shape)} and {list(second.shape)}")
        elif text := _difference(first.read(), second.read()):
            differing += 1
            print(f"  {name}: {text}")
    print(f"{len(both)} tensors in both; {differing or 'no'} differences")
    return 1 if differing else 0


def _difference(one: Any, other: Any) -> str:
    """What differs in two values of one shape; nothing if they are equal."""
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return "" if np.array_equal(one, other) else "other strings"
    same = (one == other) | (one.isnan() & other.isnan())
    types = "" if one.dtype == other.dtype else f"{one.dtype} and {other.dtype}".replace("torch.", "")
    if same.all():
        return types
    largest = (_wide(one) - _wide(other)).abs()[~same].nan_to_num(nan=math.inf).max()
    return f"max |difference| {largest:.6g} in {int((~same).sum()):,} of {one.numel():,}{types and f', {types}'}"
