"""A drawing of a model as SVG: scopes as boxes, layers and functions in them, and what flows between them.

A box is drawn like the whole: what is in it stands in rows, each below all that it takes from. What flows past a row
has a place in it, and what flows into a box or out of it enters at its top and leaves at its bottom.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from torch import fx

from torchslim.diagrams.rows import centers, grouped, ordered, ranked
from torchslim.graph import Model
from torchslim.graph.symbol import SCOPE
from torchslim.model_summary import Call, summarize

_GAP, _STEP, _MARGIN, _TITLE, _HEIGHT = 12.0, 18.0, 10.0, 14.0, 30.0
_LETTER, _SMALL_LETTER = 6.6, 5.6
_COLOURS = {"conv": "#d6e6f5", "pool": "#d9efdc", "linear": "#f5e3cf", "": "#fff"}
_STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;font-size:11px;fill:#222}"
    ".shape{font-size:9px;fill:#667}.scope{font-size:10px;fill:#456;stroke:#fff;stroke-width:3px;paint-order:stroke}"
    ".box{fill:#456;fill-opacity:.05;stroke:#9ab}.call{stroke:#789}.flow{fill:none;stroke:#567;stroke-width:1.1}"
)


def draw(model: Model, path: str | Path | None = None, *, depth: int | None = None) -> str:
    """Draws a model from its graph.

    Args:
        model: a built model, whose inputs have a known size beside the batch.
        path: the file to write; None: none.
        depth: how many boxes may be inside each other; scopes below are shown as one layer each. None: all.

    Returns:
        The drawing, as SVG: the same for the same model.

    Raises:
        ValueError: if `depth` is negative, or the sizes that flow in are not known.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(images):
        ...     net = slim.repeat(images, 2, slim.conv2d, 4, [3, 3], scope='conv1')
        ...     return net + slim.conv2d(images, 4, [1, 1], scope='shortcut')
        >>> svg = slim.draw(slim.build(net, torch.empty(1, 3, 8, 8)))
        >>> [name for name in ('conv1', 'conv1_2', 'shortcut', 'add') if f'>{name}</text>' in svg]
        ['conv1', 'conv1_2', 'shortcut', 'add']
    """
    if depth is not None and depth < 0:
        raise ValueError(f"draw: `depth` must not be negative. Got {depth}.")
    drawn = _Box("", _leaves(model), depth=depth).draw()
    width, height = drawn.width + 2 * _MARGIN, drawn.height + 2 * _MARGIN
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-_MARGIN:g} {-_MARGIN:g} {width:.0f} {height:.0f}"><style>{_STYLE}</style>'
        f'<rect x="{-_MARGIN:g}" y="{-_MARGIN:g}" width="100%" height="100%" fill="#fff"/>\n{drawn.svg}</svg>\n'
    )
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


@dataclass
class _Drawn:
    """A part of the drawing, and where flows enter and leave it, by what they flow from; else in the middle."""

    width: float
    height: float
    svg: str
    entries: Mapping[Any, float] = field(default_factory=dict)
    exits: Mapping[Any, float] = field(default_factory=dict)


_POINT = _Drawn(0.0, 0.0, "")


@dataclass(eq=False)
class _Leaf:
    """A call."""

    scopes: tuple[str, ...]
    name: str
    call: Call
    sources: list[_Leaf]
    targets: list[_Leaf] = field(default_factory=list)

    @property
    def inside(self) -> list[_Leaf]:
        """Itself: what a box has inside."""
        return [self]

    def draw(self) -> _Drawn:
        kind = next(kind for kind in _COLOURS if kind in self.call.kind.lower())
        parameters = f", {self.call.parameters:,} parameters" if self.call.parameters else ""
        return _plate(self.name, f"{self.call.name} {self.call.kind}".strip() + parameters, self.call, _COLOURS[kind])


@dataclass(eq=False)
class _Box:
    """A scope, with what is in it."""

    title: str
    inside: list[_Leaf]
    level: int = 0
    depth: int | None = None

    def draw(self) -> _Drawn:
        if self.depth is not None and self.level > self.depth:
            parameters = sum({leaf.call.name: leaf.call.parameters for leaf in self.inside}.values())
            tip = f"{self.title}: {len(self.inside)} calls, {parameters:,} parameters"
            return _plate(self.title, tip, self.inside[-1].call, "#e8ecf1")
        items = self._items()
        place = {leaf: item for item in items for leaf in item.inside}
        leaves = [source for leaf in self.inside for source in leaf.sources]
        incoming = _unique(source for source in leaves if source not in place)
        outgoing = _unique(leaf for leaf in self.inside if any(target not in place for target in leaf.targets))
        ranks = ranked(items, [
            (place[source], item) for item in items for leaf in item.inside for source in leaf.sources
            if source in place and place[source] is not item
        ])  # fmt: skip
        rows = _Rows(max(ranks.values()) + 1)
        for source in incoming:
            rows.cells[0, source] = (0, _POINT)
        for item in items:
            rows.cells[item] = (ranks[item], item.draw())
        for item in items:
            for source in _unique(source for leaf in item.inside for source in leaf.sources):
                if place.get(source) is not item:
                    rows.lead(place.get(source, (0, source)), source, item, ranks[item])
        for leaf in outgoing:
            rows.cells[rows.last, leaf] = (rows.last, _POINT)
            rows.lead(place[leaf], leaf, (rows.last, leaf), rows.last)
        return rows.draw(self.title)

    def _items(self) -> list[_Leaf | _Box]:
        """The calls and the boxes right in this one; a scope that others flow through is drawn in several parts."""

        def scope_of(leaf: _Leaf) -> str | None:
            return leaf.scopes[self.level] if len(leaf.scopes) > self.level else None

        groups = grouped(self.inside, scope_of, lambda leaf: leaf.sources)
        names = [(scope_of(group[0]), group) for group in groups]
        return [group[0] if name is None else _Box(name, group, self.level + 1, self.depth) for name, group in names]


class _Rows:
    """The rows of a box, from its top, row 0, to its bottom; what stands in them, and flows from one to the next."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.cells: dict[Hashable, tuple[int, _Drawn]] = {}
        self.steps: list[tuple[Hashable, Hashable, _Leaf]] = []

    def lead(self, start: Hashable, source: _Leaf, end: Hashable, rank: int) -> None:
        """Leads what flows from `source` through a place in each row in between, which all that it flows to share."""
        for row in range(self.cells[start][0] + 1, rank):
            cell = (row, source)
            if cell not in self.cells:
                self.cells[cell] = (row, _POINT)
                self.steps.append((start, cell, source))
            start = cell
        self.steps.append((start, end, source))

    def draw(self, title: str) -> _Drawn:
        """The box, around its rows."""
        rows: list[list[Hashable]] = [[] for _ in range(self.last + 1)]
        for cell, (rank, _) in self.cells.items():
            rows[rank].append(cell)
        widths = {cell: drawn.width for cell, (_, drawn) in self.cells.items()}
        ends = [(a, b, self._exit(a, s) - widths[a] / 2, self._entry(b, s) - widths[b] / 2) for a, b, s in self.steps]
        middles = centers(ordered(rows, [(a, b) for a, b, _ in self.steps]), widths, ends, _GAP)
        lefts = {cell: middle - widths[cell] / 2 for cell, middle in middles.items()}
        start, end = min(lefts.values()), max(left + widths[cell] for cell, left in lefts.items())
        width = max(end - start, _LETTER * len(title)) + 2 * _MARGIN
        lefts = {cell: left - start + (width - end + start) / 2 for cell, left in lefts.items()}
        heights = [max((self.cells[cell][1].height for cell in row), default=0.0) for row in rows]
        heights[0] = _TITLE if title else 0.0
        tops = list(accumulate((height + _STEP for height in heights[:-1]), initial=0.0))
        flows = [self._flow(*step, lefts, tops, heights) for step in self.steps]
        parts = [
            f'<g transform="translate({lefts[cell]:.1f} {tops[row]:.1f})">{drawn.svg}</g>\n'
            for cell, (row, drawn) in self.cells.items() if drawn.svg
        ]  # fmt: skip
        if title:
            flows.insert(0, f'<rect class="box" width="{width:.1f}" height="{tops[-1]:.1f}" rx="7"/>\n')
            parts.append(f'<text class="scope" x="6" y="12">{escape(title)}</text>\n')
        entries, exits = (
            {cell[1]: lefts[cell] for cell in rows[row] if isinstance(cell, tuple)} for row in (0, self.last)
        )
        return _Drawn(width, tops[-1], "".join(flows + parts), entries, exits)

    def _exit(self, cell: Hashable, source: _Leaf) -> float:
        drawn = self.cells[cell][1]
        return drawn.exits.get(source, drawn.width / 2)

    def _entry(self, cell: Hashable, source: _Leaf) -> float:
        drawn = self.cells[cell][1]
        return drawn.entries.get(source, drawn.width / 2)

    def _flow(
        self,
        start: Hashable,
        end: Hashable,
        source: _Leaf,
        lefts: Mapping[Hashable, float],
        tops: list[float],
        heights: list[float],
    ) -> str:
        """A line down to the edge of its row, and on to its place in the next one."""
        row, drawn = self.cells[start]
        x, end_x = lefts[start] + self._exit(start, source), lefts[end] + self._entry(end, source)
        edge, end_y = tops[row] + heights[row], tops[row + 1]
        bend = (edge + end_y) / 2
        return (
            f'<path class="flow" d="M{x:.1f} {tops[row] + drawn.height:.1f}V{edge:.1f}C{x:.1f} {bend:.1f} '
            f'{end_x:.1f} {bend:.1f} {end_x:.1f} {end_y:.1f}"/>\n'
        )


