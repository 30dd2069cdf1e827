"""Tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def mean_average_precision(precisions: Sequence[float]) -> float:
    """The mean over the classes that were there.

    Example:
        >>> mean_average_precision([0.5, float("nan"), 1.0])
        0.75
    """
    known = [value for value in precisions if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def precision_table(class_names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> str:
    """Average precision of each class and the mean over them, in percent.

    Args:
        class_names: K of them.
        columns: heading -> K values in 0..1; NaN for a class that no picture shows.

    Returns:
        Lines of text.

    Example:
        >>> print(precision_table(["cat", "dog"], {"before": [0.1, 0.2], "after": [0.75, float("nan")]}))
        AP (%)   before    after
        cat        10.0     75.0
        dog        20.0        -
        mAP        15.0     75.0
    """
    width = max(map(len, [*class_names, "AP (%)"]))
    rows = [(name, [column[i] for column in columns.values()]) for i, name in enumerate(class_names)]
    rows.append(("mAP", [mean_average_precision(column) for column in columns.values()]))
    lines = [f"{'AP (%)':<{width}}" + "".join(f"{heading:>9}" for heading in columns)]
    for name, values in rows:
        cells = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in values]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)
