"""TensorFlow's `SAME` and `VALID` padding."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import functional

# Two numbers a dimension: what is added before and after.
Pads = list[tuple[int, int]]


def same_pads(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], rate: Sequence[int]) -> Pads:
    """What `SAME` adds: the output has `ceil(size / stride)`, an odd number is split with the larger half behind.

    Args:
        sizes: of the dimensions of space.
        kernel: size of the window.
        stride: step of the window.
        rate: distance between the taps of the window.

    Example:
        >>> same_pads([224], [3], [2], [1]), same_pads([225], [3], [2], [1])
        ([(0, 1)], [(1, 1)])
    """
    pads = []
    for size, window, step, gap in zip(sizes, kernel, stride, rate, strict=True):
        total = max((-(-size // step) - 1) * step + (window - 1) * gap + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def output_size(size: int, kernel: int, stride: int, rate: int, padding: str) -> int:
    """How many windows there are along a dimension.

    Example:
        >>> output_size(9, 3, 2, 1, 'SAME'), output_size(9, 3, 2, 1, 'VALID')
        (5, 4)
    """
    return -(-(size if padding == "SAME" else size - (kernel - 1) * rate) // stride)


def constant_pads(kernel: Sequence[int], stride: Sequence[int], rate: Sequence[int]) -> list[int] | None:
    """The symmetric padding that `SAME` amounts to at any size, or None if it depends on the size or is asymmetric."""
    totals = [(window - 1) * gap for window, gap in zip(kernel, rate, strict=True)]
    fixed = all(total == 0 or (step == 1 and total % 2 == 0) for total, step in zip(totals, stride, strict=True))
    return [total // 2 for total in totals] if fixed else None


def symmetric(pads: Pads) -> list[int] | None:
    """One number a dimension if the padding is the same on both sides."""
    return [before for before, _ in pads] if all(before == after for before, after in pads) else None


def pad(inputs, pads: Pads, value: float = 0.0):  # type: ignore[no-untyped-def]
    """Pads the last dimensions of `inputs`."""
    flat = [size for before_after in reversed(pads) for size in before_after]
    return functional.pad(inputs, flat, value=value)
