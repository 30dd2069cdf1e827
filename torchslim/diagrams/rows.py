"""Where things stand that flow into one another: in rows, each below all that it takes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, TypeVar

Cell = TypeVar("Cell", bound=Hashable)

_SWEEPS = 8
# How much more than others a place that something just flows through wants to stand straight below the one above.
_STRAIGHTNESS = 4.0


def grouped(
    leaves: Sequence[Cell], scope_of: Callable[[Cell], str | None], sources: Callable[[Cell], Iterable[Cell]]
) -> list[list[Cell]]:
    """Puts leaves together by their scopes, so that no group flows into another and back.

    Args:
        leaves: each after those that it takes from.
        scope_of: the scope of a leaf; None: it stands alone. A scope that others flow through makes several groups.
        sources: what a leaf takes from.

    Example:
        >>> grouped(['a1', 'b1', 'a2'], lambda leaf: leaf[0], {'a1': [], 'b1': [], 'a2': ['a1']}.get)
        [['a1', 'a2'], ['b1']]
        >>> grouped(['a1', 'b1', 'a2'], lambda leaf: leaf[0], {'a1': [], 'b1': ['a1'], 'a2': ['b1']}.get)
        [['a1'], ['b1'], ['a2']]
    """
    name = {leaf: (leaf if scope_of(leaf) is None else scope_of(leaf)) for leaf in leaves}
    edges = {(name[s], name[leaf]) for leaf in leaves for s in sources(leaf) if s in name and name[s] != name[leaf]}
    circular = set(name.values())
    for flows in (edges, {(target, source) for source, target in edges}):
        circular -= ranked(circular, [flow for flow in flows if circular.issuperset(flow)]).keys()
    groups: dict[Any, list[Cell]] = defaultdict(list)
    # The leaves of what flows in circles are taken in the order of their calls, which runs in none.
    for run, (which, members) in enumerate(groupby((f for f in leaves if name[f] in circular), key=name.__getitem__)):
        groups[run, which] += members
    for leaf in leaves:
        if name[leaf] not in circular:
            groups[name[leaf]].append(leaf)
    place = {leaf: i for i, leaf in enumerate(leaves)}
    return sorted(groups.values(), key=lambda group: place[group[0]])


def ranked(items: Iterable[Cell], edges: Sequence[tuple[Cell, Cell]]) -> dict[Cell, int]:
    """The row of each item, from 1 on; items in circles, and behind them, have none.

    Example:
        >>> ranked('abc', [('a', 'b'), ('b', 'c'), ('a', 'c')])
        {'a': 1, 'b': 2, 'c': 3}
    """
    below: dict[Cell, list[Cell]] = {item: [] for item in items}
    waiting: dict[Cell, int] = defaultdict(int)
    for source, target in dict.fromkeys(edges):
        below[source].append(target)
        waiting[target] += 1
    ranks = {item: 1 for item in below if not waiting[item]}
    found, ready = dict(ranks), list(ranks)
    for item in ready:
        for target in below[item]:
            ranks[target] = max(ranks.get(target, 1), ranks[item] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                found[target] = ranks[target]
                ready.append(target)
    return found


def ordered(rows: Sequence[Sequence[Cell]], steps: Sequence[tuple[Cell, Cell]]) -> list[list[Cell]]:
    """The order in each row in which few lines cross: by the mean place of what is above, or below, in turn.

    Example:
        >>> ordered([['a', 'b'], ['c', 'd']], [('a', 'd'), ('b', 'c')])
        [['a', 'b'], ['d', 'c']]
    """
    result = [list(row) for row in rows]
    above, below = _neighbours(steps)
    for sweep in range(_SWEEPS - 1):  # the last one goes down
        down = sweep % 2 == 0
        place = {cell: i / max(len(row) - 1, 1) for row in result for i, cell in enumerate(row)}
        for row in result if down else reversed(result):
            near = above if down else below
            middle = {cell: _mean([place[n] for n in near[cell]], place[cell]) for cell in row}
            row.sort(key=middle.__getitem__)
            place.update((cell, i / max(len(row) - 1, 1)) for i, cell in enumerate(row))
    return result


def centers(
    rows: Sequence[Sequence[Cell]],
    widths: Mapping[Cell, float],
    steps: Sequence[tuple[Cell, Cell, float, float]],
    gap: float,
) -> dict[Cell, float]:
    """The middle of each cell, so that lines are short and nothing overlaps.

    Args:
        rows: the cells in their order.
        widths: of the cells.
        steps: from a cell to one of the next row: and how far from their middles the line leaves and enters.
        gap: between cells.

    Example:
        >>> centers([['a'], ['b', 'c']], {'a': 10, 'b': 20, 'c': 20}, [('a', 'b', 0, 0), ('a', 'c', 0, 0)], 4)
        {'a': 0.0, 'b': -12.0, 'c': 12.0}
    """
    above: dict[Cell, list[tuple[Cell, float]]] = defaultdict(list)
    below: dict[Cell, list[tuple[Cell, float]]] = defaultdict(list)
    for source, target, leaves, enters in steps:
        above[target].append((source, leaves - enters))
        below[source].append((target, enters - leaves))
    middle: dict[Cell, float] = {cell: 0.0 for row in rows for cell in row}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below
            wanted = [_mean([middle[cell] + offset for cell, offset in near[c]], middle[c]) for c in row]
            middle.update(zip(row, _apart(wanted, [widths[cell] for cell in row], gap), strict=True))
    return middle


def _apart(wanted: Sequence[float], widths: Sequence[float], gap: float) -> list[float]:
    """The places nearest to those wanted, by their squares, that keep the order and the gaps."""
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + gap)
    blocks: list[tuple[float, float, int]] = []  # the mean, weight and number of those that stand side by side
    for want, offset, width in zip(wanted, offsets, widths, strict=False):
        mean, weight, count = want - offset, 1.0 if width else _STRAIGHTNESS, 1
        while blocks and blocks[-1][0] > mean:
            other, heavy, more = blocks.pop()
            mean, weight, count = (mean * weight + other * heavy) / (weight + heavy), weight + heavy, count + more
        blocks.append((mean, weight, count))
    starts = [mean for mean, _, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=False)]


def _neighbours(steps: Iterable[tuple[Cell, Cell]]) -> tuple[dict[Cell, list[Cell]], dict[Cell, list[Cell]]]:
    above: dict[Cell, list[Cell]] = defaultdict(list)
    below: dict[Cell, list[Cell]] = defaultdict(list)
    for source, target in steps:
        above[target].append(source)
        below[source].append(target)
    return above, below


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
