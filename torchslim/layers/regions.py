"""Regions: what a function records on Symbols, cut out of the graph to be run as a whole (again, or under a condition).

The layers of a region hang where their scopes say, as ever: names and `state_dict` do not show that there is a region.
Its module only *borrows* them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchslim.graph import Graph, Model, Symbol
from torchslim.graph.symbol import RUNS
from torchslim.graph.tree import hang


@dataclass(frozen=True)
class Region:
    """What a function recorded.

    Attributes:
        body: a module that computes it; its children are the layers in the graph, not copies.
        inputs: the nodes that flow into `body`: the Symbols that the function was given, then whatever else it used,
            variables included.
        outputs: what the function returned: a structure of Symbols.
        layers: the paths of the layers in the graph.
    """

    body: Model
    inputs: tuple[fx.Node, ...]
    outputs: Any
    layers: tuple[str, ...]


def cut_region(graph: Graph, function: Callable[..., Any], symbols: Sequence[Symbol], *args: Any) -> Region:
    """Runs `function(*symbols, *args)` and cuts out what it recorded.

    Raises:
        TypeError: if it returns something else than Symbols.
    """
    before, end_points = set(graph.fx_graph.nodes), set(graph.end_points)
    outputs = function(*symbols, *args)
    strays = [leaf for leaf in tree_leaves(outputs) if not isinstance(leaf, Symbol)]
    if strays or not tree_leaves(outputs):
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"{name}: the function must return a Symbol, or a tuple of them. Got {strays or outputs!r}.")
    for name in graph.end_points.keys() - end_points:  # values inside of a region are not kept
        del graph.end_points[name]
    inside, inputs = _inside(tree_leaves(outputs), before, [symbol.node for symbol in symbols])
    copied, root, layers = fx.Graph(), nn.Module(), dict[str, None]()
    new = {node: copied.placeholder(f"input_{number}") for number, node in enumerate(inputs)}
    for node in (node for node in graph.fx_graph.nodes if node in inside):
        new[node] = copied.node_copy(node, new.__getitem__)
        new[node].meta = {}
        if node.op in ("call_module", "get_attr"):
            new[node].target = _flat(str(node.target))
            layers.update(dict.fromkeys((str(node.target), *borrowed_by(graph.get_module(str(node.target))))))
    copied.output(tree_map(lambda symbol: new[symbol.node], outputs))
    for path in layers:
        root.add_module(_flat(path), graph.get_module(path))
    return Region(Model(root, copied), tuple(inputs), outputs, tuple(layers))


def _flat(path: str) -> str:
    return path.replace(".", "/")


def _inside(outputs: list[Symbol], before: set[fx.Node], given: list[fx.Node]) -> tuple[set[fx.Node], list[fx.Node]]:
    """The nodes of the region, and those that flow into it."""
    inside: set[fx.Node] = set()
    inputs = dict.fromkeys(given)
    waiting = [symbol.node for symbol in outputs]
    while waiting:
        node = waiting.pop()
        if node in before or node.op == "placeholder" or (node.op == "get_attr" and not _is_layer(node)):
            inputs.setdefault(node)
        elif node not in inside:
            inside.add(node)
            waiting.extend(node.all_input_nodes)
    return inside, list(inputs)


def _is_layer(node: fx.Node) -> bool:
    """Whether a `get_attr` gets a layer (to call it with other variables) rather than a tensor."""
    return isinstance(node.meta[RUNS][0], nn.Module)


class Borrower(nn.Module):
    """A module that runs layers which hang elsewhere in the tree.

    Attributes:
        borrowed: their paths.
    """

    borrowed: tuple[str, ...] = ()


def borrowed_by(module: nn.Module) -> tuple[str, ...]:
    """The paths of the layers that a module runs beside its own children."""
    return module.borrowed if isinstance(module, Borrower) else ()


def record(graph: Graph, scope: str, module: Borrower, inputs: Sequence[fx.Node], like: Any) -> Any:
    """Hangs `module` and records its call; it gives what `like`, a structure of Symbols, is like."""
    path = hang(graph.root, scope, module, keeps_name=False)
    return call_again(graph, path, inputs, like)


def call_again(graph: Graph, path: str, inputs: Sequence[fx.Node], like: Any) -> Any:
    """Records a call of a module that hangs at `path`."""
    node = graph.recorder.create_node("call_module", path, tuple(inputs), {})
    # Shapes are known from what was recorded first; running borrowed layers on `meta` would need copies of them.
    runs = tree_map(lambda symbol: symbol.node.meta[RUNS][0], like), tree_map(lambda s: s.node.meta[RUNS][1], like)
    result: Any = graph.recorder.symbol(node, runs)
    if isinstance(like, Symbol):
        return result
    if isinstance(like, dict):
        return {key: result[key] for key in like}
    return type(like)(result[number] for number in range(len(like)))


def placeholder_like(graph: Graph, value: torch.Tensor) -> Symbol:
    """A placeholder for a tensor, to record what a function does with it."""
    return graph.placeholder((None, *value.shape[1:]) if value.ndim else (), value.dtype)


def values_of(graph: Graph, nodes: Sequence[fx.Node], given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that flow into a region: `given` for its first inputs, variables and constants for the rest."""
    variables = {variable.key: variable for variable in graph.variables.values()}
    values = list(given)
    for node in nodes[len(given) :]:
        target = str(node.target)
        if target in variables and variables[target].is_meta:
            variables[target].initialize(given[0].device)
        values.append(operator.attrgetter(target)(graph.root))
    return values
