"""The module that a graph makes: a `torch.fx.GraphModule` with end points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchslim.graph.symbol import INPUT, SCOPE, Symbol, needed_for
from torchslim.graph.tree import is_container
from torchslim.graph.variable import Layer, Scope, Variable

if TYPE_CHECKING:
    from torchslim.graph.build import InputSpec
    from torchslim.graph.graph import Graph
    from torchslim.model_summary import Summary

_META = "torchslim"


@dataclass(frozen=True)
class EndPoint:
    """A named value inside a built module: its shape (`None`: varies) and dtype; `model.extract` computes it."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype
    position: int


class _NodeName(NamedTuple):
    name: str


class _NeededCode(fx.CodeGen):
    """Writes only what the outputs need; the graph has the other end points as well, for `extract`."""

    def _gen_python_code(self, nodes: Any, *args: Any, **kwargs: Any) -> Any:
        needed = needed_for(node for node in nodes if node.op in ("placeholder", "output"))
        written: Any = [node for node in nodes if node in needed]
        return super()._gen_python_code(written, *args, **kwargs)


class Model(Scope, fx.GraphModule):
    """A built model: an ordinary `nn.Module` whose `forward` is generated from its graph.

    The `repeat` and `stack` scopes are `nn.Sequential`s, parameters have the keys that scopes gave them, and nothing of
    torchslim runs when it is called. It can be compiled, exported, copied, pickled and distributed. A call computes
    only what its outputs need; `extract` computes other end points.

    Attributes:
        preprocess: what a picture needs before the model sees it; models of `slim.nets.get` have it.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(images):
        ...     net = slim.repeat(images, 2, slim.conv2d, 4, [3, 3], scope='conv1')
        ...     return slim.max_pool2d(net, [2, 2], scope='pool1')
        >>> model = slim.build(net, torch.empty(1, 3, 8, 8))
        >>> model.conv1(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
        >>> list(model.end_points)
        ['conv1/conv1_1', 'conv1/conv1_2', 'pool1']
        >>> model.extract('conv1/conv1_1')(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    preprocess: Callable[..., torch.Tensor]
    _notes = (*Layer.notes, "preprocess")  # GraphModule leaves them behind when it is made of another module

    def __init__(self, root: nn.Module, graph: fx.Graph, class_name: str = "Model") -> None:
        graph.set_codegen(_NeededCode())
        super().__init__(root, graph, class_name)
        # GraphModule rebuilds what holds the layers as plain modules: put the real ones back.
        for name, child in root._modules.items():
            self._modules[name] = child
        self._parameters.update(root._parameters)
        self._buffers.update(root._buffers)
        self._non_persistent_buffers_set |= root._non_persistent_buffers_set
        self.__dict__.update({name: root.__dict__[name] for name in self._notes if name in root.__dict__})

    def _deepcopy_init(self) -> Callable[..., None]:
        return Model.__init__

    def __reduce__(self) -> tuple[Any, ...]:
        # fx would trace its generated code again; the list of its calls says the same without running anything.
        state = {name: value for name, value in self.__dict__.items() if name not in ("_graph", "forward")}
        return _rebuild, (state, _calls_of(self.graph))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what `forward` takes."""
        return tuple(node.target for node in self.graph.nodes if node.op == "placeholder")

    @property
    def end_points(self) -> dict[str, EndPoint]:
        """What the model function returned beside its result or, if that was all, what each layer gave."""
        return dict(self.meta[_META]["end_points"])

    def extract(self, *names: str) -> Model:
        """A module that computes just these end points (or layers); it shares this one's parameters.

        Args:
            names: names of `end_points` or of layers. With one name `forward` returns a tensor, with more a tuple.

        Raises:
            ValueError: if there is no end point of that name.
        """
        known = {**self.meta[_META]["layers"], **self.meta[_META]["end_points"]}
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            what = f"Got {unknown[0]!r}." if unknown else "Got none."
            raise ValueError(f"extract: give names of end points. {what} There are {sorted(known)}.")
        nodes = list(self.graph.nodes)
        found = [nodes[known[name].position] for name in names]
        return _assemble(self, self.graph, found[0] if len(found) == 1 else tuple(found), None)

    def summary(self, *inputs: torch.Tensor | InputSpec) -> Summary:
        """What the model consists of: each call with the shape that it gives, its parameters and multiply-adds.

        Args:
            inputs: examples of what flows in; default: what the model was built for.

        Raises:
            ValueError: if it was built for images of any size, and there is no example.

        Example:
            >>> import torch, torchslim as slim
            >>> slim.build(lambda x: slim.conv2d(x, 4, [3, 3], scope='conv1'), torch.empty(1, 3, 8, 8)).summary()
            name    kind    output             parameters  multiply-adds
            inputs          [None, 3, 8, 8]             0              0
            conv1   Conv2d  [None, 4, 8, 8]           112          6,912
            parameters: 112, multiply-adds: 6,912
        """
        from torchslim.model_summary import summarize

        return summarize(self, *inputs)