def _plate(name: str, tip: str, call: Call, color: str) -> _Drawn:
    """A name over the shape of what comes out; a longer text is shown to the mouse."""
    shape = "x".join("N" if size is None else str(size) for size in call.shape)
    width = max(_LETTER * len(name), _SMALL_LETTER * len(shape)) + 14
    middle = f'x="{width / 2:.1f}" text-anchor="middle"'
    svg = (
        f'<title>{escape(tip)}</title><rect class="call" width="{width:.1f}" height="{_HEIGHT:g}" rx="5" '
        f'fill="{color}"/><text {middle} y="13">{escape(name)}</text><text class="shape" {middle} y="25">{shape}</text>'
    )
    return _Drawn(width, _HEIGHT, svg)


def _unique(leaves: Iterable[_Leaf]) -> list[_Leaf]:
    return list(dict.fromkeys(leaves))


def _leaves(model: Model) -> list[_Leaf]:
    """The calls of a model, and what they take from."""
    calls = {call.node: call for call in summarize(model).calls}
    leaves: dict[fx.Node, _Leaf] = {}
    for node in model.graph.nodes:
        if node.name not in calls:
            continue
        call = calls[node.name]
        path = node.meta.get(SCOPE, "")
        if node.op == "call_module" and path == call.name:  # a layer with variables is a scope itself
            path = path.rpartition("/")[0]
        sources = _unique(leaves[source] for source in node.all_input_nodes if source in leaves)
        leaf = _Leaf(tuple(filter(None, path.split("/"))), call.name.rpartition("/")[2], call, sources)
        leaves[node] = leaf
        for source in sources:
            source.targets.append(leaf)
    return list(leaves.values())
