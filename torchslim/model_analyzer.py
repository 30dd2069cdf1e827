"""Tables of what a model consists of: its variables, and what it computes (TF-Slim's `slim.model_analyzer`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from torchslim.graph import Graph, Symbol, Variable
from torchslim.graph.graph import BATCH_SIZES


def tensor_description(var: Any) -> str:
    """Type and shape in short (TF-Slim's `tensor_description`).

    TF-Slim: the shape is PyTorch's.

    Args:
        var: a Symbol, Variable or tensor.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.model_analyzer.tensor_description(torch.zeros(1, 8, 8, 1024))
        '(float32 1x8x8x1024)'
    """
    return f"({str(var.dtype).removeprefix('torch.')} {'x'.join(map(str, var.shape))})"


def analyze_vars(variables: Iterable[Variable], print_info: bool = False) -> tuple[int, int]:
    """How much the variables of a model hold (TF-Slim's `analyze_vars`).

    Args:
        variables: e.g. `slim.get_model_variables()`.
        print_info: print a table: names, types, shapes, numbers of elements, bytes.

    Returns:
        The number of elements of all, and of bytes.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> slim.model_analyzer.analyze_vars(slim.get_variables(module=model), print_info=True)
        ---------
        Variables: name (type shape) [size]
        ---------
        fc/weights:0 (float32 2x3) [6, bytes: 24]
        fc/biases:0 (float32 2) [2, bytes: 8]
        Total size of variables: 8
        Total bytes of variables: 32
        (8, 32)
    """
    lines, total_size, total_bytes = [], 0, 0
    for variable in variables:
        size = math.prod(variable.shape)
        total_size += size
        total_bytes += size * variable.dtype.itemsize
        description = tensor_description(variable)
        lines.append(f"{variable.name} {description} [{size}, bytes: {size * variable.dtype.itemsize}]")
    if print_info:
        _print_table("Variables: name (type shape) [size]", lines)
        print(f"Total size of variables: {total_size}\nTotal bytes of variables: {total_bytes}")
    return total_size, total_bytes


def analyze_ops(graph: Graph, print_info: bool = False) -> int:
    """How much the calls of a graph give (TF-Slim's `analyze_ops`).

    TF-Slim: a layer is one call here, and several operations there. An output with a size that varies counts as
    nothing, as there: fix the sizes of the placeholders to count it.

    Args:
        graph: the graph.
        print_info: print a table: the calls, types and shapes of what they give, numbers of elements and, where there
            are any, floating point operations as PyTorch counts them (a multiplication and an addition are two; for
            one example where the size of the batch varies).

    Returns:
        The number of elements of all outputs.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     net = slim.fully_connected(slim.placeholder((5, 3), name='x'), 2, scope='fc')
        >>> slim.model_analyzer.analyze_ops(graph, print_info=True)
        ---------
        Operations: name -> (type shapes) [size]
        ---------
        x -> (float32 5x3) [15]
        fc -> (float32 5x2) [10, FLOPs: 60]
        Total size of outputs: 25
        Total FLOPs: 60
        25
    """
    lines, total_size, total_flops = [], 0, 0
    for node in graph.fx_graph.nodes:
        outputs = _outputs_of(graph, node)
        size = sum(math.prod(output.shape) for output in outputs if None not in output.shape)  # type: ignore
        flops = _flops_of(graph, node, outputs) if print_info else 0
        total_size += size
        total_flops += flops
        descriptions = ", ".join(map(tensor_description, outputs))
        lines.append(f"{node.name} -> {descriptions} [{size}{f', FLOPs: {flops}' if flops else ''}]")
    if print_info:
        _print_table("Operations: name -> (type shapes) [size]", lines)
        print(f"Total size of outputs: {total_size}\nTotal FLOPs: {total_flops}")
    return total_size


class _Output:
    """A tensor among the outputs of a call, as a Symbol would describe it."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        self.dtype = first.dtype
        self.shape = tuple(a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))


def _outputs_of(graph: Graph, node: fx.Node) -> list[_Output]:
    pairs = zip(*(tree_leaves(run) for run in Symbol(node, graph.recorder).runs), strict=True)
    return [_Output(first, second) for first, second in pairs if isinstance(first, torch.Tensor)]


def _flops_of(graph: Graph, node: fx.Node, outputs: list[_Output]) -> int:
    """The floating point operations of a call; 0 if they depend on more than the size of the batch."""
    if not node.op.startswith("call_") or any(None in output.shape[1:] for output in outputs):
        return 0
    from torch.utils.flop_counter import FlopCounterMode  # Triton comes with it: only who counts waits for it

    with FlopCounterMode(display=False) as counter:
        graph.recorder.run_again(node)
    batch_varies = any(output.shape and output.shape[0] is None for output in outputs)
    return counter.get_total_flops() // (BATCH_SIZES[0] if batch_varies else 1)


def _print_table(title: str, lines: list[str]) -> None:
    print("---------", title, "---------", *lines, sep="\n")