def make_model(graph: Graph, outputs: Any, inputs: Sequence[Symbol] | None, *, whole: Any = None) -> Model:
    """The module that computes `outputs` (a Symbol or a structure of Symbols).

    Args:
        graph: the graph of the Symbols.
        outputs: what `forward` returns.
        inputs: the placeholders in the order of its arguments, or None for those needed.
        whole: None: only what is needed is kept. Otherwise `{name: Symbol}`: the end points of a whole model.
    """
    strays = [leaf for leaf in tree_leaves(outputs) if not isinstance(leaf, Symbol | Variable)]
    if strays or not tree_leaves(outputs):
        raise TypeError(
            f"module: `outputs` must be Symbols, or a tuple, list or dict of them. Got {strays or outputs!r}."
        )
    nodes = tree_map(lambda leaf: graph.recorder.create_arg(leaf), outputs)
    kept = None if inputs is None else [symbol.node for symbol in inputs]
    return _assemble(graph.root, graph.fx_graph, nodes, kept, end_points=whole, layers=graph.end_points)


def _assemble(
    root: nn.Module,
    graph: fx.Graph,
    outputs: Any,
    inputs: Iterable[fx.Node] | None,
    *,
    end_points: Mapping[str, Symbol] | None = None,
    layers: Mapping[str, Symbol] | None = None,
) -> Model:
    needed = needed_for(tree_leaves(outputs) + [symbol.node for symbol in (end_points or {}).values()])
    placeholders = [node for node in graph.nodes if node.op == "placeholder" and node in needed]
    if inputs is not None:
        given = list(inputs)
        missing = [node.name for node in placeholders if node not in given]
        if missing:
            raise ValueError(f"module: the outputs need the placeholder {missing[0]!r}, which is not among the inputs.")
        placeholders = given
    copied = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    for node in [
        *placeholders,
        *(node for node in graph.nodes if node.op != "placeholder" and node in needed),
    ]:
        new[node] = copied.node_copy(node, new.__getitem__)
        new[node].meta = _kept(node)
    copied.output(tree_map(new.__getitem__, outputs))
    if end_points is None:
        targets = {str(node.target) for node in new if node.op in ("call_module", "get_attr")}
        # Some modules run layers that hang elsewhere.
        borrowed = {path for node in new if node.op == "call_module" for path in _borrowed(root, str(node.target))}
        root = _pruned(root, targets | borrowed)
    model = Model(root, copied)
    positions = {node: position for position, node in enumerate(copied.nodes)}

    def where(symbols: Mapping[str, Symbol]) -> dict[str, EndPoint]:
        return {
            name: EndPoint(name, symbol.shape, symbol.dtype, positions[new[symbol.node]])
            for name, symbol in symbols.items()
            if symbol.node in new
        }

    model.meta[_META] = {
        "layers": where(layers or {}),
        "end_points": where(end_points or layers or {}),
    }
    return model


def _borrowed(root: nn.Module, path: str) -> tuple[str, ...]:
    return getattr(root.get_submodule(path), "borrowed", ())


def _pruned(module: nn.Module, targets: set[str]) -> nn.Module:
    """`module` with only what `targets` name; the same object where that is all of it, or where it is a layer."""
    below: dict[str, set[str]] = {}
    for target in targets:
        name, _, rest = target.partition(".")
        below.setdefault(name, set()).add(rest)
    children = {
        name: child if below[name] & {""} or not is_container(child) else _pruned(child, below[name])
        for name, child in module._modules.items()
        if name in below and child is not None
    }
    own = {**module._parameters, **module._buffers}
    if children == module._modules and own.keys() <= below.keys() and not isinstance(module, Model):
        return module
    pruned = Scope()
    pruned.training = module.training
    for attribute in own.keys() & below.keys():
        kind = "_parameters" if attribute in module._parameters else "_buffers"
        getattr(pruned, kind)[attribute] = own[attribute]
    pruned.__dict__.update({name: module.__dict__[name] for name in Layer.notes if name in module.__dict__})
    pruned._non_persistent_buffers_set = module._non_persistent_buffers_set & below.keys()
    pruned._modules.update(children)
    return pruned


def _calls_of(graph: fx.Graph) -> list[tuple[Any, ...]]:
    def named(argument: Any) -> Any:
        return fx.map_arg(argument, lambda node: _NodeName(node.name))

    return [
        (node.op, node.name, node.target, named(node.args), named(node.kwargs), _kept(node)) for node in graph.nodes
    ]


def _kept(node: fx.Node) -> dict[str, Any]:
    return {key: node.meta[key] for key in (SCOPE, INPUT) if key in node.meta}


def _rebuild(state: dict[str, Any], calls: list[tuple[Any, ...]]) -> Model:
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def found(argument: Any) -> Any:
        return tree_map(
            lambda leaf: nodes[leaf.name] if isinstance(leaf, _NodeName) else leaf,
            argument,
            is_leaf=lambda leaf: isinstance(leaf, _NodeName),
        )

    for op, name, target, args, kwargs, kept in calls:
        if op == "output":
            graph.output(found(args[0]))
        else:
            nodes[name] = graph.create_node(op, target, found(args), found(kwargs), name)
            nodes[name].meta.update(kept)
    root = nn.Module()
    root.__dict__.update(state)
    model = Model(root, graph)
    model.__dict__.update(
        {name: value for name, value in state.items() if name not in model.__dict__ or name == "meta"}
    )
    return model
