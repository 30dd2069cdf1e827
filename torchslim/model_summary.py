"""What a model consists of, call by call: the table that `model.summary()` gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from torchslim.graph import InputSpec, Model
from torchslim.graph.symbol import INPUT, SCOPE, call_on_meta, to_meta
from torchslim.graph.variable import scope_of_path

# The examples that are run at a time where their number varies: hardly the size of anything else.
_BATCH = 7


@dataclass(frozen=True)
class Call:
    """A call that a model makes.

    Attributes:
        name: of the layer, or the scope and the name of the function.
        kind: of the layer; nothing for functions.
        shape: of what it gives; None: varies.
        parameters: how many the layer has.
        multiply_adds: of one example, where the number of examples varies; only those of products are counted.
        node: the name of its node in `model.graph`.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    parameters: int
    multiply_adds: int
    node: str


@dataclass(frozen=True, repr=False)
class Summary:
    """What a model consists of.

    Attributes:
        calls: in the order in which the model makes them.
        parameters: how many the model has, each counted once.
        multiply_adds: of all calls.
    """

    calls: tuple[Call, ...]
    parameters: int
    multiply_adds: int

    def __repr__(self) -> str:
        heading = ("name", "kind", "output", "parameters", "multiply-adds")
        rows = [
            (call.name, call.kind, str(list(call.shape)), f"{call.parameters:,}", f"{call.multiply_adds:,}")
            for call in self.calls
        ]
        total = f"parameters: {self.parameters:,}, multiply-adds: {self.multiply_adds:,}"
        return f"{columns([heading, *rows], right=2)}\n{total}"


def columns(rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """Rows of text in columns as wide as they need, the last `right` of them aligned to the right.

    Example:
        >>> print(columns([('net', 'size'), ('lenet', '9')], right=1))
        net    size
        lenet     9
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) - right
    aligned = (
        [
            f"{cell:<{width}}" if i < left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    )
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def summarize(model: Model, *inputs: torch.Tensor | InputSpec) -> Summary:
    """Runs a model on `meta` tensors and notes what each call gives; `model.summary()` says more.

    Args:
        model: a built model.
        inputs: examples of what flows in; default: what the model was built for.

    Raises:
        ValueError: if a size is needed that nobody has given, or there are not as many examples as inputs.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc').exp(), torch.empty(1, 3))
        >>> [(call.name, call.shape, call.parameters) for call in summarize(model).calls]
        [('inputs', (None, 3), 0), ('fc', (None, 2), 8), ('exp', (None, 2), 0)]
    """
    placeholders = [node for node in model.graph.nodes if node.op == "placeholder"]
    if inputs and len(inputs) != len(placeholders):
        raise ValueError(f"summary: give an example of each of the `inputs` {model.inputs}. Got {len(inputs)}.")
    known = [_shape_of(value) for value in inputs] or [node.meta[INPUT] for node in placeholders]
    for name, (shape, _) in zip(model.inputs, known, strict=True):
        if None in shape[1:]:
            raise ValueError(
                f"summary: the size of {name!r} must be known. Got {shape}. Give an example: "
                "`model.summary(torch.empty(1, 3, 224, 224))`."
            )
    varies = any(shape and shape[0] is None for shape, _ in known)
    runner = _Runner(model, _BATCH if varies else None)
    examples = [
        torch.empty([_BATCH if size is None else size for size in shape], dtype=dtype, device="meta")
        for shape, dtype in known
    ]
    with torch.no_grad(), torch.device("meta"), runner.counter:
        runner.run(*examples, enable_io_processing=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Summary(tuple(runner.calls), parameters, sum(call.multiply_adds for call in runner.calls))


def _shape_of(value: torch.Tensor | InputSpec) -> tuple[tuple[int | None, ...], torch.dtype]:
    """What `slim.build` makes of an example."""
    if isinstance(value, InputSpec):
        return value.shape, value.dtype
    return ((None, *value.shape[1:]) if value.ndim else ()), value.dtype


class _Runner(fx.Interpreter):
    """Runs a model without its values, and notes its calls."""

    def __init__(self, model: Model, batch: int | None) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # Triton comes with it: only who counts waits for it

        super().__init__(model)
        self.batch = batch
        self.calls: list[Call] = []
        self.counter = FlopCounterMode(display=False)

    def run_node(self, node: fx.Node) -> Any:
        before = self.counter.get_total_flops()
        value = super().run_node(node)
        if node.op not in ("get_attr", "output"):
            operations = self.counter.get_total_flops() - before
            self.calls.append(self._call(node, value, operations // 2 // (self.batch or 1)))
        return value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call_on_meta(self.fetch_attr(target), args, kwargs)

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return to_meta(super().get_attr(target, args, kwargs))

    def _call(self, node: fx.Node, value: Any, multiply_adds: int) -> Call:
        tensor = next((leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)), None)
        shape: list[int | None] = [] if tensor is None else list(tensor.shape)
        if shape and shape[0] == self.batch:
            shape[0] = None
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        own = 0 if module is None else sum(parameter.numel() for parameter in module.parameters())
        kind = "" if module is None else type(module).__name__
        return Call(name_of(node), kind, tuple(shape), own, multiply_adds, node.name)


def name_of(node: fx.Node) -> str:
    """The name of a layer, or the scope and the name of a function."""
    if node.op == "call_module":
        return scope_of_path(str(node.target))
    if node.op == "placeholder":
        return str(node.target)
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return "/".join(filter(None, [node.meta.get(SCOPE, ""), function.strip("_")]))
