"""Reversible residual blocks: their backward pass computes the inputs of each layer from its outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

from torchslim.graph import Graph, Symbol, Variable, get_default_graph, get_variable_scope, variable_scope
from torchslim.graph.tree import hang
from torchslim.layers.regions import Borrower, call_again, cut_region, placeholder_like, record, values_of

Function = Callable[..., Any]


class Part(NamedTuple):
    """`f` or `g` of one layer: a module of the one half and of some of the block's side inputs."""

    body: nn.Module
    sides: tuple[int, ...]

    def __call__(self, half: torch.Tensor, sides: Sequence[torch.Tensor]) -> torch.Tensor:
        """What is added to the other half."""
        return self.body(half, *[sides[i] for i in self.sides])


class Reversible(Borrower):
    """The module of `slim.rev_block`: `y1 = x1 + f(x2)`, `y2 = x2 + g(y1)`, layer after layer.

    Attributes:
        parts: `(f, g)` of each layer.
        efficient: keep only the outputs for the backward pass.
    """

    def __init__(self, parts: Sequence[tuple[Part, Part]], efficient: bool = True) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.efficient = efficient

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, *sides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs `(y1, y2)`."""
        if not (self.efficient and torch.is_grad_enabled()) or torch.compiler.is_exporting() or x1.is_meta:
            return self._run(range(len(self.parts)), x1, x2, *sides)
        if torch.compiler.is_compiling():  # compiled code keeps the inputs of each layer
            for number in range(len(self.parts)):
                x1, x2 = checkpoint(self._run, (number,), x1, x2, *sides, use_reentrant=False)
            return x1, x2
        return _Reverse.apply(self, len(sides), x1, x2, *sides, *_trained(self.parts))

    def _run(
        self, numbers: Sequence[int], x1: torch.Tensor, x2: torch.Tensor, *sides: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for number in numbers:
            f, g = self.parts[number]
            x1 = x1 + f(x2, sides)
            x2 = x2 + g(x1, sides)
        return x1, x2

    def inverse(self, y1: torch.Tensor, y2: torch.Tensor, *sides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs `(x1, x2)` that give these outputs."""
        for f, g in reversed(self.parts):
            y2 = y2 - g(y1, sides)
            y1 = y1 - f(y2, sides)
        return y1, y2


class Inverse(Borrower):
    """The inverse of a `Reversible` as a module."""

    def __init__(self, block: Reversible) -> None:
        super().__init__()
        self.blocks = (block,)  # in a tuple, a module is no child
        self.borrowed = block.borrowed

    def forward(self, y1: torch.Tensor, y2: torch.Tensor, *sides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs `(x1, x2)`."""
        return self.blocks[0].inverse(y1, y2, *sides)


def _names(part: Part) -> list[str]:
    return [name for name, parameter in part.body.named_parameters() if parameter.requires_grad]


def _trained(parts: Sequence[tuple[Part, Part]]) -> list[torch.Tensor]:
    return [part.body.get_parameter(name) for layer in parts for part in layer for name in _names(part)]


class _Replay:
    """Runs a part a second time as it ran first: same random numbers, precision and statistics."""

    def __init__(self, part: Part, half: torch.Tensor) -> None:
        self.part = part
        self.names = _names(part)
        self.buffers = {name: buffer.clone() for name, buffer in part.body.named_buffers()}
        self.random = torch.get_rng_state()
        self.devices, self.states = get_device_states(half)
        self.device = half.device.type
        self.autocast = torch.get_autocast_dtype(self.device), torch.is_autocast_enabled(self.device)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[None]:
        dtype, enabled = self.autocast
        kind = self.device if self.devices else "cuda"
        with torch.random.fork_rng(self.devices, device_type=kind), torch.autocast(self.device, dtype, enabled):
            torch.set_rng_state(self.random)
            set_device_states(self.devices, self.states)
            yield

    def backward(
        self, half: torch.Tensor, sides: Sequence[torch.Tensor], parameters: Sequence[torch.Tensor], gradient: Any
    ) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """What the part gives, and the gradients of the half, its sides and parameters, for one of its result."""
        leaves = [half, *(sides[i] for i in self.part.sides), *parameters]
        leaves = [leaf.detach().requires_grad_(leaf.is_floating_point()) for leaf in leaves]
        inputs, own = leaves[: len(leaves) - len(parameters)], leaves[len(leaves) - len(parameters) :]
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        tensors = {**dict(zip(self.names, own, strict=True)), **buffers}
        with torch.enable_grad(), self._as_before():
            result = torch.func.functional_call(self.part.body, tensors, tuple(inputs))
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(result, wanted, gradient.to(result.dtype), allow_unused=True))
        return result.detach(), tuple(next(found) if leaf.requires_grad else None for leaf in leaves)


class _Reverse(torch.autograd.Function):
    """Keeps the outputs of a block only; `rest` are its side inputs, then its parameters."""

    @staticmethod
    def forward(ctx: Any, block: Reversible, count: int, x1: torch.Tensor, x2: torch.Tensor, *rest: Any) -> Any:
        ctx.replays, ctx.count = [], count
        for f, g in block.parts:
            first = _Replay(f, x2)
            x1 = x1 + f(x2, rest[:count])
            ctx.replays.append((first, _Replay(g, x1)))
            x2 = x2 + g(x1, rest[:count])
        ctx.save_for_backward(x1, x2, *rest)
        return x1, x2

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        y1, y2, *rest = ctx.saved_tensors
        d1, d2 = gradients
        sides, parameters = rest[: ctx.count], rest[ctx.count :]
        end, of_parameters = len(parameters), [None] * len(parameters)
        of_sides: list[Any] = [None] * len(sides)

        def back(replay: _Replay, half: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, Any]:
            nonlocal end
            start = end - len(replay.names)
            result, (of_half, *others) = replay.backward(half, sides, parameters[start:end], gradient)
            for side, found in zip(replay.part.sides, others, strict=False):
                of_sides[side] = found if of_sides[side] is None else of_sides[side] + (0 if found is None else found)
            of_parameters[start:end] = others[len(replay.part.sides) :]
            end = start
            return result, 0 if of_half is None else of_half

        for f, g in reversed(ctx.replays):
            result, change = back(g, y1, d2)
            y2, d1 = y2 - result, d1 + change
            result, change = back(f, y2, d1)
            y1, d2 = y1 - result, d2 + change
        return None, None, d1, d2, *of_sides, *of_parameters


class RevBlock:
    """A chain of reversible residual layers (TF-Slim's `RevBlock`); see `rev_block`.

    Args:
        f: a function, or a list of `num_layers` functions.
        g: likewise.
        num_layers: how many layers; each has its own variables.
        f_side_input: Symbols or tensors that `f` gets as a list, as its second argument.
        g_side_input: likewise.
        use_efficient_backprop: keep only the outputs for the backward pass.
        name: the scope; made unique.

    Raises:
        ValueError: if `num_layers` is not positive, or a list has another length.

    Example:
        >>> import torch, torchslim as slim
        >>> def half(x):
        ...     return slim.fully_connected(x, 4, activation_fn=torch.tanh)
        >>> block = slim.RevBlock(half, half, num_layers=3, name='doc_block')
        >>> x = torch.randn(2, 4)
        >>> y1, y2 = block.forward(x, 2 * x)
        >>> torch.allclose(block.backward(y1, y2)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        f: Function | list[Function],
        g: Function | list[Function],
        num_layers: int = 1,
        f_side_input: Sequence[Any] | None = None,
        g_side_input: Sequence[Any] | None = None,
        use_efficient_backprop: bool = True,
        name: str = "revblock",
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"RevBlock: `num_layers` must be positive. Got {num_layers}.")
        for argument, functions in (("f", f), ("g", g)):
            if isinstance(functions, list) and len(functions) != num_layers:
                raise ValueError(
                    f"RevBlock: a list `{argument}` must have one function for each of the {num_layers} layers. "
                    f"Got {len(functions)}."
                )
        self.f = f if isinstance(f, list) else [f] * num_layers
        self.g = g if isinstance(g, list) else [g] * num_layers
        self.num_layers = num_layers
        self.f_side_input = list(f_side_input or [])
        self.g_side_input = list(g_side_input or [])
        self.use_efficient_backprop = use_efficient_backprop
        self.name = name
        self._built: tuple[Graph, str, list[fx.Node]] | None = None

    def forward(self, x1: Any, x2: Any) -> Any:
        """The outputs `(y1, y2)`; the module, if `x1` and `x2` are numbers of channels."""
        if isinstance(x1, int) and isinstance(x2, int):
            return self._module(x1, x2)
        return self._apply(x1, x2)

    def backward(self, y1: Any, y2: Any) -> Any:
        """The inputs `(x1, x2)` that give these outputs (not a backward pass, in spite of TF-Slim's name)."""
        return self._apply(y1, y2, inverse=True)

    def _module(self, x1: int, x2: int) -> Reversible:
        layers = [(f(x2), g(x1)) for f, g in zip(self.f, self.g, strict=True)]
        block = Reversible([(Part(f, ()), Part(g, ())) for f, g in layers], self.use_efficient_backprop)
        for number, (f, g) in enumerate(layers):
            block.add_module(f"revlayer_{number}", nn.ModuleDict({"f": f, "g": g}))
        return block

    def _apply(self, first: Any, second: Any, inverse: bool = False) -> Any:
        halves = tuple(half.value if isinstance(half, Variable) else half for half in (first, second))
        eager = all(isinstance(half, torch.Tensor) for half in halves)
        if not eager and not all(isinstance(half, Symbol) for half in halves):
            raise TypeError(
                f"rev_block: `x1` and `x2` are two Symbols, two tensors or two numbers of channels. Got {halves!r}."
            )
        graph = get_default_graph() if eager else halves[0].owner
        symbols = [placeholder_like(graph, half) for half in halves] if eager else halves
        if self._built is None or self._built[0] is not graph:
            self._built = (graph, *self._build(graph, *symbols))
        _, path, sides = self._built
        block = graph.get_module(path)
        assert isinstance(block, Reversible)
        if eager:
            for part in (part for layer in block.parts for part in layer):
                graph.initialize(halves[0].device, part.body)
            values = values_of(graph, [symbols[0].node, symbols[1].node, *sides], halves)
            return block.inverse(*values) if inverse else block(*values)
        inputs = [halves[0].node, halves[1].node, *sides]
        if inverse:
            return record(graph, f"{path}_inverse".replace(".", "/").replace(":", "_"), Inverse(block), inputs, halves)
        return call_again(graph, path, inputs, halves)

    def _build(self, graph: Graph, x1: Any, x2: Any) -> tuple[str, list[fx.Node]]:
        """Makes the layers; the path of the module, and the nodes of what flows in beside the halves."""
        sides: dict[fx.Node, int] = {}
        borrowed: list[str] = []

        def part(function: Function, half: Symbol, side_input: list[Any]) -> tuple[Part, Symbol]:
            region = cut_region(graph, function, [half], *([side_input] if side_input else []))
            if not isinstance(region.outputs, Symbol) or region.outputs.shape != half.shape:
                raise ValueError(
                    f"rev_block: `f` and `g` must keep the shape of what they get. Got {region.outputs!r} for {half!r}."
                )
            borrowed.extend(region.layers)
            numbers = tuple(sides.setdefault(node, len(sides)) for node in region.inputs[1:])
            return Part(region.body, numbers), region.outputs

        shared = self.name if get_variable_scope(graph).reuse else None
        parts = []
        entered = contextlib.nullcontext() if graph is get_default_graph() else graph
        with entered, variable_scope(shared, self.name) as scope:
            for number, (f, g) in enumerate(zip(self.f, self.g, strict=True)):
                with variable_scope(f"revlayer_{number}/f"):
                    of_f, change = part(f, x2, self.f_side_input)
                x1 = x1 + change
                with variable_scope(f"revlayer_{number}/g"):
                    of_g, change = part(g, x1, self.g_side_input)
                x2 = x2 + change
                parts.append((of_f, of_g))
        block = Reversible(parts, self.use_efficient_backprop)
        block.borrowed = tuple(dict.fromkeys(borrowed))
        return hang(graph.root, scope.name, block, keeps_name=False), list(sides)


def rev_block(
    x1: Any,
    x2: Any,
    f: Function | list[Function],
    g: Function | list[Function],
    num_layers: int = 1,
    f_side_input: Sequence[Any] | None = None,
    g_side_input: Sequence[Any] | None = None,
    is_training: bool = True,
) -> Any:
    """A chain of reversible residual layers (TF-Slim's `rev_block`); RevNets, arXiv:1707.04585.

    Each layer computes `y1 = x1 + f(x2)` and `y2 = x2 + g(y1)`. The backward pass computes `x2 = y2 - g(y1)` and
    `x1 = y1 - f(x2)` again, so that memory does not grow with the number of layers. Dropout draws the same numbers
    again, and batch norm updates its statistics once.

    Args:
        x1: a Symbol or tensor; or, with `x2`, a number of channels: then `f` and `g` get numbers and give modules.
        x2: likewise.
        f: a function that keeps the shape, or a list of `num_layers` of them; its variables are in `revlayer_0/f`, ...
        g: likewise.
        num_layers: how many layers; each has its own variables.
        f_side_input: Symbols or tensors that `f` gets as a list, as its second argument.
        g_side_input: likewise.
        is_training: False: keep what the backward pass needs, as other layers do.

    Returns:
        The pair of outputs, or the module if `x1` and `x2` are numbers.

    Raises:
        ValueError: if `num_layers` is not positive, a list has another length, or `f` or `g` change the shape.
        TypeError: if `x1` and `x2` are not of one kind.

    Example:
        >>> import torch, torchslim as slim
        >>> def half(x):
        ...     return slim.conv2d(x, 8, 3)
        >>> def net(x):
        ...     return torch.cat(slim.rev_block(x, x, half, half, num_layers=4), 1)
        >>> model = slim.build(net, torch.empty(1, 8, 6, 6))
        >>> model(torch.ones(2, 8, 6, 6)).shape, list(model.state_dict())[0]
        (torch.Size([2, 16, 6, 6]), 'revblock.revlayer_0.f.Conv.weight')
    """
    return RevBlock(f, g, num_layers, f_side_input, g_side_input, is_training).forward(x1, x2)
